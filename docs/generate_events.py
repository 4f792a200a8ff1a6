"""Writes docs/reference/events.md: the webhooks, their envelope, and bodies made by the code that makes them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from aval.domain.batch import ItemCounts
from aval.domain.challenge import Challenge
from aval.domain.money import Brl
from aval.domain.redemption_event import EVENT_TYPES as REDEEMED
from aval.domain.transfer import Kind, Method, Payee, Reason, Status, Transfer
from aval.domain.view import WEBHOOK_TYPES, event_body, event_data
from aval.http.webhooks import EVENT_TYPES

PAGE = Path(__file__).parent / "reference" / "events.md"
SOURCE = Path(__file__).parents[1] / "src" / "aval"
INTRODUCTION = """\
# Webhook events

Generated from the code by `make docs`; do not edit.

Every final status becomes an event, written in the transaction of the change, and is delivered at least once to every
target that asked for its type. How to register a target and check signatures: [webhooks.md](../guides/webhooks.md).

| Header | Meaning |
|---|---|
| `webhook-id` | the `event_id`: the same on every retry and for every target; keep it to recognise a repetition |
| `webhook-timestamp` | Unix seconds of this try |
| `webhook-signature` | `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`; two of them, parted by a space, \
for 24 hours after a rotation |
| `X-Correlation-Id` | the one of the request that created the operation |

| Field of the body | Meaning |
|---|---|
| `webhook_type` | one of the types below |
| `webhook_datetime` | when the change was made, UTC |
| `event_id`, `correlation_id` | as in the headers |
| `sequence` | 1, 2, … of this operation: order by it, not by arrival |
| `data` | what changed; never a token |

A 2xx within 10 seconds is success; a redirect is not. Tries: at once, then after 1, 5 and 15 minutes, 1, 3, 6 and 12
hours; then the callback is `failed` and can be sent again with `POST /notification/callback/{callback_key}/resend`.

## Types

| Type | When | Sent by this release |
|---|---|---|
"""
WHEN = {
    "baas.pix_transfer.outgoing_pix": "a Pix became sent, rejected or cancelled, also when the answer already told it",
    "baas.ted.outgoing_ted": "a TED became sent, rejected or cancelled, or came back from the receiving bank",
    "aval.pix_transfer_batch.finished": "a batch was rejected or cancelled, or its last item is final",
    "aval.ted_batch.finished": "a batch was rejected or cancelled, or its last item is final",
    "aval.device.status_change": "a device became active, disabled or rejected",
    "aval.operation.denied": "an approver denied an operation on the device",
    "aval.token_delivery.failed": "the provider refused the message of the live token for good",
}
MORE_DATA = """\
## Data of the others

| Type | `data` |
|---|---|
| `aval.operation.denied` | `operation`, `operation_key`, `account_key`, `device_key`, `reason` (`not_me`, \
`wrong_details`, `other`), `denied_at` |
| `aval.token_delivery.failed` | `operation`, `operation_key`, `method`, `generation`, \
`masked_destination`, `failed_at` |
"""
REDEMPTIONS = """\
## Of redemptions

Every application of a campaign that has a webhook address is told of all of these, in the same envelope, signed with a
secret of its own. `sequence` counts in what the event tells of: in the purchase, the device, the document, the
participant, or the policy. No event holds an approval, a token, a number in full or what is known of the customer.

