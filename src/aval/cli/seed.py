"""`aval sandbox seed`: one of everything in the sandbox."""

import asyncio
from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec
import typer

from aval.cli.admin import command_author
from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.domain.integrator import LOCAL_ORIGIN
from aval.operations.seed_sandbox import seed_sandbox


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.sandbox.callback()
    def group() -> None:
        """Make things to play with."""

    @commands.sandbox.command("seed")
    def seed(
        is_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    ) -> None:
        """Make a sandbox integrator with account, approver and credentials; a second run makes another set."""
        made = asyncio.run(_seeded(open_deployment()))
        if is_json:
            typer.echo(msgspec.json.encode(made).decode())
            return
        for name, value in made.items():
            typer.echo(f"{name}: {value}")


async def _seeded(deployment: Deployment) -> dict[str, str]:
    keyring = deployment.keyring()
    async with deployment.database() as db:
        made = await seed_sandbox(db, keyring=keyring, author=command_author(), passkeys=local_passkeys(deployment))
    values = {name: str(value) for name, value in asdict(made).items()}
    return {"base_url": base_url(deployment.host, deployment.port), **values}


def local_passkeys(deployment: Deployment) -> dict[str, Any] | None:
    """Where a browser on this machine may make passkeys without TLS; nowhere in production."""
    if deployment.is_production:
        return None
    return {"rp_id": "localhost", "origins": (f"{LOCAL_ORIGIN}:{deployment.port}",)}


def base_url(host: str, port: int) -> str:
    """Where a caller on this machine reaches an API that listens on `host`."""
    try:
        address = ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}"
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"
