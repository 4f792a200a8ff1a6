"""Connections to PostgreSQL: one pool per process and role, honest about what a failure means.

Nothing outside this room imports asyncpg: what operations have to catch is named here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, Self, cast

import asyncpg
import msgspec

ACQUIRE_TIMEOUT_S = 0.9  # promises.md OP5: a dead database is told within 1 s
CONNECT_TIMEOUT_S = 0.8
GIVE_BACK_TIMEOUT_S = 0.5
COMMAND_TIMEOUT_S = 6.0  # a second more than statement_timeout, for a server that no longer answers at all
CLOSE_TIMEOUT_S = 5.0
IDLE_S = 0.005  # a connection at hand for longer is looked at before it is used
TURNS = 5  # of the loop, from the end of a connection to its being known
QUERIES_MAX = 1_000_000_000  # asyncpg would close a hot connection after 50,000 queries
STATEMENTS_CACHED = 500

_driver: Any = asyncpg  # it is typed in part only

SESSION_SETTINGS = {
    "search_path": "aval, pg_temp",
    "timezone": "UTC",
    "jit": "off",
    "lock_timeout": "2s",  # these three: promises.md D17
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}

# For connections that run hot statements only: look-ups by key, whose plans must not depend on how young a table is.
# A generic plan made while a table is nearly empty scans it, and stays until ANALYZE: 5 times slower (docs/adr/0017).
# Joins run in the order they are written: from the keys that were asked for to the rows they name.
LOOKUP_SETTINGS = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",  # two indexes together, of which one may be narrowed to the tenant only
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "join_collapse_limit": "1",
}

Row = asyncpg.Record
PostgresError = _driver.PostgresError
UniqueViolation = _driver.UniqueViolationError
ForeignKeyViolation = _driver.ForeignKeyViolationError
CheckViolation = _driver.CheckViolationError
RestrictViolation = _driver.RestrictViolationError
Deadlock = _driver.DeadlockDetectedError
SerializationFailure = _driver.SerializationError
InsufficientPrivilege = _driver.InsufficientPrivilegeError

_LOST = (
    OSError,
    _driver.PostgresConnectionError,
    _driver.OperatorInterventionError,
    _driver.InsufficientResourcesError,
    _driver.IdleInTransactionSessionTimeoutError,
    _driver.ReadOnlySQLTransactionError,  # a server that was demoted to standby under us
    _driver.InternalClientError,  # the farewell of a dying server came between two statements
)
_FAILED = (_driver.PostgresError, _driver.InterfaceError, _driver.InternalClientError, OSError)


class DatabaseUnavailable(Exception):
    """PostgreSQL could not be asked, and nothing of the transaction was kept."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost while PostgreSQL was deciding: it may have kept the change or not."""


class LockNotWon(Exception):
    """Another transaction kept the row for longer than lock_timeout; nothing was evaluated."""


class TransactionAborted(Exception):
    """PostgreSQL answered COMMIT with ROLLBACK: a statement had failed and its error was swallowed."""