| Type | When | `data` |
|---|---|---|
"""
DEVICE_DATA, DOCUMENT_DATA = "the device, masked", "`id`, `type`, `status`, `attempt`, `reason_code`, `public_message`"
PURCHASE_DATA = "the purchase, `origin_correlation_id`"
OF_REDEMPTIONS = {
    "two_factor.policy_changed": ("the operator replaced the policy", "`campaign_id`, `version`, `enabled`"),
    "device.activated": ("a phone was proven and may receive tokens", DEVICE_DATA),
    "device.replaced": ("another phone took its place", DEVICE_DATA),
    "device.blocked": ("the operator blocked it", DEVICE_DATA),
    "device.unblocked": ("the operator let it be used again", DEVICE_DATA),
    "device.removed": ("the participant removed it, or the operator reset it", DEVICE_DATA),
    "device.failed": ("its registration came to nothing", DEVICE_DATA),
    "document.submitted": ("it waits for a reviewer", DOCUMENT_DATA),
    "document.approved": ("a reviewer approved it", DOCUMENT_DATA),
    "document.rejected": ("a reviewer rejected it, or its resubmissions are used up", DOCUMENT_DATA),
    "document.resubmission_requested": ("new files are needed", DOCUMENT_DATA),
    "document.expired": ("the day it is good until is over", DOCUMENT_DATA),
    "document.purged": ("its files were destroyed when their time was over", DOCUMENT_DATA),
    "onboarding.completed": ("a participant has brought all the policy asks for", "`participant_id`"),
    "purchase.pending_2fa_approval": ("points are reserved, a token is on its way", PURCHASE_DATA),
    "purchase.authorized": ("an external purchase may be confirmed", PURCHASE_DATA),
    "purchase.confirmed": ("its points are debited", PURCHASE_DATA),
    "purchase.rejected": ("wrong tokens, the end of its window, a change of the phone or a suspension", PURCHASE_DATA),
    "purchase.canceled": ("it was canceled, its points are back", PURCHASE_DATA),
    "purchase.expired": ("its authorization is over, its points are back", PURCHASE_DATA),
    "purchase.partially_reversed": ("the first of its points came back", PURCHASE_DATA),
    "purchase.reversed": ("the last of its points came back", PURCHASE_DATA),
    "purchase.token_delivery_failed": ("the provider refused the message of the live token for good", PURCHASE_DATA),
    "order.reversed": (
        "points of an order came back",
        "the reversal, `order_status`, `purchase_id`, `origin_correlation_id`",
    ),
    "points.credited": ("the operator gave points", "the ledger line"),
}
AT = datetime(2026, 11, 23, 14, 30, 23, 459_000, UTC)
TARGET = {
    "account_branch": "0001",
    "account_number": "7654321",
    "account_digit": "0",
    "owner_document_number": "11222333000181",
    "owner_name": "Padaria Boa Vista Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}


def example(kind: Kind, status: Status, reason: Reason | None = None, settled: ItemCounts | None = None) -> str:
    """The body of one event, as the code makes it."""
    data = event_data(_transfer(kind), _challenge(status, reason), settled)
    body = event_body(
        WEBHOOK_TYPES[kind],
        data,
        at=AT + timedelta(seconds=41),
        event_id=UUID("6d20b8f3-a417-4c5e-9f08-b2e7c1d4963a"),
        sequence=4 if kind.is_batch else 1,
        correlation_id="order-1207",
    )
    return msgspec.json.format(body, indent=2)


def _transfer(kind: Kind) -> Transfer:
    nobody = UUID("5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10")
    return Transfer(
        integrator_key=nobody,
        key=UUID("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"),
        kind=kind,
        account_key=nobody,
        approver_key=nobody,
        credential_key=nobody,
        request_control_key=UUID("0d9f1a52-7c3e-4b8a-9e21-6a4f3c2d1b08"),
        request_fingerprint=b"",
        end_to_end_id=None,
        amount=Brl(202_01),
        fee=Brl(10_00),
        payee=Payee("Padaria Boa Vista Ltda", target_account=TARGET),
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=b"",
        correlation_id="order-1207",
        created_at=AT,
        item_count=3 if kind.is_batch else 1,
    )


def _challenge(status: Status, reason: Reason | None) -> Challenge:
    return Challenge(
        status=status,
        method=Method.SMS,
        contact_key=None,
        masked_destination=None,
        generation=1,
        attempts_used=0,
        kid="",
        alphabets="d",
        issued_at=AT,
        expires_at=AT,
        can_resend_at=AT,
        resends_left=5,
        resend_cooldown=timedelta(seconds=30),
        approval_deadline=AT,
        rejection_reason=reason,
        updated_at=AT,
    )


def is_sent(event_type: str) -> bool:
    """Whether any code but the list of types itself names the type."""
    sources = (path for path in SOURCE.rglob("*.py") if path.name != "webhooks.py")
    return any(f'"{event_type}"' in path.read_text(encoding="utf-8") for path in sources)


def render() -> str:
    """The page."""
    return INTRODUCTION + "".join(_rows()) + "\n" + "\n".join(_examples()) + "\n" + REDEMPTIONS + "".join(_redeemed())


def _rows() -> Iterator[str]:
    for event_type in EVENT_TYPES:
        yield f"| `{event_type}` | {WHEN[event_type]} | {'yes' if is_sent(event_type) else 'not yet'} |\n"


def _redeemed() -> Iterator[str]:
    for event_type in REDEEMED:
        when, data = OF_REDEMPTIONS[event_type]
        yield f"| `{event_type}` | {when} | {data} |\n"


def _examples() -> Iterator[str]:
    yield f"## A TED was sent\n\n```json\n{example(Kind.TED, Status.SENT)}\n```\n"
    rejected = example(Kind.PIX_TRANSFER, Status.REJECTED, Reason.TARGET_ACCOUNT_NOT_FOUND)
    yield (
        "## A Pix was rejected\n\nThe `error_…` fields are those of the [error catalogue](../errors.md).\n\n"
        f"```json\n{rejected}\n```\n"
    )
    finished = example(Kind.TED_BATCH, Status.APPROVED, settled=ItemCounts(sent=2, rejected=1))
    yield (
        "## The last item of a batch is final\n\n`sequence` counts the items of a batch and itself in one row. "
        f"The data are those of GET.\n\n```json\n{finished}\n```\n"
    )
    yield f"## A device became active\n\n```json\n{example(Kind.DEVICE, Status.APPROVED)}\n```\n"
    yield MORE_DATA


def pages() -> dict[Path, str]:
    """What this generator writes."""
    return {PAGE: render()}
