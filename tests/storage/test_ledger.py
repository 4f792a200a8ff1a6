"""The ledger of an account adds up to its stored balance."""

from uuid import uuid4

import pytest

from aval.domain.money import Brl
from aval.operations.post_entry import EntryRequest, post_entry
from aval.storage.ledger import read_ledger
from tests.factories import AUTHOR, make_account, make_integrator


async def ledger_of(db_as, integrator_key, account_key):
    db = await db_as("aval_readonly")
    async with db.connection() as connection:
        return await read_ledger(connection, integrator_key, account_key)


async def test_entries_are_told_in_order_and_add_up_to_the_stored_balance(db, db_as):
    integrator = await make_integrator(db)
    account = await make_account(db, integrator.key, balance=Brl(100_00))
    request = EntryRequest(account.key, uuid4(), "debit", Brl(30_05), "Ajuste")
    await post_entry(db, integrator_key=integrator.key, request=request, author=AUTHOR)
    ledger = await ledger_of(db_as, integrator.key, account.key)
    assert [(entry.contra_account, entry.change, entry.description) for entry in ledger.entries] == [
        ("funding", Brl(100_00), None),
        ("funding", Brl(-30_05), "Ajuste"),
    ]
    assert ledger.rebuilt == ledger.balance == Brl(69_95)


async def test_an_account_without_entries_has_nothing_on_it(db, db_as):
    integrator = await make_integrator(db)
    account = await make_account(db, integrator.key)
    ledger = await ledger_of(db_as, integrator.key, account.key)
    assert (ledger.entries, ledger.rebuilt, ledger.balance) == ([], Brl(0), Brl(0))


@pytest.mark.parametrize("is_foreign", [True, False])
async def test_an_account_of_nobody_or_of_another_has_no_ledger(db, db_as, is_foreign):
    integrator, other = await make_integrator(db), await make_integrator(db)
    account = await make_account(db, other.key, balance=Brl(1))
    assert await ledger_of(db_as, integrator.key, account.key if is_foreign else uuid4()) is None
