"""`aval admin campaigns` and `aval admin policies`: tenants of redemptions, and when they ask for a second factor."""

from typing import Annotated, Any, Literal

import msgspec
import typer

from aval.cli.admin_desk import AdminDesk, AdminSession, body_of, changes_of
from aval.cli.admin_options import IsJson
from aval.cli.admin_redemptions import ask, every, read_pair
from aval.cli.admin_show import show_many, show_one
from aval.cli.refusal import CommandRefused

COLUMNS = ("id", "name", "client_id", "mode", "status", "timezone", "policy_version", "created_at")
RISK = ("max_points_per_order", "max_points_per_day", "max_orders_per_day", "max_pending_purchases")
OIDC = ("issuer", "audience", "jwks_uri")
READ_ONLY = ("version", "changed_by", "changed_at", "token_length", "token_ttl_seconds", "max_attempts")

CampaignId = Annotated[str, typer.Option("--campaign", metavar="ID", help="Id of the campaign.")]
Name = Annotated[str, typer.Option(help="What messages call it; at most 80 characters.")]
Client = Annotated[str, typer.Option(help="Id of the company that owns it.")]
Mode = Annotated[Literal["sandbox", "live"] | None, typer.Option(help="live unless given; it never changes.")]
Status = Annotated[
    Literal["active", "paused", "closed"] | None, typer.Option(help="Only an active one takes new purchases.")
]
Pairs = list[str] | None  # each as the wire lists it
Catalogs = Annotated[
    Pairs, typer.Option("--catalog", parser=read_pair, metavar="ID=NAME", help="All its catalogues; repeatable.")
]
Vendors = Annotated[
    Pairs, typer.Option("--vendor", parser=read_pair, metavar="ID=NAME", help="All its vendors; repeatable.")
]
Locale = Annotated[Literal["pt-BR", "en"] | None, typer.Option(help="Language of messages.")]
Timezone = Annotated[str | None, typer.Option(help="IANA name; its days begin there.")]
Issuer = Annotated[str | None, typer.Option(help="Issuer of participant tokens.")]
Audience = Annotated[str | None, typer.Option(help="Audience of participant tokens.")]
JwksUri = Annotated[str | None, typer.Option(help="Where the issuer's keys are.")]


