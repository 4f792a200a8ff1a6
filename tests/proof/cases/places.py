"""Where a value could be seen by those who run a deployment: logs, metrics, processes, data at rest, a dump."""

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from aval.storage.embedded_binaries import installations
from tests.proof.deployment import RunningAval

KEYS = "keys.json"


async def seen_outside(aval: RunningAval) -> dict[str, bytes]:
    """Logs of all processes and of PostgreSQL, metrics, what `ps` and `pg_stat_activity` show."""
    folder = aval.apis[0].log.parent
    places = {f"log {path.name}": path.read_bytes() for path in folder.glob("*.log")}
    places |= {f"log of PostgreSQL {path.name}": path.read_bytes() for path in folder.rglob("postgresql-*.log")}
    async with aiohttp.ClientSession() as session:
        for api in aval.apis:
            async with session.get(f"{api.url}/metrics") as answer:
                assert answer.status == 200
                places[f"metrics {api.port}"] = await answer.read()
    places["process list"] = await asyncio.to_thread(_process_list)
    async with aval.db.connection() as connection:
        rows = await connection.fetch("select application_name, query from pg_stat_activity")
    places["pg_stat_activity"] = "\n".join(f"{row['application_name']} {row['query']}" for row in rows).encode()
    return places


async def at_rest(aval: RunningAval, tables: str) -> dict[str, bytes]:
    """The cluster with its WAL, the store of documents, logs, and a dump; `tables` must be in it, or nothing is proven.

    The keys file is the one place that is left out.
    """
    async with aval.db.connection() as connection:
        await connection.execute("checkpoint")
    base = aval.apis[0].log.parent
    places = await asyncio.to_thread(_files, base)
    command = [installations()[0].program("pg_dump"), "--dbname", aval.dsn, "--format=plain"]
    dump = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    assert tables.encode() in dump.stdout
    return places | {"dump": dump.stdout}


def _files(base: Path) -> Mapping[str, bytes]:
    return {
        str(path.relative_to(base)): path.read_bytes()
        for path in base.rglob("*")
        if path.is_file() and path.name != KEYS
    }


def _process_list() -> bytes:
    return b"\n".join(map(_command_line, Path("/proc").glob("[0-9]*/cmdline")))


def _command_line(path: Path) -> bytes:
    try:
        return path.read_bytes().replace(b"\0", b" ")
    except OSError:  # it has ended meanwhile
        return b""
