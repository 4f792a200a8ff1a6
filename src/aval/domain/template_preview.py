"""What a template will look like, told with an example and without any token."""

from dataclasses import replace

from aval.domain.message import MessageVariables, RenderedMessage, default_template, render_token_message
from aval.domain.money import Brl, Locale
from aval.domain.template import (
    ChannelName,
    MessageTemplate,
    configuration_problem,
    event_group,
    invalid_template,
    template_problem,
    token_message_event,
)
from aval.domain.transfer import Kind

TOKEN_SHOWN = "******"  # as long as a token, of a symbol no token has
_EXAMPLE = MessageVariables(
    kind=Kind.PIX_TRANSFER,
    token=TOKEN_SHOWN,
    generation=1,
    account_number="1234567",
    account_digit="8",
    approver_name="Ana Lima",
    integrator_name="Loja Exemplo",
    amount=Brl(158_050),
    payee_name="Maria Souza",
    payee_document="52998224725",
    device_name="iPhone",
)
_ITEM_COUNTS = {"single": 1, "batch": 12, "device": 1}


def preview_template(
    kind: Kind, channel: ChannelName, locale: Locale, template: MessageTemplate | None = None
) -> RenderedMessage:
    """Render a template for operations of a kind, or without one the default text.

    Raises the PMB000902 with which its creation or its configuration would be refused.
    """
    event_type = token_message_event(kind)
    if template is not None:
        problem = template_problem(template) or configuration_problem(template, event_type)
        if problem is not None:
            raise invalid_template(problem)
    words = template or default_template(event_type, channel, locale)
    example = replace(_EXAMPLE, kind=kind, item_count=_ITEM_COUNTS[event_group(event_type)])
    return render_token_message(words, example, locale=locale)
