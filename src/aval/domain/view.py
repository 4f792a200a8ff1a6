"""How transfers are told on the wire: answers, snapshots, list rows and webhook bodies.

Source: transfers.md §2.6, §2.8, §3.2, §3.4, §7.1. Amounts are exact JSON numbers (`msgspec.Raw`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.batch import ItemCounts, counts_told, single_kind
from aval.domain.calendar import wire_datetime
from aval.domain.challenge import Challenge
from aval.domain.device import DeviceStatus, device_status
from aval.domain.documents import person_type
from aval.domain.errors import REJECTION_ERRORS, ErrorEntry, entry, filled
from aval.domain.masks import masked_document
from aval.domain.money import Brl
from aval.domain.transfer import Kind, Method, Status, Transfer

WEBHOOK_TYPES = {
    Kind.PIX_TRANSFER: "baas.pix_transfer.outgoing_pix",
    Kind.TED: "baas.ted.outgoing_ted",
    Kind.PIX_TRANSFER_BATCH: "aval.pix_transfer_batch.finished",
    Kind.TED_BATCH: "aval.ted_batch.finished",
    Kind.DEVICE: "aval.device.status_change",
}
_TED_TARGET = ("account_branch", "account_number", "account_digit", "ispb", "owner_document_number", "owner_name")
_TED_EVENT = (
    "request_control_key",
    "ted_key",
    "account_key",
    "created_at",
    "ted_status",
    "transaction_amount",
    "fee_amount",
    "target_account",
    "refusal_reason",
)
_RETURN = ("refusal_code", "enumerator", "description")
_PIX_TARGET = ("account_branch", "account_number", "account_digit", "account_type", "ispb")


def amount_json(amount: Brl) -> msgspec.Raw:
    """An amount as a JSON number, exact and without trailing zeros."""
    return msgspec.Raw(amount.wire().encode())


def approval_view(challenge: Challenge) -> dict[str, Any]:
    """The `approval` object of a pending operation (§2.6)."""
    is_device = challenge.method is Method.DEVICE
    can_resend = not is_device and challenge.resends_left > 0
    return {
        "method": challenge.method.value,
        "masked_destination": challenge.masked_destination,
        "generation": challenge.generation,
        "attempts_remaining": None if is_device else challenge.attempts_remaining,
        "expires_at": wire_datetime(challenge.approval_deadline if is_device else challenge.expires_at),
        "can_resend_at": wire_datetime(challenge.can_resend_at) if can_resend else None,
        "approval_deadline": wire_datetime(challenge.approval_deadline),
    }


def transfer_view(
    transfer: Transfer, challenge: Challenge, *, has_transaction_key: bool = False, has_end_to_end_id: bool = True
) -> dict[str, Any]:
    """The short form of create, validate, resend, cancel and snapshots; `approval` while it waits for one."""
    if transfer.kind is Kind.DEVICE:
        return device_view(transfer, challenge)
    view: dict[str, Any] = {"request_control_key": transfer.request_control_key}
    if has_transaction_key and challenge.transaction_key is not None:
        view["transaction_key"] = challenge.transaction_key
    if transfer.kind is Kind.PIX_TRANSFER:
        view["pix_transfer_key"] = transfer.key
        if has_end_to_end_id:
            view["end_to_end_id"] = transfer.end_to_end_id
        view["pix_transfer_status"] = challenge.status.value
    else:
        view["ted_key"] = transfer.key
        view["transaction_amount"] = amount_json(transfer.amount)
        view["fee_amount"] = amount_json(transfer.fee)
        view["ted_status"] = challenge.status.value
    view["created_at"] = wire_datetime(_created(transfer))
    if challenge.is_pending:
        view["approval"] = approval_view(challenge)
    return view


def snapshot_view(transfer: Transfer, challenge: Challenge, *, is_resend: bool = False) -> dict[str, Any]:
    """`extra_fields` of a rejected body: what the operation is now, under the kind's name.

    On a resend a batch is told twice: as the published documentation has it, and under its own names.
    """
    if not transfer.kind.is_batch:
        return {f"{transfer.kind}_data": transfer_view(transfer, challenge, has_end_to_end_id=not is_resend)}
    told = {f"{transfer.kind}_data": batch_short(transfer, challenge)}
    single = single_kind(transfer.kind)
    return {f"{single}_data": _batch_state(transfer, challenge, single)} | told if is_resend else told


def device_view(registration: Transfer, challenge: Challenge, *, is_created: bool = False) -> dict[str, Any]:
    """A device as POST, validate (`is_created`), resend and snapshots tell it; `approval` while it waits for one."""
    status = device_status(challenge, is_disabled=False).value
    if is_created or challenge.is_pending:
        status = "created" if is_created else challenge.status.value
    return device_state(registration, status) | _approval(challenge)


def device_state(registration: Transfer, status: str) -> dict[str, Any]:
    """A device in brief."""
    return {
        "device_key": registration.key,
        "device_status": status,
        "created_at": wire_datetime(_created(registration)),
    }


def device_event(registration: Transfer, status: DeviceStatus) -> dict[str, Any]:
    """`data` of aval.device.status_change (§7.1)."""
    told = device_state(registration, status.value)
    return {"device_key": told.pop("device_key"), "account_key": registration.account_key, **told}


def batch_view(batch: Transfer, challenge: Challenge) -> dict[str, Any]:
    """The answer of create; `approval` while it waits for one."""
    return {
        **batch_short(batch, challenge),
        "created_at": wire_datetime(_created(batch)),
        "item_count": batch.item_count,
        "total_amount": amount_json(batch.amount),
        "fee_amount": amount_json(batch.fee),
        **_approval(challenge),
    }


def batch_resend_view(batch: Transfer, challenge: Challenge) -> dict[str, Any]:
    """The answer of resend_token: the status under the name of its items, too."""
    return _batch_state(batch, challenge, single_kind(batch.kind), batch.kind) | _approval(challenge)


def batch_short(batch: Transfer, challenge: Challenge) -> dict[str, Any]:
    """The answer of validate_token and cancel, and the snapshot of rejected bodies."""
    return _batch_state(batch, challenge, batch.kind)


def _batch_state(batch: Transfer, challenge: Challenge, *kinds: Kind) -> dict[str, Any]:
    """A batch in brief, its status under the names of these kinds."""
    view: dict[str, Any] = {"request_control_key": batch.request_control_key, f"{batch.kind}_key": batch.key}
    return view | {f"{kind}_status": challenge.status.value for kind in kinds}


def batch_detail(batch: Transfer, challenge: Challenge, settled: ItemCounts | None) -> dict[str, Any]:
    """GET one, list rows and webhook data; `settled` counts the items of an approved batch."""
    counts = counts_told(batch, challenge, settled)
    return {
        **batch_short(batch, challenge),
        "created_at": wire_datetime(_created(batch)),
        "updated_at": _updated(challenge),
        "item_count": batch.item_count,
        "total_amount": amount_json(batch.amount),
        "fee_amount": amount_json(batch.fee),
        "items_pending": counts.pending,
        "items_sent": counts.sent,
        "items_rejected": counts.rejected,
        "rejection_reason": challenge.rejection_reason,
        **_approval(challenge),
    }


def item_row(item: Transfer, challenge: Challenge) -> dict[str, Any]:
    """A row of the items of a Pix batch; those of a TED batch are told in full."""
    assert item.kind is Kind.PIX_TRANSFER
    view = transfer_view(item, challenge)
    view.pop("approval", None)
    return view


def _approval(challenge: Challenge) -> dict[str, Any]:
    return {"approval": approval_view(challenge)} if challenge.is_pending else {}


def detail_view(transfer: Transfer, challenge: Challenge) -> dict[str, Any]:
    """GET one and list rows; `approval` while it waits for one."""
    is_pix = transfer.kind is Kind.PIX_TRANSFER
    view = _pix_detail(transfer, challenge) if is_pix else _ted_detail(transfer, challenge)
    return view | _approval(challenge)


def _pix_detail(transfer: Transfer, challenge: Challenge) -> dict[str, Any]:
    payee, account = transfer.payee, transfer.payee.target_account or {}
    target: dict[str, Any] = {name: account.get(name) for name in _PIX_TARGET}
    target |= {
        "financial_institution_name": payee.institution_name,
        "owner_name": payee.name if payee.document else None,
        "owner_document_number": masked_document(payee.document) if payee.document else None,
        "owner_person_type": person_type(payee.document) if payee.document else None,
        "pix_key": payee.target_pix_key,
    }
    return {
        "request_control_key": transfer.request_control_key,
        "pix_transfer_key": transfer.key,
        "pix_transfer_batch_key": transfer.batch_key,
        "account_key": transfer.account_key,
        **_transaction(challenge),
        "pix_transfer_type": transfer.pix_transfer_type,
        "pix_message": transfer.pix_message,
        "transfer_amount": amount_json(transfer.amount),
        "fee_amount": amount_json(transfer.fee),
        "end_to_end_id": transfer.end_to_end_id,
        "receiver_conciliation_id": transfer.receiver_conciliation_id,
        "pix_transfer_status": challenge.status.value,
        "rejection_reason": challenge.rejection_reason,
        "reversals": [],
        "created_at": wire_datetime(_created(transfer)),
        "updated_at": _updated(challenge),
        "target_account": target,
    }


def _ted_detail(transfer: Transfer, challenge: Challenge) -> dict[str, Any]:
    account: Mapping[str, str] = transfer.payee.target_account or {}
    return {
        "request_control_key": transfer.request_control_key,
        "ted_key": transfer.key,
        "ted_batch_key": transfer.batch_key,
        "account_key": transfer.account_key,
        **_transaction(challenge),
        "ted_status": challenge.status.value,
        "transaction_amount": amount_json(transfer.amount),
        "fee_amount": amount_json(transfer.fee),
        "created_at": wire_datetime(_created(transfer)),
        "updated_at": _updated(challenge),
        "target_account": {name: account[name] for name in _TED_TARGET},
        "refusal_reason": refusal_view(transfer, challenge),
    }


def refusal_view(transfer: Transfer, challenge: Challenge) -> dict[str, Any]:
    """`refusal_reason` of a TED: empty, the catalogue's number and reason, or the rail's own of a return."""
    if challenge.rejection_reason is None:
        return {}
    if challenge.refusal is not None and "refusal_code" in challenge.refusal:
        return {name: challenge.refusal[name] for name in _RETURN}
    found = rejection_entry(transfer, challenge)
    return {
        "refusal_code": found.number,
        "enumerator": str(challenge.rejection_reason),
        "description": found.description,
    }


def rejection_entry(transfer: Transfer, challenge: Challenge) -> ErrorEntry:
    """The catalogue's error of a rejection, its texts filled in."""
    assert challenge.rejection_reason is not None
    found = entry(rejection_name(transfer, challenge.rejection_reason))
    return filled(found, challenge.refusal or {"reason": ""})


