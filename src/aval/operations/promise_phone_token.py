"""Begin an operation whose token proves a phone: the new number's own, or the former one's in its place."""

import secrets
from datetime import datetime
from typing import Literal
from uuid import UUID

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.challenge import Challenge
from aval.domain.keyring import Keyring, Purpose
from aval.domain.money import ZERO
from aval.domain.phone import PhoneDevice, registration_details
from aval.domain.purchase import details_digest
from aval.domain.redemption_challenge import first_redemption_challenge
from aval.domain.transfer import NO_ACCOUNT, NOBODY, Kind, Transfer
from aval.operations.fresh import fresh_key
from aval.storage.database import Connection
from aval.storage.requests import insert_transfers

NONCE_BYTES = 16


async def promise_phone_token(
    connection: Connection,
    *,
    device: PhoneDevice,
    kind: Literal[Kind.DEVICE_REGISTRATION, Kind.DEVICE_REPLACEMENT],
    sent_to: PhoneDevice,
    policy: TwoFactorPolicy,
    keyring: Keyring,
    application_key: UUID,
    correlation_id: str,
    now: datetime,
    is_digits_budget_spent: bool = False,
) -> Challenge:
    """Store operation, challenge and first message in the running transaction; both devices are stored already."""
    operation_key = device.operation_key
    details = registration_details(device, kind, operation_key=operation_key, sent_to=sent_to.key)
    digest = details_digest(details)
    transfer = Transfer(
        integrator_key=device.integrator_key,
        key=operation_key,
        kind=kind,
        account_key=NO_ACCOUNT,
        approver_key=device.participant_key,
        credential_key=application_key,
        request_control_key=operation_key,
        request_fingerprint=digest,
        end_to_end_id=None,
        amount=ZERO,
        fee=ZERO,
        payee=NOBODY,
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=secrets.token_bytes(NONCE_BYTES),
        correlation_id=correlation_id,
        created_at=now,
        details_digest=digest,
        details=details,
    )
    challenge = first_redemption_challenge(
        policy,
        device_key=sent_to.key,
        masked_number=sent_to.masked_number,
        kid=keyring.current(Purpose.TOKEN).kid,
        now=now,
        is_digits_budget_spent=is_digits_budget_spent,
    )
    made = await insert_transfers(connection, [(transfer, challenge, fresh_key(), None)])
    assert made == {operation_key}
    return challenge
