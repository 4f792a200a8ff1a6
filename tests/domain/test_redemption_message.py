from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain import gsm7
from aval.domain.campaign import DEFAULT_MESSAGE
from aval.domain.challenge import TOKEN_LIFETIME, Challenge
from aval.domain.keyring import Key, KeyMissing, Keyring, Purpose
from aval.domain.money import ZERO
from aval.domain.redemption_message import (
    DEVICE_MESSAGE,
    LONGEST,
    PurchaseWording,
    RedemptionMessage,
    template_problem,
    vendors_text,
)
from aval.domain.template_html import VARIABLE
from aval.domain.transfer import NOBODY, Kind, Method, Status, Transfer

NOW = datetime(2026, 3, 4, 18, 15, tzinfo=UTC)
KEYRING = Keyring([Key(Purpose.TOKEN, "t1", bytes(32), NOW)])


def _message(kind: Kind, *, campaign: str = "Clube Sol", wording: PurchaseWording | None = None) -> RedemptionMessage:
    transfer = Transfer(
        integrator_key=UUID(int=1),
        key=UUID(int=2),
        kind=kind,
        account_key=UUID(int=0),
        approver_key=UUID(int=3),
        credential_key=UUID(int=0),
        request_control_key=UUID(int=2),
        request_fingerprint=b"",
        end_to_end_id=None,
        amount=ZERO,
        fee=ZERO,
        payee=NOBODY,
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=bytes(16),
        correlation_id="c",
        created_at=NOW,
        details_digest=bytes(32),
    )
    challenge = Challenge(
        status=Status.PENDING_2FA_APPROVAL,
        method=Method.SMS,
        contact_key=UUID(int=4),
        masked_destination="+55 11 *****-1234",
        generation=1,
        attempts_used=0,
        kid="t1",
        alphabets="c",
        issued_at=NOW,
        expires_at=NOW + TOKEN_LIFETIME,
        can_resend_at=NOW,
        resends_left=5,
        resend_cooldown=timedelta(seconds=30),
        approval_deadline=NOW + timedelta(hours=1),
    )
    return RedemptionMessage(transfer, challenge, 1, campaign, wording)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            _message(Kind.PURCHASE, wording=PurchaseWording(8500, ["Loja do Sol"])),
            "Clube Sol: resgate de 8500 pontos em Loja do Sol. Nao compartilhe. Codigo 1: HNCFBX",
        ),
        (
            _message(Kind.DEVICE_REGISTRATION, campaign="Programa de Pontos Ação"),
            "Programa de Pontos A: confirme este celular como seu dispositivo de seguranca. Codigo 1: HNCFBX",
        ),
        (
            _message(Kind.DEVICE_REPLACEMENT),
            "Clube Sol: confirme este celular como seu dispositivo de seguranca. Codigo 1: HNCFBX",
        ),
    ],
)
def test_messages_read_as_documented(message: RedemptionMessage, text: str) -> None:
    rendered = message.rendered(KEYRING)
    assert (rendered.subject, rendered.text, rendered.html) == (None, text, None)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["Loja do Sol"], "Loja do Sol"),
        (["Ação & Cia"], "Acao & Cia"),
        (["A", "B"], "A, B"),
        (["A", "B", "C"], "A, B e mais 1"),
        (["A", "B", "C", "D", "E"], "A, B e mais 3"),
        (["x" * 60], "x" * 40),
        (["x" * 60, "y" * 60], "x" * 19 + ", " + "y" * 19),
        (["x" * 60, "Sol"], "x" * 35 + ", Sol"),
        (["Sol", "y" * 60], "Sol, " + "y" * 35),
        (["x" * 60, "y" * 60, *["z"] * 98], "x" * 14 + ", " + "y" * 14 + " e mais 98"),
        (["Loja\nhttp://x.example/a", "B"], "Loja, B"),
        (["[token]", "B"], "token, B"),
    ],
)
def test_vendors_are_named_within_their_room(names: list[str], text: str) -> None:
    assert vendors_text(names) == text


TAIL = " [points] [vendors] [generation] [token]"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (DEFAULT_MESSAGE, None),
        (TAIL, None),
        ("[points][vendors][generation][campaign][token]", None),
        ("x" * (160 - 60 - 4) + TAIL, None),
        ("x" * (160 - 60 - 3) + TAIL, ("too_long", None)),
        ("[points] [points] " + "x" * 90 + TAIL, ("too_long", None)),
        ("[name]" + TAIL, ("unknown_variable", "name")),
        ("[]" + TAIL, ("unknown_variable", "")),
        ("[vendors] [generation] [token]", ("variable_missing", "points")),
        ("[points] [generation] [token]", ("variable_missing", "vendors")),
        ("[points] [vendors] [token]", ("variable_missing", "generation")),
        ("[points] [vendors] [generation]", ("variable_missing", "token")),
        (TAIL + ".", ("token_not_last", "token")),
        ("[token]" + TAIL, ("token_not_last", "token")),
        ("Código ção" + TAIL, ("not_gsm7", None)),
        ("€" + TAIL, ("not_gsm7", None)),
        ("[" + TAIL, ("not_gsm7", None)),
        ("\u202e" + TAIL, ("not_gsm7", None)),
    ],
)
def test_templates_are_judged(template: str, problem: tuple[str, str | None] | None) -> None:
    found = template_problem(template)
    assert (None if found is None else (found.reason, found.variable)) == problem


def test_the_message_of_a_device_fits_with_its_longest_values() -> None:
    names = VARIABLE.findall(DEVICE_MESSAGE)
    text = VARIABLE.sub("", DEVICE_MESSAGE)
    assert gsm7.is_basic(text) and len(text) + sum(LONGEST[name] for name in names) <= gsm7.CHARACTERS_MAX


@given(
    campaign=st.text(min_size=1, max_size=80),
    vendors=st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=100),
    points=st.integers(1, 999_999_999_999),
)
def test_whatever_the_names_a_message_is_one_part_that_names_points_and_ends_with_the_token(
    campaign: str, vendors: list[str], points: int
) -> None:
    message = _message(Kind.PURCHASE, campaign=campaign, wording=PurchaseWording(points, vendors))
    text = message.rendered(KEYRING).text
    assert len(text) <= gsm7.CHARACTERS_MAX and gsm7.is_basic(text) and len(text.splitlines()) == 1
    assert f" {points} pontos em " in text and text.endswith("Codigo 1: HNCFBX") and "[" not in text


def test_a_message_does_not_print_what_it_is_made_of() -> None:
    printed = repr(_message(Kind.DEVICE_REGISTRATION))
    assert "nonce" not in printed and "HNCFBX" not in printed


def test_a_message_whose_key_is_gone_is_not_rendered() -> None:
    message = _message(Kind.DEVICE_REGISTRATION)
    with pytest.raises(KeyMissing):
        RedemptionMessage(message.transfer, message.challenge, 1, "Clube Sol").rendered(Keyring([]))
