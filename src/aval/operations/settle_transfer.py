"""Settle what was approved, exactly once: ask before sending again, and write only while the lease is held."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.transfer import Kind, Reason, Status, details_digest_of, moved_to
from aval.operations.coalesce import ALONE, Postponed
from aval.operations.tell_settled import tell_settled
from aval.ports import Rail, RailAnswer, Rails, RailStatus, RailTarget, SettlementOrder
from aval.storage.challenges import OperationId
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.settlements import (
    ItemMove,
    JobKey,
    LockedJob,
    Settled,
    SettlementJob,
    count_send,
    find_job,
    lease_end_ns,
    lock_settlements,
    write_settlements,
)

LATER = timedelta(seconds=2)  # spec transfers.md §10
_LEFT = {  # the statuses that an operation may leave on this word, as `_settled` moves it
    RailStatus.SENT: frozenset({Status.PENDING.value}),
    RailStatus.REJECTED: frozenset({Status.PENDING.value}),
    RailStatus.RETURNED: frozenset({Status.PENDING.value, Status.SENT.value}),
}
DIGEST_MISMATCH = "details_digest_mismatch"
KEY_MISSING = "key_missing"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a job is tried again, and when it is parked for a person to look at."""

    gaps: tuple[timedelta, ...]
    tries_max: int
    lease: timedelta

    def gap(self, tries: int) -> timedelta:
        """The pause after this many tries; the last gap repeats."""
        return self.gaps[min(max(tries, 1), len(self.gaps)) - 1]


@dataclass(frozen=True, slots=True)
class Answered:
    """What the rail said of a job; `fence` None for a callback, which needs no lease."""

    integrator_key: UUID
    operation_key: UUID
    item_no: int
    fence: int | None
    answer: RailAnswer
    batch_key: UUID | None = None
    tries: int = 1
    not_before: timedelta = timedelta(0)

    @property
    def key(self) -> JobKey:
        """The key of the job, with the lease it is held by."""
        return JobKey(self.integrator_key, self.operation_key, self.item_no, self.fence)


def rail_secret_of(job: SettlementJob, keyring: Keyring) -> str | None:
    """The secret requests to the integrator's core are signed with."""
    if job.rail_secret_sealed is None:
        return None
    associated = f"integrators/{job.transfer.integrator_key}/rail_secret"
    return keyring.opened(job.rail_secret_sealed, associated=associated)


async def ask_rail(
    db: Database, *, job: SettlementJob, rails: Rails, keyring: Keyring, policy: RetryPolicy
) -> Answered | None:
    """Send a leased job once, or ask what became of an earlier send; None if the lease was lost in between."""
    try:
        secret = rail_secret_of(job, keyring)
    except KeyMissing:
        return failed_settlement(job, KEY_MISSING)
    rail = rails.rail_of(RailTarget(job.transfer.integrator_key, job.rail_url, secret))
    if details_digest_of(job.transfer) != job.transfer.details_digest:
        return _answered(job, RailAnswer(RailStatus.UNKNOWN, rejection_reason=DIGEST_MISMATCH), tries=policy.tries_max)
    order = _order(job)
    if job.rail_status is None and job.claim_count == 1:
        return await _send(job, rail, order, tries=1)
    answer = await rail.query(order)
    if answer.status is not RailStatus.NOT_FOUND:
        return _answered(job, answer, tries=job.claim_count)
    return await _send_again(db, job, rail, order, policy)


def failed_settlement(job: SettlementJob, error: str) -> Answered:
    """A try that came to nothing on our side: the rail may have heard of it or not."""
    return _answered(job, RailAnswer(RailStatus.UNKNOWN, rejection_reason=error), tries=job.claim_count)


async def _send_again(
    db: Database, job: SettlementJob, rail: Rail, order: SettlementOrder, policy: RetryPolicy
) -> Answered | None:
    job = replace(job, held_until_ns=lease_end_ns(policy.lease))
    async with db.connection() as connection:
        now = await count_send(connection, job, lease=policy.lease)
    if now is None:
        return None
    return await _send(job, rail, replace(order, send_number=job.send_count + 1, now=now), tries=job.claim_count)


