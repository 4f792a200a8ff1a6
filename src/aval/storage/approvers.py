"""The people who approve; a CPF is kept sealed, with a blind index for look-ups and its mask for eyes."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

_COLUMNS = "approver_id as key, document_masked, name, active, created_at"
# A participant of a campaign approves too, and is administered as what they are (docs/adr/0034).
_IS_NO_PARTICIPANT = (
    "not exists (select from participants p"
    " where p.integrator_id = approvers.integrator_id and p.participant_id = approvers.approver_id)"
)


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who approves, without the CPF."""

    key: UUID
    document_masked: str
    name: str
    active: bool
    created_at: datetime


async def insert_approver(
    connection: Connection,
    integrator_key: UUID,
    approver: Approver,
    *,
    document_index: bytes,
    document_sealed: bytes,
) -> None:
    """Store a new approver; the blind index is unique per integrator."""
    await connection.execute(
        "insert into approvers (integrator_id, approver_id, document_index, document_sealed, document_masked, name,"
        " active, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        integrator_key,
        approver.key,
        document_index,
        document_sealed,
        approver.document_masked,
        approver.name,
        approver.active,
        approver.created_at,
    )


async def update_approver(
    connection: Connection,
    integrator_key: UUID,
    approver: Approver,
    *,
    document: tuple[bytes, bytes] | None,
    at: datetime,
) -> None:
    """Replace name, state and mask, and where given the (blind index, sealed) document."""
    index, sealed = document or (None, None)
    await connection.execute(
        "update approvers set name = $3, active = $4, document_masked = $5, updated_at = $6,"
        " document_index = coalesce($7, document_index), document_sealed = coalesce($8, document_sealed)"
        " where integrator_id = $1 and approver_id = $2",
        integrator_key,
        approver.key,
        approver.name,
        approver.active,
        approver.document_masked,
        at,
        index,
        sealed,
    )


async def lock_approver(connection: Connection, integrator_key: UUID, approver_key: UUID) -> Approver | None:
    """Lock an approver, and with it the set of contacts; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from approvers where integrator_id = $1 and approver_id = $2"  # noqa: S608
        f" and {_IS_NO_PARTICIPANT} for no key update",
        integrator_key,
        approver_key,
    )
    return None if row is None else Approver(**row)


async def find_approver(connection: Connection, integrator_key: UUID, approver_key: UUID) -> Approver | None:
    """Read an approver; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from approvers where integrator_id = $1 and approver_id = $2"  # noqa: S608
        f" and {_IS_NO_PARTICIPANT}",
        integrator_key,
        approver_key,
    )
    return None if row is None else Approver(**row)


async def list_approvers(
    connection: Connection, integrator_key: UUID, *, offset: int, limit: int, is_newest_first: bool = False
) -> list[Approver]:
    """Read the approvers of an integrator, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        f"select {_COLUMNS} from approvers where integrator_id = $1 and {_IS_NO_PARTICIPANT}"  # noqa: S608
        f" order by created_at {order}, approver_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [Approver(**row) for row in rows]
