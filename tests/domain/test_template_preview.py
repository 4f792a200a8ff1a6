import pytest

from aval.domain.errors import Refusal
from aval.domain.message import RenderedMessage
from aval.domain.money import Locale
from aval.domain.template import ChannelName, MessageTemplate
from aval.domain.template_preview import TOKEN_SHOWN, preview_template
from aval.domain.token import SYMBOLS, Token
from aval.domain.transfer import TRANSFER_KINDS, Kind

LOCALES: list[Locale] = ["pt-BR", "en"]
CHANNELS: list[ChannelName] = ["sms", "email"]


@pytest.mark.parametrize("kind", TRANSFER_KINDS)
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("locale", LOCALES)
def test_every_default_text_is_shown_without_a_token(kind: Kind, channel: ChannelName, locale: Locale) -> None:
    shown = preview_template(kind, channel, locale)
    assert shown.text.endswith(TOKEN_SHOWN) and shown.text.count(TOKEN_SHOWN) == 1
    assert "[" not in f"{shown.subject}{shown.text}{shown.html}"


def test_what_stands_for_the_token_is_no_token() -> None:
    assert Token.parse(TOKEN_SHOWN) is None and not set(TOKEN_SHOWN) & set(SYMBOLS)


def test_a_preview_reads_as_the_message_will() -> None:
    texts = [preview_template(Kind.TED_BATCH, "sms", locale).text for locale in LOCALES]
    assert texts == [
        "R$ 1.580,50 p/ Maria Souza +11, 12 itens, TED em lote, cta ***567-8."
        " Codigo 1, 5 min, nao repasse: " + TOKEN_SHOWN,
        "BRL 1,580.50 to Maria Souza +11, 12 items, TED batch, acct ***567-8."
        " Code 1, 5 min, do not share: " + TOKEN_SHOWN,
    ]


def test_a_template_of_ones_own_takes_the_place_of_the_default() -> None:
    template = MessageTemplate("email", "<p>[amount] <b>[payee_name]</b> [generation]: [token]</p>", "Código")
    assert preview_template(Kind.TED, "email", "en", template) == RenderedMessage(
        subject="Código",
        text=f"BRL 1,580.50 Maria Souza 1: {TOKEN_SHOWN}",
        html=f"<p>BRL 1,580.50 <b>Maria Souza</b> 1: {TOKEN_SHOWN}</p>",
    )


REFUSED = [
    (Kind.TED, "[amount] [valor] [token]", "unknown_variable", "valor"),
    (Kind.TED, "[amount] [payee_name] [generation] [token].", "token_not_last", "token"),
    (Kind.TED, "[amount] [payee_name] [token]", "variable_missing", "generation"),
    (Kind.TED_BATCH, "[amount] [payee_name] [generation] [token]", "variable_not_available", "amount"),
]


@pytest.mark.parametrize(("kind", "text", "reason", "variable"), REFUSED)
def test_what_the_endpoints_would_refuse_is_refused(kind: Kind, text: str, reason: str, variable: str) -> None:
    with pytest.raises(Refusal) as refused:
        preview_template(kind, "sms", "pt-BR", MessageTemplate("sms", text))
    assert refused.value.name == "pmb.invalid_template"
    assert refused.value.extra_fields == {"reason": reason, "variable": variable}
