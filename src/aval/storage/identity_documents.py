"""Identity documents and their files; the participant's guard is held by whoever changes one."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from aval.domain.identity_document import Decision, DocumentFile, DocumentStatus, IdentityDocument
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

DocumentId = tuple[UUID, UUID]  # tenant and document

_READ = """
select d.integrator_id, d.document_id, d.participant_id, d.document_type, d.status, d.attempt, d.has_new_file,
       d.decision, d.reason_code, d.public_message, d.internal_note, d.expires_on, d.decided_by, d.decided_at,
       d.submitted_at, d.purged_at, d.event_sequence, d.created_at, d.updated_at, s.files
  from identity_documents d
 cross join lateral (
       select coalesce(jsonb_agg(jsonb_build_object(
                  'side', f.side, 'version', f.version, 'media_type', f.media_type, 'received_size', f.received_size,
                  'sha256', encode(f.sha256, 'base64'), 'object_key', f.object_id, 'created_at', f.created_at)), '[]')
              as files
         from document_files f where f.integrator_id = d.integrator_id and f.document_id = d.document_id) s
"""
_PRESENT = "d.integrator_id = $1 and d.participant_id = $2"
_QUEUED = (
    " join participants p on p.integrator_id = d.integrator_id and p.participant_id = d.participant_id"
    " where d.status = $1 and ($2::uuid is null or d.integrator_id = $2) and p.erased_at is null"
)


async def find_document(
    connection: Connection, document_key: UUID, *, tenant_key: UUID | None
) -> IdentityDocument | None:
    """Read one document; the back office names no tenant."""
    row = await connection.fetchrow(
        _READ + " where d.document_id = $1 and ($2::uuid is null or d.integrator_id = $2)", document_key, tenant_key
    )
    return None if row is None else document_of(row)


async def read_documents(connection: Connection, tenant_key: UUID, participant_key: UUID) -> list[IdentityDocument]:
    """Read every document of a participant, oldest first."""
    rows = await connection.fetch(
        f"{_READ} where {_PRESENT} order by d.created_at, d.document_id", tenant_key, participant_key
    )
    return [document_of(row) for row in rows]


async def lock_documents(connection: Connection, documents: Sequence[DocumentId]) -> list[IdentityDocument]:
    """Read documents as they are once the guards of their participants are held; unknown ones are left out."""
    if not documents:
        return []
    rows = await connection.fetch(
        _READ + " join unnest($1::uuid[], $2::uuid[]) as r (integrator_id, document_id)"
        " on r.integrator_id = d.integrator_id and r.document_id = d.document_id",
        *columns(documents),
    )
    return [document_of(row) for row in rows]


async def list_documents(
    connection: Connection, tenant_key: UUID, participant_key: UUID, *, offset: int, limit: int
) -> tuple[list[IdentityDocument], int]:
    """Read a part of a participant's documents, oldest first, and how many there are."""
    total = await connection.fetchval(
        f"select count(*) from identity_documents d where {_PRESENT}",  # noqa: S608
        tenant_key,
        participant_key,
    )
    rows = await connection.fetch(
        f"{_READ} where {_PRESENT} order by d.created_at, d.document_id offset $3 limit $4",
        tenant_key,
        participant_key,
        offset,
        limit,
    )
    return [document_of(row) for row in rows], total


async def list_queue(
    connection: Connection, status: DocumentStatus, tenant_key: UUID | None, *, offset: int, limit: int
) -> tuple[list[IdentityDocument], int]:
    """Read a part of what is in one state, the longest waiting first, and how many there are; nobody erased."""
    total = await connection.fetchval(
        f"select count(*) from identity_documents d{_QUEUED}",  # noqa: S608
        status.value,
        tenant_key,
    )
    rows = await connection.fetch(
        f"{_READ}{_QUEUED} order by coalesce(d.submitted_at, d.created_at), d.document_id offset $3 limit $4",
        status.value,
        tenant_key,
        offset,
        limit,
    )
    return [document_of(row) for row in rows], total


async def insert_document(connection: Connection, document: IdentityDocument) -> None:
    """Store a new draft."""
    await connection.execute(
        "insert into identity_documents (integrator_id, document_id, participant_id, document_type, status,"
        " has_new_file, created_at, updated_at) values ($1, $2, $3, $4, $5, true, $6, $6)",
        document.integrator_key,
        document.key,
        document.participant_key,
        document.type,
        document.status.value,
        document.created_at,
    )


