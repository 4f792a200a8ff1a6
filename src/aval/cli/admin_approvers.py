"""`aval admin approvers`, `contacts` and `powers`: who approves, where tokens go, what each may approve."""

from typing import Annotated, Literal

import typer

from aval.cli.admin_desk import AdminDesk, body_of, changes_of
from aval.cli.admin_options import STDIN, AccountKey, ApproverKey, ContactKey, IntegratorKey, IsJson, amount_option
from aval.cli.admin_show import show_done, show_many, show_one

COLUMNS = ("approver_key", "document_number", "name", "active", "created_at")
CONTACT_COLUMNS = ("contact_key", "contact_type", "masked_destination", "usable_at")
POWER_COLUMNS = ("approver_key", "powers", "max_amount")
CONFLICT = "--document-number must be new: an approver of the integrator has it."

Document = "CPF" + STDIN + "."
Active = Annotated[bool | None, typer.Option("--active/--inactive", help="Inactive: approves nothing.")]


def add_approvers(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `approvers`."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, is_json: IsJson = False) -> None:
        """List approvers of an integrator, documents masked."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/approvers"))
        show_many(rows, COLUMNS, is_json, nothing="No approver yet: enter one, or import a file.")

    @group.command("show")
    def show(integrator: IntegratorKey, approver: ApproverKey, is_json: IsJson = False) -> None:
        """Show an approver, the document masked."""
        show_one(desk.run(lambda session: session.call("GET", f"/{integrator}/approvers/{approver}")), is_json)

    @group.command("create")
    def create(
        context: typer.Context,
        integrator: IntegratorKey,
        document_number: Annotated[str, typer.Option(help=Document)],
        name: Annotated[str, typer.Option(help="Full name; at most 150 characters.")],
        active: Active = None,
        is_json: IsJson = False,
    ) -> None:
        """Enter an approver; contacts and powers come after."""
        path, body = f"/{integrator}/approvers", body_of(context, "integrator")
        show_one(desk.run(lambda session: session.call("POST", path, body), conflict=CONFLICT), is_json)

    @group.command("change")
    def change(
        context: typer.Context,
        integrator: IntegratorKey,
        approver: ApproverKey,
        document_number: Annotated[str | None, typer.Option(help=Document)] = None,
        name: Annotated[str | None, typer.Option(help="Full name; at most 150 characters.")] = None,
        active: Active = None,
        is_json: IsJson = False,
    ) -> None:
        """Change an approver, or switch them off; what is not given stays."""
        path, body = f"/{integrator}/approvers/{approver}", changes_of(context, "integrator", "approver")
        show_one(desk.run(lambda session: session.call("PATCH", path, body), conflict=CONFLICT), is_json)


def add_contacts(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `contacts`."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, approver: ApproverKey, is_json: IsJson = False) -> None:
        """List contacts of an approver, destinations masked."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/approvers/{approver}/contacts"))
        show_many(rows, CONTACT_COLUMNS, is_json, nothing="No contact: no token can reach this approver.")

    @group.command("register")
    def put(
        context: typer.Context,
        integrator: IntegratorKey,
        approver: ApproverKey,
        contact_type: Annotated[Literal["sms", "email"], typer.Option("--type", help="What kind.")],
        destination: Annotated[str, typer.Option(help="Mobile number or address" + STDIN + ".")],
        is_json: IsJson = False,
    ) -> None:
        """Register a contact in place of the one of its type, which gets a notice; usable after the cool-down."""
        path, body = f"/{integrator}/approvers/{approver}/contacts", body_of(context, "integrator", "approver")
        show_one(desk.run(lambda session: session.call("POST", path, body)), is_json)

    @group.command("remove")
    def remove(integrator: IntegratorKey, approver: ApproverKey, contact: ContactKey, is_json: IsJson = False) -> None:
        """Remove a contact; its destination gets a notice."""
        desk.run(lambda session: session.call("DELETE", f"/{integrator}/approvers/{approver}/contacts/{contact}"))
        show_done("Removed; its destination gets a notice.", is_json)


def add_powers(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `powers`."""

    @group.command("list")
    def list_all(integrator: IntegratorKey, account: AccountKey, is_json: IsJson = False) -> None:
        """List who may approve what on an account."""
        rows = desk.run(lambda session: session.every(f"/{integrator}/accounts/{account}/approvers"))
        show_many(rows, POWER_COLUMNS, is_json, nothing="Nobody has powers on this account.")

    @group.command("grant")
    def grant(
        context: typer.Context,
        integrator: IntegratorKey,
        account: AccountKey,
        approver: ApproverKey,
        powers: Annotated[
            list[str], typer.Option("--power", help="pix_transfer, pix_transfer_batch, ted, ted_batch; repeatable.")
        ],
        max_amount: Annotated[str | None, amount_option("Most per operation; no bound if not given.")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Give powers on an account, in place of those there are."""
        path = f"/{integrator}/accounts/{account}/approvers/{approver}"
        body = body_of(context, "integrator", "account", "approver")
        show_one(desk.run(lambda session: session.call("PUT", path, body)), is_json)

    @group.command("revoke")
    def revoke(integrator: IntegratorKey, account: AccountKey, approver: ApproverKey, is_json: IsJson = False) -> None:
        """Take all powers of an approver on an account away."""
        desk.run(lambda session: session.call("DELETE", f"/{integrator}/accounts/{account}/approvers/{approver}"))
        show_done("Revoked.", is_json)
