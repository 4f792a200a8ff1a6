"""What Aval answers about batches, of Pix and of TED alike; items are answered as the single transfers they become."""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from aval.client.answers import Answer, Approval

_PIX: Final = {"key": "pix_transfer_batch_key", "status": "pix_transfer_batch_status"}
_TED: Final = {"key": "ted_batch_key", "status": "ted_batch_status"}


class Batch(Answer, frozen=True, kw_only=True, rename={"fee": "fee_amount"}):
    """A batch as create, validate, resend, cancel and a refusal's snapshot tell it; only create tells its sums."""

    request_control_key: UUID
    key: UUID
    status: str
    created_at: datetime | None = None
    item_count: int | None = None
    total_amount: Decimal | None = None
    fee: Decimal | None = None
    approval: Approval | None = None


class BatchDetail(Batch, frozen=True, kw_only=True, rename={"fee": "fee_amount"}):
    """A batch as it is read, listed and told by its webhook."""

    created_at: datetime
    updated_at: datetime
    item_count: int
    total_amount: Decimal
    fee: Decimal
    items_pending: int
    items_sent: int
    items_rejected: int
    rejection_reason: str | None


class PixBatch(Batch, frozen=True, kw_only=True, rename=_PIX):
    """A Pix batch in brief."""

    key: UUID
    status: str


class PixBatchDetail(BatchDetail, frozen=True, kw_only=True, rename=_PIX):
    """A Pix batch."""

    key: UUID
    status: str


class TedBatch(Batch, frozen=True, kw_only=True, rename=_TED):
    """A TED batch in brief."""

    key: UUID
    status: str


class TedBatchDetail(BatchDetail, frozen=True, kw_only=True, rename=_TED):
    """A TED batch."""

    key: UUID
    status: str
