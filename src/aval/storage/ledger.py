"""The ledger of an account: every entry, and the balance rebuilt from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.money import Brl
from aval.storage.database import Connection, Row

# One statement, so that entries and balance are of the same moment; `transfer` comes before its `fee`.
_LEDGER = """
    select a.balance_centavos, e.source_id, e.entry_type, e.direction, e.contra_account, e.amount_centavos,
           e.description, e.created_at
      from accounts a left join ledger_entries e using (integrator_id, account_id)
     where a.integrator_id = $1 and a.account_id = $2
     order by e.created_at, e.source_id, e.entry_type desc"""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One move between the account and its contra account; `direction` is the account's side, debit or credit."""

    source_key: UUID
    entry_type: str
    direction: str
    contra_account: str
    amount: Brl
    description: str | None
    created_at: datetime

    @property
    def change(self) -> Brl:
        """What the entry adds to the account's balance."""
        return self.amount if self.direction == "credit" else Brl(-self.amount.centavos)


@dataclass(frozen=True, slots=True)
class AccountLedger:
    """Entries, oldest first, and the stored balance they must add up to."""

    entries: Sequence[LedgerEntry]
    balance: Brl

    @property
    def rebuilt(self) -> Brl:
        """The balance the entries add up to."""
        return Brl.total(entry.change for entry in self.entries)


async def read_ledger(connection: Connection, integrator_key: UUID, account_key: UUID) -> AccountLedger | None:
    """Read an account's ledger; None if the integrator has none of this key."""
    rows = await connection.fetch(_LEDGER, integrator_key, account_key)
    if not rows:
        return None
    return AccountLedger([_entry(row) for row in rows if row["source_id"]], Brl(rows[0]["balance_centavos"]))


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(
        source_key=row["source_id"],
        entry_type=row["entry_type"],
        direction=row["direction"],
        contra_account=row["contra_account"],
        amount=Brl(row["amount_centavos"]),
        description=row["description"],
        created_at=row["created_at"],
    )
