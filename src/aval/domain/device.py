"""A registered device, and whether it counts as active for an operation.

Source: transfers.md §5, §5.1, §5.2.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.money import ZERO, Brl
from aval.domain.transfer import Status

CHALLENGE_LIFETIME = timedelta(minutes=5)  # spec transfers.md §5.1
NONCE_LIFETIME = timedelta(minutes=5)  # spec transfers.md §5.2
NONCE_BYTES = 32
YOUNG_OPERATION_MAX = Brl(200_00)  # spec transfers.md §5: in the first `device_cooldown_hours`
YOUNG_DAY_MAX = Brl(1_000_00)


class CredentialType(StrEnum):
    """The two kinds of key a device may hold."""

    WEBAUTHN = "webauthn"
    P256 = "p256"


@dataclass(frozen=True, slots=True)
class DeviceCredential:
    """A public key; of a passkey also its id, counter and whether it may be backed up."""

    type: CredentialType
    public_key: bytes  # p256: SubjectPublicKeyInfo; webauthn: COSE key
    credential_id: bytes | None = None
    sign_count: int = 0
    is_backup_eligible: bool | None = None


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The domain passkeys belong to, and where they may be used from."""

    rp_id: str | None
    origins: Sequence[str]


class DeviceDecision(StrEnum):
    """What a device may sign about an operation."""

    APPROVE = "approve"
    DENY = "deny"


class DeviceStatus(StrEnum):
    """What a device is, as GET, snapshots and webhooks tell it."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    REJECTED = "rejected"


class SessionStatus(StrEnum):
    """Where a device session stands; `closed` is told when its operation ended otherwise."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CLOSED = "closed"


def device_status(challenge: Challenge, *, is_disabled: bool) -> DeviceStatus:
    """The status of a device from the challenge of its registration, as seen now."""
    if is_disabled or challenge.status is Status.CANCELLED:
        return DeviceStatus.DISABLED
    if challenge.status is Status.REJECTED:
        return DeviceStatus.REJECTED
    return DeviceStatus.PENDING if challenge.is_pending else DeviceStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Device:
    """A device of one approver on one account."""

    integrator_key: UUID
    key: UUID
    account_key: UUID
    approver_key: UUID
    session_id: UUID
    name: str = field(repr=False)
    credential: DeviceCredential = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What decides whether a device counts as active; `approved_today` is the amount it approved this Brasília day."""

    is_active: bool
    activated_at: datetime | None
    cooldown: timedelta
    approved_today: Brl = ZERO

    def counts_for(self, amount: Brl, now: datetime) -> bool:
        """Whether it may approve this amount now: a young device only little, and little a day."""
        if not self.is_active or self.activated_at is None:
            return False
        if now >= self.activated_at + self.cooldown:
            return True
        return amount <= YOUNG_OPERATION_MAX and self.approved_today + amount <= YOUNG_DAY_MAX


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What a request to be approved on a device may count on."""

    is_session_used: bool
    devices: Sequence[DeviceFacts]

    def serves(self, amount: Brl, now: datetime) -> bool:
        """Whether the session id is new and a device of the approver counts as active for this amount."""
        return not self.is_session_used and any(device.counts_for(amount, now) for device in self.devices)


def digest_of_signature(public_key: bytes, nonce: str, signature: str) -> str:
    """Hex SHA-256 of a signature that counted and the key it is by: what an approval remembers of it."""
    return hashlib.sha256(b"\n".join((public_key, nonce.encode(), signature.encode()))).hexdigest()


@dataclass(frozen=True, slots=True)
class DeviceApproval:
    """What a device said about an operation, and whether that device still counts."""

    status: SessionStatus
    device_key: UUID | None = None
    device: DeviceFacts | None = None
    signed: str | None = None  # the digest of the signature

    def counts_for(self, amount: Brl, now: datetime) -> bool:
        """Whether the operation is approved by a device that is active for it now."""
        is_signed = self.status is SessionStatus.APPROVED and self.device is not None
        return is_signed and self.device is not None and self.device.counts_for(amount, now)


@dataclass(frozen=True, slots=True)
class DeviceSession:
    """The device's side of one operation."""

    integrator_key: UUID
    session_id: UUID
    operation_key: UUID
    status: SessionStatus
    nonce: str | None = field(repr=False)
    nonce_expires_at: datetime | None
    device_key: UUID | None

    def seen(self, challenge: Challenge) -> SessionStatus:
        """The status as it is told: a pending session ends with its operation."""
        is_over = self.status is SessionStatus.PENDING and not challenge.is_pending
        return SessionStatus.CLOSED if is_over else self.status

    def takes(self, nonce: str, now: datetime) -> bool:
        """Whether a nonce is the one told last, and still good."""
        if self.nonce is None or self.nonce_expires_at is None or now >= self.nonce_expires_at:
            return False
        return hmac.compare_digest(self.nonce.encode(), nonce.encode("utf-8", "replace"))
