"""Token messages of the outbox with all that their text is made of."""

from aval.domain.template import MessageTemplate
from aval.domain.token_message import TokenMessage
from aval.storage.database import Row
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, challenge_of, transfer_of

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


def _template_of(row: Row) -> MessageTemplate | None:
    if row["template_id"] is None:
        return None
    assert row["template_body"] is not None, "templates are never deleted"
    return MessageTemplate(row["channel"], row["template_body"], row["template_subject"])
