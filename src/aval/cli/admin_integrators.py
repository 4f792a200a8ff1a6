"""`aval admin integrators` and `aval admin fees`: tenants, their settings, and what an item costs."""

from typing import Annotated, Literal

import msgspec
import typer

from aval.cli.admin_desk import AdminDesk, body_of, changes_of
from aval.cli.admin_options import IntegratorKey, IsJson, amount_option, read_key
from aval.cli.admin_rules import RULES
from aval.cli.admin_show import once, show_done, show_many, show_one

COLUMNS = ("integrator_key", "name", "mode", "ispb", "settlement_mode", "budgets", "active", "created_at")


def _setting(*names: str, about: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, help=about)
    return option


def _of_rule(name: str) -> typer.models.OptionInfo:
    return _setting(about=RULES[name][0].upper() + RULES[name][1:] + ".")


def read_alphabet(text: str) -> tuple[str, str]:
    """One `KIND=ALPHABET`."""
    kind, sign, alphabet = text.partition("=")
    if not (kind and sign and alphabet):
        raise typer.BadParameter(f"must be {RULES['token_alphabets']}.")
    return kind, alphabet


def read_rate(text: str) -> msgspec.Raw | str:
    """A number, or `none`."""
    if text == "none":
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and text[0] != "0"):  # noqa: PLR2004
        raise typer.BadParameter(f"must be {RULES['requests_per_second']}.")
    return msgspec.Raw(text.encode())


Name = Annotated[str, _setting(about="What messages call it; at most 80 characters.")]
Ispb = Annotated[str, _of_rule("ispb")]
Mode = Annotated[Literal["sandbox", "live"], _setting(about="It never changes.")]
Locale = Annotated[Literal["pt-BR", "en"] | None, _setting(about="Language of messages.")]
SettlementMode = Annotated[Literal["async", "sync"] | None, _setting(about="sync: validate waits for the rail.")]
Wait = Annotated[int | None, _of_rule("sync_wait_seconds")]
Window = Annotated[int | None, _of_rule("approval_window_minutes")]
Cooldown = Annotated[int | None, _of_rule("resend_cooldown_seconds")]
Resends = Annotated[int | None, _of_rule("max_resends")]
Alphabets = Annotated[
    list[str] | None,
    typer.Option("--token-alphabet", parser=read_alphabet, metavar="KIND=ALPHABET", help="Repeatable."),
]
RpId = Annotated[str | None, _setting(about="Domain for devices; none clears it.")]
Origins = Annotated[list[str] | None, _setting("--origin", about="Origin for devices; repeatable.")]
Sha256 = Annotated[bool | None, _setting("--require-sha256/--no-require-sha256", about="payload_sha256 is mandatory.")]
SignatureWindow = Annotated[int | None, _of_rule("signature_window_seconds")]
ContactHours = Annotated[int | None, _of_rule("contact_cooldown_hours")]
DeviceHours = Annotated[int | None, _of_rule("device_cooldown_hours")]
TedHours = Annotated[bool | None, _setting("--ted-hours/--no-ted-hours", about="TEDs leave on business hours only.")]
Rate = Annotated[str | None, typer.Option(parser=read_rate, metavar="NUMBER", help="Per credential; none is no limit.")]
Budgets = Annotated[bool | None, _setting("--budgets/--no-budgets", about="Count guesses and messages.")]
RailUrl = Annotated[str | None, _setting(about="The integrator's own core; none is the sandbox rail.")]
FixedToken = Annotated[str | None, _setting(about="Sandbox: what every token is; none clears it.")]
Active = Annotated[bool | None, _setting("--active/--inactive", about="Inactive: all its credentials are refused.")]
Fee = Annotated[str | None, amount_option("Cost of an item; 0 is nothing.")]
OptionalAccount = Annotated[
    str | None, typer.Option("--account", parser=read_key, metavar="KEY", help="One account instead of all.")
]


