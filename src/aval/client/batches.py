"""The calls of Pix batches and TED batches (transfers.md §3.3, §3.5, §4).

A batch repeats under its `request_control_key`, and each item under its own. An item is given its key when it is made,
so that the same items asked for again, after a crash or by hand, are the same transfers.
"""

from collections.abc import Sequence
from datetime import date

from aval.client.answers import Page, Pix, TedDetail
from aval.client.batch_answers import PixBatch, PixBatchDetail, TedBatch, TedBatchDetail
from aval.client.call import Call, Key
from aval.client.paging import page_reader, query_of
from aval.client.requests import Approver, PixItem, TedItem
from aval.client.transfers import TransferCalls, optional_key

PIX_BATCH = TransferCalls.of("pix_transfer_batch", "pix_transfer_batches", PixBatch, PixBatchDetail, last_of_read=())
TED_BATCH = TransferCalls.of("ted_batch", "ted_batches", TedBatch, TedBatchDetail, last_of_read=())
_read_pix_items = page_reader(Pix)
_read_ted_items = page_reader(TedDetail)


def create_pix_batch(
    account_key: Key,
    *,
    items: Sequence[PixItem],
    approver: Approver,
    request_control_key: Key | None = None,
    correlation_id: str | None = None,
) -> Call[PixBatch]:
    """Ask for 1 to 1,000 Pix under one approval; a refusal names the items in `refused_items`, and nothing exists."""
    return PIX_BATCH.create(
        account_key,
        request_control_key,
        correlation_id,
        pix_transfers=[item.wire() for item in items],
        tfa_info=approver.wire(),
    )


def create_ted_batch(
    account_key: Key,
    *,
    items: Sequence[TedItem],
    approver: Approver,
    request_control_key: Key | None = None,
    correlation_id: str | None = None,
) -> Call[TedBatch]:
    """Ask for 1 to 1,000 TEDs under one approval; a refusal names the items in `refused_items`, and nothing exists."""
    return TED_BATCH.create(
        account_key,
        request_control_key,
        correlation_id,
        teds=[item.wire() for item in items],
        tfa_info=approver.wire(),
    )


def list_pix_batch_items(
    account_key: Key,
    key: Key,
    *,
    request_control_key: Key | None = None,
    status: str | None = None,
    page: int | None = None,
    page_size: int | None = None,
) -> Call[Page[Pix]]:
    """List the Pix of a batch in the order of the request, at most 30 a page; `get_pix` tells the rest of one."""
    query = query_of(
        request_control_key=optional_key("request_control_key", request_control_key),
        pix_transfer_status=status,
        page=page,
        page_size=page_size,
    )
    return Call("GET", PIX_BATCH.path(account_key, key, "pix_transfers"), _read_pix_items, query=query)


def list_ted_batch_items(
    account_key: Key,
    key: Key,
    *,
    request_control_key: Key | None = None,
    status: str | None = None,
    date_from: date | None = None,
    date_to: date | None = None,
    page: int | None = None,
    page_size: int | None = None,
) -> Call[Page[TedDetail]]:
    """List the TEDs of a batch in the order of the request, at most 30 a page."""
    query = query_of(
        request_control_key=optional_key("request_control_key", request_control_key),
        ted_status=status,
        date_from=date_from,
        date_to=date_to,
        page=page,
        page_size=page_size,
    )
    return Call("GET", TED_BATCH.path(account_key, key, "teds"), _read_ted_items, query=query)