async def write_documents(connection: Connection, documents: Sequence[IdentityDocument]) -> None:
    """Write documents as they are now, in one statement."""
    if not documents:
        return
    rows = [
        (
            *(each.integrator_key, each.key, each.status.value, each.attempt, each.has_new_file),
            *(each.decision and each.decision.value, each.reason_code, each.public_message, each.internal_note),
            *(each.expires_on, each.decided_by, each.decided_at, each.submitted_at, each.purged_at),
            *(each.event_sequence, each.updated_at),
        )
        for each in documents
    ]
    tag = await connection.execute(
        "update identity_documents d set status = r.status, attempt = r.attempt, has_new_file = r.has_new_file,"
        " decision = r.decision, reason_code = r.reason_code, public_message = r.public_message,"
        " internal_note = r.internal_note, expires_on = r.expires_on, decided_by = r.decided_by,"
        " decided_at = r.decided_at, submitted_at = r.submitted_at, purged_at = r.purged_at,"
        " event_sequence = r.event_sequence, updated_at = r.updated_at"
        " from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::boolean[], $6::text[], $7::text[],"
        "   $8::text[], $9::text[], $10::date[], $11::text[], $12::timestamptz[], $13::timestamptz[],"
        "   $14::timestamptz[], $15::integer[], $16::timestamptz[])"
        "   as r (integrator_id, document_id, status, attempt, has_new_file, decision, reason_code, public_message,"
        "     internal_note, expires_on, decided_by, decided_at, submitted_at, purged_at, event_sequence, updated_at)"
        " where d.integrator_id = r.integrator_id and d.document_id = r.document_id",
        *columns(rows),
    )
    assert tag == f"UPDATE {len(rows)}"


async def delete_drafts(connection: Connection, drafts: Sequence[DocumentId]) -> None:
    """Erase drafts whose files are destroyed already."""
    if not drafts:
        return
    await connection.execute(
        "delete from identity_documents d using unnest($1::uuid[], $2::uuid[]) as r (integrator_id, document_id)"
        " where d.integrator_id = r.integrator_id and d.document_id = r.document_id",
        *columns(drafts),
    )


async def put_file(
    connection: Connection, document: IdentityDocument, file: DocumentFile, *, key_sealed: bytes
) -> None:
    """Store a side of a document in place of the former one."""
    await connection.execute(
        "insert into document_files (integrator_id, document_id, side, version, media_type, received_size, sha256,"
        " object_id, key_sealed, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " on conflict (integrator_id, document_id, side) do update set version = excluded.version,"
        " media_type = excluded.media_type, received_size = excluded.received_size, sha256 = excluded.sha256,"
        " object_id = excluded.object_id, key_sealed = excluded.key_sealed, created_at = excluded.created_at,"
        " destroyed_at = null",
        document.integrator_key,
        document.key,
        file.side,
        file.version,
        file.media_type,
        file.received_size,
        file.sha256,
        file.object_key,
        key_sealed,
        file.created_at,
    )


async def find_file_key(connection: Connection, document: IdentityDocument, file: DocumentFile) -> bytes | None:
    """Read the sealed key of a file; None once it is destroyed or replaced."""
    sealed: bytes | None = await connection.fetchval(
        "select key_sealed from document_files"
        " where integrator_id = $1 and document_id = $2 and side = $3 and version = $4",
        document.integrator_key,
        document.key,
        file.side,
        file.version,
    )
    return sealed


async def destroy_files(connection: Connection, documents: Sequence[DocumentId], at: datetime) -> int:
    """Drop the keys of all files of documents for good and let their objects go; answers how many there were."""
    if not documents:
        return 0
    destroyed: int = await connection.fetchval(
        "with gone as (select f.integrator_id, f.document_id, f.side, f.object_id"
        "   from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, document_id)"
        "   join document_files f on f.integrator_id = r.integrator_id and f.document_id = r.document_id"
        "   where f.object_id is not null),"
        " let_go as (update document_objects o set state = 'discarded', due_at = $3 from gone g"
        "   where o.integrator_id = g.integrator_id and o.object_id = g.object_id),"
        " emptied as (update document_files f set object_id = null, key_sealed = null, destroyed_at = $3 from gone g"
        "   where f.integrator_id = g.integrator_id and f.document_id = g.document_id and f.side = g.side)"
        " select count(*) from gone",
        *columns(documents),
        at,
    )
    return destroyed


def document_of(row: Row) -> IdentityDocument:
    """The document in a row of this file's reading statement."""
    return IdentityDocument(
        integrator_key=row["integrator_id"],
        key=row["document_id"],
        participant_key=row["participant_id"],
        type=row["document_type"],
        status=DocumentStatus(row["status"]),
        attempt=row["attempt"],
        has_new_file=row["has_new_file"],
        decision=None if row["decision"] is None else Decision(row["decision"]),
        reason_code=row["reason_code"],
        public_message=row["public_message"],
        internal_note=row["internal_note"],
        expires_on=row["expires_on"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        submitted_at=row["submitted_at"],
        purged_at=row["purged_at"],
        event_sequence=row["event_sequence"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        files=msgspec.convert(row["files"], tuple[DocumentFile, ...]),
    )
