"""Prove a phone by its token: it becomes the participant's device, or waits for the token of the former one."""

from datetime import timedelta

from aval.domain.budget import BudgetFigures
from aval.domain.campaign import TwoFactorPolicy
from aval.domain.challenge import Verdict
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.phone import PhoneDevice, PhoneStatus
from aval.domain.principal import PrincipalStale
from aval.domain.redemption_view import QUEUED
from aval.domain.transfer import Kind
from aval.operations.coalesce import ALONE
from aval.operations.confirm_redemption import Judged, Kept, judge_redemptions
from aval.operations.fresh import new_key
from aval.operations.leave_phone import hold_challenges, leave_phone
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.phone_call import PhoneCall, PhoneJudged, failed_with, guarded_phone, keep_answer
from aval.operations.promise_phone_token import promise_phone_token
from aval.operations.refuse_phone_message import refuse_phone_message
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.database import Connection, Database
from aval.storage.message_counts import lock_approvers
from aval.storage.phones import ShownPhone, had_active_phone, read_number_users, read_present_phones
from aval.storage.policies import find_policy
from aval.storage.redemption_calls import lock_numbers


async def confirm_phone(
    db: Database, *, call: PhoneCall, keyring: Keyring, figures: BudgetFigures
) -> PhoneJudged | Kept:
    """Judge the token of a registration or replacement; what it brings about is in the same transaction.

    A wrong token is a result, so its count is committed. Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        device = await guarded_phone(connection, call)
        on = call.on(device.operation_key)
        if device.status is PhoneStatus.PENDING_REPLACEMENT:
            await _hold_former(connection, device)
        (judged,) = await judge_redemptions(connection, [on], keyring=keyring, figures=figures)
        if isinstance(judged, Refusal | PrincipalStale):
            raise judged
        if isinstance(judged, Kept):
            return judged
        assert judged is not ALONE
        shown = ShownPhone(device, judged.after, QUEUED, judged.now)
        if judged.verdict is Verdict.APPROVED:
            shown = await _approved(connection, call, device, judged, keyring, figures)
        elif judged.is_moved:
            shown = ShownPhone(await failed_with(connection, call, device, judged), None, QUEUED, judged.now)
        return await keep_answer(connection, call, judged, PhoneJudged(shown, judged.after, judged.verdict))


async def _hold_former(connection: Connection, device: PhoneDevice) -> None:
    """Lock what may end with the former device together with what is judged."""
    former = await _former_of(connection, device)
    assert former is not None, "whatever ends it ends or completes its replacement"
    await hold_challenges(connection, former, [device.operation_key])


async def _former_of(connection: Connection, device: PhoneDevice) -> PhoneDevice | None:
    present = await read_present_phones(connection, device.integrator_key, device.participant_key)
    return next((phone for phone in present if phone.status is PhoneStatus.ACTIVE), None)


async def _approved(
    connection: Connection,
    call: PhoneCall,
    device: PhoneDevice,
    judged: Judged,
    keyring: Keyring,
    figures: BudgetFigures,
) -> ShownPhone:
    policy = await policy_of_phone(connection, device)
    former = await _former_of(connection, device)
    if former is not None and device.status is PhoneStatus.PENDING_VERIFICATION:
        return await _await_former(connection, call, device, former, judged, policy, keyring, figures)
    if former is not None:
        await leave_phone(connection, former, author=call.author)
    await lock_numbers(connection, [(device.integrator_key, device.key)])
    if not await is_number_free(connection, device, policy):
        raise Refusal("rdm.device_number_in_use")
    after = await activated(connection, device, policy, judged)
    moves = [PhoneMove(device, after, call.author, judged.audit_details)]
    if former is not None:
        replaced = former.moved(PhoneStatus.REPLACED, judged.now, replaced_by=device.key)
        moves.append(PhoneMove(former, replaced, call.author))
    await move_phones(connection, moves)
    await tell_onboarded(
        connection,
        tenant_key=device.integrator_key,
        participant_key=device.participant_key,
        correlation_id=call.correlation_id,
    )
    return ShownPhone(after, None, QUEUED, judged.now)


async def _await_former(
    connection: Connection,
    call: PhoneCall,
    device: PhoneDevice,
    former: PhoneDevice,
    judged: Judged,
    policy: TwoFactorPolicy,
    keyring: Keyring,
    figures: BudgetFigures,
) -> ShownPhone:
    """The new number is proven; send a token to the former one, which has to agree."""
    tenant_key, now = device.integrator_key, judged.now
    if judged.call.has_budgets:
        await lock_approvers(connection, [(tenant_key, device.participant_key)], may_wait=True)
    await lock_numbers(connection, [(tenant_key, device.key), (tenant_key, former.key)])
    if not await is_number_free(connection, device, policy):
        raise Refusal("rdm.device_number_in_use")
    is_digits_spent = False
    if judged.call.has_budgets:
        is_digits_spent = await refuse_phone_message(connection, device=former, policy=policy, figures=figures, now=now)
    after = device.moved(PhoneStatus.PENDING_REPLACEMENT, now, verified_at=now, replacement_key=new_key(now))
    await move_phones(connection, [PhoneMove(device, after, call.author, judged.audit_details)])
    application_key = call.caller.application_key
    assert application_key is not None
    challenge = await promise_phone_token(
        connection,
        device=after,
        kind=Kind.DEVICE_REPLACEMENT,
        sent_to=former,
        policy=policy,
        keyring=keyring,
        application_key=application_key,
        correlation_id=call.correlation_id,
        now=now,
        is_digits_budget_spent=is_digits_spent,
    )
    return ShownPhone(after, challenge, QUEUED, now)


async def policy_of_phone(connection: Connection, device: PhoneDevice) -> TwoFactorPolicy:
    """The policy its registration began under."""
    version = await find_policy(connection, device.integrator_key, device.policy_version)
    assert version is not None
    return version.policy


async def is_number_free(connection: Connection, device: PhoneDevice, policy: TwoFactorPolicy) -> bool:
    """Whether not too many others of the campaign use the number; its guard is held."""
    users = await read_number_users(connection, device.integrator_key, device.number_index)
    return len(users - {device.participant_key}) < policy.max_participants_per_number


async def activated(
    connection: Connection, device: PhoneDevice, policy: TwoFactorPolicy, judged: Judged
) -> PhoneDevice:
    """The device as the participant's; only the first one ever may be used at once."""
    had_one = await had_active_phone(connection, device.integrator_key, device.participant_key)
    cooldown = timedelta(hours=policy.device_change_cooldown_hours if had_one else 0)
    return device.activated(judged.now, cooldown=cooldown)
