"""`aval admin import`: accounts and approvers from CSV files, all or nothing, and the same file twice is harmless."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from aval.cli.admin_desk import EXIT_FAILED, NOT_FOUND, AdminDesk, AdminSession
from aval.cli.admin_options import IntegratorKey, IsJson
from aval.cli.admin_show import progress_bar, show_many, show_one
from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.processes import EXIT_REFUSED
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell
from aval.domain import account_sheet, approver_sheet
from aval.domain.account_sheet import AccountLine, judge_accounts
from aval.domain.approver_sheet import judge_approvers
from aval.domain.errors import Refusal
from aval.domain.sheet import BYTES_MAX, Fault, Sheet, read_sheet
from aval.operations.create_account import create_account
from aval.operations.import_approver import import_approver
from aval.operations.plan_accounts import plan_accounts
from aval.operations.plan_approvers import ApproverPlan, plan_approvers
from aval.storage.accounts import AccountData
from aval.storage.integrators import find_integrator

FAULTS_SHOWN_MAX = 200  # in a table; --json has them all
FAULT_COLUMNS = ("line", "column", "reason")

CsvFile = Annotated[Path, typer.Argument(metavar="FILE", help="CSV in UTF-8; the header names the columns.")]
IsDryRun = Annotated[bool, typer.Option("--dry-run", help="Judge every line and change nothing.")]
IsSkipping = Annotated[bool, typer.Option("--skip-bad", help="Import the good lines although others are bad.")]

Do = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class ImportReport:
    """What an import came to; lines are counted for accounts, people for approvers."""

    new: int = 0
    unchanged: int = 0
    imported: int = 0
    dry_run: bool = False
    is_refused: bool = False
    is_complete: bool = True
    bad: list[Fault] = field(default_factory=list)

    @property
    def bad_lines(self) -> int:
        """Lines with at least one fault."""
        return len({fault.line for fault in self.bad})


@dataclass(frozen=True, slots=True)
class Work:
    """What a file asks for: one thing to do for each new account or person, named by its line."""

    steps: list[tuple[int, Do]]
    unchanged: int
    faults: list[Fault]
    is_complete: bool


Plan = Callable[[AdminSession, UUID, bytes], Awaitable[Work]]


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    desk = AdminDesk(open_deployment)
    group = typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(group, name="import", help="Accounts and approvers from CSV files.")

    @group.command("accounts")
    def accounts(
        file: CsvFile,
        integrator: IntegratorKey,
        is_dry_run: IsDryRun = False,
        is_skipping: IsSkipping = False,
        is_json: IsJson = False,
    ) -> None:
        """Make the accounts of a file; one that exists as the file says is left alone."""
        content = _content_of(file)
        report = ImportReport(dry_run=is_dry_run)
        desk.run(lambda session: _import(session, integrator, content, _accounts, report, is_skipping))
        _show(report, is_json)

    @group.command("approvers")
    def approvers(
        file: CsvFile,
        integrator: IntegratorKey,
        is_dry_run: IsDryRun = False,
        is_skipping: IsSkipping = False,
        is_json: IsJson = False,
    ) -> None:
        """Enter the approvers of a file with contacts and powers, a line for each account they approve on."""
        content = _content_of(file)
        report = ImportReport(dry_run=is_dry_run)
        desk.run(lambda session: _import(session, integrator, content, _approvers, report, is_skipping))
        _show(report, is_json)


def _content_of(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(BYTES_MAX + 1)
    except OSError:
        raise CommandRefused("FILE must be a file this account can read.") from None


async def _import(
    session: AdminSession, integrator: str, content: bytes, plan: Plan, report: ImportReport, is_skipping: bool
) -> None:
    key = UUID(integrator)
    async with session.db.reading() as connection:
        if await find_integrator(connection, key) is None:
            raise CommandRefused(NOT_FOUND)
    work = await plan(session, key, content)
    report.new, report.unchanged = len(work.steps), work.unchanged
    report.bad = sorted(work.faults, key=lambda fault: (fault.line, fault.column))
    report.is_complete = work.is_complete
    report.is_refused = bool(report.bad) and not (is_skipping and work.is_complete)
    if not (report.is_refused or report.dry_run):
        await _perform(work.steps, report)


async def _perform(steps: Sequence[tuple[int, Do]], report: ImportReport) -> None:
    """Do step after step; one that another hand got in front of is told, and the others go on."""
    with progress_bar() as progress:
        for number, do in progress.track(steps, description="Importing"):
            try:
                await do()
                report.imported += 1
            except Refusal:
                report.bad.append(Fault(number, "", "changed while the import ran; run it again"))


async def _accounts(session: AdminSession, integrator_key: UUID, content: bytes) -> Work:
    sheet = read_sheet(content, required=account_sheet.REQUIRED, optional=account_sheet.OPTIONAL)
    lines, faults = judge_accounts(sheet.lines)
    plan = await plan_accounts(session.db, integrator_key=integrator_key, lines=lines)

    def step(line: AccountLine) -> Do:
        """Make one account."""
        branch, number, digit = line.bank_data
        data = AccountData(
            branch, number, digit, line.owner_document_number, line.owner_name, line.account_status or "open"
        )
        return lambda: create_account(
            session.db,
            integrator_key=integrator_key,
            account_key=line.account_key,
            data=data,
            author=session.author,
        )

    return _work(sheet, [(line.number, step(line)) for line in plan.new], plan.unchanged, [*faults, *plan.faults])


async def _approvers(session: AdminSession, integrator_key: UUID, content: bytes) -> Work:
    sheet = read_sheet(content, required=approver_sheet.REQUIRED, optional=approver_sheet.OPTIONAL)
    people, faults = judge_approvers(sheet.lines)
    keyring = session.deployment.keyring()
    plan = await plan_approvers(session.db, integrator_key=integrator_key, people=people, keyring=keyring)

    def step(one: ApproverPlan) -> Do:
        """Enter one person."""
        return lambda: import_approver(
            session.db, integrator_key=integrator_key, plan=one, keyring=keyring, author=session.author
        )

    steps = [(one.person.number, step(one)) for one in plan.new]
    return _work(sheet, steps, plan.unchanged, [*faults, *plan.faults])


def _work(sheet: Sheet, steps: list[tuple[int, Do]], unchanged: int, faults: Sequence[Fault]) -> Work:
    return Work(steps, unchanged, [*sheet.faults, *faults], sheet.is_complete)


def _show(report: ImportReport, is_json: bool) -> None:
    """Tell every fault by line, column and reason, then the counts; exit code 2 if nothing was imported for them."""
    faults = [msgspec.json.encode(asdict(fault)) for fault in report.bad]
    counts: dict[str, Any] = {
        "new": report.new,
        "unchanged": report.unchanged,
        "imported": report.imported,
        "bad_lines": report.bad_lines,
        "dry_run": report.dry_run,
    }
    if is_json:
        show_one(msgspec.json.encode({**counts, "bad": [msgspec.Raw(fault) for fault in faults]}), is_json=True)
    else:
        if faults:
            shown = [msgspec.Raw(fault) for fault in faults[:FAULTS_SHOWN_MAX]]
            show_many(shown, FAULT_COLUMNS, is_json=False, nothing="")
        if len(faults) > FAULTS_SHOWN_MAX:
            tell(f"{len(faults) - FAULTS_SHOWN_MAX} more are shown with --json.")
        show_one(msgspec.json.encode(counts), is_json=False)
    if report.is_refused:
        if not report.dry_run:
            way_out = ", or leave them out with --skip-bad" if report.is_complete else ""
            tell(f"Nothing was imported: mend the lines above{way_out}.")
        raise typer.Exit(EXIT_REFUSED)
    if report.imported < report.new and not report.dry_run:
        raise typer.Exit(EXIT_FAILED)
