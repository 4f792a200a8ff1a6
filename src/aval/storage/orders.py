"""Orders by their own id: which purchase they are part of."""

from uuid import UUID

from aval.storage.database import Connection


async def find_purchase_of(
    connection: Connection, order_key: UUID, *, tenant_key: UUID | None
) -> tuple[UUID, UUID] | None:
    """Read campaign and purchase of an order; None if there is none. An operator names no tenant."""
    row = await connection.fetchrow(
        "select integrator_id, purchase_id from orders"
        " where order_id = $1 and ($2::uuid is null or integrator_id = $2)",
        order_key,
        tenant_key,
    )
    return None if row is None else (row["integrator_id"], row["purchase_id"])
