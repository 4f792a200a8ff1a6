"""What transfer calls answer, as types for the OpenAPI document; the answers themselves come from `domain/view.py`."""

from typing import Any, Literal

import msgspec

from aval.domain.money import Brl

TransferStatus = Literal["pending_2fa_approval", "pending", "sent", "rejected", "cancelled"]


class Approval(msgspec.Struct, kw_only=True):
    """The second factor of an operation that waits for it."""

    method: Literal["sms", "email", "device"]
    masked_destination: str | None
    generation: int
    attempts_remaining: int | None
    expires_at: str
    can_resend_at: str | None
    approval_deadline: str


class PixTransferAnswer(msgspec.Struct, kw_only=True):
    """A Pix as create, validate, resend and cancel answer it."""

    request_control_key: str
    transaction_key: str | msgspec.UnsetType = msgspec.UNSET
    pix_transfer_key: str
    end_to_end_id: str
    pix_transfer_status: TransferStatus
    created_at: str
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class PixTarget(msgspec.Struct, kw_only=True):
    """The payee of a Pix; null where it is not known."""

    account_branch: str | None
    account_number: str | None
    account_digit: str | None
    account_type: str | None
    ispb: str | None
    financial_institution_name: str | None
    owner_name: str | None
    owner_document_number: str | None
    owner_person_type: Literal["natural", "legal"] | None
    pix_key: str | None


class PixTransferDetail(msgspec.Struct, kw_only=True):
    """A Pix as GET one and lists answer it."""

    request_control_key: str
    pix_transfer_key: str
    pix_transfer_batch_key: str | None
    account_key: str
    transaction_key: str | msgspec.UnsetType = msgspec.UNSET
    pix_transfer_type: Literal["key", "manual", "static_qr_code", "dynamic_qr_code"]
    pix_message: str | None
    transfer_amount: Brl
    fee_amount: Brl
    end_to_end_id: str
    receiver_conciliation_id: str | None
    pix_transfer_status: TransferStatus
    rejection_reason: str | None
    reversals: list[Any]
    created_at: str
    updated_at: str
    target_account: PixTarget
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class TedAnswer(msgspec.Struct, kw_only=True):
    """A TED as create, validate, resend and cancel answer it."""

    request_control_key: str
    transaction_key: str | msgspec.UnsetType = msgspec.UNSET
    ted_key: str
    transaction_amount: Brl
    fee_amount: Brl
    ted_status: TransferStatus
    created_at: str
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class TedTarget(msgspec.Struct, kw_only=True):
    """The payee of a TED."""

    account_branch: str
    account_number: str
    account_digit: str
    ispb: str
    owner_document_number: str
    owner_name: str


class RefusalReason(msgspec.Struct, kw_only=True):
    """Why a TED was rejected; empty if it was not."""

    refusal_code: int | msgspec.UnsetType = msgspec.UNSET
    enumerator: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET


class TedDetail(msgspec.Struct, kw_only=True):
    """A TED as GET one and lists answer it."""

    request_control_key: str
    ted_key: str
    ted_batch_key: str | None
    account_key: str
    transaction_key: str | msgspec.UnsetType = msgspec.UNSET
    ted_status: TransferStatus
    transaction_amount: Brl
    fee_amount: Brl
    created_at: str
    updated_at: str
    target_account: TedTarget
    refusal_reason: RefusalReason
    approval: Approval | msgspec.UnsetType = msgspec.UNSET
