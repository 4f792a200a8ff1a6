"""`aval migrate`: roles, schema and migrations."""

import asyncio
from urllib.parse import unquote, urlsplit

import typer

from aval.cli.deployment import WORDS, CommandTree, Deployment, OpenDeployment, cause_of
from aval.cli.refusal import because
from aval.storage.database import PostgresError
from aval.storage.migrations import (
    MigrationEdited,
    MigrationMissing,
    MigrationOutOfOrder,
    MigrationRefused,
    migrate,
    read_migrations,
)
from aval.storage.roles import ROLES, RolesMissing

_CAUSES: dict[type[MigrationRefused], str] = {
    MigrationEdited: "migration_edited",
    MigrationMissing: "migration_missing",
    MigrationOutOfOrder: "migration_out_of_order",
}


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("migrate")
    def migrate_command() -> None:
        """Make the roles and bring the database up to this release; run it before `serve` and `worker`."""
        applied = asyncio.run(_migrated(open_deployment()))
        typer.echo(f"Roles: {len(ROLES)} in place, none can log in.")
        for name in applied:
            typer.echo(f"Applied {name}")
        typer.echo(f"The database is up to date: {len(read_migrations())} migrations, {len(applied)} applied now.")


async def _migrated(deployment: Deployment) -> list[str]:
    async with deployment.dsn(notice=typer.echo) as dsn:
        return await bring_up_to_date(deployment.migrate_url or dsn, process_dsn=dsn)


async def bring_up_to_date(owner_dsn: str, *, process_dsn: str) -> list[str]:
    """Apply what is pending and answer its names; the user of `process_dsn` may then take the processes' roles."""
    user = unquote(urlsplit(process_dsn).username or "")
    try:
        return await migrate(owner_dsn, logins=[user] if user else [])
    except RolesMissing as error:
        raise because("roles_missing", statements=error.statements) from None
    except MigrationRefused as error:
        cause = _CAUSES.get(type(error), "migration_failed")
        raise because(cause, files=", ".join(error.files), reason=type(error).__name__) from None
    except (OSError, ValueError, PostgresError) as error:
        if isinstance(error, PostgresError) and type(error).__name__ not in WORDS:
            raise because("migration_failed", reason=error) from None
        raise because("database_unreachable", reason=cause_of(error)) from None
