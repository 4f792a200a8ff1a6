"""What a transfer is asked with: who approves it, and where the money goes."""

from dataclasses import dataclass, field
from typing import Any, Literal

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
