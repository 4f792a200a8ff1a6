"""Proof of TK12 and AB3 over redemptions: every message names points and vendors, and no name injects anything.

Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import random
import re
from datetime import UTC, datetime
from uuid import UUID

import pytest

from aval.domain import gsm7
from aval.domain.campaign import DEFAULT_MESSAGE, TwoFactorPolicy
from aval.domain.challenge import TokenSource
from aval.domain.keyring import Key, Keyring, Purpose
from aval.domain.money import ZERO
from aval.domain.redemption_challenge import first_redemption_challenge
from aval.domain.redemption_message import PurchaseWording, RedemptionMessage, template_problem
from aval.domain.token import SYMBOLS, TokenSeed
from aval.domain.transfer import NO_ACCOUNT, NOBODY, Kind, Transfer
from tests.proof.messages import PAYEES_PER_TEMPLATE, assert_nothing_survives, name_of, randomness

__all__ = ["randomness"]

pytestmark = pytest.mark.proof

NOW = datetime(2026, 3, 4, 18, 15, tzinfo=UTC)
KEYRING = Keyring([Key(Purpose.TOKEN, "t1", bytes(range(32)), NOW)])
TEMPLATES = [
    DEFAULT_MESSAGE,
    "[vendors] [points] [generation] [token]",
    "[points] [points] [vendors] [campaign] " + "x" * 62 + " [generation][token]",
]
CHALLENGE = first_redemption_challenge(
    TwoFactorPolicy(), device_key=UUID(int=4), masked_number="+55 11 *****-1234", kid="t1", now=NOW
)


def message_of(randomness: random.Random, kind: Kind, wording: PurchaseWording | None) -> tuple[RedemptionMessage, str]:
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
    for template in TEMPLATES:
        assert template_problem(template) is None
        for _ in range(PAYEES_PER_TEMPLATE):
            vendors = [name_of(randomness) for _ in range(randomness.choice([1, 2, 3, 100]))]
            points = randomness.choice([1, 999_999_999_999, randomness.randint(1, 10**12 - 1)])
            message, token = message_of(randomness, Kind.PURCHASE, PurchaseWording(points, vendors, template))
            text = message.rendered(KEYRING).text
            assert_one_part(text, token)
            assert re.search(rf"(?<!\d){points}(?!\d)", text)
            assert len(vendors) <= 2 or f" e mais {len(vendors) - 2}" in text


def test_the_message_of_a_device_is_fixed_but_for_the_campaigns_name(randomness: random.Random) -> None:
    fixed = ": confirme este celular como seu dispositivo de seguranca. Codigo 1: "
    for kind in (Kind.DEVICE_REGISTRATION, Kind.DEVICE_REPLACEMENT):
        for _ in range(PAYEES_PER_TEMPLATE):
            message, token = message_of(randomness, kind, None)
            text = message.rendered(KEYRING).text
            assert_one_part(text, token)
            assert text.endswith(fixed + token) and 1 <= len(text) - len(fixed + token) <= 20
