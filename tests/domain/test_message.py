from dataclasses import replace

import pytest

from aval.domain import gsm7
from aval.domain.message import MessageVariables, default_template, render_notice, render_token_message
from aval.domain.money import Brl, Locale
from aval.domain.template import (
    EVENT_TYPES,
    ChannelName,
    MessageTemplate,
    configuration_problem,
    template_problem,
    token_message_event,
)
from aval.domain.transfer import Kind

PIX = MessageVariables(
    kind=Kind.PIX_TRANSFER,
    token="7K3M9Q",
    generation=1,
    account_number="1234567",
    account_digit="8",
    approver_name="Ana Lima",
    integrator_name="Banco Exemplo",
    amount=Brl(20201),
    payee_name="Maria Souza",
    payee_document="52998224725",
)
BATCH = replace(PIX, kind=Kind.TED_BATCH, token="123456", generation=2, amount=Brl(158050), item_count=3)
DEVICE = replace(PIX, kind=Kind.DEVICE, amount=None, payee_name=None, payee_document=None, device_name="Celular da Ana")
LOCALES: list[Locale] = ["pt-BR", "en"]
CHANNELS: list[ChannelName] = ["sms", "email"]

SMS_TEXTS: list[tuple[MessageVariables, Locale, str]] = [
    (PIX, "pt-BR", "R$ 202,01 p/ Maria Souza (***982247**) Pix, cta ***567-8. Codigo 1, 5 min, nao repasse: 7K3M9Q"),
    (PIX, "en", "BRL 202.01 to Maria Souza (***982247**) Pix, acct ***567-8. Code 1, 5 min, do not share: 7K3M9Q"),
    (
        BATCH,
        "pt-BR",
        "R$ 1.580,50 p/ Maria Souza +2, 3 itens, TED em lote, cta ***567-8. Codigo 2, 5 min, nao repasse: 123456",
    ),
    (
        BATCH,
        "en",
        "BRL 1,580.50 to Maria Souza +2, 3 items, TED batch, acct ***567-8. Code 2, 5 min, do not share: 123456",
    ),
    (
        DEVICE,
        "pt-BR",
        "Cadastro do dispositivo Celular da Ana, conta ***567-8. Codigo 1, 5 min, nao repasse: 7K3M9Q",
    ),
    (
        DEVICE,
        "en",
        "Registration of device Celular da Ana, account ***567-8. Code 1, 5 min, do not share: 7K3M9Q",
    ),
]


@pytest.mark.parametrize(("variables", "locale", "text"), SMS_TEXTS)
def test_default_sms_texts_read_as_documented(variables: MessageVariables, locale: Locale, text: str) -> None:
    template = default_template(token_message_event(variables.kind), "sms", locale)
    rendered = render_token_message(template, variables, locale=locale)
    assert (rendered.subject, rendered.text, rendered.html) == (None, text, None)


def test_the_default_email_has_a_paragraph_for_each_sentence_and_a_text_alternative() -> None:
    template = default_template(token_message_event(Kind.PIX_TRANSFER), "email", "pt-BR")
    rendered = render_token_message(template, replace(PIX, payee_name="Souza & Cia <i>"), locale="pt-BR")
    sentences = [
        "R$ 202,01 para {payee} (***982247**), por Pix, da conta ***567-8.",
        "Ana Lima, confira valor e favorecido antes de aprovar.",
        "Se não reconhece esta transferência, não informe o código a ninguém.",
        "O código 1 vale 5 minutos e anula os anteriores: 7K3M9Q",
    ]
    assert rendered.subject == "R$ 202,01 para Souza & Cia i: código 1"
    assert rendered.text == "\n\n".join(sentences).format(payee="Souza & Cia i")
    escaped = "\n".join(f"<p>{sentence}</p>" for sentence in sentences)
    assert rendered.html == escaped.format(payee="Souza &amp; Cia &lt;i&gt;")


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("locale", LOCALES)
def test_default_texts_are_valid_templates(event_type: str, channel: ChannelName, locale: Locale) -> None:
    template = default_template(event_type, channel, locale)
    assert template_problem(template) is None
    assert configuration_problem(template, event_type) is None
    assert template.subject is None or len(template.subject) <= 80


def test_an_sms_payee_takes_what_is_left_of_the_part() -> None:
    template = default_template(token_message_event(Kind.PIX_TRANSFER), "sms", "pt-BR")
    text = render_token_message(template, replace(PIX, payee_name="Conceição" * 20), locale="pt-BR").text
    assert len(text) == gsm7.CHARACTERS_MAX
    assert text.startswith("R$ 202,01 p/ ConceicaoConceicao")
    assert text.endswith(" (***982247**) Pix, cta ***567-8. Codigo 1, 5 min, nao repasse: 7K3M9Q")


def test_the_number_of_other_payees_is_never_cut() -> None:
    variables = replace(BATCH, payee_name="x" * 150, item_count=1000, amount=Brl(999_999_999_000))
    template = default_template(token_message_event(Kind.TED_BATCH), "sms", "en")
    text = render_token_message(template, variables, locale="en").text
    assert len(text) == gsm7.CHARACTERS_MAX
    assert text.startswith("BRL 9,999,999,990.00 to xxxxxxxxxxx")
    assert "x +999, 1000 items, TED batch" in text


def test_a_payee_named_twice_shares_what_is_left() -> None:
    template = MessageTemplate("sms", "[amount] [payee_name]; [payee_name] [generation] [token]")
    text = render_token_message(template, replace(PIX, payee_name="y" * 150), locale="pt-BR").text
    assert len(text) in {159, 160}
    assert text.endswith("y 1 7K3M9Q")


def test_other_names_are_cut_to_their_maximum() -> None:
    template = MessageTemplate("sms", "[amount] [payee_name] [approver_name]|[generation] [token]".replace("|", "/"))
    text = render_token_message(template, replace(PIX, approver_name="z" * 99), locale="pt-BR").text
    assert text == "R$ 202,01 Maria Souza " + "z" * 20 + "/1 7K3M9Q"


def test_a_value_cannot_name_a_variable() -> None:
    template = MessageTemplate("email", "<p>[amount] [payee_name] [generation] [token]</p>", "[payee_name]")
    rendered = render_token_message(template, replace(PIX, payee_name="[token]"), locale="pt-BR")
    assert rendered.subject == "token"
    assert rendered.text == "R$ 202,01 token 1 7K3M9Q"


def test_what_is_unknown_is_a_dash() -> None:
    template = default_template(token_message_event(Kind.PIX_TRANSFER), "sms", "pt-BR")
    text = render_token_message(template, replace(PIX, payee_name=None, payee_document=None), locale="pt-BR").text
    assert text.startswith("R$ 202,01 p/ - (-) Pix, ")


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_the_notice_to_a_replaced_contact_fits_and_holds_no_variable(channel: ChannelName, locale: Locale) -> None:
    rendered = render_notice(
        "contact_replaced", approver_name="Á" * 150, integrator_name="B" * 80, channel=channel, locale=locale
    )
    assert "[" not in rendered.text and "token" not in rendered.text
    assert (rendered.subject is None) == (rendered.html is None) == (channel == "sms")
    assert channel == "email" or (len(rendered.text) <= 160 and gsm7.is_basic(rendered.text))


def test_neither_variables_nor_messages_print_their_token() -> None:
    template = default_template(token_message_event(Kind.PIX_TRANSFER), "email", "pt-BR")
    rendered = render_token_message(template, PIX, locale="pt-BR")
    assert "7K3M9Q" not in repr(PIX) + repr(rendered)
    assert "Maria" not in repr(PIX) + repr(rendered)
