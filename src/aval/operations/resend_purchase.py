"""resend_token of a purchase."""

from aval.domain.budget import BudgetFigures
from aval.domain.errors import Refusal
from aval.operations.approve_purchase import (
    PurchaseCall,
    PurchaseOutcome,
    is_unknown,
    move_judged,
    outcome_of,
    unchallenged,
)
from aval.operations.confirm_redemption import KEPT_VERDICTS, Kept, keep_judged
from aval.operations.resend_redemption import resend_redemption
from aval.storage.database import Connection, Database
from aval.storage.purchases import find_owners, lock_purchases


async def resend_purchase(db: Database, *, call: PurchaseCall, figures: BudgetFigures) -> PurchaseOutcome | Kept:
    """Issue the next token of a purchase; one past its window is rejected, its points go back.

    Raises Refusal, LockNotWon. The verdict APPROVED means the token is promised.
    """
    async with db.transaction() as connection:
        try:
            judged = await resend_redemption(connection, call=call.call, figures=figures)
        except Refusal as refusal:
            raise await _known_refusal(connection, call, refusal) from None
        if isinstance(judged, Kept):
            return judged
        purchases = await lock_purchases(connection, [call.call.operation], is_shown=True)
        outcome = outcome_of(judged, purchases, await move_judged(connection, [judged], purchases))
        if call.call.idempotency_key is None or judged.verdict not in KEPT_VERDICTS:
            return outcome
        kept = call.render(outcome)
        await keep_judged(connection, [(call.call, judged.now, kept)])
        return kept


async def _known_refusal(connection: Connection, call: PurchaseCall, refusal: Refusal) -> Refusal:
    if not is_unknown(call.call, refusal):
        return refusal
    return unchallenged(call.call, await find_owners(connection, [call.call.operation]))
