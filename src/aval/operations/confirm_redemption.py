"""Judge tokens of redemptions: lock, read the clock, compare, count – for purchases and registrations of phones alike.

What a right or a last wrong token brings about differs by kind and is the caller's, in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.budget import NO_HISTORY, BudgetFigures, GuessHistory, guess_stop, is_approver_digits_spent
from aval.domain.challenge import Challenge, Judgement, TokenSource, Verdict, judge
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.principal import PrincipalStale
from aval.domain.redemption_call import RedemptionCall, key_refusal, token_budget_refusal
from aval.domain.token import TokenSeed
from aval.domain.transfer import Reason, Status, Transfer, moved_to
from aval.operations.coalesce import ALONE, Postponed
from aval.operations.fresh import fresh_key
from aval.storage.challenges import Decision, Remembered, lock_operations, write_decisions
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection
from aval.storage.idempotency import KeptAnswer, keep_answers
from aval.storage.redemption_calls import read_known

KEPT_VERDICTS = frozenset(  # spec redemptions.md §4.5: 2xx answers and RDM000082, 083, 084
    {
        Verdict.APPROVED,
        Verdict.INCORRECT,
        Verdict.SUPERSEDED,
        Verdict.EXHAUSTED,
        Verdict.ATTEMPTS_EXCEEDED,
        Verdict.TOKEN_EXPIRED,
    }
)
_REASONS = {
    Verdict.EXHAUSTED: Reason.ATTEMPTS_EXCEEDED,
    Verdict.WINDOW_OVER: Reason.APPROVAL_WINDOW_EXPIRED,
}


class Judged(msgspec.Struct, frozen=True):
    """What a call came to. `after` is the challenge once the transaction commits, `now` the clock under the lock.

    `audit_details` tell the comparison: whoever moves what was approved puts them into the one audit record of that
    change. A comparison that moved nothing has a record of its own.
    """

    call: RedemptionCall
    transfer: Transfer
    before: Challenge
    after: Challenge
    verdict: Verdict
    now: datetime
    audit_details: Mapping[str, Any] = {}
    decision: Decision | None = None  # what `judge_locked` left to its caller to write

    @property
    def is_moved(self) -> bool:
        """Whether the challenge ended in this transaction."""
        return self.after.status is not self.before.status


class Kept(msgspec.Struct, frozen=True):
    """An answer as it is kept under the call's key; a replay if it was given before."""

    status: int
    body: bytes
    is_replay: bool = True


JudgedCall = Judged | Kept | Refusal | PrincipalStale | Postponed


async def judge_redemptions(
    connection: Connection,
    calls: Sequence[RedemptionCall],
    *,
    keyring: Keyring,
    figures: BudgetFigures,
    may_wait: bool = True,
) -> list[JudgedCall]:
    """Judge tokens of different operations in the running transaction, and write comparisons and challenges.

    For each call in order: what it came to, the answer kept under its key, why it is refused – or ALONE if its
    operation is locked elsewhere and it may not wait. Takes the locks of the challenges; a caller that moves a device
    takes its participant's before (docs/adr/0034). Raises LockNotWon.
    """
    locked = await lock_operations(connection, [call.operation for call in calls], may_wait=may_wait)
    judged = await judge_locked(connection, calls, locked, keyring=keyring, figures=figures, may_wait=may_wait)
    decisions = [each.decision for each in judged if isinstance(each, Judged) and each.decision is not None]
    if decisions:
        await write_decisions(connection, decisions)
    return judged


async def judge_locked(
    connection: Connection,
    calls: Sequence[RedemptionCall],
    locked: Mapping[tuple[UUID, UUID], tuple[Transfer, Challenge]],
    *,
    keyring: Keyring,
    figures: BudgetFigures,
    may_wait: bool,
) -> list[JudgedCall]:
    """Judge tokens under the locks of their challenges; writes nothing, each `decision` is the caller's to write."""
    now, known = await read_known(connection, calls)
    histories = await _histories(connection, calls, locked)
    results: list[JudgedCall] = []
    for call, each in zip(calls, known, strict=True):
        found = locked.get(call.operation)
        if not each.is_unchanged:
            results.append(PrincipalStale())
            continue
        if found is None and not may_wait:
            results.append(ALONE)
            continue
        standing = standing_of(call, found, each.kept)
        if standing is not None:
            results.append(standing)
            continue
        assert found is not None
        results.append(_judged(call, found, now, keyring, figures, histories))
    return results


def standing_of(
    call: RedemptionCall, found: tuple[Transfer, Challenge] | None, remembered: Remembered | None
) -> Kept | Refusal | None:
    """What is answered before the operation is looked at: unknown or foreign, another body, answered before."""
    if found is None or found[0].kind not in call.kinds:
        return call.unknown_refusal()
    if call.participant_key is not None and found[0].approver_key != call.participant_key:
        return call.unknown_refusal()
    return kept_of(call, remembered)


