"""What transfers are asked with: who approves them, where the money goes, and the items of batches."""

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from aval.client.amounts import Amount, amount_json
from aval.client.call import Key, key_text

TokenChannel = Literal["sms", "email"]


@dataclass(frozen=True, slots=True)
class Approver:
    """Who approves, by CPF, and how the token travels; a device needs a fresh session."""

    document_number: str = field(repr=False)
    contact_type: Literal["sms", "email", "device"] = "sms"
    session_id: Key | None = None

    def wire(self) -> dict[str, Any]:
        """The object `tfa_info`."""
        info = {"approver_document_number": self.document_number, "contact_type": self.contact_type}
        return info if self.session_id is None else info | {"session_id": key_text("session_id", self.session_id)}


@dataclass(frozen=True, slots=True)
class TargetAccount:
    """An account by its numbers: the target of a TED, or of a Pix without key (`manual`)."""

    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str = field(repr=False)
    owner_name: str
    ispb: str
    account_type: str = "checking_account"

    def wire(self) -> dict[str, str]:
        """The object `target_account`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class PixKey:
    """A Pix key, and the end-to-end id the integrator has given this Pix."""

    target_pix_key: str = field(repr=False)
    end_to_end_id: str


@dataclass(frozen=True, slots=True)
class PixQrCode:
    """What a QR code says, and the end-to-end id."""

    kind: Literal["static_qr_code", "dynamic_qr_code"]
    target_pix_key: str = field(repr=False)
    end_to_end_id: str
    receiver_conciliation_id: str


PixTarget = PixKey | PixQrCode | TargetAccount


def pix_target_fields(target: PixTarget) -> dict[str, Any]:
    """The fields of a Pix request that tell its target."""
    if isinstance(target, TargetAccount):
        return {"pix_transfer_type": "manual", "target_account": target.wire()}
    fields = {
        "pix_transfer_type": "key",
        "target_pix_key": target.target_pix_key,
        "end_to_end_id": target.end_to_end_id,
    }
    if isinstance(target, PixQrCode):
        fields |= {"pix_transfer_type": target.kind, "receiver_conciliation_id": target.receiver_conciliation_id}
    return fields


def pix_fields(amount: Amount, target: PixTarget, message: str | None) -> dict[str, Any]:
    """The fields of a Pix request but for its key and its approver."""
    message_field = {} if message is None else {"pix_message": message}
    return {"transaction_amount": amount_json(amount), **message_field, **pix_target_fields(target)}


def ted_fields(amount: Amount, target: TargetAccount) -> dict[str, Any]:
    """The fields of a TED request but for its key and its approver."""
    return {"transaction_amount": amount_json(amount), "target_account": target.wire()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixItem:
    """One Pix of a batch; keep it, or its `request_control_key`, until the batch is answered."""

    amount: Amount
    target: PixTarget
    message: str | None = None
    request_control_key: Key = field(default_factory=uuid4)

    def wire(self) -> dict[str, Any]:
        """The object in `pix_transfers`."""
        key = key_text("request_control_key", self.request_control_key)
        return {"request_control_key": key, **pix_fields(self.amount, self.target, self.message)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TedItem:
    """One TED of a batch; keep it, or its `request_control_key`, until the batch is answered."""

    amount: Amount
    target: TargetAccount
    request_control_key: Key = field(default_factory=uuid4)

    def wire(self) -> dict[str, Any]:
        """The object in `teds`."""
        key = key_text("request_control_key", self.request_control_key)
        return {"request_control_key": key, **ted_fields(self.amount, self.target)}
