"""Applies the SQL files of `migrations/` in order, once each, and remembers what they were.

A file runs in a transaction of its own as `aval_owner`. With `-- aval:no-transaction` as its first line it runs
outside one, holds a single statement (such as CREATE INDEX CONCURRENTLY) and must bear being run again.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import asyncpg

from aval.storage.audit_shift import keep_audit_ahead
from aval.storage.database import Connection
from aval.storage.manifest import remember_schema
from aval.storage.roles import APPLICATION_ROLES, OWNER, ensure_roles, grant_roles

LOCK_KEY = 0x6176616C  # "aval": one runner at a time in a database
FILE_NAME = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
NO_TRANSACTION = "-- aval:no-transaction"
SETTINGS = {
    "search_path": "aval, pg_temp",
    "timezone": "UTC",
    "application_name": "aval migrate",
    "lock_timeout": "10s",  # a change of structure that has to wait makes everybody behind it wait
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
FIRST_STATEMENTS = f"""
create table if not exists aval.schema_migrations (
    version    text primary key,
    name       text not null,
    checksum   text not null check (checksum ~ '^[0-9a-f]{{64}}$'),
    applied_at timestamptz not null default clock_timestamp()
);
create table if not exists aval.schema_manifest (
    kind         text not null,
    name         text not null,
    definition   text not null,
    server_major integer not null,
    primary key (kind, name)
);
grant usage on schema aval to {", ".join(APPLICATION_ROLES)};
grant select on aval.schema_migrations, aval.schema_manifest to {", ".join(APPLICATION_ROLES)};
"""  # noqa: S608 - constants only


class MigrationRefused(Exception):
    """The files and the database disagree; `files` names the ones concerned."""

    def __init__(self, *files: str) -> None:
        super().__init__(*files)
        self.files = files


class MigrationEdited(MigrationRefused):
    """An applied file is no longer what it was when it was applied."""


class MigrationMissing(MigrationRefused):
    """The database has a migration this release does not know: a newer Aval was here, or a file is gone."""


class MigrationOutOfOrder(MigrationRefused):
    """A file comes before one that is applied already, has another's number, or is not named like a migration."""


class MigrationBrokeTransaction(MigrationRefused):
    """The file ended the transaction it runs in; migrations neither commit nor roll back."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `0001_create_accounts.sql` has version 0001."""

    version: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def takes_transaction(self) -> bool:
        """False when the first line says so."""
        return not self.text.startswith(NO_TRANSACTION)


def migrations_directory() -> Path:
    """`aval/migrations` in a wheel, `migrations/` at the root of a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parents[1] / "migrations"


def read_migrations(directory: Path | None = None) -> list[Migration]:
    """All files in order; line ends count as one newline, whatever the checkout made of them."""
    found: dict[str, Migration] = {}
    for path in sorted((directory or migrations_directory()).glob("*.sql")):
        name = FILE_NAME.fullmatch(path.name)
        if name is None or name[1] in found:
            raise MigrationOutOfOrder(path.stem)
        found[name[1]] = Migration(name[1], path.stem, path.read_text(encoding="utf-8"))
    return list(found.values())


async def pending(dsn: str, *, directory: Path | None = None, role: str | None = None) -> list[str]:
    """Names of the files that `migrate` would apply; refuses like it, and changes nothing."""
    async with _connected(dsn, {"role": role} if role else {}) as connection:
        return [each.name for each in await _unapplied(connection, read_migrations(directory))]


async def migrate(dsn: str, *, directory: Path | None = None, logins: Sequence[str] = ()) -> list[str]:
    """Apply what is pending and return the names; `logins` are users of the processes, who may then take their roles.

    Runners wait for each other. Fails with `MigrationRefused`, `RolesMissing` or PostgreSQL's own error; the files
    before the one that failed stay applied.
    """
    files = read_migrations(directory)
    async with _connected(dsn) as connection:
        await connection.execute("select pg_advisory_lock($1)", LOCK_KEY)
        await _prepare(connection)
        for login in logins:
            await grant_roles(connection, login)
        await connection.execute(f"set role {OWNER}")
        await connection.execute("alter default privileges revoke execute on functions from public")
        await connection.execute(FIRST_STATEMENTS)
        todo = await _unapplied(connection, files)
        for migration in todo:
            await _apply(connection, migration)
        is_shifted = await keep_audit_ahead(connection)
        await remember_schema(connection, is_changed=bool(todo) or is_shifted)
        if todo:
            await _analyse(connection)
        return [migration.name for migration in todo]


async def _prepare(connection: Connection) -> None:
    """Roles and schema; no function of Aval's is PUBLIC's to call, and nothing is granted on `public`."""
    await ensure_roles(connection)
    if not await connection.fetchval("select to_regnamespace('aval') is not null"):
        await connection.execute(f"create schema aval authorization {OWNER}")
    if await connection.fetchval("select pg_has_role(nspowner, 'USAGE') from pg_namespace where nspname = 'public'"):
        await connection.execute("revoke all on schema public from public")


async def _unapplied(connection: Connection, files: Sequence[Migration]) -> list[Migration]:
    """Compare the files with what was applied."""
    if not await connection.fetchval("select to_regclass('aval.schema_migrations') is not null"):
        return list(files)
    applied = {
        row["version"]: row
        for row in await connection.fetch("select version, name, checksum from aval.schema_migrations")
    }
    known = {migration.version: migration for migration in files}
    if missing := [row["name"] for version, row in applied.items() if version not in known]:
        raise MigrationMissing(*sorted(missing))
    edited = [row["name"] for version, row in applied.items() if known[version].checksum != row["checksum"]]
    if edited:
        raise MigrationEdited(*sorted(edited))
    todo = [migration for migration in files if migration.version not in applied]
    if late := [migration.name for migration in todo if migration.version < max(applied, default="")]:
        raise MigrationOutOfOrder(*late)
    return todo


async def _apply(connection: Connection, migration: Migration) -> None:
    if migration.takes_transaction:
        await connection.execute("begin")
        marker = await connection.fetchval("select pg_current_xact_id()")
        await connection.execute(migration.text)
        if await connection.fetchval("select pg_current_xact_id()") != marker:
            raise MigrationBrokeTransaction(migration.name)
    else:
        await connection.execute(migration.text)
    await connection.execute(
        "insert into aval.schema_migrations (version, name, checksum) values ($1, $2, $3)",
        migration.version,
        migration.name,
        migration.checksum,
    )
    if migration.takes_transaction:
        await connection.execute("commit")


async def _analyse(connection: Connection) -> None:
    """Give the planner figures for tables with rows, before the first plans are made and kept (DESIGN.md §7).

    An empty table is left out: never analysed it is planned as ten pages, analysed as nothing at all.
    """
    tables = await connection.fetch(
        "select oid::regclass::text as name from pg_class"
        " where relnamespace = 'aval'::regnamespace and relkind = 'r' and pg_relation_size(oid) > 0"
    )
    for table in tables:
        await connection.execute(f"analyze {table['name']}")


@asynccontextmanager
async def _connected(dsn: str, more: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Connection]:
    driver: Any = asyncpg
    connection = await driver.connect(dsn, timeout=10, server_settings={**SETTINGS, **more}, statement_cache_size=0)
    try:
        yield cast(Connection, connection)
    finally:
        await connection.close()  # an open transaction ends with it, and so does the lock
