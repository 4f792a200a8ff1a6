"""The pool on a real server, with real kills."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from aval.storage import database
from aval.storage.database import (
    Connection,
    Database,
    DatabaseUnavailable,
    Deadlock,
    LockNotWon,
    OutcomeUnknown,
    TransactionAborted,
    UniqueViolation,
    _is_gone,
    savepoint,
)
from aval.storage.embedded import EmbeddedServer

MEETING_S = 20.0  # patience for the other side, not a promise: two suites may share the machine


@pytest.fixture
async def things(empty_dsn: str) -> AsyncIterator[Database]:
    opened = await Database.open(empty_dsn, pool_size=3, application_name="things")
    async with opened.connection() as connection:
        await connection.execute("create schema aval")
        await connection.execute("create table things (id integer primary key, body jsonb)")
        await connection.execute("insert into things values (1, null), (2, null)")
    yield opened
    await opened.close()


async def ids(opened: Database) -> list[int]:
    async with opened.connection() as connection:
        return [row["id"] for row in await connection.fetch("select id from things order by id")]


async def test_a_transaction_keeps_what_left_normally_and_drops_what_raised(things: Database) -> None:
    async with things.transaction() as connection:
        assert await connection.fetchval("show transaction_isolation") == "read committed"
        await connection.execute("insert into things values (3, null)")
    with pytest.raises(ZeroDivisionError):
        async with things.transaction() as connection:
            await connection.execute("insert into things values (4, null)")
            raise ZeroDivisionError
    with pytest.raises(UniqueViolation):
        async with things.transaction() as connection:
            await connection.execute("insert into things values (5, null)")
            await connection.execute("insert into things values (1, null)")
    assert await ids(things) == [1, 2, 3]


async def test_a_commit_that_was_a_rollback_is_noticed(things: Database) -> None:
    with pytest.raises(TransactionAborted):
        async with things.transaction() as connection:
            await connection.execute("insert into things values (3, null)")
            with pytest.raises(UniqueViolation):
                await connection.execute("insert into things values (1, null)")
    assert await ids(things) == [1, 2]


async def test_a_savepoint_undoes_only_its_block(things: Database) -> None:
    async with things.transaction() as connection:
        await connection.execute("insert into things values (3, null)")
        with pytest.raises(UniqueViolation):
            async with savepoint(connection):
                await connection.execute("insert into things values (4, null)")
                async with savepoint(connection):
                    await connection.execute("insert into things values (5, null)")
                await connection.execute("insert into things values (1, null)")
        async with savepoint(connection):
            await connection.execute("insert into things values (6, null)")
    assert await ids(things) == [1, 2, 3, 6]


async def test_a_session_has_the_role_and_the_limits(db_as: Callable[[str], Awaitable[Database]]) -> None:
    api = await db_as("aval_app_api")
    expected = {
        "search_path": "aval, pg_temp",
        "lock_timeout": "2s",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "10s",
        "jit": "off",
        "TimeZone": "UTC",
        "application_name": "aval tests aval_app_api",
        "role": "aval_app_api",
    }
    async with api.connection() as connection:
        assert {name: await connection.fetchval("select current_setting($1)", name) for name in expected} == expected


async def test_giving_a_connection_back_costs_no_statement(things: Database, empty_dsn: str) -> None:
    async with things.connection() as connection:
        process = await connection.fetchval("select pg_backend_pid() as mark")
    watcher = await asyncpg.connect(empty_dsn)
    last = await watcher.fetchval("select query from pg_stat_activity where pid = $1", process)
    await watcher.close()
    assert last == "select pg_backend_pid() as mark"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
        ([{"n": 90071992547409930}], [{"n": 90071992547409930}]),
        ('{"already": "encoded"}', {"already": "encoded"}),
        (b'{"already": "encoded"}', {"already": "encoded"}),
        (None, None),
    ],
)
async def test_jsonb_carries_values(things: Database, value: object, read: object) -> None:
    async with things.connection() as connection:
        await connection.execute("update things set body = $1 where id = 1", value)
        assert await connection.fetchval("select body from things where id = 1") == read
        if not isinstance(value, list):  # a list in a list is an array of two dimensions to the driver
            many = await connection.fetch("select body from unnest($1::jsonb[]) body", [value, value])
            assert [row["body"] for row in many] == [read, read]


async def test_a_lock_that_is_not_won_is_told(things: Database) -> None:
    async with things.transaction() as holder:
        await holder.execute("select from things where id = 1 for update")
        with pytest.raises(LockNotWon):
            async with things.transaction() as connection:
                await connection.execute("set local lock_timeout = '20ms'")
                await connection.execute("insert into things values (3, null)")
                await connection.execute("select from things where id = 1 for update")
    assert await ids(things) == [1, 2]


async def test_a_deadlock_stays_what_it_is(things: Database) -> None:
    async def lock_both(first: int, second: int, meeting: asyncio.Barrier) -> None:
        async with things.transaction() as connection:
            await connection.execute("set local deadlock_timeout = '20ms'")
            await connection.execute("select from things where id = $1 for update", first)
            await meeting.wait()
            await connection.execute("select from things where id = $1 for update", second)

    meeting = asyncio.Barrier(2)
    async with asyncio.timeout(MEETING_S):  # one that gets no connection never comes
        results = await asyncio.gather(lock_both(1, 2, meeting), lock_both(2, 1, meeting), return_exceptions=True)
    assert [type(result) for result in results if result] == [Deadlock]


async def test_a_statement_without_end_is_cut_and_keeps_nothing(things: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as failure:
        async with things.transaction() as connection:
            await connection.execute("set local statement_timeout = '20ms'")
            await connection.execute("insert into things select 3 from pg_sleep(5)")
    assert not isinstance(failure.value, OutcomeUnknown)
    assert await ids(things) == [1, 2]


async def test_a_server_that_no_longer_answers_is_given_up(empty_dsn: str) -> None:
    impatient = await Database.open(empty_dsn, pool_size=1, command_timeout_s=0.1)
    for lend in (impatient.transaction, impatient.connection):
        with pytest.raises(DatabaseUnavailable):
            async with lend() as connection:
                await connection.execute("select pg_sleep(5)")
    assert await impatient.is_alive()
    await impatient.close()


async def test_a_cancelled_call_leaves_the_pool_whole(things: Database) -> None:
    async def stay(number: int, entered: asyncio.Event) -> None:
        async with things.transaction() as connection:
            await connection.execute("insert into things values ($1, null)", number)  # waits for no one before
            entered.set()
            await connection.execute("select pg_sleep(5)")

    for number in range(3, 7):  # one more than the pool holds
        entered = asyncio.Event()
        call = asyncio.create_task(stay(number, entered))
        await asyncio.wait_for(entered.wait(), MEETING_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await ids(things) == [1, 2]


async def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(things: Database) -> None:
    async with things.connection() as connection:
        await connection.execute(
            "create function die() returns trigger language plpgsql as"
            " 'begin perform pg_terminate_backend(pg_backend_pid()); return null; end'"
        )
        await connection.execute(
            "create constraint trigger dies after insert on things deferrable initially deferred"
            " for each row execute function die()"
        )
    with pytest.raises(OutcomeUnknown):
        async with things.transaction() as connection:
            await connection.execute("insert into things values (3, null)")
    with pytest.raises(OutcomeUnknown):
        async with things.connection() as connection:
            await connection.execute("insert into things values (3, null)")
    assert await ids(things) == [1, 2]


async def test_a_connection_lost_before_commit_kept_nothing(things: Database, empty_dsn: str) -> None:
    with pytest.raises(DatabaseUnavailable) as failure:
        async with things.transaction() as connection:
            await connection.execute("insert into things values (3, null)")
            await end_session_of(connection, empty_dsn)
    assert not isinstance(failure.value, OutcomeUnknown)
    assert await ids(things) == [1, 2]


async def test_a_farewell_between_two_statements_is_a_lost_connection(empty_dsn: str) -> None:
    lonely = await Database.open(empty_dsn, pool_size=1)
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0"
    farewell = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    ways = ((lonely.connection, OutcomeUnknown), (lonely.transaction, DatabaseUnavailable))
    for lend, lost in (*ways, (lonely.reading, DatabaseUnavailable)):
        with pytest.raises(DatabaseUnavailable) as failure:
            async with lend() as connection:
                await connection.execute("select 1")
                driver: Any = connection
                driver._con._protocol.data_received(farewell)
                await connection.fetchval("select 1")
        assert type(failure.value) is lost
        async with lonely.connection() as connection:
            assert await connection.fetchval("select 1") == 1
    await lonely.close()


async def end_session_of(connection: Connection, dsn: str) -> None:
    process = await connection.fetchval("select pg_backend_pid()")
    other = await asyncpg.connect(dsn)
    await other.execute("select pg_terminate_backend($1)", process)
    await other.close()
    async with asyncio.timeout(10):
        while not _is_gone(connection):  # noqa: ASYNC110 - the driver sets no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "change",
    [{"dsn": "postgresql://aval@/aval?host=/nonexistent"}, {"role": "aval_no_such_role"}],
)
async def test_what_cannot_be_reached_is_unavailable(empty_dsn: str, change: dict[str, str]) -> None:
    away = await Database.open(**({"dsn": empty_dsn} | change))
    assert not await away.is_alive()
    with pytest.raises(DatabaseUnavailable):
        async with away.transaction():
            pass
    await away.close()


async def test_a_dsn_nobody_can_read_is_not_an_outage() -> None:
    wrong = await Database.open("postgresql://aval@/aval?host=/a,/b&port=1,2,3")
    with pytest.raises(asyncpg.ClientConfigurationError):
        await wrong.is_alive()
    await wrong.close()


async def test_a_full_pool_is_told_instead_of_waited_for(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "ACQUIRE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(database, "CLOSE_TIMEOUT_S", 0.05)
    small = await Database.open(empty_dsn, pool_size=1)
    async with small.connection():
        with pytest.raises(DatabaseUnavailable):
            async with small.connection():
                pass
        await small.close()  # does not wait for ever for what is still in use
    with pytest.raises(DatabaseUnavailable):
        async with small.connection():
            pass


async def test_a_connection_stays_at_hand_and_goes_to_who_waits_first(empty_dsn: str) -> None:
    small = await Database.open(empty_dsn, pool_size=1)
    lent = asyncio.Event()

    async def own_backend(*, held_s: float = 0) -> int:
        async with small.connection() as connection:
            lent.set()
            await asyncio.sleep(held_s)
            number: int = await connection.fetchval("select pg_backend_pid()")
            return number

    first = await own_backend()
    holding = asyncio.create_task(own_backend(held_s=0.05))
    await lent.wait()
    assert set(await asyncio.gather(holding, *(own_backend() for _ in range(5)))) == {first}
    with pytest.raises(ZeroDivisionError):
        async with small.connection():
            raise ZeroDivisionError
    assert await own_backend() == first
    await small.close()


@asynccontextmanager
async def mortal_server() -> AsyncIterator[EmbeddedServer]:
    directory = Path(tempfile.mkdtemp(prefix="aval-data-"))
    server = EmbeddedServer(directory / "new")
    os.chmod(directory, 0o711)
    try:
        yield server
    finally:
        await server.stop()
        shutil.rmtree(directory)


async def test_a_killed_server_is_told_at_once_and_found_again() -> None:
    async with mortal_server() as server:
        opened = await Database.open(await server.start(), pool_size=4)
        async with opened.connection() as connection:
            await connection.execute("create table public.things (id integer primary key)")
        with pytest.raises(DatabaseUnavailable) as failure:
            async with opened.transaction() as connection:
                await connection.execute("insert into public.things values (1)")
                kill(server)
                await connection.execute("select pg_sleep(4)")
        assert not isinstance(failure.value, OutcomeUnknown)
        async with asyncio.timeout(10):  # eight calls, each told within a second
            told = await asyncio.gather(*(opened.is_alive() for _ in range(8)))
        assert told == [False] * 8
        await server.start()
        assert await opened.is_alive()
        async with opened.connection() as connection:
            assert await connection.fetchval("select count(*) from public.things") == 0
        await opened.close()


def kill(server: EmbeddedServer) -> None:
    os.kill(int((server.place.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
