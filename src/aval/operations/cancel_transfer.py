"""Cancel an operation that still waits for approval (T9)."""

from collections.abc import Callable
from dataclasses import dataclass

from aval.domain.challenge import Challenge, Verdict, standing
from aval.domain.transfer import Kind, Status, Transfer, moved_to
from aval.operations.confirm_transfer import Confirmed, Replay, event_of, standing_refusal
from aval.operations.fresh import fresh_key
from aval.operations.resend_token import actor_of, expiry
from aval.storage.challenges import Decision, Question, lock_operations, read_call_facts, write_decisions
from aval.storage.database import Database
from aval.storage.idempotency import KeptAnswer, keep_answers
from aval.storage.webhook_events import append_events


@dataclass(frozen=True, slots=True)
class CancelCall:
    """One cancel call."""

    question: Question
    kind: Kind
    fingerprint: bytes
    correlation_id: str
    render: Callable[[Transfer, Challenge], tuple[int, bytes]]


async def cancel_transfer(db: Database, *, call: CancelCall) -> Confirmed | Replay:
    """Cancel under the lock of the operation; an operation past its window is rejected instead (T7).

    Raises Refusal, LockNotWon. The verdict APPROVED means it is cancelled now.
    """
    operation = (call.question.principal.integrator.key, call.question.operation_key)
    async with db.transaction() as connection:
        locked = await lock_operations(connection, [operation], may_wait=True)
        (facts,) = await read_call_facts(connection, [call.question])
        found = locked.get(operation)
        refusal = standing_refusal(call.question, call.kind, facts, found, call.fingerprint)
        if refusal is not None:
            raise refusal
        assert found is not None
        transfer, before = found
        if facts.remembered is not None:
            return Replay(transfer, facts.remembered.status, facts.remembered.body)
        verdict = standing(before, facts.now)
        if verdict is not None and verdict is not Verdict.WINDOW_OVER:
            return Confirmed(transfer, before, verdict)
        actor = actor_of(call.question)
        decision = (
            expiry(transfer, before, facts.now, actor=actor, correlation_id=call.correlation_id)
            if verdict is Verdict.WINDOW_OVER
            else Decision(
                transfer=transfer,
                before=before,
                status=moved_to(before.status, Status.CANCELLED),
                attempts_used=before.attempts_used,
                rejection_reason=None,
                refusal=None,
                comparison=None,
                at=facts.now,
                is_budgeted=False,
                audit_key=fresh_key(),
                actor=actor,
                correlation_id=call.correlation_id,
            )
        )
        await write_decisions(connection, [decision])
        await append_events(connection, [event_of(decision)])
        after = decision.after
        if verdict is None and call.question.idempotency_key is not None:
            status, body = call.render(transfer, after)
            kept = KeptAnswer(
                integrator_key=transfer.integrator_key,
                path=call.question.path,
                idempotency_key=call.question.idempotency_key,
                fingerprint=call.fingerprint,
                status=status,
                body=body,
                at=facts.now,
            )
            await keep_answers(connection, [kept])
        return Confirmed(transfer, after, verdict or Verdict.APPROVED)
