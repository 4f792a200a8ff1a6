"""Judge tokens: lock, read the clock, compare, check, debit and promise the settlement – one commit for many calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec

from aval.domain.approval import ApprovalFacts, rejection_of
from aval.domain.batch import ItemCounts
from aval.domain.budget import NO_HISTORY, BudgetFigures, GuessHistory, guess_stop, is_approver_digits_spent
from aval.domain.calendar import day_began_at
from aval.domain.challenge import Challenge, Judgement, TokenSource, Verdict, judge
from aval.domain.device import DeviceApproval, SessionStatus
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.money import Brl
from aval.domain.principal import PrincipalStale
from aval.domain.request import budget_refusal
from aval.domain.token import Token, TokenSeed
from aval.domain.transfer import Kind, Method, Reason, Status, Transfer, moved_to
from aval.domain.view import WEBHOOK_TYPES, event_data
from aval.operations.coalesce import ALONE, Postponed
from aval.operations.fresh import fresh_key
from aval.operations.new_event import new_event
from aval.operations.notify_contacts import notify_contacts
from aval.operations.request_transfer import Rules
from aval.storage.batches import promise_items
from aval.storage.challenges import (
    CallFacts,
    Decision,
    LockedAccount,
    OperationId,
    Question,
    lock_accounts,
    lock_operations,
    read_call_facts,
    write_decisions,
)
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection, Database
from aval.storage.device_sessions import lock_approvals, void_signatures
from aval.storage.idempotency import KeptAnswer, keep_answers
from aval.storage.sums import SpentQuestion, read_spent, spent_question
from aval.storage.webhook_events import EventRow, append_events

_KEPT = frozenset(  # spec transfers.md §2.5: 2xx, Incorrect Token, Token Expired and rejected bodies
    {
        Verdict.INCORRECT,
        Verdict.SUPERSEDED,
        Verdict.TOKEN_EXPIRED,
        Verdict.EXHAUSTED,
        Verdict.ATTEMPTS_EXCEEDED,
        Verdict.APPROVED,
    }
)


class Confirmed(msgspec.Struct, frozen=True):
    """What a token call came to, as it stands after the commit."""

    transfer: Transfer
    challenge: Challenge
    verdict: Verdict


class Replay(msgspec.Struct, frozen=True):
    """The same call was answered before; no status if that one still waits for the rail."""

    transfer: Transfer
    status: int | None
    body: bytes | None


Rendered = tuple[int, bytes] | None


class ConfirmCall(msgspec.Struct, frozen=True):
    """One validate_token call. `render` makes the answer to keep under its Idempotency-Key, None while it waits."""

    question: Question
    kind: Kind
    token: Token | None
    fingerprint: bytes
    correlation_id: str
    render: Callable[[Confirmed], Rendered]

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def operation(self) -> OperationId:
        """The key that calls on one operation share."""
        return self.question.principal.integrator.key, self.question.operation_key


@dataclass(slots=True)
class _Case:
    """A call on its way through the batch."""

    call: ConfirmCall
    facts: CallFacts
    transfer: Transfer
    before: Challenge
    judgement: Judgement
    keyring: Keyring
    decision: Decision | None = None
    is_signature_void: bool = False  # its device signed, and no longer counts
    signed: str | None = None  # the digest of what its device signed


Outcome = Confirmed | Replay


async def confirm_transfers(
    db: Database,
    *,
    calls: Sequence[ConfirmCall],
    keyring: Keyring,
    rules: Rules,
    may_wait: bool = True,
) -> list[Outcome | Exception | Postponed]:
    """Judge calls on different operations in one transaction; one result each, after the commit.

    A wrong token is a result, so its count is committed. Without `may_wait` an operation that is locked elsewhere (or
    does not exist) answers ALONE; with it the call waits for the lock and raises LockNotWon after lock_timeout.
    """
    async with db.transaction() as connection:
        locked = await lock_operations(connection, [call.operation for call in calls], may_wait=may_wait)
        facts = await read_call_facts(connection, [call.question for call in calls])
        histories = await _histories(connection, calls, locked)
        approvals = await _approvals(connection, locked, facts)
        signers: set[UUID] = set()
        results: list[_Case | Outcome | Exception | Postponed] = []
        for call, known in zip(calls, facts, strict=True):
            found, approval = locked.get(call.operation), approvals.get(call.operation)
            signer = None if approval is None else approval.device_key
            if not may_wait and (found is None or signer in signers):  # what a device approves today is summed up
                results.append(ALONE)
                continue
            signers |= {signer} if signer is not None else set()
            results.append(_judged(call, known, found, keyring, rules.figures, histories, approval))
        cases = [result for result in results if isinstance(result, _Case)]
        await _decide(connection, cases, rules.holidays)
        await _write(connection, cases)
    return [_outcome(result) if isinstance(result, _Case) else result for result in results]


async def _histories(
    connection: Connection, calls: Sequence[ConfirmCall], locked: Mapping[OperationId, tuple[Transfer, Challenge]]
) -> Mapping[tuple[UUID, UUID], GuessHistory]:
    asked = {
        (call.operation[0], locked[call.operation][0].approver_key)
        for call in calls
        if call.question.principal.integrator.budgets and call.operation in locked
    }
    return await read_guess_histories(connection, asked) if asked else {}


async def _approvals(
    connection: Connection,
    locked: Mapping[OperationId, tuple[Transfer, Challenge]],
    facts: Sequence[CallFacts],
) -> Mapping[OperationId, DeviceApproval]:
    asked = [key for key, (_, challenge) in locked.items() if challenge.method is Method.DEVICE]
    return await lock_approvals(connection, asked, day_began_at=day_began_at(facts[0].now)) if asked else {}


def _judged(
    call: ConfirmCall,
    facts: CallFacts,
    found: tuple[Transfer, Challenge] | None,
    keyring: Keyring,
    figures: BudgetFigures,
    histories: Mapping[tuple[UUID, UUID], GuessHistory],
    approval: DeviceApproval | None,
) -> _Case | Outcome | Exception:
    refusal = standing_refusal(call.question, call.kind, facts, found, call.fingerprint)
    if refusal is not None:
        return refusal
    assert found is not None
    transfer, challenge = found
    if facts.remembered is not None:
        return Replay(transfer, facts.remembered.status, facts.remembered.body)
    integrator = call.question.principal.integrator
    history = histories.get((integrator.key, transfer.approver_key), NO_HISTORY)
    stop = guess_stop(history, figures, facts.now)
    seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
    judgement = judge(
        challenge,
        call.token,
        facts.now,
        TokenSource(keyring, seed, integrator.fixed_token),
        is_digits_budget_spent=is_approver_digits_spent(history, figures, facts.now),
        is_budget_spent=stop is not None,
        is_device_approved=approval is not None and approval.counts_for(transfer.amount, facts.now),
    )
    if judgement.verdict is Verdict.BUDGET_SPENT:
        assert stop is not None
        return budget_refusal(call.kind.family, stop)
    is_signed = approval is not None and approval.status is SessionStatus.APPROVED
    is_signature_void = is_signed and judgement.verdict is Verdict.DEVICE_PENDING
    signed = approval.signed if approval is not None else None
    return _Case(call, facts, transfer, challenge, judgement, keyring, None, is_signature_void, signed)


def standing_refusal(
    question: Question,
    kind: Kind,
    facts: CallFacts,
    found: tuple[Transfer, Challenge] | None,
    fingerprint: bytes,
    *,
    is_resend: bool = False,
) -> Exception | None:
    """Steps 1 and 3 to 5 of §4.1: caller, account, operation, Idempotency-Key."""
    if not facts.is_authentic or not facts.is_current:
        return PrincipalStale()
    family = kind.family
    if not facts.is_account_known:
        return Refusal(f"{family}.account_not_found", is_resend=is_resend, account_key=question.account_key)
    if found is None or found[0].kind is not kind or found[0].account_key != question.account_key:
        return Refusal(f"{family}.operation_not_found", is_resend=is_resend, operation_key=question.operation_key)
    if facts.remembered is not None and facts.remembered.fingerprint != fingerprint:
        return Refusal(f"{family}.idempotency_conflict")
    return None


async def _decide(connection: Connection, cases: Sequence[_Case], holidays: frozenset[date]) -> None:
    approved = [case for case in cases if case.judgement.verdict is Verdict.APPROVED]
    if approved:
        await _decide_approved(connection, approved, holidays)
    for case in cases:
        match case.judgement.verdict:
            case Verdict.INCORRECT | Verdict.SUPERSEDED:
                case.decision = _decision(case, case.before.status)
            case Verdict.EXHAUSTED:
                case.decision = _rejection(case, Reason.ATTEMPTS_EXCEEDED)
            case Verdict.WINDOW_OVER:
                case.decision = _rejection(case, Reason.APPROVAL_WINDOW_EXPIRED)
            case _:
                pass


async def _decide_approved(connection: Connection, cases: Sequence[_Case], holidays: frozenset[date]) -> None:
    """Step 12 of §4.1 under the lock of the accounts; funds are what the calls before left."""
    facts, accounts = await lock_accounts(connection, [case.transfer for case in cases], holidays=holidays)
    spent = await _spent(connection, cases, facts)
    for case, known in zip(cases, facts, strict=True):
        case.decision = _approval(case, known, accounts[_account_of(case.transfer)], spent)


async def _spent(
    connection: Connection, cases: Sequence[_Case], facts: Sequence[ApprovalFacts]
) -> dict[SpentQuestion, Brl]:
    questions = [_sum_of(case.transfer) for case, known in zip(cases, facts, strict=True) if known.limits.has_sums]
    return dict(await read_spent(connection, questions, cases[0].facts.now)) if questions else {}


def _approval(case: _Case, facts: ApprovalFacts, account: LockedAccount, spent: dict[SpentQuestion, Brl]) -> Decision:
    transfer = case.transfer
    family = _sum_of(transfer)
    rejection = rejection_of(
        facts,
        transfer.kind,
        case.before.method,
        transfer.amount,
        case.facts.now,
        spent.get(family),
        largest=transfer.largest,
    )
    if rejection is not None:
        reason, limit = rejection
        return _rejection(case, reason, {"reason": limit} if limit else None)
    if transfer.debit > account.balance:
        return _rejection(case, Reason.INSUFFICIENT_FUNDS)
    account.balance -= transfer.debit
    if family in spent:
        spent[family] += transfer.amount
    is_settled_here = transfer.kind.is_batch or transfer.kind is Kind.DEVICE
    return _decision(case, Status.APPROVED if is_settled_here else Status.PENDING).keyed(case.keyring)


def _sum_of(transfer: Transfer) -> SpentQuestion:
    return spent_question(transfer.integrator_key, transfer.account_key, transfer.kind)


def _account_of(transfer: Transfer) -> tuple[UUID, UUID]:
    return transfer.integrator_key, transfer.account_key


def _rejection(case: _Case, reason: Reason, refusal: dict[str, object] | None = None) -> Decision:
    return _decision(case, Status.REJECTED, reason, refusal)


def _decision(
    case: _Case, status: Status, reason: Reason | None = None, refusal: dict[str, object] | None = None
) -> Decision:
    principal = case.call.question.principal
    is_wrong = case.judgement.comparison in ("wrong", "superseded")
    return Decision(
        transfer=case.transfer,
        before=case.before,
        status=status if status is case.before.status else moved_to(case.before.status, status),
        attempts_used=case.before.attempts_used + is_wrong,
        rejection_reason=reason,
        refusal=refusal,
        comparison=case.judgement.comparison,
        at=case.facts.now,
        is_budgeted=principal.integrator.budgets,
        audit_key=fresh_key(),
        actor=f"credential:{principal.credential_key}",
        correlation_id=case.call.correlation_id,
        signed=case.signed,
    )


async def _write(connection: Connection, cases: Sequence[_Case]) -> None:
    decisions = [case.decision for case in cases if case.decision is not None]
    if decisions:
        await write_decisions(connection, decisions)
    approved = [decision for decision in decisions if decision.status is Status.APPROVED]
    batches = [decision.transfer for decision in approved if decision.transfer.kind.is_batch]
    if batches:
        await promise_items(connection, batches)
    await notify_contacts(connection, [decision for decision in approved if decision.transfer.kind is Kind.DEVICE])
    await append_events(connection, [event_of(decision) for decision in decisions if decision.is_told])
    voided = [case.call.operation for case in cases if case.is_signature_void]
    if voided:
        await void_signatures(connection, voided, cases[0].facts.now)
    await keep_answers(
        connection, [_kept(case) for case in cases if case.call.question.idempotency_key and _keeps(case)]
    )


def event_of(decision: Decision) -> EventRow:
    """The status webhook of a decision that ended an operation."""
    return status_event(decision.transfer, decision.after)


def status_event(transfer: Transfer, challenge: Challenge, settled: ItemCounts | None = None) -> EventRow:
    """The status webhook of an operation or item as it is after its last change; its sequence is counted already.

    `settled` counts the items of an approved batch.
    """
    assert challenge.updated_at is not None
    return new_event(
        WEBHOOK_TYPES[transfer.kind],
        event_data(transfer, challenge, settled),
        integrator_key=transfer.integrator_key,
        subject_key=transfer.batch_key or transfer.key,
        item_key=None if transfer.batch_key is None else transfer.key,
        kind=transfer.kind.value,
        sequence=challenge.event_sequence,
        at=challenge.updated_at,
        correlation_id=transfer.correlation_id,
    )


def _keeps(case: _Case) -> bool:
    return case.judgement.verdict in _KEPT


def _kept(case: _Case) -> KeptAnswer:
    question = case.call.question
    assert question.idempotency_key is not None
    status, body = case.call.render(_outcome(case)) or (None, None)
    return KeptAnswer(
        integrator_key=case.transfer.integrator_key,
        path=question.path,
        idempotency_key=question.idempotency_key,
        fingerprint=case.call.fingerprint,
        status=status,
        body=body,
        at=case.facts.now,
    )


def _outcome(case: _Case) -> Confirmed:
    challenge = case.before if case.decision is None else case.decision.after
    return Confirmed(case.transfer, challenge, case.judgement.verdict)
