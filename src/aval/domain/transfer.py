"""A transfer: what is asked for, which states it moves through, and the details that are shown and signed.

Source: transfers.md §1.1, §2.6, §5.2.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

import msgspec

from aval.domain.masks import masked_document
from aval.domain.money import Brl

DETAILS_VERSION = 1


class Kind(StrEnum):
    """What an operation is."""

    PIX_TRANSFER = "pix_transfer"
    PIX_TRANSFER_BATCH = "pix_transfer_batch"
    TED = "ted"
    TED_BATCH = "ted_batch"
    DEVICE = "device"
    PURCHASE = "purchase"
    DEVICE_REGISTRATION = "device_registration"
    DEVICE_REPLACEMENT = "device_replacement"

    @property
    def family(self) -> str:
        """The prefix of its error names in the catalogue."""
        return _FAMILIES[self]

    @property
    def is_batch(self) -> bool:
        """Whether one token approves many items."""
        return self in _BATCHES

    @property
    def is_redemption(self) -> bool:
        """Whether it belongs to a campaign: it moves no money and names no account (redemptions.md)."""
        return self in REDEMPTION_KINDS


_FAMILIES = {
    Kind.PIX_TRANSFER: "pix",
    Kind.PIX_TRANSFER_BATCH: "pix_batch",
    Kind.TED: "ted",
    Kind.TED_BATCH: "ted_batch",
    Kind.DEVICE: "device",
    Kind.PURCHASE: "rdm",
    Kind.DEVICE_REGISTRATION: "rdm",
    Kind.DEVICE_REPLACEMENT: "rdm",
}
_BATCHES = frozenset({Kind.PIX_TRANSFER_BATCH, Kind.TED_BATCH})
REDEMPTION_KINDS = frozenset({Kind.PURCHASE, Kind.DEVICE_REGISTRATION, Kind.DEVICE_REPLACEMENT})
TRANSFER_KINDS = tuple(kind for kind in Kind if kind not in REDEMPTION_KINDS)  # of transfers.md


class Status(StrEnum):
    """The wire's states of an operation."""

    PENDING_2FA_APPROVAL = "pending_2fa_approval"
    APPROVED = "approved"
    PENDING = "pending"
    SENT = "sent"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING_2FA_APPROVAL: frozenset({Status.PENDING, Status.APPROVED, Status.REJECTED, Status.CANCELLED}),
    Status.APPROVED: frozenset(),
    Status.PENDING: frozenset({Status.SENT, Status.REJECTED}),
    Status.SENT: frozenset({Status.REJECTED}),
    Status.REJECTED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def moved_to(current: Status, to: Status) -> Status:
    """The only writer of a status; a move outside the table is a bug."""
    assert to in TRANSITIONS[current], (current, to)
    return to


class Reason(StrEnum):
    """Why an operation was rejected (transfers.md §1.2)."""

    ATTEMPTS_EXCEEDED = "attempts_exceeded"
    APPROVER_NOT_ALLOWED = "approver_not_allowed"
    ACCOUNT_UNAVAILABLE = "account_unavailable"
    OUTSIDE_TED_HOURS = "outside_ted_hours"
    LIMIT_EXCEEDED = "limit_exceeded"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    APPROVAL_WINDOW_EXPIRED = "approval_window_expired"
    DENIED_BY_APPROVER = "denied_by_approver"
    TARGET_ACCOUNT_NOT_FOUND = "target_account_not_found"
    RAIL_REFUSED = "rail_refused"
    DEVICE_CHANGED = "device_changed"  # of redemptions (redemptions.md §3.1, §4.2), as the next two
    PARTICIPANT_SUSPENDED = "participant_suspended"
    SUPERSEDED = "superseded"


class Method(StrEnum):
    """The second factor of an operation."""

    SMS = "sms"
    EMAIL = "email"
    DEVICE = "device"


class Payee(msgspec.Struct, frozen=True):
    """Who gets the money, as stored at creation and bound to the challenge."""

    name: str
    document: str | None = None
    target_account: Mapping[str, str] | None = None
    target_pix_key: str | None = None
    institution_name: str | None = None

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def target(self) -> str | None:
        """The Pix key, or `ispb/branch/number-digit`."""
        if self.target_pix_key is not None:
            return self.target_pix_key
        account = self.target_account
        if account is None:
            return None
        return f"{account['ispb']}/{account['account_branch']}/{account['account_number']}-{account['account_digit']}"


class Transfer(msgspec.Struct, frozen=True):
    """What was requested; nothing of it ever changes (table `operations`).

    An item of a batch names it (`batch_key`) and its place in it, from 1. A batch has the total and all fees, the payee
    of its largest item, how many items there are, the digest of what they show, and the largest item's amount. The
    registration of a device moves no money (amount and fee 0) to nobody; nor does a redemption, which has no account
    either (`NO_ACCOUNT`).
    """

    integrator_key: UUID
    key: UUID
    kind: Kind
    account_key: UUID
    approver_key: UUID
    credential_key: UUID
    request_control_key: UUID
    request_fingerprint: bytes
    end_to_end_id: str | None
    amount: Brl
    fee: Brl
    payee: Payee
    pix_transfer_type: str | None
    pix_message: str | None
    receiver_conciliation_id: str | None
    nonce: bytes
    correlation_id: str
    created_at: datetime | None = None
    details_digest: bytes = b""
    batch_key: UUID | None = None
    item_no: int = 1
    item_count: int = 1
    items_digest: str | None = None
    largest: Brl | None = None
    device_name: str | None = None
    details: Mapping[str, Any] | None = None  # of a redemption: what its token is bound to, and its message tells

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def debit(self) -> Brl:
        """What the account pays: amount and fee."""
        return self.amount + self.fee


def details_of(transfer: Transfer) -> dict[str, Any]:
    """What the approver is shown and a device signs (transfers.md §5.2); the payees of a batch are in its items."""
    named = {
        "version": DETAILS_VERSION,
        "operation": transfer.kind.value,
        "operation_key": str(transfer.key),
        "account_key": str(transfer.account_key),
    }
    if transfer.kind is Kind.DEVICE:
        return named | {"device_name": transfer.device_name}
    return named | {
        "amount": transfer.amount.details(),
        "fee_amount": transfer.fee.details(),
        **(_NO_PAYEE if transfer.kind.is_batch else payee_details_of(transfer.payee)),
        "item_count": transfer.item_count,
        "items_digest": transfer.items_digest,
    }


def payee_details_of(payee: Payee) -> dict[str, str | None]:
    """What is shown of who gets the money."""
    return {
        "payee_name": payee.name,
        "payee_document_masked": masked_document(payee.document) if payee.document else None,
        "target": payee.target,
    }


NOBODY = Payee(name="")
NO_ACCOUNT = cast(UUID, None)  # null in the table; nothing that moves money ever meets it
_NO_PAYEE: Mapping[str, None] = {"payee_name": None, "payee_document_masked": None, "target": None}


def canonical(details: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    """RFC 8785 for what details and items hold: plain names, strings without control characters, whole numbers, null.

    For these the sorted compact form is the canonical one; a test holds it against the `rfc8785` library.
    """
    return msgspec.json.encode(details, order="sorted")


def details_digest_of(transfer: Transfer) -> bytes:
    """SHA-256 of the canonical details; 32 bytes."""
    return hashlib.sha256(canonical(details_of(transfer))).digest()
