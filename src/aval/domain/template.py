"""Message templates: the variables they may name, and why one is refused (PMB000902, transfers.md §7.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

from aval.domain import gsm7
from aval.domain.errors import Refusal
from aval.domain.message_value import has_hidden
from aval.domain.principal import Integrator
from aval.domain.template_html import VARIABLE, has_active_content, text_alternative
from aval.domain.transfer import Kind

ChannelName = Literal["sms", "email"]

TEMPLATE_SMS_CHARACTERS_MAX = 160  # transfers.md §7.3
TEMPLATE_EMAIL_BYTES_MAX = 65_536
SUBJECT_CHARACTERS_MAX = 80
VARIABLE_NAME_SHOWN_MAX = 40

_EVENT_TYPES = {
    Kind.PIX_TRANSFER: "baas.token_validation.pix_transfer.single",
    Kind.PIX_TRANSFER_BATCH: "baas.token_validation.pix_transfer.batch",
    Kind.TED: "baas.token_validation.ted.single",
    Kind.TED_BATCH: "baas.token_validation.ted.batch",
    Kind.DEVICE: "baas.token_validation.device",
}
EVENT_TYPES = frozenset(_EVENT_TYPES.values())


class Variable(NamedTuple):
    """What a `[x]` may be: its longest value in an SMS, the events that have it, whether people chose its text."""

    sms_max: int
    groups: frozenset[str]
    is_name: bool = False


_SINGLE, _BATCH, _DEVICE = frozenset({"single"}), frozenset({"batch"}), frozenset({"device"})
_ALL = _SINGLE | _BATCH | _DEVICE
VARIABLES: Mapping[str, Variable] = {
    "token": Variable(6, _ALL),
    "generation": Variable(2, _ALL),
    "expires_in_minutes": Variable(1, _ALL),
    "amount": Variable(16, _SINGLE),
    "total": Variable(20, _BATCH),
    "item_count": Variable(4, _BATCH),
    "payee_name": Variable(16, _SINGLE | _BATCH, is_name=True),  # the least: it takes what is left of the part
    "payee_document_masked": Variable(14, _SINGLE),
    "account_number_masked": Variable(8, _ALL),
    "operation": Variable(11, _SINGLE | _BATCH),
    "approver_name": Variable(20, _ALL, is_name=True),
    "integrator_name": Variable(20, _ALL, is_name=True),
    "device_name": Variable(20, _DEVICE, is_name=True),
    "schedule_date": Variable(10, frozenset()),  # schedules are a second wave
}

# Per group: what stands before any other variable, and what must stand somewhere.
_LEADING = {"single": ("amount", "payee_name"), "batch": ("total", "payee_name"), "device": ()}
_NEEDED = {"single": ("generation",), "batch": ("item_count", "generation"), "device": ("device_name", "generation")}


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """The text of a message with its `[variables]`; an e-mail has a subject and an HTML body."""

    channel: ChannelName
    body: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """Why a template is refused: the reason of PMB000902, and the variable it is about."""

    reason: str
    variable: str | None = None


def token_message_event(kind: Kind) -> str:
    """The event type whose template words the token messages of an operation."""
    return _EVENT_TYPES[kind]


def chosen_template(integrator: Integrator, kind: Kind, channel: str) -> UUID | None:
    """The key of the template an integrator configured for token messages; None where the default text is used."""
    return integrator.templates.get(_EVENT_TYPES[kind], {}).get(channel)


def event_group(event_type: str) -> str:
    """Which texts and variables an event type has: `single`, `batch` or `device`."""
    return event_type.rpartition(".")[2]


def invalid_template(problem: TemplateProblem) -> Refusal:
    """Make the refusal that tells a problem."""
    told = {"reason": problem.reason, "variable": problem.variable}
    return Refusal("pmb.invalid_template", extra_fields=told, reason=problem.reason)


def template_problem(template: MessageTemplate) -> TemplateProblem | None:
    """Judge a template when it is created, whatever event it will serve."""
    body_names, subject_names = VARIABLE.findall(template.body), VARIABLE.findall(template.subject or "")
    for name in subject_names + body_names:
        if name not in VARIABLES:
            return TemplateProblem("unknown_variable", name[:VARIABLE_NAME_SHOWN_MAX])
    if body_names.count("token") != 1 or "token" in subject_names:
        return TemplateProblem("token_missing", "token")
    if template.channel == "sms":
        return _sms_problem(template.body)
    return _email_problem(template.body, body_names, template.subject or "")


def _sms_problem(body: str) -> TemplateProblem | None:
    if not body.endswith("[token]"):
        return TemplateProblem("token_not_last", "token")
    return None if gsm7.is_basic(VARIABLE.sub("", body)) else TemplateProblem("not_gsm7")


def _email_problem(body: str, names: list[str], subject: str) -> TemplateProblem | None:
    if names[-1] != "token":
        return TemplateProblem("token_not_last", "token")
    if has_active_content(body) or has_hidden(subject) or len(subject.splitlines()) > 1:
        return TemplateProblem("active_content")
    # Variables of a title or head are never read in the message itself.
    return None if "[token]" in text_alternative(body) else TemplateProblem("token_missing", "token")


def configuration_problem(template: MessageTemplate, event_type: str) -> TemplateProblem | None:
    """Judge a template when it is given to an event type; it has passed `template_problem`."""
    group = event_group(event_type)
    names = VARIABLE.findall(template.body)
    for name in VARIABLE.findall(template.subject or "") + names:
        if group not in VARIABLES[name].groups:
            return TemplateProblem("variable_not_available", name)
    leading = _LEADING[group]
    first = list(dict.fromkeys(names))[: len(leading)]
    for name in leading:
        if name not in first:
            return TemplateProblem("variable_missing", name)
    for name in _NEEDED[group]:
        if name not in names:
            return TemplateProblem("variable_missing", name)
    if template.channel == "sms" and _longest_sms(template.body, names) > gsm7.CHARACTERS_MAX:
        return TemplateProblem("too_long")
    return None


def _longest_sms(body: str, names: list[str]) -> int:
    return len(VARIABLE.sub("", body)) + sum(VARIABLES[name].sms_max for name in names)
