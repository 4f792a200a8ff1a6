"""What a participant's onboarding derives from, read for many at once."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from aval.domain.identity_document import DocumentStatus
from aval.domain.onboarding import DeviceFact, DocumentFact, OnboardingFacts
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

ParticipantId = tuple[UUID, UUID]  # tenant and participant

# What it derives from beside the participant's status, wherever it is read: k has integrator_id and participant_id.
ONBOARDING_COLUMNS = """
d.types, d.statuses, d.times, u.device_id, u.status = 'active' as is_active, u.active_from, u.undeliverable_at,
u.masked_number, u.device_id is not null or exists (
       select from phone_devices r
        where (r.integrator_id = k.integrator_id) is true and r.participant_id = k.participant_id) as has_registered
"""
ONBOARDING_TABLES = """
  left join lateral ( -- by the whole key, however young the table is (docs/adr/0017)
       select * from phone_devices
        where integrator_id = k.integrator_id and participant_id = k.participant_id
          and status in ('active', 'blocked') offset 0) u on true
 cross join lateral (
       select coalesce(array_agg(i.document_type), '{}') as types, coalesce(array_agg(i.status), '{}') as statuses,
              coalesce(array_agg(i.created_at), '{}') as times
         from identity_documents i
        where (i.integrator_id = k.integrator_id) is true and i.participant_id = k.participant_id) d
"""
_READ = f"""
select p.integrator_id, p.participant_id, p.status, {ONBOARDING_COLUMNS}
  from unnest($1::uuid[], $2::uuid[]) as k (integrator_id, participant_id)
  join participants p on p.integrator_id = k.integrator_id and p.participant_id = k.participant_id
{ONBOARDING_TABLES}
"""


async def read_onboarding(
    connection: Connection, participants: Sequence[ParticipantId]
) -> Mapping[ParticipantId, OnboardingFacts]:
    """Facts of each participant that exists, in one statement; who decides by them holds the guards first."""
    if not participants:
        return {}
    rows = await connection.fetch(_READ, *columns(participants))
    return {(row["integrator_id"], row["participant_id"]): onboarding_facts(row, row["status"]) for row in rows}


async def mark_onboarded(connection: Connection, participant: ParticipantId, *, is_onboarded: bool) -> int | None:
    """Remember whether a participant's onboarding is complete; the number of the event if that is news, else None."""
    sequence: int | None = await connection.fetchval(
        "update participants set is_onboarded = $3, event_sequence = event_sequence + $3::integer"
        " where integrator_id = $1 and participant_id = $2 and is_onboarded <> $3 returning event_sequence",
        *participant,
        is_onboarded,
    )
    return sequence


def onboarding_facts(row: Row, participant_status: str) -> OnboardingFacts:
    """The facts in a row with ONBOARDING_COLUMNS."""
    device = None
    if row["device_id"] is not None:
        device = DeviceFact(
            key=row["device_id"],
            is_active=row["is_active"],
            active_from=row["active_from"],
            undeliverable_at=row["undeliverable_at"],
            masked_number=row["masked_number"],
        )
    documents = zip(row["types"], row["statuses"], row["times"], strict=True)
    return OnboardingFacts(
        participant_status=participant_status,
        has_registered=row["has_registered"],
        device=device,
        documents=tuple(DocumentFact(kind, DocumentStatus(status), at) for kind, status, at in documents),
    )
