"""A dump made as docs/guides/backup.md says, and what is restored from it."""

import subprocess
from pathlib import Path

import asyncpg

from aval.storage.embedded_binaries import installations
from aval.storage.manifest import schema_drift


def postgresql(program: str, *words: str) -> None:
    subprocess.run([installations()[0].program(program), *words], check=True, capture_output=True)


async def test_a_restored_dump_has_the_schema_of_the_release(dsn: str, empty_dsn: str, tmp_path: Path) -> None:
    """PostgreSQL words some expressions anew when it reads them back; none of ours may be of that kind."""
    dump = str(tmp_path / "aval.dump")
    postgresql("pg_dump", "--dbname", dsn, "--role=aval_backup", "--format=custom", "--file", dump)
    postgresql("pg_restore", "--exit-on-error", "--dbname", empty_dsn, dump)
    connection = await asyncpg.connect(empty_dsn)
    try:
        assert await schema_drift(connection) == []
    finally:
        await connection.close()
