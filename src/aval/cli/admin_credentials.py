"""`aval admin credentials`: what integrators prove themselves with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from aval.cli.admin_desk import AdminDesk
from aval.cli.admin_options import CredentialKey, IntegratorKey, IsJson
from aval.cli.admin_rules import RULES
from aval.cli.admin_show import once, show_done, show_many, show_one
from aval.cli.refusal import CommandRefused
from aval.operations.create_credential import ACTIVE_MAX, SCOPES

COLUMNS = ("credential_key", "type", "scopes", "api_client_key", "active", "created_at")
PUBLIC_KEY_BYTES_MAX = 10_000
CONFLICT = f"--type must have room: {ACTIVE_MAX} active credentials of it exist. Revoke one first."


def add_credentials(group: typer.Typer, desk: AdminDesk) -> None:
    """Add the commands."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, is_json: IsJson = False) -> None:
        """List credentials of an integrator, never the keys."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/credentials"))
        show_many(rows, COLUMNS, is_json, nothing="No credential yet: make one with `aval admin credentials create`.")

    @group.command("create")
    def create(
        integrator: IntegratorKey,
        kind: Annotated[
            Literal["bearer", "signed"], typer.Option("--type", help="signed needs --public-key.")
        ] = "bearer",
        scopes: Annotated[
            list[str] | None, typer.Option("--scope", help=f"Repeatable; by default {', '.join(SCOPES)}.")
        ] = None,
        public_key: Annotated[
            Path | None, typer.Option(help="File with a P-521 public key in PEM, for a signed credential.")
        ] = None,
        is_json: IsJson = False,
    ) -> None:
        """Make a credential; the api_key of a bearer one is shown this once."""
        body: dict[str, object] = {"type": kind, "scopes": scopes or list(SCOPES)}
        if public_key is not None:
            body["public_key"] = _text_of(public_key)
        path = f"/{integrator}/credentials"
        answer = desk.run(lambda session: session.call("POST", path, body), conflict=CONFLICT)
        show_one(answer, is_json)
        if b'"api_key"' in answer:
            once("The api_key")

    @group.command("revoke")
    def revoke(integrator: IntegratorKey, credential: CredentialKey, is_json: IsJson = False) -> None:
        """End a credential: the next request with it is refused."""
        desk.run(lambda session: session.call("DELETE", f"/{integrator}/credentials/{credential}"))
        show_done("Revoked.", is_json)


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(PUBLIC_KEY_BYTES_MAX).decode("ascii")
    except (OSError, ValueError):
        raise CommandRefused(f"--public-key must be {RULES['public_key']}.") from None
