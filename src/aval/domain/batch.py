"""A batch: up to a thousand items that one token approves, and what is known of them.

Source: transfers.md §1.1, §2.4, §2.5, §3.1, §3.3, §3.5, §5.2.
"""

import hashlib
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal, entry
from aval.domain.money import Brl
from aval.domain.principal import Principal
from aval.domain.request import TransferRequest
from aval.domain.transfer import Kind, Method, Payee, Status, Transfer, canonical, details_digest_of, payee_details_of

ITEMS_MAX = 1_000  # spec transfers.md §2.1
ITEM_ERRORS_MAX = 20  # spec transfers.md §2.4

_SINGLE_KINDS = {Kind.PIX_TRANSFER_BATCH: Kind.PIX_TRANSFER, Kind.TED_BATCH: Kind.TED}


def single_kind(kind: Kind) -> Kind:
    """The kind of a batch's items; a single is its own."""
    return _SINGLE_KINDS.get(kind, kind)


class BatchItem(msgspec.Struct, frozen=True):
    """One item of a create call, decoded. `refusal` is what the edge or the look-up of its payee found wrong."""

    key: UUID
    request_control_key: UUID
    amount: Brl
    nonce: bytes
    fingerprint: bytes
    end_to_end_id: str | None = None
    payee: Payee | None = None
    pix_transfer_type: str | None = None
    pix_message: str | None = None
    receiver_conciliation_id: str | None = None
    refusal: Refusal | None = None

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


class BatchRequest(msgspec.Struct, frozen=True):
    """One create call of a batch, decoded; items in the order of the request, at least one.

    `refusal` is what the edge found wrong with `tfa_info`, whose turn comes after the account's.
    """

    principal: Principal
    kind: Kind
    account_key: UUID
    key: UUID
    nonce: bytes
    request_control_key: UUID
    fingerprint: bytes
    correlation_id: str
    items: tuple[BatchItem, ...]
    approver_index: bytes = b""
    method: Method = Method.SMS
    refusal: Refusal | None = None
    session_id: UUID | None = None

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def total(self) -> Brl:
        """What its items move, without fees."""
        return Brl.total(item.amount for item in self.items)

    @property
    def largest(self) -> BatchItem:
        """The item of the largest amount, the first of equals."""
        return max(self.items, key=lambda item: item.amount.centavos)


class ItemCounts(msgspec.Struct, frozen=True):
    """How far the items of a batch came."""

    pending: int = 0
    sent: int = 0
    rejected: int = 0


def counts_told(batch: Transfer, challenge: Challenge, settled: ItemCounts | None) -> ItemCounts:
    """What a batch tells of its items: they share its state until it is approved, then they are counted (`settled`)."""
    match challenge.status:
        case Status.PENDING_2FA_APPROVAL:
            return ItemCounts(pending=batch.item_count)
        case Status.REJECTED:
            return ItemCounts(rejected=batch.item_count)
        case Status.CANCELLED:
            return ItemCounts()
        case _:
            assert challenge.status is Status.APPROVED and settled is not None
            return settled


def asked_of(batch: BatchRequest) -> TransferRequest:
    """The batch as one request for its total, as which it is judged."""
    largest = batch.largest
    return TransferRequest(
        principal=batch.principal,
        kind=batch.kind,
        account_key=batch.account_key,
        key=batch.key,
        nonce=batch.nonce,
        request_control_key=batch.request_control_key,
        fingerprint=batch.fingerprint,
        correlation_id=batch.correlation_id,
        amount=batch.total,
        payee=largest.payee,
        approver_index=batch.approver_index,
        method=batch.method,
        refusal=batch.refusal,
        largest=largest.amount,
        session_id=batch.session_id,
    )


def items_refusal(
    batch: BatchRequest, *, used_keys: Container[UUID], used_end_to_end_ids: Container[str]
) -> Refusal | None:
    """917 with the first faulty items, or None; what other operations use is given, repetitions are found here."""
    faults = list(islice(_faults(batch, used_keys, used_end_to_end_ids), ITEM_ERRORS_MAX))
    return Refusal(f"{batch.kind.family}.invalid_batch_item", extra_fields={"items": faults}) if faults else None