def kept_of(call: RedemptionCall, remembered: Remembered | None) -> Kept | Refusal | None:
    """The answer kept under the call's key, or the conflict if it was given to another body."""
    if remembered is None:
        return None
    if remembered.fingerprint != call.fingerprint:
        return Refusal("rdm.idempotency_conflict")
    assert remembered.status is not None and remembered.body is not None
    return Kept(remembered.status, remembered.body)


async def _histories(
    connection: Connection,
    calls: Sequence[RedemptionCall],
    locked: Mapping[tuple[UUID, UUID], tuple[Transfer, Challenge]],
) -> Mapping[tuple[UUID, UUID], GuessHistory]:
    asked = {
        (call.operation[0], locked[call.operation][0].approver_key)
        for call in calls
        if call.has_budgets and call.operation in locked
    }
    return await read_guess_histories(connection, asked) if asked else {}


def _judged(
    call: RedemptionCall,
    found: tuple[Transfer, Challenge],
    now: datetime,
    keyring: Keyring,
    figures: BudgetFigures,
    histories: Mapping[tuple[UUID, UUID], GuessHistory],
) -> Judged | Refusal:
    transfer, before = found
    history = histories.get((transfer.integrator_key, transfer.approver_key), NO_HISTORY)
    stop = guess_stop(history, figures, now)
    seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
    judgement = judge(
        before,
        call.token,
        now,
        TokenSource(keyring, seed),
        is_digits_budget_spent=is_approver_digits_spent(history, figures, now),
        is_budget_spent=stop is not None,
    )
    match judgement.verdict:
        case Verdict.BUDGET_SPENT:
            assert stop is not None
            return token_budget_refusal(stop)
        case Verdict.KEY_UNAVAILABLE:
            return key_refusal()
        case Verdict.TOKEN_REQUIRED:
            return Refusal("rdm.token_required")
        case Verdict.INVALID_STATUS:
            return Refusal("rdm.not_pending")
        case _:
            return _remembered(call, transfer, before, judgement, now)


def _remembered(
    call: RedemptionCall,
    transfer: Transfer,
    before: Challenge,
    judgement: Judgement,
    now: datetime,
) -> Judged:
    """The outcome, with what changes the challenge."""
    verdict = judgement.verdict
    status = _status_of(verdict, before)
    if not judgement.is_compared and status is before.status:
        return Judged(call, transfer, before, before, verdict, now)
    decision = ended(call, transfer, before, status, now, reason=_REASONS.get(verdict))
    if judgement.is_compared:
        is_wrong = judgement.comparison != "right"
        decision = replace(decision, comparison=judgement.comparison, attempts_used=before.attempts_used + is_wrong)
    if status is before.status:
        decision = replace(decision, audit_key=fresh_key())
    return Judged(call, transfer, before, decision.after, verdict, now, decision.audit_details, decision)


def _status_of(verdict: Verdict, before: Challenge) -> Status:
    if verdict is Verdict.APPROVED:
        return moved_to(before.status, Status.APPROVED)
    return moved_to(before.status, Status.REJECTED) if verdict in _REASONS else before.status


def ended(
    call: RedemptionCall,
    transfer: Transfer,
    before: Challenge,
    status: Status,
    now: datetime,
    *,
    reason: Reason | None = None,
) -> Decision:
    """What a call writes of a challenge that it ends without a comparison; its audit row is whose the change is."""
    return ending(
        transfer,
        before,
        status,
        now,
        reason=reason,
        actor=call.caller.actor,
        correlation_id=call.correlation_id,
        is_budgeted=call.has_budgets,
    )


def ending(
    transfer: Transfer,
    before: Challenge,
    status: Status,
    now: datetime,
    *,
    actor: str,
    correlation_id: str,
    reason: Reason | None = None,
    is_budgeted: bool = False,
) -> Decision:
    """The end of a redemption's challenge; `audit_details` go into the record of what ended."""
    return Decision(
        transfer=transfer,
        before=before,
        status=status,
        attempts_used=before.attempts_used,
        rejection_reason=reason,
        refusal=None,
        comparison=None,
        at=now,
        is_budgeted=is_budgeted,
        audit_key=None,
        actor=actor,
        correlation_id=correlation_id,
    )


async def keep_judged(connection: Connection, answered: Iterable[tuple[RedemptionCall, datetime, Kept]]) -> None:
    """Keep answers of calls that have an Idempotency-Key, in the transaction that decided them."""
    await keep_answers(
        connection,
        [
            KeptAnswer(
                integrator_key=call.caller.tenant.key,
                path=call.path,
                idempotency_key=call.idempotency_key,
                fingerprint=call.fingerprint,
                status=kept.status,
                body=kept.body,
                at=now,
            )
            for call, now, kept in answered
            if call.idempotency_key is not None
        ],
    )
