"""A database that was restored into another cluster, where transactions count from lower, goes on after its audit."""

from aval.storage.database import Connection

_HAS_CHAIN = "select to_regclass('aval.audit_links') is not null"
_LAST = """
select greatest((select xact from audit order by xact desc limit 1),
                (select last_xact from audit_links order by link_no desc limit 1))::text::bigint
"""
_COUNTS = """
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint as following, audit_horizon()::text::bigint as horizon
"""
_XMIN = "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"
_FUNCTIONS = f"""
create or replace function aval.audit_transaction() returns xid8 language sql stable parallel safe
    as $$ select ((pg_catalog.pg_current_xact_id()::text::bigint + {{shift}})::text)::xid8 $$;
create or replace function aval.audit_horizon() returns xid8 language sql stable parallel safe
    as $$ select (({_XMIN}::text::bigint + {{shift}})::text)::xid8 $$
"""


async def keep_audit_ahead(connection: Connection) -> bool:
    """Let new audit rows follow those that are there; answers whether anything had to change. Nothing may run then."""
    if not await connection.fetchval(_HAS_CHAIN):
        return False
    last = await connection.fetchval(_LAST)
    ((oldest, following, horizon),) = [tuple(row.values()) for row in await connection.fetch(_COUNTS)]
    if last is None or last < following + horizon - oldest:
        return False
    await connection.execute(_FUNCTIONS.format(shift=int(last) + 1 - oldest))
    return True
