"""`aval admin accounts`, `entries` and `limits`: accounts, what is booked on them, what may leave them."""

from typing import Annotated, Literal
from uuid import uuid4

import typer

from aval.cli.admin_desk import AdminDesk, body_of, changes_of
from aval.cli.admin_options import STDIN, AccountKey, IntegratorKey, IsJson, amount_option, read_key
from aval.cli.admin_show import show_many, show_one

COLUMNS = (
    "account_key",
    "account_branch",
    "account_number",
    "account_digit",
    "owner_name",
    "account_status",
    "balance",
)
ENTRY_COLUMNS = ("entry_key", "entry_type", "amount", "balance", "description", "created_at")
BANK_CONFLICT = (
    "--account-branch, --account-number and --account-digit must be new to the integrator, as --account must;"
    " and a closed account stays closed."
)
ENTRY_CONFLICT = (
    "--amount must not take the balance below zero, and --request-control-key must not have served another entry."
)

Branch = Annotated[str, typer.Option(help="Branch, leading zeros kept.")]
Number = Annotated[str, typer.Option(help="Number, leading zeros kept.")]
Digit = Annotated[str, typer.Option(help="Check digit or letter.")]
Document = Annotated[str, typer.Option(help="CPF or CNPJ of the owner" + STDIN + ".")]
Owner = Annotated[str, typer.Option(help="Name of the owner.")]
Status = Annotated[Literal["open", "blocked", "closed"] | None, typer.Option(help="closed is final.")]
NewKey = Annotated[
    str | None, typer.Option("--account", parser=read_key, metavar="KEY", help="Key it gets; by default a new one.")
]
EntryKey = Annotated[
    str | None,
    typer.Option(parser=read_key, metavar="KEY", help="A repetition under the same key books once; default a new one."),
]
Limit = Annotated[str | None, amount_option("No limit if it is not given.")]


def add_accounts(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `accounts`."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, is_json: IsJson = False) -> None:
        """List accounts of an integrator with their balances."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/accounts"))
        show_many(rows, COLUMNS, is_json, nothing="No account yet: make one, or import a file.")

    @group.command("show")
    def show(integrator: IntegratorKey, account: AccountKey, is_json: IsJson = False) -> None:
        """Show an account and its balance."""
        show_one(desk.run(lambda session: session.call("GET", f"/{integrator}/accounts/{account}")), is_json)

    @group.command("create")
    def create(
        context: typer.Context,
        integrator: IntegratorKey,
        account_branch: Branch,
        account_number: Number,
        account_digit: Digit,
        owner_document_number: Document,
        owner_name: Owner,
        account_key: NewKey = None,
        account_status: Status = None,
        is_json: IsJson = False,
    ) -> None:
        """Make an account with nothing on it."""
        path, body = f"/{integrator}/accounts", body_of(context, "integrator")
        show_one(desk.run(lambda session: session.call("POST", path, body), conflict=BANK_CONFLICT), is_json)

    @group.command("change")
    def change(
        context: typer.Context,
        integrator: IntegratorKey,
        account: AccountKey,
        account_branch: Annotated[str | None, typer.Option(help="Branch.")] = None,
        account_number: Annotated[str | None, typer.Option(help="Number.")] = None,
        account_digit: Annotated[str | None, typer.Option(help="Check digit or letter.")] = None,
        owner_document_number: Annotated[str | None, typer.Option(help="CPF or CNPJ" + STDIN + ".")] = None,
        owner_name: Annotated[str | None, typer.Option(help="Name of the owner.")] = None,
        account_status: Status = None,
        is_json: IsJson = False,
    ) -> None:
        """Change an account, or block, open or close it; what is not given stays."""
        path, body = f"/{integrator}/accounts/{account}", changes_of(context, "integrator", "account")
        show_one(desk.run(lambda session: session.call("PATCH", path, body), conflict=BANK_CONFLICT), is_json)


def add_entries(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `entries`."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, account: AccountKey, is_json: IsJson = False) -> None:
        """List what was booked on an account by hand."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/accounts/{account}/entries"))
        show_many(rows, ENTRY_COLUMNS, is_json, nothing="No entry yet.")

    @group.command("post")
    def post(
        context: typer.Context,
        integrator: IntegratorKey,
        account: AccountKey,
        entry_type: Annotated[Literal["credit", "debit"], typer.Option("--type", help="Onto the account, or off it.")],
        amount: Annotated[str, amount_option("How much.")],
        description: Annotated[str | None, typer.Option(help="Why; at most 140 characters.")] = None,
        request_control_key: EntryKey = None,
        is_json: IsJson = False,
    ) -> None:
        """Book money onto an account or off it."""
        path, body = f"/{integrator}/accounts/{account}/entries", body_of(context, "integrator", "account")
        body.setdefault("request_control_key", str(uuid4()))
        show_one(desk.run(lambda session: session.call("POST", path, body), conflict=ENTRY_CONFLICT), is_json)


def add_limits(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `limits`."""

    @group.command("show")
    def show(integrator: IntegratorKey, account: AccountKey, is_json: IsJson = False) -> None:
        """Show the limits of an account; empty is none."""
        show_one(desk.run(lambda session: session.call("GET", f"/{integrator}/accounts/{account}/limits")), is_json)

    @group.command("set")
    def put(
        context: typer.Context,
        integrator: IntegratorKey,
        account: AccountKey,
        pix_operation_amount_limit: Limit = None,
        pix_batch_amount_limit: Limit = None,
        pix_daily_amount_limit: Limit = None,
        pix_nightly_amount_limit: Limit = None,
        pix_sms_amount_limit: Limit = None,
        pix_email_amount_limit: Limit = None,
        ted_operation_amount_limit: Limit = None,
        ted_batch_amount_limit: Limit = None,
        ted_daily_amount_limit: Limit = None,
        ted_nightly_amount_limit: Limit = None,
        ted_sms_amount_limit: Limit = None,
        ted_email_amount_limit: Limit = None,
        is_json: IsJson = False,
    ) -> None:
        """Replace all limits of an account; one that is not given is none."""
        given = body_of(context, "integrator", "account")
        body = {
            family: {name[4:]: amount for name, amount in given.items() if name.startswith(family)}
            for family in ("pix", "ted")
        }
        path = f"/{integrator}/accounts/{account}/limits"
        show_one(desk.run(lambda session: session.call("PUT", path, body)), is_json)
