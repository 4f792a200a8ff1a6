"""`aval admin participants` and `aval admin points`: the people of a campaign, and what they have."""

from typing import Annotated, Literal
from uuid import uuid4

import msgspec
import typer

from aval.cli.admin_campaigns import CampaignId
from aval.cli.admin_desk import AdminDesk, body_of, changes_of
from aval.cli.admin_options import STDIN, IsJson, read_key
from aval.cli.admin_redemptions import ask, every
from aval.cli.admin_show import show_many, show_one
from aval.cli.refusal import CommandRefused

COLUMNS = ("id", "name", "username", "status", "onboarding_status")
LINE_COLUMNS = (
    *("date", "type", "value_points", "available_after", "reserved_after", "description", "purchase_id", "order_id"),
    "authorization_code",
)

ParticipantId = Annotated[
    str, typer.Option("--participant", parser=read_key, metavar="KEY", help="Id of the participant.")
]
Document = Annotated[str, typer.Option(help="CPF or CNPJ" + STDIN + ".")]
Emails = Annotated[list[str], typer.Option("--email", help="Repeatable.")]
Day = Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="In the campaign's time zone.")]


def add_participants(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `participants`."""

    @group.command("find")
    def find(
        context: typer.Context,
        campaign: CampaignId,
        login: Annotated[str | None, typer.Option(help="The log-in.")] = None,
        document: Annotated[str | None, typer.Option(help="CPF or CNPJ" + STDIN + ".")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Find a participant by log-in or document."""
        query = changes_of(context, "campaign")
        answer = desk.run(lambda session: ask(session, "GET", "/participants", campaign=campaign, query=query))
        rows = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])["items"]
        show_many(msgspec.json.decode(rows, type=list[msgspec.Raw]), COLUMNS, is_json, nothing="Nobody fits.")

    @group.command("show")
    def show(participant: ParticipantId, is_json: IsJson = False) -> None:
        """Show a participant, document included."""
        show_one(desk.run(lambda session: ask(session, "GET", f"/participants/{participant}")), is_json)

    @group.command("create")
    def create(
        context: typer.Context,
        campaign: CampaignId,
        name: Annotated[str, typer.Option(help="Name of the person or company.")],
        username: Annotated[str, typer.Option(help="The log-in, unique in the campaign.")],
        document_number: Document,
        catalog_id: Annotated[str, typer.Option("--catalog", metavar="ID", help="One of the campaign.")],
        emails: Emails,
        external_id: Annotated[str | None, typer.Option(help="What the campaign calls them.")] = None,
        birth_date: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Date of birth.")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Enter an active participant, as the campaign's application would."""
        body = body_of(context, "campaign") | {"status": "ACTIVE", "emails": [{"email": each} for each in emails]}
        answer = desk.run(lambda session: ask(session, "POST", "/participants", body, campaign=campaign))
        show_one(answer, is_json)

    _register_changes(group, desk)


def _register_changes(group: typer.Typer, desk: AdminDesk) -> None:
    @group.command("change")
    def change(
        context: typer.Context,
        participant: ParticipantId,
        status: Annotated[
            Literal["ACTIVE", "INACTIVE"] | None, typer.Option(help="INACTIVE ends purchases that wait for a token.")
        ] = None,
        name: Annotated[str | None, typer.Option(help="Name of the person or company.")] = None,
        catalog_id: Annotated[str | None, typer.Option("--catalog", metavar="ID", help="One of the campaign.")] = None,
        birth_date: Annotated[
            str | None, typer.Option(metavar="YYYY-MM-DD", help="Date of birth; none clears it.")
        ] = None,
        emails: Annotated[list[str] | None, typer.Option("--email", help="All of them; repeatable.")] = None,
        is_json: IsJson = False,
    ) -> None:
        """Change or suspend a participant; what is not given stays."""
        body = changes_of(context, "participant")
        if emails:
            body["emails"] = [{"email": each} for each in emails]
        show_one(desk.run(lambda session: ask(session, "PUT", f"/participants/{participant}", body)), is_json)

    @group.command("erase")
    def erase(
        participant: ParticipantId,
        is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        is_json: IsJson = False,
    ) -> None:
        """Destroy a participant's name, log-in, document, numbers and files for good; purchases and points stay."""
        if not is_sure:
            typer.confirm("This cannot be undone. Erase the participant?", abort=True, err=True)
        show_one(desk.run(lambda session: ask(session, "POST", f"/participants/{participant}/erase")), is_json)


def add_points(group: typer.Typer, desk: AdminDesk) -> None:
    """Add `points`."""

    @group.command("balance")
    def balance(participant: ParticipantId, is_json: IsJson = False) -> None:
        """Show what a participant has."""
        show_one(desk.run(lambda session: ask(session, "GET", f"/participants/{participant}/balance")), is_json)

    @group.command("statement")
    def statement(
        context: typer.Context,
        participant: ParticipantId,
        start_date: Day = None,
        end_date: Day = None,
        is_json: IsJson = False,
    ) -> None:
        """List what moved the points of a participant, newest first."""
        query = body_of(context, "participant")
        rows = desk.run(lambda session: every(session, f"/participants/{participant}/statement", query))
        show_many(rows, LINE_COLUMNS, is_json, nothing="Nothing moved.")

    @group.command("post")
    def post(
        context: typer.Context,
        participant: ParticipantId,
        kind: Annotated[
            Literal["credit", "adjustment", "expiration"],
            typer.Option("--type", help="credit gives, expiration takes, adjustment does either."),
        ],
        points: Annotated[int, typer.Option(help="How many; of an adjustment below 0 to take.")],
        description: Annotated[str, typer.Option(help="What the statement says; at most 200 characters.")],
        external_reference: Annotated[str | None, typer.Option(help="Whatever it is called elsewhere.")] = None,
        key: Annotated[
            str | None, typer.Option(help="A repetition under the same key posts once; default a new one.")
        ] = None,
        is_json: IsJson = False,
    ) -> None:
        """Credit, adjust or let expire points."""
        body = body_of(context, "participant", "kind", "key") | {"type": kind}
        path, used = f"/participants/{participant}/credits", _key_of(key)
        show_one(desk.run(lambda session: ask(session, "POST", path, body, key=used)), is_json)


def _key_of(key: str | None) -> str:
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise CommandRefused("--key must be 1 to 128 letters, digits, dots, underscores, colons and hyphens.")
    return key or str(uuid4())
