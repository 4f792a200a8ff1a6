"""Rows of `operations` and `challenges` as the domain's values, and back into columns."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.money import Brl
from aval.domain.transfer import NOBODY, REDEMPTION_KINDS, Kind, Method, Payee, Status, Transfer
from aval.storage.database import Row

OPERATION_COLUMNS = (
    "o.integrator_id, o.operation_id, o.kind, o.account_id, o.approver_id, o.credential_id, o.request_control_key,"
    " o.request_fingerprint, o.end_to_end_id, o.amount_centavos, o.fee_centavos, o.facts, o.details_digest, o.nonce,"
    " o.correlation_id, o.created_at, o.batch_id, o.item_no"
)
CHALLENGE_COLUMNS = (
    "c.status, c.method, c.contact_id, c.masked_destination, c.generation, c.attempts_used, c.kid, c.alphabets,"
    " c.issued_at, c.expires_at, c.can_resend_at, c.resends_left, c.resend_cooldown_seconds, c.approval_deadline,"
    " c.rejection_reason, c.refusal, c.transaction_key, c.event_sequence, c.updated_at"
)


# The challenge an operation `o` stands by: an item has one of its own once its batch is approved, and until then shows
# the state of its batch (docs/adr/0022). Looked up by key for each row, however young the tables are (docs/adr/0017).
STANDING = """
 cross join lateral (
       select h.* from challenges h
        where h.integrator_id = o.integrator_id and h.operation_id = any (array[o.operation_id, o.batch_id])
        order by h.operation_id = o.operation_id desc limit 1) c
"""


def transfer_of(row: Row) -> Transfer:
    """The transfer in a row with OPERATION_COLUMNS."""
    facts = row["facts"]
    largest = facts.get("largest_item_centavos")
    return Transfer(
        integrator_key=row["integrator_id"],
        key=row["operation_id"],
        kind=Kind(row["kind"]),
        account_key=row["account_id"],
        approver_key=row["approver_id"],
        credential_key=row["credential_id"],
        request_control_key=row["request_control_key"] or row["operation_id"],  # none of a purchase
        request_fingerprint=row["request_fingerprint"],
        end_to_end_id=row["end_to_end_id"],
        amount=Brl(row["amount_centavos"] or 0),
        fee=Brl(row["fee_centavos"]),
        payee=payee_of(facts),
        pix_transfer_type=facts.get("pix_transfer_type"),
        pix_message=facts.get("pix_message"),
        receiver_conciliation_id=facts.get("receiver_conciliation_id"),
        nonce=row["nonce"],
        correlation_id=row["correlation_id"],
        created_at=row["created_at"],
        details_digest=row["details_digest"],
        batch_key=row["batch_id"],
        item_no=row["item_no"],
        item_count=facts.get("item_count", 1),
        items_digest=facts.get("items_digest"),
        largest=None if largest is None else Brl(largest),
        device_name=facts.get("device_name"),
        details=facts if row["kind"] in REDEMPTION_KINDS else None,
    )


def payee_of(facts: Mapping[str, Any]) -> Payee:
    """The payee in the column `operations.facts`."""
    if "payee_name" not in facts:
        return NOBODY
    return Payee(
        name=facts["payee_name"],
        document=facts.get("payee_document"),
        target_account=facts.get("target_account"),
        target_pix_key=facts.get("target_pix_key"),
        institution_name=facts.get("financial_institution_name"),
    )


def facts_of(transfer: Transfer) -> dict[str, Any]:
    """The column `operations.facts` of a transfer."""
    if transfer.details is not None:
        return dict(transfer.details)
    if transfer.kind is Kind.DEVICE:
        return {"device_name": transfer.device_name}
    payee = transfer.payee
    facts: dict[str, Any] = {
        "payee_name": payee.name,
        "payee_document": payee.document,
        "target_account": payee.target_account,
        "target_pix_key": payee.target_pix_key,
        "financial_institution_name": payee.institution_name,
        "pix_transfer_type": transfer.pix_transfer_type,
        "pix_message": transfer.pix_message,
        "receiver_conciliation_id": transfer.receiver_conciliation_id,
    }
    if transfer.largest is not None:
        facts |= {
            "item_count": transfer.item_count,
            "items_digest": transfer.items_digest,
            "largest_item_centavos": transfer.largest.centavos,
        }
    return {name: value for name, value in facts.items() if value is not None}


def challenge_of(row: Row) -> Challenge:
    """The challenge in a row with CHALLENGE_COLUMNS."""
    return Challenge(
        status=Status(row["status"]),
        method=Method(row["method"]),
        contact_key=row["contact_id"],
        masked_destination=row["masked_destination"],
        generation=row["generation"],
        attempts_used=row["attempts_used"],
        kid=row["kid"],
        alphabets=row["alphabets"],
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        can_resend_at=row["can_resend_at"],
        resends_left=row["resends_left"],
        resend_cooldown=timedelta(seconds=row["resend_cooldown_seconds"]),
        approval_deadline=row["approval_deadline"],
        rejection_reason=row["rejection_reason"],
        refusal=row["refusal"],
        transaction_key=row["transaction_key"],
        event_sequence=row["event_sequence"],
        updated_at=row["updated_at"],
    )


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Turn rows into columns, the shape `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def recordset(rows: Iterable[msgspec.Struct]) -> bytes:
    """Turn rows into the JSON text that `json_to_recordset` takes; bytes become base64."""
    return msgspec.json.encode(list(rows))
