"""Proof of TN2: no statement can join or reach across tenants, because no key allows it (promises.md D10, D12, D15).

Read from PostgreSQL's own catalogue after the real migrations, so a table that a later migration adds is held as well.
"""

from typing import NamedTuple

import pytest

from tests.world import World

pytestmark = pytest.mark.proof

# Tables of the deployment, which belong to no tenant.
SHARED = {"admin_keys", "audit_links", "channel_states", "schema_manifest", "schema_migrations", "sweeps"}
# From what a caller presents, or the back office names, to the tenant it belongs to: D10 leaves these out.
LOOK_UPS = {
    ("campaigns", ("campaign_id",)),
    ("credentials", ("api_key_hash",)),
    ("credentials", ("api_client_key",)),
    ("session_ids", ("session_id",)),
    ("applications", ("application_id",)),
    ("applications", ("subscription_key_hash",)),
    ("application_keys", ("api_key_hash",)),
}
# What D10 names: one of each for a tenant.
ONCE = {
    ("operations", frozenset({"request_control_key", "kind", "integrator_id"})),
    ("operations", frozenset({"end_to_end_id", "integrator_id"})),
    ("idempotency_keys", frozenset({"integrator_id", "path", "idempotency_key"})),
    ("request_signatures", frozenset({"integrator_id", "signature_hash"})),
    ("device_decisions", frozenset({"integrator_id", "nonce"})),
    ("events", frozenset({"operation_id", "sequence", "integrator_id"})),
    ("settlement_jobs", frozenset({"integrator_id", "operation_id", "item_no"})),
    ("comparisons", frozenset({"integrator_id", "operation_id", "comparison_no"})),
}
HISTORY = (
    "operations",
    "comparisons",
    "ledger_entries",
    "audit",
    "events",
    "points_entries",
    "reversals",
    "evidence",
    "audit_links",
)


class Key(NamedTuple):
    """A primary, unique or foreign key: its table, kind, columns, and the table it points at."""

    table: str
    kind: str
    columns: tuple[str, ...]
    target: str | None


_TABLES = "select relname from pg_class where relnamespace = 'aval'::regnamespace and relkind in ('r', 'p')"
_COLUMN = (
    "select relname from pg_class c join pg_attribute a on a.attrelid = c.oid"
    " where c.relnamespace = 'aval'::regnamespace and c.relkind in ('r', 'p') and a.attname = 'integrator_id'"
    " and a.attnotnull and not a.attisdropped"
)
_UNIQUE = """
select c.relname as "table", case when i.indisprimary then 'primary' else 'unique' end as kind,
       array_agg(a.attname::text order by array_position(i.indkey::int2[], a.attnum)) as columns, null as target
  from pg_index i
  join pg_class c on c.oid = i.indrelid and c.relnamespace = 'aval'::regnamespace and c.relkind in ('r', 'p')
  join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey::int2[])
 where i.indisunique group by i.indexrelid, c.relname, i.indisprimary
"""
_FOREIGN = """
select k.conrelid::regclass::text as "table", 'foreign' as kind,
       array_agg(a.attname::text order by array_position(k.conkey, a.attnum)) as columns,
       k.confrelid::regclass::text as target
  from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
 where k.contype = 'f' and k.connamespace = 'aval'::regnamespace group by k.oid, k.conrelid, k.confrelid
"""


async def read_keys(world: World) -> list[Key]:
    """Every key of the schema."""
    async with world.db.connection() as connection:
        rows = [*await connection.fetch(_UNIQUE), *await connection.fetch(_FOREIGN)]
    return [
        Key(_bare(row["table"]), row["kind"], tuple(row["columns"]), row["target"] and _bare(row["target"]))
        for row in rows
    ]


def _bare(name: str) -> str:
    return name.removeprefix("aval.")


async def read_names(world: World, statement: str) -> set[str]:
    """One column of names."""
    async with world.db.connection() as connection:
        return {row[0] for row in await connection.fetch(statement)}


async def test_every_table_names_its_tenant(world: World) -> None:
    tables = await read_names(world, _TABLES)
    assert tables - await read_names(world, _COLUMN) == SHARED


async def test_every_key_holds_the_tenant(world: World) -> None:
    keys = [key for key in await read_keys(world) if key.table not in SHARED]
    without = {key for key in keys if "integrator_id" not in key.columns}
    assert {(key.table, key.columns) for key in without} == LOOK_UPS
    assert {key.kind for key in without} <= {"unique", "primary"}, "a foreign key without its tenant"
    print(f"pg_catalogue: {len(keys)} keys of {len({key.table for key in keys})} tables, {len(without)} look-ups")


async def test_a_foreign_key_never_leaves_its_tenant(world: World) -> None:
    """The tenant's column points at the tenant's column, not at another of the same type."""
    async with world.db.connection() as connection:
        crossed = await connection.fetch(
            "select k.conname from pg_constraint k"
            " cross join lateral unnest(k.conkey, k.confkey) as c (own, other)"
            " join pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.own"
            " join pg_attribute b on b.attrelid = k.confrelid and b.attnum = c.other"
            " where k.contype = 'f' and k.connamespace = 'aval'::regnamespace"
            " and (a.attname = 'integrator_id') <> (b.attname = 'integrator_id')"
        )
    assert crossed == []


async def test_what_may_happen_once_has_its_key(world: World) -> None:
    found = {(key.table, frozenset(key.columns)) for key in await read_keys(world) if key.kind != "foreign"}
    assert ONCE - found == set()


@pytest.mark.parametrize("table", HISTORY)
async def test_history_has_a_trigger_and_no_grant_against_it(world: World, table: str) -> None:
    async with world.db.connection() as connection:
        granted = await connection.fetch(
            "select grantee, privilege_type from information_schema.table_privileges where table_schema = 'aval'"
            " and table_name = $1 and privilege_type in ('UPDATE', 'DELETE', 'TRUNCATE')"
            " and grantee not in ('aval_owner', current_user)",
            table,
        )
        triggers = await connection.fetch(
            "select tgtype from pg_trigger where tgrelid = ('aval.' || $1)::regclass and not tgisinternal"
            " and tgfoid = 'aval.refuse_change'::regproc",
            table,
        )
    assert granted == []
    before_update_and_delete = 1 | 2 | 8 | 16  # of pg_trigger.tgtype: row, before, delete, update
    assert [row["tgtype"] for row in triggers] == [before_update_and_delete]


async def test_roles_are_groups_without_power_and_own_nothing(world: World) -> None:
    async with world.db.connection() as connection:
        powerful = await connection.fetch(
            "select rolname from pg_roles where rolname like 'aval\\_%'"
            " and (rolsuper or rolbypassrls or rolcanlogin or rolcreaterole or rolcreatedb or rolreplication)"
        )
        owned = await connection.fetch(
            "select c.relname from pg_class c join pg_roles r on r.oid = c.relowner"
            " where c.relnamespace = 'aval'::regnamespace and r.rolname like 'aval\\_app\\_%'"
        )
        public = await connection.fetch(
            "select table_name from information_schema.table_privileges"
            " where table_schema = 'aval' and grantee = 'PUBLIC'"
        )
        callable_by_all = await connection.fetch(
            "select p.proname from pg_proc p where p.pronamespace = 'aval'::regnamespace and p.prosecdef"
            " and has_function_privilege('public', p.oid, 'execute')"
        )
    assert (powerful, owned, public, callable_by_all) == ([], [], [], [])
