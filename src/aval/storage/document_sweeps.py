"""Finding documents whose time has come: to expire, to lose their files, to be forgotten, to get a newer seal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from aval.domain.identity_document import DRAFT_DAYS_MAX
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.identity_documents import DocumentId
from aval.storage.participants import hold_participants
from aval.storage.rows import columns


class Due(NamedTuple):
    """A document something is due for, and whose it is."""

    tenant_key: UUID
    document_key: UUID
    participant_key: UUID

    @property
    def document(self) -> DocumentId:
        """The document's key with its tenant."""
        return self.tenant_key, self.document_key


_DUE = "d.integrator_id, d.document_id, d.participant_id"

# Of a document that waits for new files it counts from the last of those, if any came (redemptions.md §3.2 rule 6).
_PURGEABLE = f"""
select {_DUE} from identity_documents d
  join campaigns k on k.integrator_id = d.integrator_id
  join two_factor_policies y on y.integrator_id = k.integrator_id and y.version = k.policy_version
 where d.purged_at is null and d.status in ('approved', 'rejected', 'resubmission_requested', 'expired')
   and d.decided_at < clock_timestamp() - interval '1 day'
   and greatest(d.decided_at, (select max(f.created_at) from document_files f
                                where f.integrator_id = d.integrator_id and f.document_id = d.document_id
                                  and d.status = 'resubmission_requested'))
       + make_interval(days => (y.policy ->> 'document_retention_days')::integer) <= clock_timestamp()
   and exists (select from document_files f where f.integrator_id = d.integrator_id
                  and f.document_id = d.document_id and f.object_id is not null)
 order by d.decided_at limit $1
"""  # noqa: S608


async def read_purgeable(connection: Connection, *, most: int) -> list[Due]:
    """Decided documents whose files have been kept for as long as their campaign's policy says."""
    return [Due(*row) for row in await connection.fetch(_PURGEABLE, most)]


async def read_stale_drafts(connection: Connection, *, most: int) -> list[Due]:
    """Drafts nobody has touched for 30 days."""
    rows = await connection.fetch(
        f"select {_DUE} from identity_documents d where d.status = 'draft'"  # noqa: S608
        " and d.updated_at <= clock_timestamp() - make_interval(days => $1) order by d.updated_at limit $2",
        DRAFT_DAYS_MAX,
        most,
    )
    return [Due(*row) for row in rows]


async def read_zones(connection: Connection) -> tuple[list[str], datetime]:
    """The time zones of campaigns, and the clock."""
    rows = await connection.fetch("select distinct timezone from campaigns")
    return [row["timezone"] for row in rows], await read_clock(connection)


async def read_expiring(connection: Connection, today: Mapping[str, date], *, most: int) -> list[tuple[Due, date]]:
    """Approved documents whose last day is over where their campaign is, each with that day; `today` is by zone."""
    rows = await connection.fetch(
        f"select {_DUE}, d.expires_on from identity_documents d"  # noqa: S608
        " join campaigns k on k.integrator_id = d.integrator_id"
        " join unnest($1::text[], $2::date[]) as z (timezone, today) on z.timezone = k.timezone"
        " where d.status = 'approved' and d.expires_on < z.today"
        " order by d.expires_on limit $3",
        list(today),
        list(today.values()),
        most,
    )
    return [(Due(*row[:3]), row["expires_on"]) for row in rows]


async def guard_owners(connection: Connection, documents: Iterable[Due]) -> None:
    """Take the guards of the participants whose documents these are, in key order."""
    await hold_participants(connection, {(due.tenant_key, due.participant_key) for due in documents})


class SealedKey(NamedTuple):
    """The sealed key of one file, and where it stands."""

    tenant_key: UUID
    document_key: UUID
    side: str
    version: int
    sealed: bytes


async def read_older_seals(connection: Connection, older_kids: Sequence[str], *, most: int) -> list[SealedKey]:
    """Keys of files that one of these older keys of the deployment seals."""
    rows = await connection.fetch(
        "select integrator_id, document_id, side, version, key_sealed from document_files"
        " where substring(key_sealed from 2 for get_byte(key_sealed, 0)) = any($1::bytea[]) limit $2",
        [kid.encode() for kid in older_kids],
        most,
    )
    return [SealedKey(*row) for row in rows]


async def replace_seals(connection: Connection, seals: Sequence[tuple[SealedKey, bytes]]) -> None:
    """Put newer seals in place of older ones that are still what they were."""
    await connection.execute(
        "update document_files f set key_sealed = r.newer"
        " from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bytea[])"
        "   as r (integrator_id, document_id, side, older, newer)"
        " where f.integrator_id = r.integrator_id and f.document_id = r.document_id and f.side = r.side"
        " and f.key_sealed = r.older",
        *columns((key.tenant_key, key.document_key, key.side, key.sealed, newer) for key, newer in seals),
    )