def add_integrators(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `integrators`."""

    @group.command("list")
    def list_all(is_json: IsJson = False) -> None:
        """List integrators."""
        rows = desk.run(lambda session: session.every(""))
        show_many(rows, COLUMNS, is_json, nothing="No integrator yet: make one with `aval admin integrators create`.")

    @group.command("show")
    def show(integrator: IntegratorKey, is_json: IsJson = False) -> None:
        """Show all settings of an integrator."""
        show_one(desk.run(lambda session: session.call("GET", f"/{integrator}")), is_json)

    _register_create(group, desk)
    _register_change(group, desk)


def _register_create(group: typer.Typer, desk: AdminDesk) -> None:
    @group.command("create")
    def create(
        context: typer.Context,
        name: Name,
        ispb: Ispb,
        mode: Mode,
        locale: Locale = None,
        settlement_mode: SettlementMode = None,
        sync_wait_seconds: Wait = None,
        approval_window_minutes: Window = None,
        resend_cooldown_seconds: Cooldown = None,
        max_resends: Resends = None,
        token_alphabets: Alphabets = None,
        rp_id: RpId = None,
        origins: Origins = None,
        require_sha256: Sha256 = None,
        signature_window_seconds: SignatureWindow = None,
        contact_cooldown_hours: ContactHours = None,
        device_cooldown_hours: DeviceHours = None,
        ted_hours: TedHours = None,
        requests_per_second: Rate = None,
        budgets: Budgets = None,
        rail_url: RailUrl = None,
        fixed_token: FixedToken = None,
        active: Active = None,
        is_json: IsJson = False,
    ) -> None:
        """Make an integrator; what is not given has the default of its mode."""
        body = _settings_of(context)
        _shown(desk.run(lambda session: session.call("POST", "", body)), is_json)


def _register_change(group: typer.Typer, desk: AdminDesk) -> None:
    @group.command("change")
    def change(
        context: typer.Context,
        integrator: IntegratorKey,
        name: Annotated[str | None, _setting(about="What messages call it; at most 80 characters.")] = None,
        ispb: Annotated[str | None, _of_rule("ispb")] = None,
        locale: Locale = None,
        settlement_mode: SettlementMode = None,
        sync_wait_seconds: Wait = None,
        approval_window_minutes: Window = None,
        resend_cooldown_seconds: Cooldown = None,
        max_resends: Resends = None,
        token_alphabets: Alphabets = None,
        rp_id: RpId = None,
        origins: Origins = None,
        require_sha256: Sha256 = None,
        signature_window_seconds: SignatureWindow = None,
        contact_cooldown_hours: ContactHours = None,
        device_cooldown_hours: DeviceHours = None,
        ted_hours: TedHours = None,
        requests_per_second: Rate = None,
        budgets: Budgets = None,
        rail_url: RailUrl = None,
        fixed_token: FixedToken = None,
        active: Active = None,
        is_json: IsJson = False,
    ) -> None:
        """Change settings of an integrator; what is not given stays."""
        body = _settings_of(context, "integrator")
        _shown(desk.run(lambda session: session.call("PATCH", f"/{integrator}", body)), is_json)


def add_fees(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `fees`."""

    @group.command("show")
    def show(integrator: IntegratorKey, account: OptionalAccount = None, is_json: IsJson = False) -> None:
        """Show what an item costs; empty on an account: the integrator's fee."""
        path = _fees(integrator, account)
        show_one(desk.run(lambda session: session.call("GET", path)), is_json)

    @group.command("set")
    def put(
        context: typer.Context,
        integrator: IntegratorKey,
        account: OptionalAccount = None,
        pix_transfer: Fee = None,
        ted: Fee = None,
        is_json: IsJson = False,
    ) -> None:
        """Set both fees; one that is not given is nothing, or on an account the integrator's."""
        path, body = _fees(integrator, account), body_of(context, "integrator", "account")
        show_one(desk.run(lambda session: session.call("PUT", path, body)), is_json)

    @group.command("clear")
    def clear(
        integrator: IntegratorKey,
        account: Annotated[str, typer.Option(parser=read_key, metavar="KEY", help="Key of the account.")],
        is_json: IsJson = False,
    ) -> None:
        """Return an account to its integrator's fees."""
        path = _fees(integrator, account)
        desk.run(lambda session: session.call("DELETE", path))
        show_done("The account has its integrator's fees.", is_json)


def _fees(integrator: str, account: str | None) -> str:
    return f"/{integrator}/fees" if account is None else f"/{integrator}/accounts/{account}/fees"


def _settings_of(context: typer.Context, *not_body: str) -> dict[str, object]:
    body = changes_of(context, *not_body)
    if "token_alphabets" in body:
        body["token_alphabets"] = dict(body["token_alphabets"])
    return body


def _shown(answer: bytes, is_json: bool) -> None:
    show_one(answer, is_json)
    if b'"rail_secret"' in answer:
        once("The rail_secret")
