"""The ledger's own word: balances, sums and every operation's entries, rebuilt from nothing but the rows."""

from collections.abc import Mapping
from typing import Any

from aval.storage.database import Database

# One statement is one snapshot, so it may be asked while money moves.
ACCOUNTS = """
select a.account_id, a.balance_centavos, coalesce(sum(case e.direction when 'credit' then e.amount_centavos
       when 'debit' then -e.amount_centavos end), 0)::bigint as rebuilt
  from aval.accounts a left join aval.ledger_entries e using (integrator_id, account_id)
 group by a.integrator_id, a.account_id, a.balance_centavos
"""
# What left an account arrived at its contra account.
CONTRA = """
select contra_account, sum(case direction when 'debit' then amount_centavos else -amount_centavos end)::bigint as held
  from aval.ledger_entries group by 1
"""
OPERATIONS = """
select o.operation_id, o.kind, o.batch_id is not null as is_item, o.amount_centavos, o.fee_centavos, c.status,
       c.rejection_reason, j.rail_status,
       j.operation_id is not null as has_job, c.consumed_at is not null as is_approved,
       array(select e.entry_type || ' ' || e.amount_centavos from aval.ledger_entries e
              where e.integrator_id = o.integrator_id and e.source_id = o.operation_id order by 1) as entries
  from aval.operations o join aval.challenges c using (integrator_id, operation_id)
  left join aval.settlement_jobs j using (integrator_id, operation_id)
"""


async def check_balances(db: Database) -> None:
    """At this moment no balance is negative, and each is what its entries add up to."""
    async with db.connection() as connection:
        rows = await connection.fetch(ACCOUNTS)
    wrong = [dict(row) for row in rows if row["balance_centavos"] != row["rebuilt"] or row["balance_centavos"] < 0]
    assert wrong == []


async def check_ledger(db: Database) -> None:
    """Balances, and: every operation has the entries its state asks for, once each, and nothing was lost or created."""
    await check_balances(db)
    async with db.connection() as connection:
        operations = await connection.fetch(OPERATIONS)
        contra = {row["contra_account"]: row["held"] for row in await connection.fetch(CONTRA)}
        balances = await connection.fetchval("select sum(balance_centavos)::bigint from aval.accounts")
    faults = [(expected, dict(row)) for row in operations if row["entries"] != (expected := expected_entries(row))]
    assert faults == []
    assert balances + sum(contra.values()) == 0, (balances, contra)
    kept = [row for row in operations if row["status"] in ("pending", "sent")]
    fees = sum(row["fee_centavos"] for row in operations if is_paid(row))
    assert contra.get("settlement", 0) == sum(row["amount_centavos"] for row in kept), contra
    assert contra.get("fees", 0) == fees, contra


def is_paid(row: Mapping[str, Any]) -> bool:
    """Whether Aval keeps the fee: sent or about to be, or sent and returned."""
    return row["status"] in ("pending", "sent") or row["rail_status"] == "returned"


def expected_entries(row: Mapping[str, Any]) -> list[str]:
    """What an operation in this state has moved; a batch is debited for its items, which only get back."""
    is_batch = row["kind"].endswith("_batch")
    assert row["has_job"] == (row["is_approved"] and not is_batch), dict(row)
    amounts = {} if row["is_item"] else {"transfer": row["amount_centavos"], "fee": row["fee_centavos"]}
    if row["status"] == "rejected" and row["has_job"]:
        if row["rail_status"] == "returned":
            amounts |= {"transfer_return": row["amount_centavos"]}
        else:
            amounts |= {"transfer_refund": row["amount_centavos"], "fee_refund": row["fee_centavos"]}
    elif not row["is_approved"]:
        return []
    return sorted(f"{entry_type} {amount}" for entry_type, amount in amounts.items() if amount)
