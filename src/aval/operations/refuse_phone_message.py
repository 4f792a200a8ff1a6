"""Look whether another token message may go to a phone and to its participant, before it is promised."""

from datetime import datetime

from aval.domain.budget import BudgetFigures, is_digits_budget_spent, operation_stop
from aval.domain.campaign import TwoFactorPolicy
from aval.domain.phone import PhoneDevice
from aval.domain.redemption_call import number_wait, retry_refusal, token_budget_refusal, token_stop
from aval.domain.token import Alphabet
from aval.storage.comparisons import read_guess_histories
from aval.storage.database import Connection
from aval.storage.message_counts import read_message_histories
from aval.storage.redemption_calls import read_numbers


async def refuse_phone_message(
    connection: Connection,
    *,
    device: PhoneDevice,
    policy: TwoFactorPolicy,
    figures: BudgetFigures,
    now: datetime,
) -> bool:
    """Raise what forbids a message that begins an operation; answer whether the digits budget is spent.

    Run it under the locks of the participant's approver row and of the device's number.
    """
    phone = (device.integrator_key, device.key)
    wait = number_wait((await read_numbers(connection, [phone]))[phone].sent, now)
    if wait is not None:
        raise retry_refusal("rdm.resend_limit", wait)
    participant = (device.integrator_key, device.participant_key)
    history = (await read_guess_histories(connection, [participant]))[participant]
    stop = token_stop(history, figures, Alphabet(policy.token_alphabet), now)
    if stop is None:
        _, sent = await read_message_histories(
            connection, [participant], most=figures.approver_messages_24h_max, as_of=now
        )
        stop = operation_stop(sent[participant], figures, now, has_message=True)
    if stop is not None:
        raise token_budget_refusal(stop)
    return is_digits_budget_spent(history, figures, now)