def add_campaigns(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `campaigns`."""

    @group.command("list")
    def list_all(is_json: IsJson = False) -> None:
        """List campaigns."""
        rows = desk.run(lambda session: every(session, "/campaigns"))
        show_many(rows, COLUMNS, is_json, nothing="No campaign yet: make one with `aval admin campaigns create`.")

    @group.command("show")
    def show(campaign: CampaignId, is_json: IsJson = False) -> None:
        """Show a campaign."""
        show_one(desk.run(lambda session: ask(session, "GET", f"/campaigns/{campaign}")), is_json)

    @group.command("create")
    def create(
        context: typer.Context,
        campaign: CampaignId,
        name: Name,
        client_id: Client,
        mode: Mode = None,
        status: Status = None,
        catalogs: Catalogs = None,
        vendors: Vendors = None,
        locale: Locale = None,
        timezone: Timezone = None,
        issuer: Issuer = None,
        audience: Audience = None,
        jwks_uri: JwksUri = None,
        is_json: IsJson = False,
    ) -> None:
        """Make a campaign; its second factor is off until its policy is changed."""
        body = {"id": campaign} | _grouped(body_of(context, "campaign"), "oidc", OIDC)
        show_one(desk.run(lambda session: ask(session, "POST", "/campaigns", body)), is_json)

    @group.command("change")
    def change(
        context: typer.Context,
        campaign: CampaignId,
        name: Annotated[str | None, typer.Option(help="What messages call it; at most 80 characters.")] = None,
        client_id: Annotated[str | None, typer.Option(help="Id of the company that owns it.")] = None,
        status: Status = None,
        catalogs: Catalogs = None,
        vendors: Vendors = None,
        locale: Locale = None,
        timezone: Timezone = None,
        issuer: Issuer = None,
        audience: Audience = None,
        jwks_uri: JwksUri = None,
        is_json: IsJson = False,
    ) -> None:
        """Change a campaign; what is not given stays, catalogues and vendors are replaced as a whole."""
        body = _grouped(changes_of(context, "campaign"), "oidc", OIDC)
        show_one(desk.run(lambda session: ask(session, "PATCH", f"/campaigns/{campaign}", body)), is_json)


def add_policies(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `policies`."""

    @group.command("show")
    def show(
        campaign: CampaignId,
        version: Annotated[int | None, typer.Option(min=1, help="A former version.")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Show a campaign's policy for the second factor."""
        query = {} if version is None else {"version": str(version)}
        show_one(desk.run(lambda session: ask(session, "GET", _path(campaign), query=query)), is_json)

    @group.command("change")
    def change(
        context: typer.Context,
        campaign: CampaignId,
        enabled: Annotated[bool | None, typer.Option("--enabled/--disabled", help="The master switch.")] = None,
        applies_to: Annotated[
            list[str] | None, typer.Option(help="Kinds of purchase: internal, external; repeatable.")
        ] = None,
        min_points: Annotated[int | None, typer.Option(help="From this many points on; 0 is all.")] = None,
        token_alphabet: Annotated[
            Literal["crockford32", "digits"] | None, typer.Option(help="Symbols of a token.")
        ] = None,
        resend_interval_seconds: Annotated[int | None, typer.Option(help="10 to 300.")] = None,
        max_resends: Annotated[int | None, typer.Option(help="0 to 10.")] = None,
        approval_window_minutes: Annotated[int | None, typer.Option(help="5 to 1440.")] = None,
        document_policy: Annotated[
            Literal["none", "submitted", "approved"] | None, typer.Option(help="What onboarding asks of documents.")
        ] = None,
        required_documents: Annotated[
            list[str] | None,
            typer.Option("--required-document", help="identity, selfie, proof_of_address; repeatable."),
        ] = None,
        max_resubmissions: Annotated[int | None, typer.Option(help="0 to 9.")] = None,
        document_retention_days: Annotated[int | None, typer.Option(help="1 to 3650.")] = None,
        device_change_cooldown_hours: Annotated[int | None, typer.Option(help="0 to 168.")] = None,
        max_participants_per_number: Annotated[int | None, typer.Option(help="1 to 10.")] = None,
        message_template: Annotated[str | None, typer.Option(help="Text of the token message.")] = None,
        authorization_ttl_minutes: Annotated[
            str | None, typer.Option(help="Life of an external authorization, 1 to 43200; none is no limit.")
        ] = None,
        max_points_per_order: Annotated[str | None, typer.Option(help="none is no limit.")] = None,
        max_points_per_day: Annotated[str | None, typer.Option(help="none is no limit.")] = None,
        max_orders_per_day: Annotated[str | None, typer.Option(help="none is no limit.")] = None,
        max_pending_purchases: Annotated[str | None, typer.Option(help="none is no limit.")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Write the next version of a policy; what is not given stays as it is. Purchases in flight keep theirs."""
        changes = _grouped(changes_of(context, "campaign"), "risk", RISK)
        _read_numbers(changes)
        show_one(desk.run(lambda session: _next_version(session, campaign, changes)), is_json)


async def _next_version(session: AdminSession, campaign: str, changes: dict[str, Any]) -> bytes:
    """Read the current version and write the next; whoever wrote meanwhile is not overwritten."""
    policy = msgspec.json.decode(await ask(session, "GET", _path(campaign)))
    risk = policy["risk"] | changes.pop("risk", {})
    kept = {name: value for name, value in policy.items() if name not in READ_ONLY}
    body = kept | changes | {"risk": risk, "expected_version": policy["version"]}
    return await ask(session, "PUT", _path(campaign), body)


def _read_numbers(changes: dict[str, Any]) -> None:
    """Turn numbers that may be `none` into what the wire has."""
    for members in (changes, changes.get("risk", {})):
        for name in ("authorization_ttl_minutes", *RISK):
            if isinstance(members.get(name), str):
                if not members[name].isdecimal():
                    raise CommandRefused(f"--{name.replace('_', '-')} must be a whole number above 0, or none.")
                members[name] = int(members[name])


def _path(campaign: str) -> str:
    return f"/campaigns/{campaign}/two_factor"


def _grouped(body: dict[str, Any], name: str, members: tuple[str, ...]) -> dict[str, Any]:
    """Put options that are members of one object there."""
    inner = {member: body.pop(member) for member in members if member in body}
    return body | ({name: inner} if inner else {})
