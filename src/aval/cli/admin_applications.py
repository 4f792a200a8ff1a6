"""`aval admin applications`: the programs of a campaign, and what they prove themselves with."""

from typing import Annotated

import typer

from aval.cli.admin_campaigns import CampaignId
from aval.cli.admin_desk import AdminDesk, body_of, changes_of
from aval.cli.admin_options import IsJson, read_key
from aval.cli.admin_redemptions import ask, every
from aval.cli.admin_show import once, show_done, show_many, show_one
from aval.cli.refusal import CommandRefused
from aval.domain.caller import APPLICATION_SCOPES

COLUMNS = ("client_id", "name", "scopes", "calls_per_minute", "webhook_url", "active", "created_at")

ClientId = Annotated[
    str, typer.Option("--application", parser=read_key, metavar="KEY", help="client_id of the application.")
]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help=f"Repeatable: {', '.join(APPLICATION_SCOPES)}.")]
WebhookUrl = Annotated[str | None, typer.Option(help="Where its webhooks go; none is nowhere.")]
Rate = Annotated[str | None, typer.Option(help="Calls a minute; none is no limit.")]


def add_applications(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `applications`."""

    @group.command("list")
    def list_all(campaign: CampaignId, is_json: IsJson = False) -> None:
        """List the applications of a campaign."""
        rows = desk.run(lambda session: every(session, _path(campaign)))
        show_many(rows, COLUMNS, is_json, nothing="No application yet: make one with `aval admin applications create`.")

    @group.command("create")
    def create(
        context: typer.Context,
        campaign: CampaignId,
        name: Annotated[str, typer.Option(help="At most 80 characters.")],
        scopes: Scopes = None,
        webhook_url: WebhookUrl = None,
        calls_per_minute: Rate = None,
        is_json: IsJson = False,
    ) -> None:
        """Make an application and print its credentials, this once; without --scope it may do everything."""
        body = {"scopes": list(APPLICATION_SCOPES)} | _numbered(body_of(context, "campaign"))
        show_one(desk.run(lambda session: ask(session, "POST", _path(campaign), body)), is_json)
        once("What proves it, the webhook_secret included,")

    @group.command("change")
    def change(
        context: typer.Context,
        campaign: CampaignId,
        application: ClientId,
        name: Annotated[str | None, typer.Option(help="At most 80 characters.")] = None,
        scopes: Scopes = None,
        webhook_url: WebhookUrl = None,
        calls_per_minute: Rate = None,
        is_json: IsJson = False,
    ) -> None:
        """Change an application; what is not given stays."""
        path, body = _path(campaign, application), _numbered(changes_of(context, "campaign", "application"))
        show_one(desk.run(lambda session: ask(session, "PATCH", path, body)), is_json)

    @group.command("revoke")
    def revoke(campaign: CampaignId, application: ClientId, is_json: IsJson = False) -> None:
        """End an application: the next call with any of its credentials is refused."""
        desk.run(lambda session: ask(session, "DELETE", _path(campaign, application)))
        show_done("Revoked.", is_json)

    _register_keys(group, desk)


def _register_keys(group: typer.Typer, desk: AdminDesk) -> None:
    @group.command("add-key")
    def add_key(campaign: CampaignId, application: ClientId, is_json: IsJson = False) -> None:
        """Make another API key, so that the former one can be revoked once the program has it; two at a time."""
        show_one(desk.run(lambda session: ask(session, "POST", _path(campaign, application) + "/keys")), is_json)
        once("The api_key")

    @group.command("revoke-key")
    def revoke_key(
        campaign: CampaignId,
        application: ClientId,
        key: Annotated[str, typer.Option(parser=read_key, metavar="KEY", help="key_id of the API key.")],
        is_json: IsJson = False,
    ) -> None:
        """End an API key: the next call with it is refused."""
        desk.run(lambda session: ask(session, "DELETE", f"{_path(campaign, application)}/keys/{key}"))
        show_done("Revoked.", is_json)


def _path(campaign: str, application: str | None = None) -> str:
    path = f"/campaigns/{campaign}/applications"
    return path if application is None else f"{path}/{application}"


def _numbered(body: dict[str, object]) -> dict[str, object]:
    rate = body.get("calls_per_minute")
    if isinstance(rate, str):
        if not rate.isdecimal():
            raise CommandRefused("--calls-per-minute must be a whole number above 0, or none.")
        body["calls_per_minute"] = int(rate)
    return body
