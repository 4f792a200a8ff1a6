"""Confirm and cancel: what an application, or for a pending purchase its participant, decides without a token."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.purchase import CONFIRMED_STATES, Purchase, PurchaseStatus
from aval.domain.redemption_call import RedemptionCall
from aval.domain.transfer import Reason, Status, Transfer, moved_to
from aval.operations.change_purchases import PurchaseChange, change_purchases
from aval.operations.confirm_redemption import Kept, ended, keep_judged, kept_of
from aval.storage.challenges import lock_operations
from aval.storage.database import Connection, Database
from aval.storage.purchases import lock_purchases
from aval.storage.redemption_calls import read_known


class EndCall(msgspec.Struct, frozen=True):
    """A confirm or cancel; `may_end_authorized` is whether the caller may cancel what is authorized."""

    call: RedemptionCall
    render: Callable[[Purchase], Kept]
    may_end_authorized: bool = True


class Ended(msgspec.Struct, frozen=True):
    """The purchase as it is now, and whether that is what was asked for; if not, it answers RDM000912."""

    purchase: Purchase
    is_done: bool


class _Locked(msgspec.Struct, frozen=True):
    purchase: Purchase
    challenge: tuple[Transfer, Challenge] | None
    now: datetime


async def confirm_purchase(db: Database, *, call: EndCall) -> Ended | Kept:
    """Debit an authorized purchase; one that was confirmed before is answered as it is. Raises Refusal, LockNotWon."""
    async with db.transaction() as connection:
        locked = await _locked(connection, call.call)
        if isinstance(locked, Kept):
            return locked
        purchase = await _overdue(connection, call.call, locked)
        is_done = purchase.status in CONFIRMED_STATES and locked.purchase.kind == "external"
        if purchase.status is PurchaseStatus.AUTHORIZED:
            purchase, is_done = await _changed(connection, call.call, locked, PurchaseStatus.CONFIRMED), True
        return await _kept(connection, call, locked, Ended(purchase, is_done))


async def cancel_purchase(db: Database, *, call: EndCall) -> Ended | Kept:
    """Give back what is reserved; one that was canceled before is answered as it is. Raises Refusal, LockNotWon."""
    async with db.transaction() as connection:
        locked = await _locked(connection, call.call)
        if isinstance(locked, Kept):
            return locked
        purchase = await _overdue(connection, call.call, locked)
        is_done = purchase.status is PurchaseStatus.CANCELED
        if purchase.is_pending or (purchase.status is PurchaseStatus.AUTHORIZED and call.may_end_authorized):
            purchase, is_done = await _changed(connection, call.call, locked, PurchaseStatus.CANCELED), True
        return await _kept(connection, call, locked, Ended(purchase, is_done))


async def _locked(connection: Connection, call: RedemptionCall) -> _Locked | Kept:
    """Lock challenge, if there is one, and purchase, then read the clock; refuse what is unknown or foreign."""
    challenge = (await lock_operations(connection, [call.operation], may_wait=True)).get(call.operation)
    purchase = (await lock_purchases(connection, [call.operation], is_shown=True)).get(call.operation)
    now, (known,) = await read_known(connection, [call])
    if purchase is None or call.participant_key not in (None, purchase.participant_key):
        raise call.unknown_refusal()
    kept = kept_of(call, known.kept)
    assert not isinstance(kept, Exception)  # such a call has no body that could be another
    return kept or _Locked(purchase, challenge, now)


async def _overdue(connection: Connection, call: RedemptionCall, locked: _Locked) -> Purchase:
    """The purchase; first rejected or expired if its time is over."""
    purchase, challenge, now = locked.purchase, locked.challenge, locked.now
    if purchase.is_pending:
        assert challenge is not None
        if challenge[1].is_overdue(now):
            reason = Reason.APPROVAL_WINDOW_EXPIRED
            return await _changed(connection, call, locked, PurchaseStatus.REJECTED, reason)
    if purchase.is_expired(now):
        return await _changed(connection, call, locked, PurchaseStatus.EXPIRED)
    return purchase


async def _changed(
    connection: Connection, call: RedemptionCall, locked: _Locked, to: PurchaseStatus, reason: Reason | None = None
) -> Purchase:
    decision = None
    if locked.purchase.is_pending:
        assert locked.challenge is not None
        transfer, before = locked.challenge
        status = moved_to(before.status, Status.REJECTED if reason else Status.CANCELLED)
        decision = ended(call, transfer, before, status, locked.now, reason=reason)
    change = PurchaseChange(
        before=locked.purchase,
        to=to,
        at=locked.now,
        actor=call.caller.actor,
        correlation_id=call.correlation_id,
        reason=None if reason is None else reason.value,
        decision=decision,
    )
    (told,) = await change_purchases(connection, [change])
    return told.purchase


async def _kept(connection: Connection, call: EndCall, locked: _Locked, ended_: Ended) -> Ended | Kept:
    if call.call.idempotency_key is None or not ended_.is_done:
        return ended_
    kept = call.render(ended_.purchase)
    await keep_judged(connection, [(call.call, locked.now, kept)])
    return kept
