import asyncio

import asyncpg

from aval.storage.migrations import read_migrations


def test_a_fresh_database_is_brought_up_and_a_second_run_finds_nothing_to_do(command, empty_dsn, monkeypatch) -> None:
    monkeypatch.setenv("AVAL_DATABASE_URL", empty_dsn)
    names = [migration.name for migration in read_migrations()]
    first = command("migrate")
    assert first.exit_code == 0
    assert [line.removeprefix("Applied ") for line in first.stdout.splitlines() if "Applied" in line] == names
    second = command("migrate")
    assert second.stdout.splitlines()[-1] == f"The database is up to date: {len(names)} migrations, 0 applied now."


async def _forge(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


def test_an_edited_migration_is_named(command, dsn) -> None:
    asyncio.run(_forge(dsn, "update aval.schema_migrations set checksum = repeat('0', 64) where version = '0001'"))
    ended = command("migrate")
    assert ended.exit_code == 2
    assert ended.stderr == (
        "These migrations were edited after they were applied: 0001_create_integrators. Put them back as released.\n"
    )
