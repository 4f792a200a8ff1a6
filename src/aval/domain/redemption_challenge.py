"""The first challenge of a redemption's operation, as its campaign's policy shapes it (redemptions.md §2, §4.3)."""

from datetime import datetime
from uuid import UUID

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.challenge import Challenge, first_generation
from aval.domain.token import Alphabet
from aval.domain.transfer import Method


def first_redemption_challenge(
    policy: TwoFactorPolicy,
    *,
    device_key: UUID,
    masked_number: str,
    kid: str,
    now: datetime,
    is_digits_budget_spent: bool = False,
) -> Challenge:
    """Generation 1 of a purchase or device, issued now, to go to the phone of this key (its contact)."""
    alphabet = Alphabet.CROCKFORD32 if is_digits_budget_spent else Alphabet(policy.token_alphabet)
    return first_generation(
        method=Method.SMS,
        contact_key=device_key,
        masked_destination=masked_number,
        kid=kid,
        alphabet=alphabet,
        now=now,
        resend_cooldown=policy.resend_interval,
        resends_max=policy.max_resends,
        approval_window=policy.approval_window,
    )
