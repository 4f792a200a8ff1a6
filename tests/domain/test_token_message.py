"""A token message is rendered by its own template, or by the default text of its event."""

import dataclasses

import pytest

from aval.domain.challenge import TokenSource
from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.template import MessageTemplate
from aval.domain.token import TokenSeed
from aval.domain.token_message import TokenMessage
from tests.domain.examples import challenge, keyring, transfer

OWN = MessageTemplate("sms", "[integrator_name]: [amount] a [payee_name], [generation]: [token]")


def make_message(**change: object) -> TokenMessage:
    message = TokenMessage(
        transfer=transfer(),
        challenge=challenge(),
        generation=1,
        channel="sms",
        template=None,
        locale="pt-BR",
        integrator_name="Loja Exemplo",
        approver_name="Ana Exemplo",
        account_number="9070567",
        account_digit="8",
        fixed_token=None,
    )
    return dataclasses.replace(message, **change)


def test_the_default_text_is_used_without_a_template() -> None:
    message = make_message()
    rendered = message.rendered(keyring())
    assert (rendered.subject, rendered.html) == (None, None)
    assert ", cta ***567-8. Codigo 1, 5 min, nao repasse: " in rendered.text
    assert make_message(locale="en").rendered(keyring()).text != rendered.text


def test_the_template_it_was_promised_with_words_it() -> None:
    text = make_message(template=OWN).rendered(keyring()).text
    assert text.startswith("Loja Exemplo: R$ ")
    assert text[:-6].endswith(", 1: ")


def test_it_ends_with_the_token_of_its_generation() -> None:
    message = make_message(template=OWN)
    told = message.transfer
    seed = TokenSeed(told.integrator_key, told.key, told.details_digest, told.nonce)
    token = TokenSource(keyring(), seed).token(message.challenge, 1).text
    assert message.rendered(keyring()).text.endswith(f": {token}")
    assert make_message(template=OWN, fixed_token="ABC123").rendered(keyring()).text.endswith(": ABC123")


def test_without_its_key_there_is_no_text() -> None:
    with pytest.raises(KeyMissing):
        make_message().rendered(Keyring([]))


def test_it_does_not_print_what_is_personal() -> None:
    shown = repr(make_message(fixed_token="ABC123", template=OWN))
    for secret in ("ABC123", "Ana Exemplo", "9070567", "payee_name]"):
        assert secret not in shown
