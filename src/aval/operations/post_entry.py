"""Book money onto an account or off it."""

import hashlib
import json
from dataclasses import dataclass
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.money import ZERO, Brl
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, record_act
from aval.storage.accounts import lock_account, update_balance
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation
from aval.storage.entries import Entry, find_entry, insert_entry


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """One booking as asked for."""

    account_key: UUID
    request_control_key: UUID
    entry_type: str  # credit, debit
    amount: Brl
    description: str | None

    @property
    def fingerprint(self) -> bytes:
        """What a repetition must equal; 32 bytes."""
        parts = [str(self.account_key), self.entry_type, self.amount.centavos, self.description]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


async def post_entry(
    db: Database, *, integrator_key: UUID, request: EntryRequest, author: Author
) -> tuple[Entry, bool]:
    """Write entry and balance under the account's lock; tells whether an earlier same request had done it.

    Refused with a conflict: a debit below zero, a request_control_key that served another request.
    """
    try:
        async with db.transaction() as connection:
            account = await lock_account(connection, integrator_key, request.account_key)
            if account is None:
                raise Refusal("qit.not_found")
            former = await find_entry(connection, integrator_key, request.request_control_key)
            if former is not None:
                return _replayed(former, request), True
            now = await read_clock(connection)
            balance = _balance_after(account.balance, request)
            entry = Entry(
                key=new_key(now),
                account_key=request.account_key,
                request_control_key=request.request_control_key,
                request_fingerprint=request.fingerprint,
                entry_type=request.entry_type,
                amount=request.amount,
                description=request.description,
                balance=balance,
                created_at=now,
            )
            await insert_entry(connection, integrator_key, entry)
            await update_balance(connection, integrator_key, request.account_key, balance, now)
            await record_act(
                connection,
                author,
                "entry.posted",
                integrator_key=integrator_key,
                key=entry.key,
                at=now,
                details={
                    "account": request.account_key,
                    request.entry_type: request.amount.wire(),
                    "before": {"balance": account.balance.wire()},
                    "after": {"balance": balance.wire()},
                },
            )
    except UniqueViolation:  # the same key at the same moment on another account
        raise Refusal("qit.conflict") from None
    return entry, False


def _replayed(former: Entry, request: EntryRequest) -> Entry:
    if former.request_fingerprint != request.fingerprint:
        raise Refusal("qit.conflict")
    return former


def _balance_after(balance: Brl, request: EntryRequest) -> Brl:
    after = balance + request.amount if request.entry_type == "credit" else balance - request.amount
    if after < ZERO:
        raise Refusal("qit.conflict")
    return after
