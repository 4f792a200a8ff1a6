"""`aval admin key`: make, list and revoke the keys of those who administer the deployment."""

import asyncio
from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

import typer

from aval.cli.admin_desk import actor_of, author_named
from aval.cli.admin_options import IsJson
from aval.cli.admin_show import show_records
from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.cli.refusal import CommandRefused
from aval.domain.caller import BACK_OFFICE_SCOPES
from aval.domain.errors import Refusal
from aval.domain.text import clean
from aval.operations.create_admin_key import SCOPES, create_admin_key
from aval.operations.record_act import Author
from aval.operations.revoke_admin_key import revoke_admin_key
from aval.storage.admin_keys import AdminKey, list_admin_keys

COLUMNS = ("name", "scopes", "created_at", "revoked_at")
NAME_CHARACTERS_MAX = 80
KNOWN_SCOPES = (*SCOPES, *BACK_OFFICE_SCOPES)


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(group, name="key", help="Make, list and revoke admin keys.")

    @group.command("create")
    def create(
        name: Annotated[str, typer.Argument(help="Who will use it; it appears in the audit.")],
        scope: Annotated[
            list[str] | None,
            typer.Option(help=f"What it may do, given once for each; by default {', '.join(SCOPES)}."),
        ] = None,
    ) -> None:
        """Make an admin key and print it, this once."""
        typer.echo(asyncio.run(_create(open_deployment(), _name_of(name), _scopes_of(scope))))

    @group.command("list")
    def list_keys(is_json: IsJson = False) -> None:
        """Show name, scopes and age of every admin key, never the key."""
        keys = asyncio.run(_list(open_deployment()))
        rows = [{column: getattr(key, column) for column in COLUMNS} for key in keys]
        show_records(rows, COLUMNS, is_json, nothing="No admin key yet: make one with `aval admin key create NAME`.")

    @group.command("revoke")
    def revoke(name: Annotated[str, typer.Argument(help="The name it was made under.")]) -> None:
        """End an admin key: the next request with it is refused."""
        asyncio.run(_revoke(open_deployment(), _name_of(name)))
        typer.echo("Revoked.")


def command_author() -> Author:
    """Name the command line as who acts."""
    return Author("admin:command-line", str(uuid4()))


def _name_of(text: str) -> str:
    name = clean(text)
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise CommandRefused(f"NAME must be 1 to {NAME_CHARACTERS_MAX} visible characters.")
    return name


def _scopes_of(given: Sequence[str] | None) -> Sequence[str]:
    unknown = sorted({*(given or ())} - {*KNOWN_SCOPES})
    if unknown:
        raise CommandRefused(f"--scope must be one of {', '.join(KNOWN_SCOPES)}.")
    return given or SCOPES


async def _create(deployment: Deployment, name: str, scopes: Sequence[str]) -> str:
    keyring = deployment.keyring()
    async with deployment.database() as db:
        try:
            author = author_named(await actor_of(deployment, db))
            _, secret = await create_admin_key(db, name=name, scopes=scopes, keyring=keyring, author=author)
        except Refusal:
            raise CommandRefused("NAME must be new: an active admin key has it. Revoke that one first.") from None
    return secret


async def _list(deployment: Deployment) -> list[AdminKey]:
    async with deployment.database() as db, db.connection() as connection:
        return await list_admin_keys(connection)


async def _revoke(deployment: Deployment, name: str) -> None:
    async with deployment.database() as db:
        try:
            await revoke_admin_key(db, name=name, author=author_named(await actor_of(deployment, db)))
        except Refusal:
            raise CommandRefused("NAME must be the one of an active admin key; see `aval admin key list`.") from None
