"""Register a participant's phone: store it, and send the token that proves it to its own number."""

from dataclasses import dataclass, field
from uuid import UUID

from aval.domain.budget import BudgetFigures
from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import Campaign
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_phone
from aval.domain.phone import PhoneDevice, PhoneStatus, refuse_registration
from aval.domain.redemption_view import QUEUED
from aval.domain.transfer import Kind, Reason
from aval.operations.end_registration import end_registration
from aval.operations.fresh import new_key, sealed
from aval.operations.promise_phone_token import promise_phone_token
from aval.operations.record_act import Author, record_act
from aval.operations.refuse_phone_message import refuse_phone_message
from aval.storage.campaigns import find_tenant
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.message_counts import lock_approvers
from aval.storage.participants import guard_participants
from aval.storage.phones import (
    ShownPhone,
    had_active_phone,
    insert_phone,
    lock_number,
    read_number_users,
    read_present_phones,
)

REGISTERED = "device.registered"  # in the audit


@dataclass(frozen=True, slots=True)
class PhoneRequest:
    """Who registers which number, in E.164, for which participant."""

    caller: Caller
    participant_key: UUID
    number: str = field(repr=False)
    correlation_id: str

    @property
    def campaign(self) -> Campaign:
        """The campaign of the caller, which is never the back office."""
        return self.caller.tenant

    @property
    def author(self) -> Author:
        """Who its audit rows name."""
        return Author(self.caller.actor, self.correlation_id)


async def register_phone(
    db: Database, *, request: PhoneRequest, keyring: Keyring, figures: BudgetFigures
) -> ShownPhone:
    """Store a device that waits for its token; one in registration before it has failed then.

    Raises Refusal: while the device is blocked, after five registrations in 24 hours, for a number that others use,
    for a spent budget. Raises LockNotWon.
    """
    campaign, participant_key = request.campaign, request.participant_key
    async with db.transaction() as connection:
        guarded = await guard_participants(connection, [(campaign.key, participant_key)])
        participant = guarded.get((campaign.key, participant_key))
        if participant is None or participant.erased_at is not None:
            raise Refusal("rdm.participant_not_found")
        await refuse_impersonator(connection, request.caller, campaign.key, participant_key)
        present = await read_present_phones(connection, campaign.key, participant_key)
        refuse_registration(present, await read_clock(connection))
        for former in present:
            if former.is_in_registration:
                await end_registration(connection, former, reason=Reason.SUPERSEDED, author=request.author)
        if not campaign.is_sandbox:
            await lock_approvers(connection, [(campaign.key, participant_key)], may_wait=True)
        return await _registered(connection, request, keyring, figures)


async def refuse_impersonator(
    connection: Connection, caller: Caller, integrator_key: UUID, participant_key: UUID
) -> None:
    """Only a first device may be registered on behalf of its participant (redemptions.md §7.4); the guard is held."""
    if caller.kind is CallerKind.IMPERSONATOR and await had_active_phone(connection, integrator_key, participant_key):
        raise Refusal("rdm.impersonation_forbidden")


async def _registered(
    connection: Connection, request: PhoneRequest, keyring: Keyring, figures: BudgetFigures
) -> ShownPhone:
    present = await find_tenant(connection, request.campaign.key)  # the body may have been long in coming
    assert present is not None
    campaign, policy = present.campaign, present.campaign.policy
    number_index = keyring.index_of(request.number)
    await lock_number(connection, campaign.key, number_index)
    users = await read_number_users(connection, campaign.key, number_index)
    if len(users - {request.participant_key}) >= policy.max_participants_per_number:
        raise Refusal("rdm.device_number_in_use")
    now = await read_clock(connection)
    key = new_key(now)
    device = PhoneDevice(
        integrator_key=campaign.key,
        key=key,
        participant_key=request.participant_key,
        number_index=number_index,
        masked_number=masked_phone(request.number),
        status=PhoneStatus.PENDING_VERIFICATION,
        policy_version=campaign.policy_version,
        created_at=now,
        updated_at=now,
    )
    number_sealed = sealed(keyring, request.number, associated=f"contacts/{key}")
    await insert_phone(connection, device, number_sealed=number_sealed)
    is_digits_spent = False
    if not campaign.is_sandbox:
        is_digits_spent = await refuse_phone_message(connection, device=device, policy=policy, figures=figures, now=now)
    challenge = await promise_phone_token(
        connection,
        device=device,
        kind=Kind.DEVICE_REGISTRATION,
        sent_to=device,
        policy=policy,
        keyring=keyring,
        application_key=_application_of(request.caller),
        correlation_id=request.correlation_id,
        now=now,
        is_digits_budget_spent=is_digits_spent,
    )
    await record_act(
        connection,
        request.author,
        REGISTERED,
        integrator_key=campaign.key,
        key=key,
        at=now,
        details={"participant": request.participant_key, "impersonator": request.caller.impersonator_user},
    )
    return ShownPhone(device, challenge, QUEUED, now)


def _application_of(caller: Caller) -> UUID:
    assert caller.application_key is not None
    return caller.application_key
