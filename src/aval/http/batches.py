"""Batches of Pix and TED: POST, validate, resend, cancel, GET one, items and lists (transfers.md §3.3, §3.5)."""

from typing import Any

from aval.domain.transfer import Kind
from aval.http.batch_answers import (
    PixBatchAnswer,
    PixBatchDetail,
    PixBatchItem,
    PixBatchResent,
    PixBatchState,
    TedBatchAnswer,
    TedBatchDetail,
    TedBatchResent,
    TedBatchState,
)
from aval.http.batch_calls import BatchCalls
from aval.http.edge import Call, Route
from aval.http.parts import Parts
from aval.http.pix import pix_fields
from aval.http.pix_body import CheckedPix, PixItemBody, PixTransferBatchBody, check_pix
from aval.http.ted_body import CheckedTed, TedBatchBody, TedItemBody, check_ted
from aval.http.transfer_answers import TedDetail
from aval.http.transfer_body import Errors
from aval.http.transfer_routes import Bodies, batch_routes


def routes(app: Parts) -> list[Route]:
    """List the routes of batches."""
    pix = Bodies(PixTransferBatchBody, PixBatchAnswer, PixBatchState, PixBatchResent, PixBatchState, PixBatchDetail)
    ted = Bodies(TedBatchBody, TedBatchAnswer, TedBatchState, TedBatchResent, TedBatchState, TedBatchDetail)
    return [
        *batch_routes(PixBatches(app), pix, PixBatchItem, ()),
        *batch_routes(TedBatches(app), ted, TedDetail, ("outside_ted_hours",)),
    ]


class PixBatches(BatchCalls):
    """Handlers of Pix batches."""

    kind = Kind.PIX_TRANSFER_BATCH
    items_name = "pix_transfers"
    body_type = PixTransferBatchBody

    def checked(self, errors: Errors, item: PixItemBody) -> CheckedPix:
        """Check one item as a single Pix."""
        return check_pix(errors, item)

    def own_fields(self, call: Call, item: PixItemBody) -> dict[str, Any]:
        """What only a Pix has."""
        return pix_fields(call, item)


class TedBatches(BatchCalls):
    """Handlers of TED batches."""

    kind = Kind.TED_BATCH
    items_name = "teds"
    body_type = TedBatchBody

    def checked(self, errors: Errors, item: TedItemBody) -> CheckedTed:
        """Check one item as a single TED."""
        return check_ted(errors, item)
