from uuid import uuid4

import pytest

from aval.domain.template import (
    EVENT_TYPES,
    MessageTemplate,
    TemplateProblem,
    chosen_template,
    configuration_problem,
    invalid_template,
    template_problem,
    token_message_event,
)
from aval.domain.transfer import TRANSFER_KINDS, Kind
from tests.domain.examples import integrator

SINGLE = token_message_event(Kind.PIX_TRANSFER)
BATCH = token_message_event(Kind.TED_BATCH)
DEVICE = token_message_event(Kind.DEVICE)
TOKEN = TemplateProblem("token_missing", "token")
NOT_LAST = TemplateProblem("token_not_last", "token")
NOT_GSM7 = TemplateProblem("not_gsm7")
ACTIVE = TemplateProblem("active_content")


def test_every_kind_has_its_event_type() -> None:
    assert {token_message_event(kind) for kind in TRANSFER_KINDS} == EVENT_TYPES
    assert SINGLE == "baas.token_validation.pix_transfer.single"
    assert BATCH == "baas.token_validation.ted.batch"
    assert DEVICE == "baas.token_validation.device"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[amount] p/ [payee_name]: [token]", None),
        ("linha\r\nnova [token]", None),
        ("[amout] [token]", TemplateProblem("unknown_variable", "amout")),
        ("[] [token]", TemplateProblem("unknown_variable", "")),
        ("[Token]", TemplateProblem("unknown_variable", "Token")),
        ("[" + "x" * 99 + "] [token]", TemplateProblem("unknown_variable", "x" * 40)),
        ("[amount]", TOKEN),
        ("[token] e [token]", TOKEN),
        ("[token].", NOT_LAST),
        ("[token] [amount]", NOT_LAST),
        ("Código [token]", NOT_GSM7),
        ("{[token]", NOT_GSM7),
        ("[[token]", NOT_GSM7),
        ("\u202e[token]", NOT_GSM7),
    ],
)
def test_an_sms_template_is_judged_when_it_is_created(body: str, problem: TemplateProblem | None) -> None:
    assert template_problem(MessageTemplate("sms", body)) == problem


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<p>[amount] para <b>[payee_name]</b></p><p>Código: [token]</p><p>Obrigado.</p>", None),
        ("[token]", None),
        ("<p>[token]</p><p>[amount]</p>", NOT_LAST),
        ("<p>[amount]</p>", TOKEN),
        ("<p>[token][token]</p>", TOKEN),
        ("<title>[token]</title><p>x</p>", TOKEN),
        ("<p>[senha] [token]</p>", TemplateProblem("unknown_variable", "senha")),
        ("<script>x</script>[token]", ACTIVE),
    ],
)
def test_an_email_template_is_judged_when_it_is_created(body: str, problem: TemplateProblem | None) -> None:
    assert template_problem(MessageTemplate("email", body, "Código [generation]")) == problem


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("[amount] para [payee_name]", None),
        ("Código [token]", TOKEN),
        ("[valor]", TemplateProblem("unknown_variable", "valor")),
        ("Código\r\nBcc: x@example.com", ACTIVE),
        ("Código\u2028", None),
        ("a\u2028b", ACTIVE),
        ("\u202eogidóC", ACTIVE),
    ],
)
def test_a_subject_is_judged_too(subject: str, problem: TemplateProblem | None) -> None:
    assert template_problem(MessageTemplate("email", "<p>[token]</p>", subject)) == problem


def missing(name: str) -> TemplateProblem:
    return TemplateProblem("variable_missing", name)


@pytest.mark.parametrize(
    ("event_type", "body", "problem"),
    [
        (SINGLE, "[amount] p/ [payee_name] [generation] [token]", None),
        (SINGLE, "[payee_name] recebe [amount] [generation] [token]", None),
        (SINGLE, "[amount] [amount] [payee_name] [generation] [token]", None),
        (SINGLE, "[total] [payee_name] [generation] [token]", TemplateProblem("variable_not_available", "total")),
        (SINGLE, "[schedule_date] [token]", TemplateProblem("variable_not_available", "schedule_date")),
        (SINGLE, "[amount] [generation] [payee_name] [token]", missing("payee_name")),
        (SINGLE, "[payee_name] [token]", missing("amount")),
        (SINGLE, "[amount] [payee_name] [token]", missing("generation")),
        (BATCH, "[total] p/ [payee_name] [item_count] [generation] [token]", None),
        (BATCH, "[total] p/ [payee_name] [generation] [token]", missing("item_count")),
        (BATCH, "[total] [item_count] [payee_name] [generation] [token]", missing("payee_name")),
        (BATCH, "[amount] [token]", TemplateProblem("variable_not_available", "amount")),
        (DEVICE, "[integrator_name]: [device_name] [generation] [token]", None),
        (DEVICE, "[generation] [token]", missing("device_name")),
        (DEVICE, "[operation] [token]", TemplateProblem("variable_not_available", "operation")),
        (SINGLE, "[amount] [payee_name] [generation] [token]" + "x" * 117, None),
        (SINGLE, "[amount] [payee_name] [generation] [token]" + "x" * 118, TemplateProblem("too_long")),
        (SINGLE, "[amount] [payee_name] [generation] [token]" + "[approver_name]" * 6, TemplateProblem("too_long")),
    ],
)
def test_a_template_is_judged_when_it_is_given_to_an_event(
    event_type: str, body: str, problem: TemplateProblem | None
) -> None:
    assert configuration_problem(MessageTemplate("sms", body), event_type) == problem


def test_an_email_may_be_long_but_its_subject_has_only_variables_of_the_event() -> None:
    body = "<p>[amount] [payee_name] [generation]</p>" + "<p>x</p>" * 100 + "[token]"
    assert configuration_problem(MessageTemplate("email", body, "[amount]"), SINGLE) is None
    problem = configuration_problem(MessageTemplate("email", body, "[total]"), SINGLE)
    assert problem == TemplateProblem("variable_not_available", "total")


def test_a_message_has_the_template_of_its_event_and_channel() -> None:
    key = uuid4()
    made = integrator(templates={SINGLE: {"sms": key}})
    assert chosen_template(made, Kind.PIX_TRANSFER, "sms") == key
    assert chosen_template(made, Kind.PIX_TRANSFER, "email") is None
    assert chosen_template(made, Kind.TED, "sms") is None


def test_a_problem_is_told_with_its_reason_and_variable() -> None:
    refusal = invalid_template(missing("payee_name"))
    assert (refusal.http, refusal.body()["code"]) == (400, "PMB000902")
    assert refusal.body()["description"] == "The template is not valid: variable_missing"
    assert refusal.extra_fields == {"reason": "variable_missing", "variable": "payee_name"}
    assert invalid_template(NOT_GSM7).extra_fields == {"reason": "not_gsm7", "variable": None}
