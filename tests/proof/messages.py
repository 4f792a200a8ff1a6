"""Proof of TK12 and AB3: every message names what is approved, and no name injects anything.

Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import html
import os
import random
import re
import secrets
import unicodedata
from datetime import UTC, datetime
from itertools import product
from uuid import UUID

import pytest

from aval.domain import gsm7
from aval.domain.campaign import DEFAULT_MESSAGE, TwoFactorPolicy
from aval.domain.challenge import TokenSource
from aval.domain.keyring import Key, Keyring, Purpose
from aval.domain.message import MessageVariables, default_template, render_token_message
from aval.domain.message_value import html_value, plain_value, sms_value
from aval.domain.money import ZERO, Brl, Locale
from aval.domain.redemption_challenge import first_redemption_challenge
from aval.domain.redemption_message import PurchaseWording, RedemptionMessage
from aval.domain.redemption_message import template_problem as purchase_template_problem
from aval.domain.template import (
    ChannelName,
    MessageTemplate,
    configuration_problem,
    event_group,
    template_problem,
    token_message_event,
)
from aval.domain.token import SYMBOLS, TokenSeed
from aval.domain.transfer import NO_ACCOUNT, NOBODY, Kind, Transfer

pytestmark = pytest.mark.proof

IS_NIGHTLY = os.environ.get("AVAL_PROOF_NIGHTLY") == "1"
SEED = int(os.environ.get("AVAL_PROOF_SEED") or secrets.randbits(32))
PAYEES_PER_TEMPLATE = 10_000 if IS_NIGHTLY else 1_000  # TK12
NAMES = 100_000 if IS_NIGHTLY else 10_000  # AB3

LOCALES: list[Locale] = ["pt-BR", "en"]
CHANNELS: list[ChannelName] = ["sms", "email"]
SINGLES, BATCHES = [Kind.PIX_TRANSFER, Kind.TED], [Kind.PIX_TRANSFER_BATCH, Kind.TED_BATCH]

OWN_TEMPLATES = {
    ("single", "sms"): [
        "[amount] [payee_name] [payee_name] [approver_name] [integrator_name] [generation] [token]",
        "[amount] [payee_name] " + "x" * 117 + "[generation][token]",
    ],
    ("batch", "sms"): ["[total] [payee_name] [item_count] [operation] [approver_name] [generation] [token]"],
    ("single", "email"): [
        '<!doctype html><title>t</title><style>p { color: red }</style><p class="a">[amount]<br>[payee_name] '
        "[payee_document_masked] [generation] [approver_name] [integrator_name] [token]</p>"
    ],
    ("batch", "email"): ["<b>[total] [payee_name] [item_count] [generation]</b><p>[token]</p>"],
}

# What an attacker would try; names are made of these and of characters of every script.
ATTACKS = [
    *[
        "[token]",
        "[amount]",
        "[payee_name",
        "]",
        "［token］",
        "\r\nBcc: x@evil.example\r\n\r\n",
        "\n",
        "\x85",
        "\u2028",
    ],
    *["http://evil.example/a", "HTTPS://evil.com", "//evil.com", "www.evil.com", "evil.com", "evil．com", "evil。com"],
    *[
        "bit.ly/3xYz",
        "evil😀com",
        "evil[.]com",
        "evil\u200b.com",
        "e\u0301vil.co\u0327m",
        "भारत.भारत",
        "xn--e.xn--p1ai",
    ],
    *["mailto:a@evil.com", "javascript:alert(1)", "tel:+551199", "10.0.0.1", "1😀2😀3😀4", "a.b.c.de?f", "e.vil:80"],
    *[
        "<script>alert(1)</script>",
        "<img src=x onerror=y>",
        "&lt;b&gt;",
        "＜b＞",
        '"onclick="x',
        "'",
        "&",
        "<!--",
        "]]>",
    ],
    *[
        "\u202e",
        "\u202d",
        "\u2066",
        "\u2069",
        "\u200f",
        "\u061c",
        "\ufeff",
        "\u200b",
        "\u00ad",
        "\x00",
        "\x1b[31m",
        "\x7f",
    ],
    *[
        "\ud800",
        "\U000e0041",
        "\ue000",
        "\u0378",
        "{",
        "}",
        "~",
        "^",
        "|",
        "\\",
        "€",
        "`",
        "😀",
        "王",
        "ß",
        "Ω",
        "ç",
        "\u0301",
    ],
    *["R$ 0,01", " +999", "Codigo 1: 000000", "S.A.", "Ltda.", "12.345.678", "x" * 200, ".", ":", "/", "  ", "-"],
]

# The judge is written apart from the code it judges.
LINK = re.compile(
    r"//|\bwww\.|[^\W_][.。](?:[^\W\d_]{2}|xn--)|(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)|\w:[\w+/]", re.IGNORECASE
)
BIDI = frozenset("LRE RLE LRO RLO PDF LRI RLI FSI PDI".split())
EXPECTED_SMS = {
    "pt-BR": "{} p/ {} (***982247**) Pix, cta ***567-8. Codigo 1, 5 min, nao repasse: {}",
    "en": "{} to {} (***982247**) Pix, acct ***567-8. Code 1, 5 min, do not share: {}",
}


@pytest.fixture
def randomness(capsys: pytest.CaptureFixture[str]) -> random.Random:
    with capsys.disabled():
        print(f"\nmessages: seed {SEED}")
    return random.Random(SEED)


def name_of(randomness: random.Random) -> str:
    def piece() -> str:
        match randomness.randrange(4):
            case 0:
                return "".join(chr(randomness.randrange(0x20, 0x250)) for _ in range(randomness.randint(1, 40)))
            case 1:
                return chr(randomness.randrange(0x110000))
            case _:
                return randomness.choice(ATTACKS)

    return randomness.choice(["", " ", "."]).join(piece() for _ in range(randomness.randint(1, 6)))


def variables_of(randomness: random.Random, kind: Kind) -> MessageVariables:
    items = randomness.choice([1, 2, randomness.randint(1, 1000), 1000]) if kind in BATCHES else 1
    amount = randomness.choice([1, 100, 20201, randomness.randint(1, 999_999_999), 999_999_999])
    return MessageVariables(
        kind=kind,
        token="".join(randomness.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=6)),
        generation=randomness.randint(1, 21),
        account_number=str(randomness.randint(1, 9_999_999)),
        account_digit=randomness.choice("0123456789X"),
        approver_name=name_of(randomness),
        integrator_name=name_of(randomness),
        amount=Brl(amount * items),
        payee_name=name_of(randomness),
        payee_document=randomness.choice([None, "52998224725", "12ABC34501DE35"]),
        item_count=items,
    )


def templates_of(kind: Kind, channel: ChannelName, locale: Locale) -> list[MessageTemplate]:
    event = token_message_event(kind)
    subject = "[payee_name] [generation]" if channel == "email" else None
    own = [MessageTemplate(channel, body, subject) for body in OWN_TEMPLATES[event_group(event), channel]]
    templates = [default_template(event, channel, locale), *own]
    for template in templates:
        assert (template_problem(template), configuration_problem(template, event)) == (None, None)
    return templates


def assert_nothing_survives(text: str) -> None:
    for character in text:
        assert character == "\n" or unicodedata.category(character)[0] != "C", ascii(text)
        assert unicodedata.bidirectional(character) not in BIDI, ascii(text)
    assert not re.search(r"[\r\u0085\u2028\u2029\[\]]", text), ascii(text)
    assert not LINK.search(text), ascii(text)


def assert_told(template: MessageTemplate, variables: MessageVariables, locale: Locale) -> None:
    rendered = render_token_message(template, variables, locale=locale)
    assert variables.amount is not None
    amount = variables.amount.localized(locale)
    assert rendered.text.startswith(amount) and rendered.text.endswith(variables.token)
    rest = rendered.text.removeprefix(amount)
    assert str(variables.generation) in rest
    if variables.item_count > 1:
        assert f" +{variables.item_count - 1}" in rest and str(variables.item_count) in rest
    assert_nothing_survives(rest)
    if template.channel == "sms":
        assert len(rendered.text) <= 160 and gsm7.is_basic(rendered.text)
        assert not re.search(r"[<>\n]", rendered.text)
        return
    assert rendered.subject is not None and rendered.html is not None
    assert not re.search(r"[<>\n]", rendered.subject)
    assert_nothing_survives(rendered.subject.replace(amount, ""))
    assert re.sub(r"[^<>]", "", rendered.html) == re.sub(r"[^<>]", "", template.body)  # no tag came in
    assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#x27;)", rendered.html)


def test_message_names_amount_and_payee(randomness: random.Random) -> None:
    for kind, channel, locale in product(SINGLES + BATCHES, CHANNELS, LOCALES):
        for template in templates_of(kind, channel, locale):
            for _ in range(PAYEES_PER_TEMPLATE):
                assert_told(template, variables_of(randomness, kind), locale)


def test_the_payee_is_shortened_and_nothing_else(randomness: random.Random) -> None:
    for locale in LOCALES:
        template = default_template(token_message_event(Kind.PIX_TRANSFER), "sms", locale)
        for _ in range(PAYEES_PER_TEMPLATE):
            amount, token = Brl(randomness.randint(1, 999_999_999)), f"{randomness.randrange(10**6):06}"
            name = "".join(randomness.choices("abcdefghij", k=randomness.randint(1, 150)))
            left = 160 - len(EXPECTED_SMS[locale].format(amount.localized(locale), "", token))
            variables = MessageVariables(
                kind=Kind.PIX_TRANSFER,
                token=token,
                generation=1,
                account_number="1234567",
                account_digit="8",
                approver_name="Ana",
                integrator_name="Banco",
                amount=amount,
                payee_name=name.translate(str.maketrans("aei", "ãéï")),
                payee_document="52998224725",
            )
            text = render_token_message(template, variables, locale=locale).text
            assert left >= 16
            assert text == EXPECTED_SMS[locale].format(amount.localized(locale), name[:left], token)


def test_message_injection_dies(randomness: random.Random) -> None:
    for _ in range(NAMES):
        name = name_of(randomness)
        for made in (sms_value(name, is_name=True), plain_value(name, is_name=True)):
            assert made == made.strip() != ""
            assert not re.search(r"[<>\n]", made)
            assert_nothing_survives(made)
        escaped = html_value(name, is_name=True)
        assert not re.search(r"[<>\"']|&(?!amp;|lt;|gt;|quot;|#x27;)", escaped)
        assert_nothing_survives(html.unescape(escaped))
        assert gsm7.is_basic(sms_value(name, is_name=True))


# Redemptions name points and vendors (redemptions.md §4.4).
NOW = datetime(2026, 3, 4, 18, 15, tzinfo=UTC)
KEYRING = Keyring([Key(Purpose.TOKEN, "t1", bytes(range(32)), NOW)])
PURCHASE_TEMPLATES = [
    DEFAULT_MESSAGE,
    "[vendors] [points] [generation] [token]",
    "[points] [points] [vendors] [campaign] " + "x" * 62 + " [generation][token]",
]
CHALLENGE = first_redemption_challenge(
    TwoFactorPolicy(), device_key=UUID(int=4), masked_number="+55 11 *****-1234", kid="t1", now=NOW
)


def redemption_of(
    randomness: random.Random, kind: Kind, wording: PurchaseWording | None
) -> tuple[RedemptionMessage, str]:
    """A message and the token it must end with."""
    transfer = Transfer(
        integrator_key=UUID(int=1),
        key=UUID(int=randomness.getrandbits(128)),
        kind=kind,
        account_key=NO_ACCOUNT,
        approver_key=UUID(int=3),
        credential_key=UUID(int=5),
        request_control_key=UUID(int=2),
        request_fingerprint=bytes(32),
        end_to_end_id=None,
        amount=ZERO,
        fee=ZERO,
        payee=NOBODY,
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=randomness.randbytes(16),
        correlation_id="proof",
        details_digest=randomness.randbytes(32),
    )
    seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
    token = TokenSource(KEYRING, seed).token(CHALLENGE, 1).text
    return RedemptionMessage(transfer, CHALLENGE, 1, name_of(randomness), wording), token


def assert_one_part(text: str, token: str) -> None:
    assert len(text) <= gsm7.CHARACTERS_MAX and gsm7.is_basic(text) and not re.search(r"[<>\n\[\]]", text)
    assert text.endswith(token) and re.fullmatch(f"[{SYMBOLS}]{{6}}", token)
    assert_nothing_survives(text.removesuffix(token))


def test_a_message_names_points_and_vendors_whatever_their_names(randomness: random.Random) -> None:
    for template in PURCHASE_TEMPLATES:
        assert purchase_template_problem(template) is None
        for _ in range(PAYEES_PER_TEMPLATE):
            vendors = [name_of(randomness) for _ in range(randomness.choice([1, 2, 3, 100]))]
            points = randomness.choice([1, 999_999_999_999, randomness.randint(1, 10**12 - 1)])
            message, token = redemption_of(randomness, Kind.PURCHASE, PurchaseWording(points, vendors, template))
            text = message.rendered(KEYRING).text
            assert_one_part(text, token)
            assert re.search(rf"(?<!\d){points}(?!\d)", text)
            assert len(vendors) <= 2 or f" e mais {len(vendors) - 2}" in text


def test_the_message_of_a_device_is_fixed_but_for_the_campaigns_name(randomness: random.Random) -> None:
    fixed = ": confirme este celular como seu dispositivo de seguranca. Codigo 1: "
    for kind in (Kind.DEVICE_REGISTRATION, Kind.DEVICE_REPLACEMENT):
        for _ in range(PAYEES_PER_TEMPLATE):
            message, token = redemption_of(randomness, kind, None)
            text = message.rendered(KEYRING).text
            assert_one_part(text, token)
            assert text.endswith(fixed + token) and 1 <= len(text) - len(fixed + token) <= 20
