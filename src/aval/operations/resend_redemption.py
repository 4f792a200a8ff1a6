"""Issue the next token of a redemption's operation: a new generation, a new 5:00, the same attempts."""

from msgspec.structs import replace

from aval.domain.budget import BudgetFigures, is_digits_budget_spent, message_stop
from aval.domain.challenge import Challenge, Verdict, next_generation, standing
from aval.domain.errors import Refusal
from aval.domain.redemption_call import (
    RedemptionCall,
    number_wait,
    retry_refusal,
    token_budget_refusal,
    token_stop,
)
from aval.domain.token import Alphabet
from aval.domain.transfer import Reason, Status, moved_to
from aval.operations.confirm_redemption import Judged, Kept, ended, standing_of
from aval.operations.fresh import fresh_key
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection
from aval.storage.message_counts import lock_approvers, read_message_histories
from aval.storage.redemption_calls import lock_numbers, read_known, read_numbers
from aval.storage.resends import write_resend


async def resend_redemption(connection: Connection, *, call: RedemptionCall, figures: BudgetFigures) -> Judged | Kept:
    """Issue the next generation and promise its message, in the running transaction.

    Takes the locks of challenge, approver and number. Raises Refusal, LockNotWon. The verdict APPROVED means it is
    sent; WINDOW_OVER that the challenge was rejected now, what it approves is the caller's to end; ATTEMPTS_EXCEEDED
    that it was before.
    """
    found = (await lock_operations(connection, [call.operation], may_wait=True)).get(call.operation)
    if found is not None and call.has_budgets:
        transfer, before = found
        await lock_approvers(connection, [(transfer.integrator_key, transfer.approver_key)], may_wait=True)
        assert before.contact_key is not None
        await lock_numbers(connection, [(transfer.integrator_key, before.contact_key)])
    now, (known,) = await read_known(connection, [call])
    answered = standing_of(call, found, known.kept)
    if isinstance(answered, Refusal):
        raise answered
    if answered is not None:
        return answered
    assert found is not None
    transfer, before = found
    verdict = standing(before, now)
    if verdict is Verdict.INVALID_STATUS:
        raise Refusal("rdm.not_pending")
    judged = Judged(call, transfer, before, before, verdict or Verdict.APPROVED, now)
    if verdict is Verdict.WINDOW_OVER:
        status = moved_to(before.status, Status.REJECTED)
        decision = ended(call, transfer, before, status, now, reason=Reason.APPROVAL_WINDOW_EXPIRED)
        await write_decisions(connection, [decision])
        return replace(judged, after=decision.after, audit_details=decision.audit_details)
    if verdict is not None:
        return judged
    _refuse_timing(judged)
    is_digits_spent = await _refuse_budgets(connection, judged, figures)
    return replace(judged, after=await _next_generation(connection, judged, is_digits_spent=is_digits_spent))


def _refuse_timing(judged: Judged) -> None:
    before, now = judged.before, judged.now
    if before.resends_left == 0:
        raise retry_refusal("rdm.resend_limit", before.approval_deadline - now)
    if now < before.can_resend_at:
        raise retry_refusal("rdm.resend_too_soon", before.can_resend_at - now)


async def _refuse_budgets(connection: Connection, judged: Judged, figures: BudgetFigures) -> bool:
    """Raise what forbids another message to this phone or participant; answer whether the digits budget is spent."""
    transfer, before, now = judged.transfer, judged.before, judged.now
    assert before.contact_key is not None
    phone = (transfer.integrator_key, before.contact_key)
    number = (await read_numbers(connection, [phone]))[phone]
    if number.undeliverable_at is not None:
        raise Refusal("rdm.phone_incorrect")
    if not judged.call.has_budgets:
        return False
    wait = number_wait(number.sent, now)
    if wait is not None:
        raise retry_refusal("rdm.resend_limit", wait)
    participant = (transfer.integrator_key, transfer.approver_key)
    history = (await read_guess_histories(connection, [participant]))[participant]
    stop = token_stop(history, figures, first_alphabet(before), now)
    if stop is None:
        _, sent = await read_message_histories(
            connection, [participant], most=figures.approver_messages_24h_max, as_of=now
        )
        stop = message_stop(sent[participant], figures, now)
    if stop is not None:
        raise token_budget_refusal(stop)
    return is_digits_budget_spent(history, figures, now)


def first_alphabet(challenge: Challenge) -> Alphabet:
    """The alphabet the policy of its creation chose, or what took its place then."""
    return Alphabet.of_letter(challenge.alphabets[0])


async def _next_generation(connection: Connection, judged: Judged, *, is_digits_spent: bool) -> Challenge:
    before, now, transfer = judged.before, judged.now, judged.transfer
    alphabet = Alphabet.CROCKFORD32 if is_digits_spent else first_alphabet(before)
    after = next_generation(before, alphabet, now)
    await write_resend(
        connection,
        transfer,
        after,
        message_key=fresh_key(),
        template_key=None,
        audit_key=fresh_key(),
        actor=judged.call.caller.actor,
        correlation_id=judged.call.correlation_id,
    )
    return after
