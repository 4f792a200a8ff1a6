"""Participants: each is an approver too, who has name and document (docs/adr/0034).

The row in `participants` is the guard: whatever concerns the person locks it first.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.participant import Participant
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

ParticipantId = tuple[UUID, UUID]  # campaign's tenant key, participant

# Selected wherever a participant is read: p participants, v approvers.
PARTICIPANT_COLUMNS = (
    "p.integrator_id as tenant_key, p.participant_id, p.external_id, v.name as participant_name, p.username,"
    " p.person_type, p.status as participant_status, p.catalog_id, p.event_sequence as participant_sequence,"
    " p.is_onboarded, p.erased_at, p.created_at as participant_created_at, p.updated_at as participant_updated_at"
)
PARTICIPANT_TABLES = (
    "participants p join approvers v on v.integrator_id = p.integrator_id and v.approver_id = p.participant_id"
)
_STORED = f"select {PARTICIPANT_COLUMNS}, v.document_sealed, p.profile_sealed from {PARTICIPANT_TABLES}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """What is stored of a CPF or CNPJ: by what it is found, its seal, and its mask."""

    index: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    masked: str


@dataclass(frozen=True, slots=True)
class StoredParticipant:
    """A participant with the seals of document and profile; both are None once the person is erased."""

    participant: Participant
    document_sealed: bytes | None = field(repr=False)
    profile_sealed: bytes | None = field(repr=False)


def participant_of(row: Row) -> Participant:
    """Turn a row that holds PARTICIPANT_COLUMNS into a Participant."""
    return Participant(
        integrator_key=row["tenant_key"],
        key=row["participant_id"],
        external_id=row["external_id"],
        name=row["participant_name"],
        username=row["username"],
        person_type=row["person_type"],
        status=row["participant_status"],
        catalog_id=row["catalog_id"],
        event_sequence=row["participant_sequence"],
        is_onboarded=row["is_onboarded"],
        erased_at=row["erased_at"],
        created_at=row["participant_created_at"],
        updated_at=row["participant_updated_at"],
    )


async def insert_participant(
    connection: Connection, participant: Participant, document: KeptDocument, *, profile_sealed: bytes
) -> None:
    """Store a new participant: as approver, as participant, and an empty points account, in one statement.

    Log-in and document are unique in the campaign.
    """
    await connection.execute(
        "with approver as ("
        " insert into approvers (integrator_id, approver_id, document_index, document_sealed, document_masked, name,"
        "   active, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, true, $7, $7)), participant as ("
        " insert into participants (integrator_id, participant_id, external_id, username, person_type, status,"
        "   catalog_id, profile_sealed, created_at, updated_at) values ($1, $2, $8, $9, $10, $11, $12, $13, $7, $7))"
        " insert into points_accounts (integrator_id, participant_id, updated_at) values ($1, $2, $7)",
        participant.integrator_key,
        participant.key,
        document.index,
        document.sealed,
        document.masked,
        participant.name,
        participant.created_at,
        participant.external_id,
        participant.username,
        participant.person_type,
        participant.status,
        participant.catalog_id,
        profile_sealed,
    )


async def update_participant(
    connection: Connection, participant: Participant, *, profile_sealed: bytes | None, at: datetime
) -> None:
    """Replace what may change of a participant; the caller holds the guard."""
    await connection.execute(
        "with approver as (update approvers set name = $3, updated_at = $4"
        "  where integrator_id = $1 and approver_id = $2 and name <> $3)"
        " update participants set status = $5, catalog_id = $6, profile_sealed = $7, updated_at = $4"
        "  where integrator_id = $1 and participant_id = $2",
        participant.integrator_key,
        participant.key,
        participant.name,
        at,
        participant.status,
        participant.catalog_id,
        profile_sealed,
    )


async def erase_participant_row(
    connection: Connection, participant: Participant, document: KeptDocument, *, username: str, at: datetime
) -> None:
    """Overwrite all that tells who a participant was; the caller holds the guard, document and log-in fit nobody."""
    await connection.execute(
        "with approver as (update approvers set name = $3, document_index = $4, document_sealed = $5,"
        "   document_masked = $6, active = false, updated_at = $7 where integrator_id = $1 and approver_id = $2)"
        " update participants set username = $8, external_id = null, status = 'INACTIVE', profile_sealed = null,"
        "  is_onboarded = false, erased_at = $7, updated_at = $7 where integrator_id = $1 and participant_id = $2",
        participant.integrator_key,
        participant.key,
        str(participant.key),
        document.index,
        document.sealed,
        document.masked,
        at,
        username,
    )


async def erase_kept_answers(connection: Connection, integrator_key: UUID, participant_key: UUID) -> None:
    """Empty the answers kept for repetitions of calls on purchases and devices of a participant: who, and which number.

    They count as a day old from now on: a repetition is judged anew, and finds its purchase or device ended. Answers on
    their way are waited for; whoever locks a purchase later reads its person anew.
    """
    await connection.execute(
        "select from purchases where participant_id = $2 and integrator_id = $1 order by purchase_id for no key update",
        integrator_key,
        participant_key,
    )
    await connection.execute(
        "update idempotency_keys k set status = null, body = null, created_at = k.created_at - interval '24 hours'"
        " where k.integrator_id = $1 and (k.path like '/participants/' || $2::uuid || '/devices/%' or k.path in ("
        "   select '/purchases/' || p.purchase_id || act"
        "     from purchases p, unnest(array['/validate_token', '/resend_token', '/confirm', '/cancel']) act"
        "    where p.participant_id = $2 and p.integrator_id = $1))",
        integrator_key,
        participant_key,
    )


async def find_open_purchase(connection: Connection, integrator_key: UUID, participant_key: UUID) -> str | None:
    """The status of a purchase that is pending or authorized; None if there is none. No new one under the guard."""
    status: str | None = await connection.fetchval(
        "select status from purchases where participant_id = $2 and integrator_id = $1"
        " and status in ('pending_2fa_approval', 'authorized') order by status desc limit 1",
        integrator_key,
        participant_key,
    )
    return status


async def raise_event_sequence(connection: Connection, integrator_key: UUID, participant_key: UUID) -> int:
    """Count one more event of a participant; the row stays locked until the transaction ends."""
    sequence: int = await connection.fetchval(
        "update participants set event_sequence = event_sequence + 1"
        " where integrator_id = $1 and participant_id = $2 returning event_sequence",
        integrator_key,
        participant_key,
    )
    return sequence


async def hold_participants(connection: Connection, participants: Collection[ParticipantId]) -> None:
    """Take the guards of participants in key order – the first lock of all – and read nothing of them.

    What somebody read without the guard holds no longer (docs/adr/0045).
    """
    await connection.execute(
        "with held as ("
        " select p.integrator_id, p.participant_id"
        "   from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)"
        "   join participants p on p.integrator_id = r.integrator_id and p.participant_id = r.participant_id"
        "  order by p.integrator_id, p.participant_id for no key update of p)"
        " update participants p set revision = p.revision + 1 from held h"
        "  where p.integrator_id = h.integrator_id and p.participant_id = h.participant_id",
        *columns(sorted(set(participants))),
    )


async def guard_participants(
    connection: Connection, participants: Sequence[ParticipantId]
) -> dict[ParticipantId, Participant]:
    """Take the guards of participants and read them; an unknown one is left out."""
    await hold_participants(connection, participants)
    rows = await connection.fetch(
        f"select {PARTICIPANT_COLUMNS}"  # noqa: S608
        " from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)"
        " join participants p on p.integrator_id = r.integrator_id and p.participant_id = r.participant_id"
        " join approvers v on v.integrator_id = p.integrator_id and v.approver_id = p.participant_id",
        *columns(sorted(set(participants))),
    )
    return {(row["tenant_key"], row["participant_id"]): participant_of(row) for row in rows}


async def lock_participant(
    connection: Connection, integrator_key: UUID, participant_key: UUID
) -> StoredParticipant | None:
    """Take the guard of one participant and read them; None if the campaign has none of this key."""
    guarded = await connection.fetchval(
        "update participants set revision = revision + 1 where integrator_id = $1 and participant_id = $2"
        " returning participant_id",
        integrator_key,
        participant_key,
    )
    return None if guarded is None else await find_participant(connection, integrator_key, participant_key)


async def find_participant(
    connection: Connection, integrator_key: UUID, participant_key: UUID
) -> StoredParticipant | None:
    """Read a participant; None if the campaign has none of this key."""
    row = await connection.fetchrow(
        f"{_STORED} where p.integrator_id = $1 and p.participant_id = $2", integrator_key, participant_key
    )
    return None if row is None else _stored(row)


async def find_participants(
    connection: Connection, integrator_key: UUID, *, login: str | None, document_index: bytes | None
) -> list[StoredParticipant]:
    """Read those of a campaign who fit a log-in, a document, or both; none if neither is given."""
    if login is None and document_index is None:
        return []
    rows = await connection.fetch(
        f"{_STORED} where p.integrator_id = $1 and ($2::text is null or p.username = $2)"
        " and ($3::bytea is null or v.document_index = $3) and p.erased_at is null",
        integrator_key,
        login,
        document_index,
    )
    return [_stored(row) for row in rows]


def _stored(row: Row) -> StoredParticipant:
    is_erased = row["erased_at"] is not None
    return StoredParticipant(participant_of(row), None if is_erased else row["document_sealed"], row["profile_sealed"])
