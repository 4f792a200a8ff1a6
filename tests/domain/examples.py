"""Values of the domain to start from; every maker takes what should differ."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aval.domain.approval import ApprovalFacts
from aval.domain.challenge import Challenge
from aval.domain.keyring import Key, Keyring, Purpose
from aval.domain.money import Brl
from aval.domain.principal import Integrator, Principal
from aval.domain.request import RequestFacts, TransferRequest
from aval.domain.transfer import TRANSFER_KINDS, Kind, Method, Payee, Status, Transfer, details_digest_of
from tests.changed import replace

INTEGRATOR = UUID("b1f4a9e6-0d3c-4a57-8e21-5c6d7f809a1b")
ACCOUNT = UUID("5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10")
OPERATION = UUID("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264")
REQUEST = UUID("0d9f1a52-7c3e-4b8a-9e21-6a4f3c2d1b08")
APPROVER = UUID("a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d")
CREDENTIAL = UUID("c0ffee00-1234-4567-89ab-cdef01234567")
CONTACT = UUID("d4c3b2a1-6f5e-4b7a-9d8c-5d4c3b2a1f0e")
NOW = datetime(2026, 11, 23, 14, 30, 23, 459_000, UTC)
SECRET = bytes(range(32))
TARGET = {
    "account_branch": "0001",
    "account_number": "7654321",
    "account_digit": "0",
    "owner_document_number": "11222333000181",
    "owner_name": "Padaria Boa Vista Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}
LATER = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)


def keyring(*more: Key, secret: bytes = SECRET, kid: str = "token-1") -> Keyring:
    return Keyring([Key(Purpose.TOKEN, kid, secret, NOW), *more])


def integrator(**change: Any) -> Integrator:
    made = Integrator(
        key=INTEGRATOR,
        name="Loja Exemplo",
        ispb="12345678",
        mode="live",
        locale="pt-BR",
        settlement_mode="async",
        sync_wait=timedelta(seconds=8),
        approval_window=timedelta(minutes=60),
        resend_cooldown=timedelta(seconds=30),
        max_resends=5,
        token_alphabets={},
        require_sha256=False,
        signature_window=timedelta(seconds=60),
        contact_cooldown=timedelta(hours=24),
        ted_hours=True,
        requests_per_second=None,
        budgets=True,
        rail_url=None,
        rail_secret_sealed=None,
        fixed_token=None,
        active=True,
        pix_fee=0,
        ted_fee=1000,
        version=1,
    )
    return replace(made, **change)


def payee(**change: Any) -> Payee:
    return Payee(
        **{"name": TARGET["owner_name"], "document": TARGET["owner_document_number"], "target_account": TARGET} | change
    )


def transfer(kind: Kind = Kind.TED, **change: Any) -> Transfer:
    """A TED of 202.01 with a fee of 10; its digest fits."""
    is_pix = kind is Kind.PIX_TRANSFER
    made = Transfer(
        integrator_key=INTEGRATOR,
        key=OPERATION,
        kind=kind,
        account_key=ACCOUNT,
        approver_key=APPROVER,
        credential_key=CREDENTIAL,
        request_control_key=REQUEST,
        request_fingerprint=b"f" * 32,
        end_to_end_id="E12345678202611231430aB3dE5fG7h9" if is_pix else None,
        amount=Brl(20201),
        fee=Brl(1000),
        payee=payee(),
        pix_transfer_type="manual" if is_pix else None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=bytes(range(16)),
        correlation_id="order-1207",
        created_at=NOW,
    )
    made = replace(made, **change)
    return replace(made, details_digest=details_digest_of(made))


def challenge(**change: Any) -> Challenge:
    """Generation 1 of digits, sent by SMS just now; `alphabets` and `generation` go together."""
    made = Challenge(
        status=Status.PENDING_2FA_APPROVAL,
        method=Method.SMS,
        contact_key=CONTACT,
        masked_destination="+55 11 *****-1234",
        generation=1,
        attempts_used=0,
        kid="token-1",
        alphabets="d",
        issued_at=NOW,
        expires_at=NOW + timedelta(seconds=300),
        can_resend_at=NOW + timedelta(seconds=30),
        resends_left=5,
        resend_cooldown=timedelta(seconds=30),
        approval_deadline=NOW + timedelta(minutes=60),
        updated_at=NOW,
    )
    return replace(made, **change)


def request(kind: Kind = Kind.TED, **change: Any) -> TransferRequest:
    principal = Principal(integrator(), CREDENTIAL, "bearer", frozenset({"transfers:write"}))
    made = TransferRequest(
        principal=principal,
        kind=kind,
        account_key=ACCOUNT,
        key=OPERATION,
        nonce=bytes(range(16)),
        request_control_key=REQUEST,
        fingerprint=b"f" * 32,
        correlation_id="order-1207",
        amount=Brl(20201),
        payee=payee(),
        approver_index=b"a" * 32,
    )
    return replace(made, **change)


def approval_facts(**change: Any) -> ApprovalFacts:
    """An approver who may approve everything on an open account."""
    powers = frozenset(kind.value for kind in TRANSFER_KINDS)
    return replace(ApprovalFacts("open", is_approver_active=True, powers=powers, max_amount=None), **change)


def request_facts(**change: Any) -> RequestFacts:
    """Nothing stands against the request."""
    made = RequestFacts(
        now=NOW,
        is_authentic=True,
        is_current=True,
        account_status="open",
        balance=Brl(1_000_000),
        fee=None,
        limits={},
        twin_key=None,
        twin_fingerprint=None,
        is_end_to_end_id_used=False,
        approver_key=APPROVER,
        approval=approval_facts(),
        contact_key=CONTACT,
        masked_destination="+55 11 *****-1234",
        usable_at=NOW,
        is_channel_closed=False,
    )
    return replace(made, **change)
