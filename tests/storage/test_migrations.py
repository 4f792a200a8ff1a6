"""The migration runner and the roles it makes, on real databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from aval.storage import roles
from aval.storage.migrations import (
    MigrationBrokeTransaction,
    MigrationEdited,
    MigrationMissing,
    MigrationOutOfOrder,
    MigrationRefused,
    migrate,
    migrations_directory,
    pending,
    read_migrations,
)
from aval.storage.roles import APPLICATION_ROLES, ROLES, RolesMissing, ensure_roles

FIRST = "create table things (id integer primary key);\ninsert into things select generate_series(1, 5000);\n"
SECOND = "create table others (id integer primary key);\ncreate function f() returns int language sql as 'select 1';\n"
CONCURRENTLY = (
    "-- aval:no-transaction\ncreate index concurrently if not exists things_odd on things (id) where id % 2 = 1;\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_second.sql").write_text(SECOND)
    return tmp_path


async def ask(dsn: str, query: str, *arguments: object) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "aval"})
    try:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def test_files_are_applied_in_order_and_once(empty_dsn: str, directory: Path) -> None:
    assert await pending(empty_dsn, directory=directory) == ["0001_first", "0002_second"]
    assert await migrate(empty_dsn, directory=directory) == ["0001_first", "0002_second"]
    assert await migrate(empty_dsn, directory=directory) == []
    (directory / "0003_third.sql").write_text(CONCURRENTLY)
    assert await migrate(empty_dsn, directory=directory) == ["0003_third"]
    assert await pending(empty_dsn, directory=directory) == []
    assert await ask(empty_dsn, "select version, name from schema_migrations order by applied_at") == [
        ("0001", "0001_first"),
        ("0002", "0002_second"),
        ("0003", "0003_third"),
    ]
    assert await ask(empty_dsn, "select indisvalid from pg_index where indexrelid = 'things_odd'::regclass") == [
        (True,)
    ]


async def test_the_released_migrations_leave_nothing_pending(dsn: str) -> None:
    assert await pending(dsn) == []
    assert await pending(dsn, role="aval_app_api") == []
    assert [name for (name,) in await ask(dsn, "select name from schema_migrations order by version")] == [
        migration.name for migration in read_migrations(migrations_directory())
    ]


async def test_a_changed_file_is_refused(empty_dsn: str, directory: Path) -> None:
    await migrate(empty_dsn, directory=directory)
    (directory / "0001_first.sql").write_bytes(FIRST.replace("\n", "\r\n").encode())
    assert await migrate(empty_dsn, directory=directory) == []  # another line end is not another file
    (directory / "0001_first.sql").write_text(FIRST + "-- edited\n")
    (directory / "0003_third.sql").write_text("create table third ()")
    for attempt in (migrate, pending):
        with pytest.raises(MigrationEdited) as refusal:
            await attempt(empty_dsn, directory=directory)
        assert refusal.value.files == ("0001_first",)
    assert await ask(empty_dsn, "select to_regclass('third')") == [(None,)]


async def test_a_missing_or_late_file_is_refused(empty_dsn: str, directory: Path) -> None:
    await migrate(empty_dsn, directory=directory)
    (directory / "0002_second.sql").rename(directory / "0003_second.sql")
    with pytest.raises(MigrationMissing) as refusal:
        await migrate(empty_dsn, directory=directory)
    assert refusal.value.files == ("0002_second",)
    (directory / "0003_second.sql").rename(directory / "0002_second.sql")
    (directory / "0000_zeroth.sql").write_text("create table zeroth ()")
    with pytest.raises(MigrationOutOfOrder) as late:
        await migrate(empty_dsn, directory=directory)
    assert late.value.files == ("0000_zeroth",)


@pytest.mark.parametrize("name", ["0002_twice.sql", "third.sql", "0003-third.sql", "3_third.sql"])
def test_a_file_with_a_wrong_name_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_text("select 1")
    with pytest.raises(MigrationOutOfOrder):
        read_migrations(directory)


async def test_a_failing_file_leaves_nothing_and_the_ones_before_stay(empty_dsn: str, directory: Path) -> None:
    (directory / "0003_third.sql").write_text("create table third (); select 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_dsn, directory=directory)
    assert await pending(empty_dsn, directory=directory) == ["0003_third"]
    assert await ask(empty_dsn, "select to_regclass('third'), to_regclass('others')::text") == [(None, "others")]
    (directory / "0003_third.sql").write_text("create table third ();")
    assert await migrate(empty_dsn, directory=directory) == ["0003_third"]


@pytest.mark.parametrize("end", ["commit", "rollback", "commit; begin"])
async def test_a_file_that_ends_its_transaction_is_refused(empty_dsn: str, directory: Path, end: str) -> None:
    (directory / "0003_third.sql").write_text(f"create table third (); {end};")
    with pytest.raises(MigrationBrokeTransaction) as refusal:
        await migrate(empty_dsn, directory=directory)
    assert isinstance(refusal.value, MigrationRefused)
    assert refusal.value.files == ("0003_third",)


async def test_concurrent_runners_apply_each_file_once(empty_dsn: str, directory: Path) -> None:
    results = await asyncio.gather(*(migrate(empty_dsn, directory=directory) for _ in range(6)))
    assert sorted(results) == [[]] * 5 + [["0001_first", "0002_second"]]


async def test_only_tables_with_rows_are_analysed(empty_dsn: str, directory: Path) -> None:
    await migrate(empty_dsn, directory=directory)
    counts = await ask(empty_dsn, "select relname, reltuples from pg_class where relname in ('things', 'others')")
    assert sorted(counts) == [("others", -1.0), ("things", 5000.0)]


async def test_the_owner_owns_everything_and_public_gets_nothing(empty_dsn: str, directory: Path) -> None:
    await migrate(empty_dsn, directory=directory)
    owners = await ask(
        empty_dsn,
        "select distinct relowner::regrole::text from pg_class where relnamespace = 'aval'::regnamespace"
        " union select distinct proowner::regrole::text from pg_proc where pronamespace = 'aval'::regnamespace",
    )
    assert owners == [("aval_owner",)]
    rights = await ask(
        empty_dsn,
        "select has_function_privilege('aval_app_api', 'f()', 'execute'),"
        " has_schema_privilege('aval_app_api', 'public', 'usage'),"
        " has_schema_privilege('aval_app_api', 'aval', 'usage'),"
        " has_schema_privilege('aval_app_api', 'aval', 'create')",
    )
    assert rights == [(False, False, True, False)]


async def test_the_roles_are_groups_without_powers(dsn: str) -> None:
    found = await ask(
        dsn,
        "select rolname from pg_roles where rolname = any($1)"
        " and not (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolcanlogin or rolreplication)",
        list(ROLES),
    )
    assert {name for (name,) in found} == set(ROLES)
    memberships = await ask(
        dsn,
        "select 1 from pg_auth_members"
        " where member = any($1::text[]::regrole[]) and roleid = any($1::text[]::regrole[])",
        list(ROLES),
    )
    assert memberships == []


@pytest.fixture
async def login(empty_dsn: str) -> AsyncIterator[str]:
    """A user without powers who owns the empty database, as a hosted PostgreSQL gives it."""
    database = urlsplit(empty_dsn).path[1:]
    name = f"{database}_login"
    await ask(empty_dsn, f"create role {name} login password 'only-here'")
    await ask(empty_dsn, f"alter database {database} owner to {name}")
    yield name
    await ask(empty_dsn, f"alter database {database} owner to current_user")
    await ask(empty_dsn, f"drop owned by {name}")
    await ask(empty_dsn, f"drop role {name}")


def as_login(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{name}:only-here@{parts.netloc.rpartition('@')[2]}").geturl()


async def test_a_user_who_may_make_roles_can_migrate(empty_dsn: str, login: str, directory: Path) -> None:
    await ask(empty_dsn, f"alter role {login} createrole")
    for role in ROLES:  # made by a superuser before, so that the right to grant them has to be given
        await ask(empty_dsn, f"grant {role} to {login} with admin option")
    assert len(await migrate(as_login(empty_dsn, login), directory=directory)) == 2


async def test_a_user_who_may_not_make_roles_can_migrate_when_they_are_his(
    empty_dsn: str, login: str, directory: Path
) -> None:
    for role in ROLES:
        await ask(empty_dsn, f"grant {role} to {login}")
    assert len(await migrate(as_login(empty_dsn, login), directory=directory)) == 2
    assert await ask(as_login(empty_dsn, login), "select count(*) from things") == [(5000,)]


async def test_missing_roles_are_named_with_what_makes_them(
    empty_dsn: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "ROLES", (*ROLES, f"{login}_absent"))
    with pytest.raises(RolesMissing) as refusal:
        await migrate(as_login(empty_dsn, login))
    assert refusal.value.missing == (f"{login}_absent",)
    assert refusal.value.statements == f"create role {login}_absent nologin;"


async def test_rivals_in_other_databases_make_the_roles_together(
    empty_dsn: str, postgres_dsn: str, login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tuple(f"{login}_{number}" for number in range(4))
    monkeypatch.setattr(roles, "ROLES", made)
    await ask(empty_dsn, f"alter role {login} createrole")
    async with asyncio.TaskGroup() as group:
        for dsn in [as_login(empty_dsn, login), as_login(postgres_dsn, login)] * 4:
            group.create_task(_ensure(dsn))
    try:
        taken = await ask(
            empty_dsn, "select count(*) from unnest($1::text[]) role where pg_has_role($2, role, 'MEMBER')", made, login
        )
        assert taken == [(4,)]
    finally:
        await ask(empty_dsn, f"drop role {', '.join(made)}")


async def _ensure(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await ensure_roles(connection)
    finally:
        await connection.close()


async def test_a_process_user_may_take_the_application_roles_only(empty_dsn: str, login: str, directory: Path) -> None:
    await migrate(empty_dsn, directory=directory, logins=[login])
    for role in APPLICATION_ROLES:
        answer = await asyncpg.connect(as_login(empty_dsn, login), server_settings={"role": role})
        assert await answer.fetchval("select current_user::text") == role
        await answer.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(as_login(empty_dsn, login), "set role aval_owner")
    if await ask(empty_dsn, "select 1 where current_setting('server_version_num')::int >= 160000"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):  # PostgreSQL 15 knows no grant without inheritance
            await ask(as_login(empty_dsn, login), "select * from aval.schema_migrations")
