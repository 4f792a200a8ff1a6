"""Issue the next token of a registration: to the new number, or to the former device it waits for."""

from aval.domain.budget import BudgetFigures
from aval.domain.redemption_view import QUEUED
from aval.operations.confirm_redemption import Kept
from aval.operations.phone_call import PhoneCall, PhoneJudged, failed_with, guarded_phone, keep_answer
from aval.operations.resend_redemption import resend_redemption
from aval.storage.database import Database
from aval.storage.phones import ShownPhone


async def resend_phone(db: Database, *, call: PhoneCall, figures: BudgetFigures) -> PhoneJudged | Kept:
    """Make the next generation live and promise its message; a call past the window ends the registration.

    Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        device = await guarded_phone(connection, call)
        judged = await resend_redemption(connection, call=call.on(device.operation_key), figures=figures)
        if isinstance(judged, Kept):
            return judged
        if judged.is_moved:
            device = await failed_with(connection, call, device, judged)
        shown = ShownPhone(device, judged.after, QUEUED, judged.now)
        return await keep_answer(connection, call, judged, PhoneJudged(shown, judged.after, judged.verdict))