async def _send(job: SettlementJob, rail: Rail, order: SettlementOrder, *, tries: int) -> Answered | None:
    """Send while the lease lasts; a rail on the network looks at the clock once more when it writes."""
    if time.monotonic_ns() >= job.held_until_ns:
        return None
    return _answered(job, await rail.settle(replace(order, held_until_ns=job.held_until_ns)), tries=tries)


def _order(job: SettlementJob) -> SettlementOrder:
    transfer = job.transfer
    return SettlementOrder(
        integrator_key=transfer.integrator_key,
        rail_reference=job.rail_reference,
        fence=job.fence,
        send_number=job.send_count,
        operation=transfer.kind.value,
        operation_key=transfer.key,
        account_key=transfer.account_key,
        amount=transfer.amount,
        end_to_end_id=transfer.end_to_end_id,
        pix_message=transfer.pix_message,
        target_pix_key=transfer.payee.target_pix_key,
        target_account=transfer.payee.target_account,
        now=job.now,
        later_at=job.approved_at + LATER + (_wait_of(job) if job.rail_status == "unknown" else timedelta(0)),
    )


def _wait_of(job: SettlementJob) -> timedelta:
    is_waited_for = job.settlement_mode == "sync" and job.transfer.batch_key is None
    return job.sync_wait if is_waited_for else timedelta(0)


def _answered(job: SettlementJob, answer: RailAnswer, *, tries: int) -> Answered:
    is_scripted = answer.status is RailStatus.UNKNOWN and answer.ask_again_at is not None and job.rail_status is None
    return Answered(
        integrator_key=job.transfer.integrator_key,
        operation_key=job.transfer.key,
        item_no=job.item_no,
        fence=job.fence,
        answer=answer,
        batch_key=job.transfer.batch_key,
        tries=tries,
        not_before=_wait_of(job) if is_scripted else timedelta(0),
    )


async def record_answers(
    db: Database, *, answers: Sequence[Answered], policy: RetryPolicy, may_wait: bool = True
) -> list[bool | Exception | Postponed]:
    """Write what rails said, set-wise: status, refund, ledger, webhook, audit and job in one transaction.

    For each answer whether it was taken: one under a lost lease changes nothing. Without `may_wait` one whose
    operation is locked elsewhere is ALONE.
    """
    async with db.transaction() as connection:
        taken = await take_answers(connection, answers, policy, may_wait=may_wait)
    return list(taken)


async def take_answers(
    connection: Connection, answers: Sequence[Answered], policy: RetryPolicy, *, may_wait: bool = True
) -> list[bool | Postponed]:
    """Write what rails said in the running transaction, see `record_answers`."""
    keys = [answer.key for answer in answers]
    jobs, batches = await lock_settlements(connection, keys, leaving=_leaving(answers), may_wait=may_wait)
    now = await read_clock(connection)
    settled = [
        _settled(job, answered, policy, now)
        for answered, job in zip(answers, jobs, strict=True)
        if job is not None and job.is_ours
    ]
    await write_settlements(connection, settled)
    moved = [(result.job, result.after) for result in settled if result.after is not None]
    await tell_settled(connection, moved, batches=batches, now=now)
    return [ALONE if job is None else job.is_ours for job in jobs]


def _leaving(answers: Sequence[Answered]) -> dict[OperationId, ItemMove]:
    """The items that may change their status, so that the rest never waits for a batch; one may be answered twice."""
    moves: dict[OperationId, ItemMove] = {}
    for answered in answers:
        left = _LEFT.get(answered.answer.status)
        if answered.batch_key is not None and left is not None:
            key = answered.integrator_key, answered.operation_key
            statuses = moves[key].statuses if key in moves else frozenset()
            moves[key] = ItemMove(answered.batch_key, statuses | left)
    return moves


