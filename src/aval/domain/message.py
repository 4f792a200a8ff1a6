"""Messages to an approver, as text: a pure function of a template and its values (transfers.md §7.3, §7.4)."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from aval.domain import gsm7
from aval.domain.masks import masked_account, masked_document
from aval.domain.message_value import UNKNOWN, html_value, plain_value, sms_value
from aval.domain.money import Brl, Locale
from aval.domain.template import VARIABLES, ChannelName, MessageTemplate, event_group
from aval.domain.template_html import VARIABLE, text_alternative
from aval.domain.transfer import Kind

EXPIRES_IN_MINUTES = 5  # transfers.md §2.7

NoticeName = Literal["contact_replaced", "device_registered", "phone_replaced", "phone_removed", "phone_blocked"]

_CATALOGUE: Mapping[str, Any] = tomllib.loads(
    files("aval").joinpath("catalogue", "messages.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class MessageVariables:
    """What a token message tells: `amount` is the total of a batch, `payee_name` the payee of its largest item."""

    kind: Kind
    token: str = field(repr=False)
    generation: int
    account_number: str = field(repr=False)
    account_digit: str = field(repr=False)
    approver_name: str = field(repr=False)
    integrator_name: str
    amount: Brl | None = None
    payee_name: str | None = field(default=None, repr=False)
    payee_document: str | None = field(default=None, repr=False)
    item_count: int = 1
    device_name: str | None = None

    @property
    def other_payees(self) -> str:
        """The ` +N` behind the payee of a batch; it is never cut."""
        return f" +{self.item_count - 1}" if self.item_count > 1 else ""

    def values(self, locale: Locale) -> dict[str, str]:
        """Every variable a template of this event may name, as people read it, not yet made safe."""
        amount = self.amount.localized(locale) if self.amount is not None else UNKNOWN
        return {
            "token": self.token,
            "generation": str(self.generation),
            "expires_in_minutes": str(EXPIRES_IN_MINUTES),
            "amount": amount,
            "total": amount,
            "item_count": str(self.item_count),
            "payee_name": self.payee_name or UNKNOWN,
            "payee_document_masked": masked_document(self.payee_document) if self.payee_document else UNKNOWN,
            "account_number_masked": masked_account(self.account_number, self.account_digit),
            "operation": _CATALOGUE[locale]["operation"].get(self.kind, UNKNOWN),
            "approver_name": self.approver_name,
            "integrator_name": self.integrator_name,
            "device_name": self.device_name or UNKNOWN,
        }


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    """A message ready for its channel; it may hold a token and does not print."""

    subject: str | None = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(repr=False)


def default_template(event_type: str, channel: ChannelName, locale: Locale) -> MessageTemplate:
    """The text of transfers.md §7.4 for an event type nobody configured."""
    return _catalogue_template(event_group(event_type), channel, locale)


def render_token_message(template: MessageTemplate, variables: MessageVariables, *, locale: Locale) -> RenderedMessage:
    """Put the values in, in one pass; an SMS is one GSM-7 part, its payee shortened, never its amount or token."""
    return _rendered(template, variables.values(locale), variables.other_payees)


def render_notice(
    name: NoticeName,
    *,
    approver_name: str,
    integrator_name: str,
    channel: ChannelName,
    locale: Locale,
    device_name: str | None = None,
) -> RenderedMessage:
    """Word a message that holds no token, such as the one to a contact that was replaced."""
    values = {
        "approver_name": approver_name,
        "integrator_name": integrator_name,
        "device_name": device_name or UNKNOWN,
    }
    return _rendered(_catalogue_template(name, channel, locale), values, "")


@cache
def _catalogue_template(name: str, channel: ChannelName, locale: Locale) -> MessageTemplate:
    texts = _CATALOGUE[locale][name]
    if channel == "sms":
        return MessageTemplate("sms", texts["sms"])
    return MessageTemplate("email", "\n".join(f"<p>{sentence}</p>" for sentence in texts["email"]), texts["subject"])


def _rendered(template: MessageTemplate, values: Mapping[str, str], other_payees: str) -> RenderedMessage:
    if template.channel == "sms":
        return RenderedMessage(subject=None, text=_sms_text(template.body, values, other_payees), html=None)
    plain = _made_safe(values, plain_value, other_payees)
    return RenderedMessage(
        subject=" ".join(_filled(template.subject or "", plain).split()),
        text=_filled(text_alternative(template.body), plain),
        html=_filled(template.body, _made_safe(values, html_value, other_payees)),
    )


def _made_safe(values: Mapping[str, str], make: Callable[..., str], other_payees: str) -> dict[str, str]:
    safe = {name: make(value, is_name=VARIABLES[name].is_name) for name, value in values.items()}
    if "payee_name" in safe:
        safe["payee_name"] += other_payees
    return safe


def _sms_text(body: str, values: Mapping[str, str], other_payees: str) -> str:
    safe = _made_safe(values, sms_value, "")
    payee = safe.pop("payee_name", "")
    short = {name: _shortened(name, text) for name, text in safe.items()}
    payees = body.count("[payee_name]")
    if payees:
        left = gsm7.CHARACTERS_MAX - len(_filled(body, short | {"payee_name": other_payees}))
        short["payee_name"] = _cut(payee, left // payees) + other_payees
    text = _filled(body, short)
    assert len(text) <= gsm7.CHARACTERS_MAX and gsm7.is_basic(text)
    return text


def _shortened(name: str, text: str) -> str:
    variable = VARIABLES[name]
    return _cut(text, variable.sms_max) if variable.is_name else text


def _cut(text: str, characters_max: int) -> str:
    return text[: max(characters_max, 0)].rstrip()


def _filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[1]], text)
