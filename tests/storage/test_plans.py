"""Hot statements find their rows by key, however few rows the tables hold (docs/adr/0017)."""

import re

import pytest

from aval.storage import (
    batches,
    callbacks,
    challenges,
    message_counts,
    messages,
    onboarding,
    points,
    purchase_inserts,
    purchase_moves,
    purchase_requests,
    purchases,
    redeemers,
    redemption_calls,
    requests,
    settlements,
    transfer_lists,
)
from aval.storage.database import Connection, Database
from tests.factories import make_party

HOT = {
    "read one operation": requests._READ_ONE,
    "list transfers": transfer_lists._OLDEST_FIRST,
    "list items": transfer_lists._ITEMS,
    "keys and end_to_end_ids that items want": batches._READ_USED,
    "promise items": batches._PROMISE_ITEMS,
    "count items": batches._COUNT_ITEMS,
    "request facts": requests._READ_FACTS,
    "lock operations": challenges._LOCK,
    "lock one operation": challenges._LOCK_ONE,
    "call facts": challenges._READ_FACTS,
    "lock approvers": message_counts._LOCK_FREE,
    "count messages": message_counts._READ,
    "lock accounts": challenges._LOCK_ACCOUNTS,
    "write decisions": challenges._WRITE,
    "lock settlements": settlements._LOCK_JOBS,
    "write settlements": settlements._WRITE_MOVES,
    "finish messages": messages._FINISH,
    "finish webhooks": callbacks._FINISH,
    "lock points accounts": points._LOCK,
    "post points": points._POST,
    "identify callers": redeemers._IDENTIFY,
    "guard redeemers": purchase_requests._GUARD + " for no key update of q, v, w",
    "lock numbers in use": purchase_requests._LOCK_NUMBERS,
    "read redeemers": purchase_requests._READ,
    "read redeemers and their day": purchase_requests._READ_WITH_DAY,
    "onboarding": onboarding._READ,
    "store purchases": purchase_inserts._INSERT,
    "lock purchases": purchases._SHOWN + purchases._LOCK,
    "lock challenged purchases": purchases._LOCK_CHALLENGED,
    "move purchases": purchase_moves._MOVE,
    "one purchase": f"{purchases._READ} where p.integrator_id = $1 and p.purchase_id = $2",
    "messages of numbers": redemption_calls._READ_NUMBERS,
    "kept answers": redemption_calls._READ,
}
FOREIGN_KEY_CHECKS = {
    f"a row of {table}": f"select 1 from only {table} x where integrator_id = $1 and {key} = $2 for key share of x"
    for table, key in (
        ("accounts", "account_id"),
        ("approvers", "approver_id"),
        ("contacts", "contact_id"),
        ("operations", "operation_id"),
        ("webhook_endpoints", "endpoint_id"),
    )
}
POINTS = ("points_accounts", "points_entries", "participants")
PURCHASES = ("purchases", "order_refunds", "item_refunds", "phone_devices", "identity_documents", "idempotency_keys")
LARGE = (
    "operations",
    "challenges",
    "comparisons",
    "ledger_entries",
    "settlement_jobs",
    "outbox",
    "accounts",
    "contacts",
    *POINTS,
    *PURCHASES,
)


async def generic_plan(connection: Connection, statement: str) -> list[str]:
    arguments = ", ".join(["null"] * max(map(int, re.findall(r"\$(\d+)", statement))))
    await connection.execute("set plan_cache_mode = force_generic_plan")
    await connection.execute(f"prepare judged as {statement}")
    rows = await connection.fetch(f"explain execute judged({arguments})")
    await connection.execute("deallocate judged")
    return [row[0] for row in rows]


def scans_without_a_key(plan: list[str]) -> list[str]:
    """Scans of large tables that read more than one key's rows: all of them, or a whole tenant."""
    found = []
    for line, following in zip(plan, [*plan[1:], ""], strict=True):
        scan = re.search(r"(Seq Scan|Index (?:Only )?Scan using \w+) on (\w+)", line)
        if scan is None or scan[2] not in LARGE:
            continue
        condition = following.strip().removeprefix("Index Cond: ")
        columns = set(re.findall(r"\(?(?:\w+\.)?(\w+) = ", condition))
        if scan[1] == "Seq Scan" or columns <= {"integrator_id"}:
            found.append(f"{line.strip()} / {condition}")
    return found


@pytest.fixture
async def hot(dsn: str, db: Database) -> Database:
    await make_party(db)
    return await Database.open(dsn, pool_size=1, is_hot=True)


async def test_hot_statements_name_a_row_by_its_whole_key_on_a_nearly_empty_database(hot: Database) -> None:
    async with hot.connection() as connection:
        judged = {
            name: scans_without_a_key(await generic_plan(connection, statement))
            for name, statement in (HOT | FOREIGN_KEY_CHECKS).items()
        }
    await hot.close()
    assert {name: scans for name, scans in judged.items() if scans} == {}


async def test_a_scan_of_a_tenant_is_seen(hot: Database) -> None:
    async with hot.connection() as connection:
        plan = await generic_plan(connection, "select 1 from operations where integrator_id = $1 and kind = $2")
    await hot.close()
    assert scans_without_a_key(plan)