class Connection(Protocol):
    """The part of a PostgreSQL connection that storage uses."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement and return its command tag, such as `UPDATE 1`."""

    async def executemany(self, command: str, args: Any, *, timeout: float | None = None) -> None:
        """Run one statement for each sequence of arguments, all or none."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Row]:
        """Run a statement and return its rows."""

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Row | None:
        """Run a statement and return its first row."""

    async def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:
        """Run a statement and return one value of its first row."""

    def is_closed(self) -> bool:
        """Tell whether the connection is known to be gone."""

    def terminate(self) -> None:
        """Drop the connection without a word to the server."""


class Database:
    """A pool of connections that take one role; it connects lazily and recovers by itself."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        # Given back whole and kept at hand, with the time: the pool's own lending makes two tasks each time.
        self._at_hand: list[tuple[Any, float]] = []
        self._waiting = 0

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        role: str | None = None,
        pool_size: int = 20,
        application_name: str = "aval",
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        is_hot: bool = False,
    ) -> Self:
        """Make the pool; no connection is made yet, so this succeeds while PostgreSQL is away.

        With `is_hot` every statement is planned as look-ups by key, whatever the statistics say.
        """
        settings = SESSION_SETTINGS | {"application_name": application_name} | ({"role": role} if role else {})
        settings |= LOOKUP_SETTINGS if is_hot else {}
        pool: Any = await _driver.create_pool(
            dsn,
            min_size=0,
            max_size=pool_size,
            max_queries=QUERIES_MAX,
            init=_teach_json,
            reset=_keep_session,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=command_timeout_s,
            statement_cache_size=STATEMENTS_CACHED,
            max_cached_statement_lifetime=0,
            server_settings=settings,
        )
        return cls(pool)

    async def close(self) -> None:
        """Wait a few seconds for connections in use, then drop them all."""
        while self._at_hand:
            await self._give_back(self._at_hand.pop()[0])
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_S)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection whose statements commit one by one; losing it in one raises `OutcomeUnknown`."""
        async with self._lent() as connection:
            with _translated(connection, OutcomeUnknown):
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Lend a connection for statements that change nothing, so that losing it leaves nothing unknown."""
        async with self._lent() as connection:
            with _translated(connection, DatabaseUnavailable):
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside one READ COMMITTED transaction; leaving without an exception commits.

        An exception rolls back. `OutcomeUnknown` only when the connection was lost during COMMIT.
        """
        async with self._lent() as connection:
            with _translated(connection, DatabaseUnavailable):
                await connection.execute("begin isolation level read committed")
                try:
                    yield connection
                except BaseException as error:
                    await _roll_back(connection, error)
                    raise
            await _commit(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Lend a connection whose statements, which change nothing, all see one state of the database."""
        async with self.reading() as connection:
            await connection.execute("begin isolation level repeatable read read only")
            try:
                yield connection
            except BaseException as error:
                await _roll_back(connection, error)
                raise
            await connection.execute("commit")

    async def is_alive(self) -> bool:
        """Tell within about a second whether PostgreSQL answers."""
        try:
            async with self.connection() as connection:
                return bool(await connection.fetchval("select true", timeout=ACQUIRE_TIMEOUT_S))
        except DatabaseUnavailable:
            return False

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        lent = await self._taken()
        is_whole = False
        try:
            yield cast(Connection, lent)
            is_whole = True
        finally:
            if is_whole and not self._waiting and not _is_gone(lent):
                self._at_hand.append((lent, time.monotonic()))
            else:
                await self._give_back(lent)

    async def _taken(self) -> Any:
        while self._at_hand:
            lent, since = self._at_hand.pop()
            if time.monotonic() - since > IDLE_S:
                await _hear_farewells()
            if not _is_gone(lent):
                return lent
            await self._give_back(lent)
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        except _driver.ClientConfigurationError:
            raise
        except _FAILED as error:
            raise DatabaseUnavailable from error
        finally:
            self._waiting -= 1

    async def _give_back(self, lent: Any) -> None:
        try:
            await self._pool.release(lent, timeout=GIVE_BACK_TIMEOUT_S)
        except _FAILED:
            _drop(lent)


@asynccontextmanager
async def savepoint(connection: Connection) -> AsyncIterator[None]:
    """Undo only this block when it raises, and keep the transaction around it alive."""
    await connection.execute("savepoint inner_block")
    try:
        yield
    except BaseException:
        if not _is_gone(connection):
            await connection.execute("rollback to savepoint inner_block")
        raise
    await connection.execute("release savepoint inner_block")


@contextmanager
def _translated(connection: Connection, lost: type[DatabaseUnavailable]) -> Iterator[None]:
    try:
        yield
    except _driver.LockNotAvailableError as error:
        raise LockNotWon from error
    except _LOST as error:
        if isinstance(error, _driver.InternalClientError | TimeoutError):
            _drop(connection)  # the driver still believes in it, and would wait for a server that says nothing
        raise lost from error
    except _driver.InterfaceError as error:
        if _is_gone(connection):
            raise lost from error
        raise


async def _hear_farewells() -> None:
    """Let the loop read, and act on, what a server that went away meanwhile sent."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except _driver.InterfaceError:  # the pool has taken the lost connection back already
        return True


def _drop(connection: Connection) -> None:
    with suppress(_driver.InterfaceError):
        connection.terminate()


async def _roll_back(connection: Connection, error: BaseException) -> None:
    """A server that stopped answering is not asked again: dropping the connection rolls back as well."""
    if isinstance(error, _LOST) or _is_gone(connection):
        _drop(connection)
        return
    try:
        async with asyncio.timeout(GIVE_BACK_TIMEOUT_S):
            await connection.execute("rollback")
    except _FAILED:
        _drop(connection)


async def _commit(connection: Connection) -> None:
    if _is_gone(connection):
        raise DatabaseUnavailable
    try:
        tag = await connection.execute("commit")
    except (*_LOST, _driver.InterfaceError) as error:
        _drop(connection)
        raise OutcomeUnknown from error
    if tag != "COMMIT":
        raise TransactionAborted


async def _keep_session(_connection: object) -> None:
    """Session state stays: asyncpg has already rolled back an open transaction, and nothing else is ever set.

    Its own reset is a round trip each time and costs 29 % of the throughput.
    """


async def _teach_json(connection: Any) -> None:
    """Let json and jsonb carry what msgspec can encode; bytes and str count as JSON that is encoded already."""
    for name, encoder, decoder in (
        ("json", _encoded_json, msgspec.json.decode),
        ("jsonb", _encoded_jsonb, _decoded_jsonb),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="binary")


def _encoded_json(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else msgspec.json.encode(value)


def _encoded_jsonb(value: object) -> bytes:
    return b"\x01" + _encoded_json(value)  # the version byte of PostgreSQL's binary jsonb


def _decoded_jsonb(data: bytes) -> Any:
    return msgspec.json.decode(memoryview(data)[1:])
