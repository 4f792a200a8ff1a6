"""What may lie in the object store: written down before it does, forgotten once it is gone (docs/adr/0036)."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns

ObjectId = tuple[UUID, UUID]  # tenant and object

UNCLAIMED_FOR = timedelta(hours=1)  # an upload that has not ended by then never will
TRIED_AGAIN_AFTER = timedelta(minutes=1)


async def announce_object(connection: Connection, tenant_key: UUID, object_key: UUID) -> None:
    """Write down an object that is about to be stored, and that goes again unless a file takes it into use."""
    await connection.execute(
        "insert into document_objects (integrator_id, object_id, due_at, created_at)"
        " select $1, $2, at + $3::interval, at from clock_timestamp() as at",
        tenant_key,
        object_key,
        UNCLAIMED_FOR,
    )


async def take_into_use(connection: Connection, tenant_key: UUID, object_key: UUID) -> bool:
    """Keep an object for good; false if it has gone already."""
    tag = await connection.execute(
        "update document_objects set state = 'in_use', due_at = null"
        " where integrator_id = $1 and object_id = $2 and state = 'written'",
        tenant_key,
        object_key,
    )
    return tag == "UPDATE 1"


async def discard_objects(connection: Connection, objects: Sequence[ObjectId]) -> None:
    """Let objects go that no file refers to any more."""
    if objects:
        await connection.execute(
            "update document_objects o set state = 'discarded', due_at = clock_timestamp()"
            " from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, object_id)"
            " where o.integrator_id = r.integrator_id and o.object_id = r.object_id",
            *columns(objects),
        )


async def claim_discarded(connection: Connection, *, most: int) -> list[ObjectId]:
    """Objects to delete now, none of which can be taken into use from here on; unless forgotten, they come again."""
    rows = await connection.fetch(
        "with due as (select integrator_id, object_id from document_objects where due_at <= clock_timestamp()"
        "   order by due_at limit $1 for no key update skip locked)"
        " update document_objects o set state = 'discarded', due_at = clock_timestamp() + $2::interval from due"
        " where o.integrator_id = due.integrator_id and o.object_id = due.object_id"
        " returning o.integrator_id, o.object_id",
        most,
        TRIED_AGAIN_AFTER,
    )
    return [(row["integrator_id"], row["object_id"]) for row in rows]


async def forget_objects(connection: Connection, objects: Sequence[ObjectId]) -> None:
    """Drop the rows of objects that are gone from the store."""
    if objects:
        await connection.execute(
            "delete from document_objects o using unnest($1::uuid[], $2::uuid[]) as r (integrator_id, object_id)"
            " where o.integrator_id = r.integrator_id and o.object_id = r.object_id",
            *columns(objects),
        )