def rejection_name(transfer: Transfer, reason: str) -> str:
    """The catalogue name of a rejection; a reason of the rail's own is a refusal by the receiving institution."""
    return f"{transfer.kind.family}.{REJECTION_ERRORS.get(reason, 'rail_refused')}"


def event_data(transfer: Transfer, challenge: Challenge, settled: ItemCounts | None = None) -> dict[str, Any]:
    """`data` of the status webhook (§7.1); `settled` counts the items of an approved batch."""
    if transfer.kind.is_batch:
        return batch_detail(transfer, challenge, settled)
    if transfer.kind is Kind.DEVICE:
        return device_event(transfer, device_status(challenge, is_disabled=False))
    if transfer.kind is Kind.TED:
        whole = _ted_detail(transfer, challenge)
        return {name: whole[name] for name in _TED_EVENT}
    data: dict[str, Any] = {
        "request_control_key": transfer.request_control_key,
        "pix_transfer_key": transfer.key,
        "pix_transfer_status": challenge.status.value,
        "created_at": wire_datetime(_created(transfer)),
    }
    if challenge.status is Status.REJECTED:
        data |= _error_fields(transfer, challenge)
    return data


def _error_fields(transfer: Transfer, challenge: Challenge) -> dict[str, Any]:
    found = rejection_entry(transfer, challenge)
    return {
        "error_code": found.code,
        "error_description": found.description,
        "error_translation": found.translation,
        "error_short_description": None,
    }


def event_body(
    webhook_type: str, data: Mapping[str, Any], *, at: datetime, event_id: UUID, sequence: int, correlation_id: str
) -> str:
    """The webhook's body, the same bytes on every delivery."""
    envelope = {
        "webhook_type": webhook_type,
        "webhook_datetime": wire_datetime(at),
        "event_id": event_id,
        "sequence": sequence,
        "correlation_id": correlation_id,
        "data": data,
    }
    return msgspec.json.encode(envelope).decode()


def _transaction(challenge: Challenge) -> dict[str, Any]:
    return {} if challenge.transaction_key is None else {"transaction_key": challenge.transaction_key}


def _created(transfer: Transfer) -> datetime:
    assert transfer.created_at is not None
    return transfer.created_at


def _updated(challenge: Challenge) -> str:
    assert challenge.updated_at is not None
    return wire_datetime(challenge.updated_at)
