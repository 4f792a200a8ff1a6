"""Whether the schema in the database is the one this release was written for."""

from collections.abc import Collection

from aval.storage.database import Connection


async def has_migrations(connection: Connection, versions: Collection[str]) -> bool:
    """Tell whether all these migrations are applied; later ones do no harm, for another release may have been first."""
    if await connection.fetchval("select to_regclass('aval.schema_migrations') is null"):
        return False
    applied: int = await connection.fetchval(
        "select count(*) from schema_migrations where version = any($1::text[])", list(versions)
    )
    return applied == len(versions)
