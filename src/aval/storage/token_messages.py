"""Token messages of the outbox with all that their text is made of."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from aval.domain.campaign import DEFAULT_MESSAGE
from aval.domain.redemption_message import PurchaseWording, RedemptionMessage
from aval.domain.template import MessageTemplate
from aval.domain.token_message import TokenMessage
from aval.domain.transfer import REDEMPTION_KINDS, Kind
from aval.storage.database import Connection, Row
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, challenge_of, columns, transfer_of

# Aliases: m the message, i integrators, p approvers, o operations, c challenges, a accounts, t templates.
TOKEN_MESSAGE_COLUMNS = (
    f"{OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, m.generation as message_generation, m.channel, m.template_id,"
    " i.name as integrator_name, i.locale, i.fixed_token, p.name as approver_name, a.account_number, a.account_digit,"
    " t.body as template_body, t.subject as template_subject"
)


def token_message_of(row: Row) -> TokenMessage:
    """The token message in a row with TOKEN_MESSAGE_COLUMNS."""
    return TokenMessage(
        transfer=transfer_of(row),
        challenge=challenge_of(row),
        generation=row["message_generation"],
        channel=row["channel"],
        template=_template_of(row),
        locale=row["locale"],
        integrator_name=row["integrator_name"],
        approver_name=row["approver_name"],
        account_number=row["account_number"],
        account_digit=row["account_digit"],
        fixed_token=row["fixed_token"],
    )


_POLICY_TEMPLATES = """
select y.integrator_id, y.version, y.policy ->> 'message_template' as template
  from unnest($1::uuid[], $2::integer[]) as r (integrator_id, version)
  join two_factor_policies y on y.integrator_id = r.integrator_id and y.version = r.version
"""
PolicyId = tuple[UUID, int]  # campaign's tenant key, version


async def token_messages_of(
    connection: Connection, rows: Sequence[Row]
) -> Mapping[UUID, TokenMessage | RedemptionMessage]:
    """Token messages by key, of rows with TOKEN_MESSAGE_COLUMNS and `message_id`.

    A purchase is told in the words of the policy it was made under, which are looked up for all at once.
    """
    versions = sorted({_policy_of(row) for row in rows if row["kind"] == Kind.PURCHASE})
    worded = await connection.fetch(_POLICY_TEMPLATES, *columns(versions)) if versions else []
    templates = {(row["integrator_id"], row["version"]): row["template"] or DEFAULT_MESSAGE for row in worded}
    return {
        row["message_id"]: redemption_message_of(row, templates)
        if row["kind"] in REDEMPTION_KINDS
        else token_message_of(row)
        for row in rows
    }


def redemption_message_of(row: Row, templates: Mapping[PolicyId, str]) -> RedemptionMessage:
    """The token message of a redemption in a row with TOKEN_MESSAGE_COLUMNS."""
    facts: Mapping[str, Any] = row["facts"]
    wording = None
    if row["kind"] == Kind.PURCHASE:
        wording = PurchaseWording(facts["points"], facts["vendors"], templates[_policy_of(row)])
    return RedemptionMessage(
        transfer=transfer_of(row),
        challenge=challenge_of(row),
        generation=row["message_generation"],
        campaign_name=row["integrator_name"],
        wording=wording,
    )


def _policy_of(row: Row) -> PolicyId:
    return row["integrator_id"], row["facts"]["policy_version"]


def _template_of(row: Row) -> MessageTemplate | None:
    if row["template_id"] is None:
        return None
    assert row["template_body"] is not None, "templates are never deleted"
    return MessageTemplate(row["channel"], row["template_body"], row["template_subject"])
