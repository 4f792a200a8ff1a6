"""Issue the next token of an operation: a new generation, a new 5:00, the same attempts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from aval.domain.approval import Limits, channel_limit_of
from aval.domain.budget import BudgetFigures, is_digits_budget_spent, message_stop
from aval.domain.challenge import Challenge, Verdict, next_generation, standing
from aval.domain.errors import Refusal
from aval.domain.request import alphabet_of, budget_refusal, issue_stop, seconds_up
from aval.domain.template import chosen_template
from aval.domain.transfer import Kind, Method, Reason, Status, Transfer, moved_to
from aval.operations.confirm_transfer import Confirmed, Replay, event_of, standing_refusal
from aval.operations.fresh import fresh_key
from aval.operations.request_transfer import Rules, is_off
from aval.storage.challenges import CallFacts, Decision, Question, lock_operations, read_call_facts, write_decisions
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection, Database
from aval.storage.idempotency import KeptAnswer, keep_answers
from aval.storage.message_counts import lock_approvers, read_message_histories
from aval.storage.resends import ResendFacts, read_resend_facts, write_resend
from aval.storage.webhook_events import append_events


@dataclass(frozen=True, slots=True)
class ResendCall:
    """One resend_token call; `method` is None to stay on the current channel."""

    question: Question
    kind: Kind
    method: Method | None
    fingerprint: bytes
    correlation_id: str
    render: Callable[[Confirmed], tuple[int, bytes]]


async def resend_token(db: Database, *, call: ResendCall, rules: Rules) -> Confirmed | Replay:
    """Issue the next generation and promise its message, under the lock of the operation.

    Raises Refusal, LockNotWon. A call after the window applies T7 and answers it as a result.
    """
    operation = (call.question.principal.integrator.key, call.question.operation_key)
    async with db.transaction() as connection:
        locked = await lock_operations(connection, [operation], may_wait=True)
        if operation in locked and call.question.principal.integrator.budgets:
            approver_key = locked[operation][0].approver_key
            await lock_approvers(connection, [(operation[0], approver_key)], may_wait=True)  # its messages are counted
        (facts,) = await read_call_facts(connection, [call.question])
        found = locked.get(operation)
        refusal = standing_refusal(call.question, call.kind, facts, found, call.fingerprint, is_resend=True)
        if refusal is not None:
            raise refusal
        assert found is not None
        transfer, before = found
        if facts.remembered is not None:
            return Replay(transfer, facts.remembered.status, facts.remembered.body)
        verdict = standing(before, facts.now)
        if verdict is Verdict.WINDOW_OVER:
            return Confirmed(transfer, await _expire(connection, call, facts, transfer, before), verdict)
        if verdict is Verdict.INVALID_STATUS:
            return Confirmed(transfer, before, verdict)
        outcome = (
            Confirmed(
                transfer, await _next_generation(connection, call, facts, transfer, before, rules), Verdict.APPROVED
            )
            if verdict is None
            else Confirmed(transfer, before, verdict)
        )
        await _keep(connection, call, facts, outcome)
        return outcome


async def _expire(
    connection: Connection, call: ResendCall, facts: CallFacts, transfer: Transfer, before: Challenge
) -> Challenge:
    decision = expiry(transfer, before, facts.now, actor=actor_of(call.question), correlation_id=call.correlation_id)
    await write_decisions(connection, [decision])
    await append_events(connection, [event_of(decision)])
    return decision.after


def actor_of(question: Question) -> str:
    """Who a call's audit rows name."""
    return f"credential:{question.principal.credential_key}"


def expiry(transfer: Transfer, before: Challenge, now: datetime, *, actor: str, correlation_id: str) -> Decision:
    """T7: unapproved at its deadline."""
    return Decision(
        transfer=transfer,
        before=before,
        status=moved_to(before.status, Status.REJECTED),
        attempts_used=before.attempts_used,
        rejection_reason=Reason.APPROVAL_WINDOW_EXPIRED,
        refusal=None,
        comparison=None,
        at=now,
        is_budgeted=False,
        audit_key=fresh_key(),
        actor=actor,
        correlation_id=correlation_id,
    )