def _faults(
    batch: BatchRequest, used_keys: Container[UUID], used_end_to_end_ids: Container[str]
) -> Iterator[dict[str, Any]]:
    """One fault for each item, the first in the order of a single's checks."""
    family = single_kind(batch.kind).family
    keys: set[UUID] = set()
    end_to_end_ids: set[str] = set()
    for index, item in enumerate(batch.items):
        key, end_to_end_id = item.request_control_key, item.end_to_end_id
        name = None
        if key in keys or key in used_keys:
            name = f"{family}.idempotency_conflict"
        elif item.refusal is not None:
            name = item.refusal.name
        elif end_to_end_id is not None and (end_to_end_id in end_to_end_ids or end_to_end_id in used_end_to_end_ids):
            name = f"{family}.duplicate_end_to_end_id"
        if name is not None:
            yield {"index": index, "request_control_key": str(key), "code": entry(name).code}
        keys.add(key)
        if end_to_end_id is not None:
            end_to_end_ids.add(end_to_end_id)


def item_of(batch: BatchRequest, place: int, *, approver_key: UUID, fee: Brl, created_at: datetime) -> Transfer:
    """The item at a place of the request (from 0) as the transfer that is stored; it has details of its own."""
    item = batch.items[place]
    assert item.payee is not None
    made = Transfer(
        integrator_key=batch.principal.integrator.key,
        key=item.key,
        kind=single_kind(batch.kind),
        account_key=batch.account_key,
        approver_key=approver_key,
        credential_key=batch.principal.credential_key,
        request_control_key=item.request_control_key,
        request_fingerprint=item.fingerprint,
        end_to_end_id=item.end_to_end_id,
        amount=item.amount,
        fee=fee,
        payee=item.payee,
        pix_transfer_type=item.pix_transfer_type,
        pix_message=item.pix_message,
        receiver_conciliation_id=item.receiver_conciliation_id,
        nonce=item.nonce,
        correlation_id=batch.correlation_id,
        created_at=created_at,
        batch_key=batch.key,
        item_no=place + 1,
    )
    return replace(made, details_digest=details_digest_of(made))


def batch_of(batch: BatchRequest, *, approver_key: UUID, fee: Brl, items_digest: str, created_at: datetime) -> Transfer:
    """The batch as it is stored: total, all fees, the payee of its largest item, and the digest of all it shows."""
    largest = batch.largest
    assert largest.payee is not None
    made = Transfer(
        integrator_key=batch.principal.integrator.key,
        key=batch.key,
        kind=batch.kind,
        account_key=batch.account_key,
        approver_key=approver_key,
        credential_key=batch.principal.credential_key,
        request_control_key=batch.request_control_key,
        request_fingerprint=batch.fingerprint,
        end_to_end_id=None,
        amount=batch.total,
        fee=Brl(fee.centavos * len(batch.items)),
        payee=Payee(name=largest.payee.name),
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=batch.nonce,
        correlation_id=batch.correlation_id,
        created_at=created_at,
        item_count=len(batch.items),
        items_digest=items_digest,
        largest=largest.amount,
    )
    return replace(made, details_digest=details_digest_of(made))


def item_details(request_control_key: UUID, payee: Payee, amount: Brl) -> dict[str, str | None]:
    """What is shown of one item (§5.2)."""
    return {
        "request_control_key": str(request_control_key),
        **payee_details_of(payee),
        "amount": amount.details(),
    }


def item_details_of(item: Transfer) -> dict[str, str | None]:
    """What is shown of an item that is at hand."""
    return item_details(item.request_control_key, item.payee, item.amount)


def items_digest_of(items: Sequence[dict[str, str | None]]) -> str:
    """Hex SHA-256 of what is shown of all items, in the order of the request."""
    return hashlib.sha256(canonical(items)).hexdigest()
