"""The groups of promises.md D15: one per process, none with more than it needs, none that can log in."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from aval.storage.database import Connection

OWNER = "aval_owner"
APPLICATION_ROLES = (
    "aval_app_api",
    "aval_app_settle",
    "aval_app_notify",
    "aval_app_webhook",
    "aval_audit_writer",
    "aval_sealer",
    "aval_readonly",
    "aval_backup",
)
ROLES = (OWNER, *APPLICATION_ROLES)
RIVALS_MAX = 20  # runners in other databases of the cluster that may change the same catalogue row at that moment

_driver: Any = asyncpg


class RolesMissing(Exception):
    """The migrating user may not make roles, and these do not exist; `statements` would make them."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(*missing)
        self.missing = tuple(missing)

    @property
    def statements(self) -> str:
        """What an administrator of the PostgreSQL cluster has to run once."""
        return "\n".join(f"create role {role} nologin;" for role in self.missing)


async def ensure_roles(connection: Connection) -> None:
    """Make the roles that do not exist, and let the connecting user take the owner's."""
    known = {row["rolname"] for row in await connection.fetch("select rolname from pg_roles")}
    missing = [role for role in ROLES if role not in known]
    may_create = await connection.fetchval(
        "select rolsuper or rolcreaterole from pg_roles where rolname = current_user"
    )
    if missing and not may_create:
        raise RolesMissing(missing)
    for role in missing:
        try:
            await connection.execute(f"create role {role} nologin")
        except (_driver.DuplicateObjectError, _driver.UniqueViolationError):
            continue  # a rival was faster
    await grant_roles(connection, await connection.fetchval("select current_user::text"), ROLES)


async def grant_roles(connection: Connection, login: str, roles: Sequence[str] = APPLICATION_ROLES) -> None:
    """Let a login user take `roles`, which it inherits under PostgreSQL 15 only; a superuser needs no grant."""
    is_superuser, version = await connection.fetchrow(
        "select rolsuper, current_setting('server_version_num')::int from pg_roles where rolname = $1", login
    ) or (True, 0)
    if is_superuser:
        return
    privilege, option = ("SET", " with inherit false, set true") if version >= 160000 else ("MEMBER", "")
    quoted = await connection.fetchval("select quote_ident($1)", login)
    for role in roles:
        if not await connection.fetchval("select pg_has_role($1, $2, $3)", login, role, privilege):
            await _patiently(connection, f"grant {role} to {quoted}{option}")


async def _patiently(connection: Connection, statement: str) -> None:
    """Membership belongs to the whole cluster: a rival's change at the same moment is an error, not a wait."""
    for rival in range(RIVALS_MAX):
        try:
            await connection.execute(statement)
        except (_driver.InternalServerError, _driver.UniqueViolationError):
            if rival == RIVALS_MAX - 1:
                raise
            await asyncio.sleep(0.05)
        else:
            return