async def _next_generation(
    connection: Connection,
    call: ResendCall,
    facts: CallFacts,
    transfer: Transfer,
    before: Challenge,
    rules: Rules,
) -> Challenge:
    method = call.method or before.method
    _refuse_timing(call.kind, before, facts)
    known = await read_resend_facts(connection, transfer, method)
    if known.contact_key is None or known.usable_at is None or known.usable_at > facts.now:
        raise Refusal(f"{call.kind.family}.contact_not_available")
    is_digits_spent = await _refuse_budgets(connection, call, facts, transfer, rules.figures)
    integrator = call.question.principal.integrator
    is_closed = known.is_channel_closed or is_off(rules, integrator, method)
    _refuse_channel(call.kind, transfer, method, known, is_closed=is_closed)
    alphabet = alphabet_of(integrator, call.kind, is_digits_budget_spent=is_digits_spent)
    rerouted = replace(
        before, method=method, contact_key=known.contact_key, masked_destination=known.masked_destination
    )
    after = next_generation(rerouted, alphabet, facts.now)
    await write_resend(
        connection,
        transfer,
        after,
        message_key=fresh_key(),
        template_key=chosen_template(integrator, call.kind, method.value),
        audit_key=fresh_key(),
        actor=actor_of(call.question),
        correlation_id=call.correlation_id,
    )
    return after


def _refuse_timing(kind: Kind, before: Challenge, facts: CallFacts) -> None:
    """Device, resends used up, cooldown: in this order (§4.2)."""
    if before.method is Method.DEVICE:
        raise Refusal(f"{kind.family}.resend_not_available")
    if before.resends_left == 0:
        seconds = seconds_up(before.approval_deadline - facts.now)
        raise Refusal(f"{kind.family}.resend_limit_reached", headers={"Retry-After": str(seconds)})
    if facts.now < before.can_resend_at:
        seconds = seconds_up(before.can_resend_at - facts.now)
        raise Refusal(f"{kind.family}.resend_too_soon", headers={"Retry-After": str(seconds)}, seconds=seconds)


async def _refuse_budgets(
    connection: Connection, call: ResendCall, facts: CallFacts, transfer: Transfer, figures: BudgetFigures
) -> bool:
    """Raise a spent budget; answer whether the digits budget is."""
    integrator = call.question.principal.integrator
    if not integrator.budgets:
        return False
    approver: tuple[UUID, UUID] = (transfer.integrator_key, transfer.approver_key)
    history = (await read_guess_histories(connection, [approver]))[approver]
    stop = issue_stop(integrator, call.kind, history, figures, facts.now)
    if stop is None:
        _, sent = await read_message_histories(
            connection, [approver], most=figures.approver_messages_24h_max, as_of=facts.now
        )
        stop = message_stop(sent[approver], figures, facts.now)
    if stop is not None:
        raise budget_refusal(call.kind.family, stop)
    return is_digits_budget_spent(history, figures, facts.now)


def _refuse_channel(kind: Kind, transfer: Transfer, method: Method, known: ResendFacts, *, is_closed: bool) -> None:
    limit = channel_limit_of(Limits.of(known.limits), method)
    if limit is not None and transfer.amount > limit:
        name = f"{method.value}_amount_limit"
        raise Refusal(f"{kind.family}.limit_exceeded", extra_fields={"reason": name}, reason=name)
    if is_closed:
        raise Refusal(f"{kind.family}.channel_closed_on_resend")


async def _keep(connection: Connection, call: ResendCall, facts: CallFacts, outcome: Confirmed) -> None:
    if call.question.idempotency_key is None:
        return
    status, body = call.render(outcome)
    kept = KeptAnswer(
        integrator_key=outcome.transfer.integrator_key,
        path=call.question.path,
        idempotency_key=call.question.idempotency_key,
        fingerprint=call.fingerprint,
        status=status,
        body=body,
        at=facts.now,
    )
    await keep_answers(connection, [kept])
