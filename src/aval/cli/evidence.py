"""`aval evidence`: hand out the sealed record of an approval, and check one without Aval's database."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.cli.evidence_words import told_report
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell, warn
from aval.domain.evidence import fingerprint_of, public_key_of
from aval.domain.evidence_check import FILE_BYTES_MAX, EvidenceNotReadable, EvidenceReport, check_evidence
from aval.domain.keyring import Keyring, Purpose
from aval.operations.seal_evidence import Evidence, EvidenceNotSealable, export_evidence
from aval.storage.database import Database

EXIT_NOT_GENUINE = 1
_PEM = re.compile(b"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


class _Group(typer.core.TyperGroup):
    """Takes a bare operation key as `export` of it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the sub-command."""
        is_named = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if is_named else ["export", *args])


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    group = typer.Typer(cls=_Group, no_args_is_help=True)
    commands.root.add_typer(
        group, name="evidence", help="Hand out the sealed record of an approval, and check one offline."
    )

    @group.command("export")
    def export(
        operation_key: Annotated[UUID, typer.Argument(help="Of a transfer, a batch, an item of one, or a device.")],
        integrator: Annotated[
            UUID | None, typer.Option(help="Whose it is; needed where two chose the same device key.")
        ] = None,
        output: Annotated[Path | None, typer.Option(help="The file to write; by default it is printed.")] = None,
    ) -> None:
        """Hand out the evidence of an approval as one JSON file; `aval evidence KEY` is the same."""
        found = asyncio.run(_export(open_deployment(), operation_key, integrator))
        if output is None:
            typer.echo(found.file)
        else:
            _write(output, found.file)
            tell(f"Wrote {output}. Check it anywhere: aval evidence verify {output}")
        if found.changed:
            warn(f"The database no longer says what was sealed: {', '.join(found.changed)} changed since.")
            raise typer.Exit(EXIT_NOT_GENUINE)

    @group.command("keys")
    def keys() -> None:
        """Print the public keys of this deployment's seal, newest first, for auditors to keep."""
        typer.echo("\n".join(_pem_texts(open_deployment().keyring())))

    @group.command("verify")
    def verify(
        file: Annotated[Path, typer.Argument(help="What `aval evidence KEY` wrote.")],
        keys: Annotated[
            Path | None, typer.Option(help="Public keys of the deployment, as `aval evidence keys` printed them.")
        ] = None,
    ) -> None:
        """Check a file of evidence offline: 0 it is genuine, 1 it is not, 2 it cannot be read."""
        report = _checked(_read(file), [] if keys is None else _public_keys(_read(keys), keys))
        typer.echo("\n".join(told_report(report)))
        if not report.is_genuine:
            raise typer.Exit(EXIT_NOT_GENUINE)


async def _export(deployment: Deployment, operation_key: UUID, integrator_key: UUID | None) -> Evidence:
    keyring = deployment.keyring()
    async with deployment.database("aval_sealer") as db:
        found = await _found(db, operation_key, integrator_key, keyring)
    if not found:
        raise CommandRefused("OPERATION_KEY must be the one of an operation that was approved: there is none.")
    if len(found) > 1:
        raise CommandRefused("--integrator must say whose device it is: several integrators chose this key.")
    return found[0]


async def _found(
    db: Database, operation_key: UUID, integrator_key: UUID | None, keyring: Keyring
) -> Sequence[Evidence]:
    try:
        return await export_evidence(db, operation_key=operation_key, integrator_key=integrator_key, keyring=keyring)
    except EvidenceNotSealable:
        raise CommandRefused("The rows of this approval are broken: no record can be made of them any more.") from None


def _pem_texts(keyring: Keyring) -> list[str]:
    texts = []
    for key in keyring.all_of(Purpose.EVIDENCE):
        raw = public_key_of(key)
        pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = f"# {key.kid}, made {key.created_at:%Y-%m-%d}, fingerprint {fingerprint_of(raw)}"
        texts.append(f"{head}\n{pem.decode().strip()}")
    return texts


def _public_keys(text: bytes, path: Path) -> list[bytes]:
    try:
        found = [load_pem_public_key(block) for block in _PEM.findall(text)]
    except (ValueError, UnsupportedAlgorithm):
        found = []
    keys = [key.public_bytes_raw() for key in found if isinstance(key, Ed25519PublicKey)]
    if not keys:
        raise CommandRefused(f"--keys must name a file with public keys as `aval evidence keys` prints them: {path}.")
    return keys


def _checked(text: bytes, public_keys: Sequence[bytes]) -> EvidenceReport:
    try:
        return check_evidence(text, public_keys)
    except EvidenceNotReadable:
        raise CommandRefused("FILE must be what `aval evidence KEY` wrote: it is no evidence at all.") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError:
        raise CommandRefused(f"{path} must be a file this account can read.") from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError:
        raise CommandRefused(f"--output must be a file this account can write: {path} is not.") from None
