"""`aval admin keyring`: make, rotate, list and prune the secret keys."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from aval.cli.admin_options import IsJson
from aval.cli.admin_show import show_records
from aval.cli.deployment import CommandTree, Deployment, OpenDeployment, opened, refused_keys
from aval.domain.keyring import Keyring, Purpose
from aval.storage.keys_file import KeysFileError
from aval.storage.keys_in_use import kids_in_use
from aval.storage.roles import OWNER

COLUMNS = ("purpose", "kid", "created_at", "state")
TAKEN_OVER_AFTER = timedelta(minutes=1)  # processes look at the file every second, and a call may take a few
NEEDED_AFTER = {Purpose.ACCESS_TOKEN: timedelta(hours=1) + 2 * TAKEN_OVER_AFTER}  # spec redemptions.md §7.1, leeway


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(group, name="keyring", help="Make, rotate, list and prune the secret keys.")

    @group.command("create")
    def create() -> None:
        """Make the keys file; existing keys are never overwritten."""
        deployment = open_deployment()
        try:
            deployment.keys.create()
        except KeysFileError as error:
            raise refused_keys(error) from None
        typer.echo(f"Made {deployment.keys.path} with a key for each purpose. Back it up apart from the database.")

    @group.command("rotate")
    def rotate(purpose: Annotated[Purpose, typer.Argument(help="The purpose that gets a new key.")]) -> None:
        """Add a key that new things are made with: from five seconds on, when every running process knows it."""
        deployment = open_deployment()
        try:
            kid = deployment.keys.rotate(purpose)
        except KeysFileError as error:
            raise refused_keys(error) from None
        typer.echo(f"{purpose} {kid} is the current key now. The older ones stay until `aval admin keyring prune`.")

    @group.command("list")
    def list_keys(is_json: IsJson = False) -> None:
        """Show purpose, kid and age of every key, never the key."""
        show_records(_rows(open_deployment().keyring()), COLUMNS, is_json, nothing="No key.")

    @group.command("prune")
    def prune() -> None:
        """Drop old keys that nothing in the database needs any more."""
        gone = asyncio.run(_prune(open_deployment()))
        for name in gone:
            typer.echo(f"Dropped {name}")
        typer.echo("Nothing else is unneeded." if gone else "Every key is still needed.")


def _rows(keyring: Keyring) -> list[dict[str, Any]]:
    return [
        {
            "purpose": purpose,
            "kid": key.kid,
            "created_at": key.created_at,
            "state": "current" if key.kid == keyring.current(purpose).kid else "older",
        }
        for purpose in Purpose
        for key in keyring.all_of(purpose)
    ]


async def _prune(deployment: Deployment) -> list[str]:
    keyring = deployment.keyring()
    async with (
        deployment.dsn() as dsn,
        opened(deployment.migrate_url or dsn, OWNER) as db,
        db.connection() as connection,
    ):
        needed = await kids_in_use(connection)
    try:
        return [f"{key.purpose} {key.kid}" for key in deployment.keys.prune(needed | _kept_anyway(keyring))]
    except KeysFileError as error:
        raise refused_keys(error) from None


def _kept_anyway(keyring: Keyring) -> set[tuple[Purpose, str]]:
    """API keys are hashed without a kid, auditors ask for the public half of every evidence key, access tokens live an
    hour, and just after a rotation a process may still use the key before."""
    kept = {(purpose, key.kid) for purpose in (Purpose.CREDENTIAL, Purpose.EVIDENCE) for key in keyring.all_of(purpose)}
    for purpose in Purpose:
        keys = keyring.all_of(purpose)
        for key, newer in zip(keys[1:], keys, strict=False):
            if datetime.now(UTC) - newer.created_at < NEEDED_AFTER.get(purpose, TAKEN_OVER_AFTER):
                kept.add((purpose, key.kid))
    return kept
