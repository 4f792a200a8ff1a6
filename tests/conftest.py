"""A real PostgreSQL for the tests: one server for all sessions of this machine's user, one fresh database a test.

`AVAL_TEST_DATABASE_URL` names a server of your own instead (a superuser's DSN). Sessions that run at the same time,
pytest-xdist's workers among them, share the server and the migrated template; the last one to leave stops it.
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

import aval.storage.manifest
import aval.storage.migrations
import aval.storage.roles
from aval.storage.database import Database
from aval.storage.embedded import EmbeddedServer
from aval.storage.embedded_binaries import make_directory
from aval.storage.migrations import migrate, read_migrations

BASE = Path(tempfile.gettempdir()).resolve() / f"aval-tests-{os.getuid()}"
TEMPLATE_PREFIX = "aval_template_"
numbers = count(1)


def with_database(dsn: str, name: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


async def run(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def databases(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row["datname"] for row in await connection.fetch("select datname from pg_database")]
    finally:
        await connection.close()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands configure logging for their process, which here is everybody's, and for streams that end."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """DSN of a superuser on a server whose databases the tests may make and drop."""
    make_directory(BASE)
    given = os.environ.get("AVAL_TEST_DATABASE_URL")
    if given:
        yield given
        return
    server = EmbeddedServer(BASE)
    dsn = asyncio.run(server.start())
    yield dsn
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def template(postgres_dsn: str) -> Iterator[str]:
    """Name of a database with all migrations, made once for each state of the files."""
    sources = [*(Path(module.__file__).read_bytes() for module in MIGRATING), *map(repr_of, read_migrations())]
    name = TEMPLATE_PREFIX + hashlib.sha256(b"\0".join((postgres_dsn.encode(), *sources))).hexdigest()[:16]
    with lock_file(name, fcntl.LOCK_SH):  # first, so that nobody drops it; shared, so that sessions run side by side
        with lock_file("making", fcntl.LOCK_EX):
            asyncio.run(make_template(postgres_dsn, name))
        asyncio.run(drop_leftovers(postgres_dsn))
        yield name


MIGRATING = (aval.storage.migrations, aval.storage.manifest, aval.storage.roles)


def repr_of(migration: object) -> bytes:
    return repr(migration).encode()


@contextmanager
def lock_file(name: str, how: int) -> Iterator[None]:
    lock = os.open(BASE / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


async def make_template(dsn: str, name: str) -> None:
    if name in await databases(dsn):
        return
    draft = f"{name}_draft"
    await run(dsn, f"drop database if exists {draft} with (force)", f"create database {draft}")
    await migrate(with_database(dsn, draft))
    await run(dsn, f"alter database {draft} rename to {name}")


async def drop_leftovers(dsn: str) -> None:
    """Templates of older files that no session holds, and databases of test processes that are gone."""
    for database in await databases(dsn):
        if database.startswith(TEMPLATE_PREFIX):
            try:
                with lock_file(database.removesuffix("_draft"), fcntl.LOCK_EX | fcntl.LOCK_NB):
                    await run(dsn, f"drop database if exists {database}")
            except BlockingIOError:
                continue
        elif database.startswith("aval_test_") and not is_process(int(database.split("_")[2])):
            await run(dsn, f"drop database if exists {database} with (force)")


def is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """DSN of a fresh database without any migration."""
    name = f"aval_test_{os.getpid()}_{next(numbers)}"
    await run(postgres_dsn, f"create database {name}")
    yield with_database(postgres_dsn, name)
    await run(postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def dsn(postgres_dsn: str, template: str) -> AsyncIterator[str]:
    """DSN of a fresh, migrated database, as superuser."""
    name = f"aval_test_{os.getpid()}_{next(numbers)}"
    await run(postgres_dsn, f"create database {name} template {template}")
    yield with_database(postgres_dsn, name)
    await run(postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """The fresh database as superuser, so that a test may prepare anything."""
    database = await Database.open(dsn, application_name="aval tests")
    yield database
    await database.close()


@pytest.fixture
async def db_as(dsn: str) -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """Open the fresh database under a role: `await db_as("aval_app_api")`."""
    opened: list[Database] = []

    async def open_as(role: str) -> Database:
        opened.append(await Database.open(dsn, role=role, application_name=f"aval tests {role}"))
        return opened[-1]

    yield open_as
    for database in opened:
        await database.close()
