"""What calls on batches answer, as types for the OpenAPI document; the answers come from `domain/view.py`."""

from typing import Literal

import msgspec

from aval.domain.money import Brl
from aval.http.transfer_answers import Approval, TransferStatus

BatchStatus = Literal["pending_2fa_approval", "approved", "rejected", "cancelled"]


class PixBatchState(msgspec.Struct, kw_only=True):
    """A Pix batch as validate and cancel answer it."""

    request_control_key: str
    pix_transfer_batch_key: str
    pix_transfer_batch_status: BatchStatus


class PixBatchResent(PixBatchState, kw_only=True):
    """A Pix batch as resend answers it; both statuses are the same."""

    pix_transfer_status: BatchStatus
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class PixBatchAnswer(PixBatchState, kw_only=True):
    """A Pix batch as create answers it."""

    created_at: str
    item_count: int
    total_amount: Brl
    fee_amount: Brl
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class PixBatchDetail(PixBatchAnswer, kw_only=True):
    """A Pix batch as GET one and lists answer it."""

    updated_at: str
    items_pending: int
    items_sent: int
    items_rejected: int
    rejection_reason: str | None


class PixBatchItem(msgspec.Struct, kw_only=True):
    """A Pix of a batch; GET one tells the rest."""

    request_control_key: str
    pix_transfer_key: str
    end_to_end_id: str
    pix_transfer_status: TransferStatus
    created_at: str


class TedBatchState(msgspec.Struct, kw_only=True):
    """A TED batch as validate and cancel answer it."""

    request_control_key: str
    ted_batch_key: str
    ted_batch_status: BatchStatus


class TedBatchResent(TedBatchState, kw_only=True):
    """A TED batch as resend answers it; both statuses are the same."""

    ted_status: BatchStatus
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class TedBatchAnswer(TedBatchState, kw_only=True):
    """A TED batch as create answers it."""

    created_at: str
    item_count: int
    total_amount: Brl
    fee_amount: Brl
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class TedBatchDetail(TedBatchAnswer, kw_only=True):
    """A TED batch as GET one and lists answer it."""

    updated_at: str
    items_pending: int
    items_sent: int
    items_rejected: int
    rejection_reason: str | None
