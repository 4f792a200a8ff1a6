"""Tell applications once when a participant's onboarding has become complete."""

from uuid import UUID

from aval.domain.onboarding import OnboardingStatus, onboarding_of
from aval.operations.new_event import new_event
from aval.storage.campaigns import find_tenant
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.onboarding import mark_onboarded, read_onboarding
from aval.storage.webhook_events import append_events

ONBOARDED = "onboarding.completed"


async def tell_onboarded(
    connection: Connection, *, tenant_key: UUID, participant_key: UUID, correlation_id: str
) -> OnboardingStatus:
    """Judge a participant anew after a change of device, documents or status, in the transaction of that change.

    Writes the event when the status has just become complete. The guard of the participant is held.
    """
    participant = (tenant_key, participant_key)
    campaign = await find_tenant(connection, tenant_key)
    assert campaign is not None
    facts = (await read_onboarding(connection, [participant]))[participant]
    status = onboarding_of(campaign.campaign.policy, facts).status
    is_complete = status is OnboardingStatus.COMPLETE
    sequence = await mark_onboarded(connection, participant, is_onboarded=is_complete)
    if sequence is not None and is_complete:
        await _tell(connection, tenant_key, participant_key, sequence, correlation_id)
    return status


async def _tell(
    connection: Connection, tenant_key: UUID, participant_key: UUID, sequence: int, correlation_id: str
) -> None:
    event = new_event(
        ONBOARDED,
        {"participant_id": participant_key},
        integrator_key=tenant_key,
        subject_key=participant_key,
        kind="participant",
        sequence=sequence,
        at=await read_clock(connection),
        correlation_id=correlation_id,
    )
    await append_events(connection, [event])