def _settled(job: LockedJob, answered: Answered, policy: RetryPolicy, now: datetime) -> Settled:
    answer = answered.answer
    match answer.status:
        case RailStatus.SENT if job.challenge.status is Status.PENDING:
            after = _after(job, Status.SENT, now, transaction_key=answer.transaction_key)
            return _final(job, after, "sent", answer, now)
        case RailStatus.RETURNED if job.challenge.status is Status.PENDING:
            # The word that it was sent got lost: first sent, then at once asked again and returned.
            after = _after(job, Status.SENT, now, transaction_key=answer.transaction_key)
            return _final(job, after, "sent", replace(answer, ask_again_at=now), now)
        case RailStatus.REJECTED if job.challenge.status is Status.PENDING:
            reason = answer.rejection_reason or Reason.RAIL_REFUSED.value
            after = _after(job, Status.REJECTED, now, rejection_reason=reason)
            transfer = job.transfer
            return replace(
                _final(job, after, "rejected", answer, now),
                refund_amount=transfer.amount.centavos,
                refund_fee=transfer.fee.centavos,
            )
        case RailStatus.RETURNED if job.challenge.status is Status.SENT and job.transfer.kind is Kind.TED:
            refusal = dict(answer.refusal or {})
            reason = str(refusal.get("enumerator") or Reason.RAIL_REFUSED.value)
            after = _after(job, Status.REJECTED, now, rejection_reason=reason, refusal=refusal)
            return replace(
                _final(job, after, "returned", answer, now),
                refund_amount=job.transfer.amount.centavos,
                refund_type="transfer_return",
            )
        case RailStatus.PENDING | RailStatus.UNKNOWN | RailStatus.NOT_FOUND if job.challenge.status is Status.PENDING:
            return _open(job, answered, policy, now)
        case _:
            # A repeated or late word never moves a final state back.
            return _final(job, None, job.rail_status or "unknown", replace(answer, ask_again_at=None), now)


def _after(
    job: LockedJob,
    status: Status,
    now: datetime,
    *,
    transaction_key: UUID | None = None,
    rejection_reason: str | None = None,
    refusal: dict[str, object] | None = None,
) -> Challenge:
    return msgspec.structs.replace(
        job.challenge,
        status=moved_to(job.challenge.status, status),
        transaction_key=transaction_key or job.challenge.transaction_key,
        rejection_reason=rejection_reason,
        refusal=refusal,
        event_sequence=job.challenge.event_sequence + (job.transfer.batch_key is None),  # an item counts in its batch
        updated_at=now,
    )


def _final(job: LockedJob, after: Challenge | None, rail_status: str, answer: RailAnswer, now: datetime) -> Settled:
    is_watched = answer.ask_again_at is not None
    return Settled(
        job=job,
        after=after,
        rail_status=rail_status,
        state="ready" if is_watched else "done",
        due_at=answer.ask_again_at or now,
        last_error=None,
    )


def _open(job: LockedJob, answered: Answered, policy: RetryPolicy, now: datetime) -> Settled:
    """Neither sent nor refused: asked again later, or parked when even asking came to nothing too often."""
    answer = answered.answer
    is_pending = answer.status is RailStatus.PENDING or job.rail_status == "pending"
    is_parked = answer.status is not RailStatus.PENDING and answered.tries >= policy.tries_max
    due_at = answer.ask_again_at + answered.not_before if answer.ask_again_at else now + policy.gap(answered.tries)
    if due_at <= now:
        due_at = now + policy.gap(1)
    if answered.fence is None:  # a worker may hold the lease: what it sent could still be on its way
        due_at = max(due_at, job.due_at)
    return Settled(
        job=job,
        after=None,
        rail_status="pending" if is_pending else "unknown",
        state="parked" if is_parked else "ready",
        due_at=due_at,
        last_error=answer.rejection_reason or (None if answer.status is RailStatus.PENDING else "no_answer"),
    )


async def take_callback(
    db: Database, *, integrator_key: UUID, rail_reference: UUID, answer: RailAnswer, policy: RetryPolicy
) -> bool:
    """Take the core's own word on a settlement; false if the reference is not one of this integrator.

    A return that overtakes its confirmation is both: first sent, then returned.
    """
    async with db.transaction() as connection:
        found = await find_job(connection, integrator_key, rail_reference)
        if found is None:
            return False
        operation_key, item_no, batch_key = found
        said = Answered(integrator_key, operation_key, item_no, None, answer, batch_key)
        if answer.status is RailStatus.RETURNED:
            sent = RailAnswer(RailStatus.SENT, transaction_key=answer.transaction_key)
            await take_answers(connection, [replace(said, answer=sent)], policy)
        await take_answers(connection, [said], policy)
        return True
