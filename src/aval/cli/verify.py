"""`aval verify`: hold the audit against its chain, in the database or in a file."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell, warn
from aval.domain.audit_chain import Head
from aval.domain.audit_check import Fault, FaultKind
from aval.domain.audit_file import LINE_BYTES_MAX, AuditFileNotReadable, ChainReport, check_audit_file
from aval.domain.keyring import Keyring
from aval.operations.verify_audit import export_audit, verify_audit
from aval.storage.audit_chain import TAIL_ROWS_MAX, Tail

EXIT_BROKEN = 1
TAIL_AGE_MAX_S = 10.0
WORDS = {
    FaultKind.CHANGED: "it is not what was sealed",
    FaultKind.MISSING: "it was sealed and is gone",
    FaultKind.ADDED: "it was put there after the rows around it were sealed",
    FaultKind.LINK_CHANGED: "its link was changed, or sealed by a stranger",
    FaultKind.LINK_MISSING: "its link is gone",
    FaultKind.KEY_UNKNOWN: "its link names a key that is not in the keys file",
    FaultKind.FILE_CUT: "the file ends here, and is not as it was written",
}


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("verify")
    def verify(
        file: Annotated[
            Path | None, typer.Argument(help="What `--export` wrote; by default the database is read.")
        ] = None,
        export: Annotated[
            Path | None, typer.Option(help="Write the sealed audit to this file, to be verified elsewhere.")
        ] = None,
    ) -> None:
        """Verify that no sealed row of the audit was changed: 0 none was, 1 one was and is named, 2 unreadable."""
        if file is not None and export is not None:
            raise CommandRefused("FILE and --export exclude each other: one is read, the other written.")
        deployment = open_deployment()
        if file is not None:
            _tell(*_checked(file, deployment.keyring()))
        elif export is not None:
            asyncio.run(_export(deployment, export))
        else:
            asyncio.run(_verify(deployment))


async def _verify(deployment: Deployment) -> None:
    keyring = deployment.keyring()
    async with deployment.database("aval_sealer") as db:
        report = await verify_audit(db, keyring=keyring)
    _tell(report.head, report.fault)
    _warn_of(report.tail)


async def _export(deployment: Deployment, path: Path) -> None:
    keyring = deployment.keyring()
    try:
        with path.open("wb") as file:
            async with deployment.database("aval_sealer") as db:
                async for lines in export_audit(db, keyring=keyring):
                    file.write(lines)
    except OSError:
        raise CommandRefused(f"--export must be a file this account can write: {path} is not.") from None
    tell(f"Wrote {path}. Check it anywhere, with the keys file: aval verify {path}")


def _checked(path: Path, keyring: Keyring) -> ChainReport:
    try:
        return check_audit_file(_lines(path), keyring)
    except AuditFileNotReadable as error:
        raise CommandRefused(
            f"FILE must be what `aval verify --export` wrote: line {error.line_no} is no part of it."
        ) from None
    except OSError:
        raise CommandRefused(f"{path} must be a file this account can read.") from None


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX):
            yield line


def _tell(head: Head, fault: Fault | None) -> None:
    if fault is not None:
        _tell_fault(fault)
    typer.echo(f"The audit is as it was sealed: {head.rows} rows in {head.number} links.")
    if head.number:
        typer.echo(f"The chain ends with {head.seal.hex()}.")


def _tell_fault(fault: Fault) -> NoReturn:
    named = "" if fault.audit_id is None else f" ({fault.audit_id})"
    typer.echo("THE AUDIT WAS CHANGED.")
    typer.echo(f"First bad row: number {fault.row_no}{named}, of link {fault.link_no}: {WORDS[fault.kind]}.")
    typer.echo(f"The {fault.row_no - 1} rows before it are as they were sealed.")
    raise typer.Exit(EXIT_BROKEN)


def _warn_of(tail: Tail) -> None:
    if tail.age_s <= TAIL_AGE_MAX_S:
        return
    count = f"{TAIL_ROWS_MAX} or more rows are" if tail.rows >= TAIL_ROWS_MAX else f"{tail.rows} rows are"
    warn(f"{count} not sealed, the oldest for {tail.age_s:.0f} s: is a worker running?")
