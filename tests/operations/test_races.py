"""Administrative acts at the same moment: a bound holds, an audit row stands for each act that was done."""

import asyncio
from uuid import uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.operations.create_account import create_account
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.register_contact import register_contact
from aval.operations.register_webhook_endpoint import register_webhook_endpoint
from aval.storage.accounts import AccountData
from tests.factories import (
    AUTHOR,
    make_account,
    make_approver,
    make_credential,
    make_integrator,
    make_keyring,
)


async def outcomes(calls):
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refusal)]
    unexpected = [result for result in results if isinstance(result, Exception) and not isinstance(result, Refusal)]
    assert unexpected == []
    return len(results) - len(refused), {refusal.name for refusal in refused}


async def count(db, query):
    async with db.connection() as connection:
        return await connection.fetchval(query)


async def test_two_credentials_of_a_type_are_the_most(db):
    integrator = await make_integrator(db)
    made, refusals = await outcomes(make_credential(db, integrator.key) for _ in range(6))
    assert (made, refusals) == (2, {"qit.conflict"})
    assert await count(db, "select count(*) from audit where action = 'credential.created'") == 2


async def test_five_webhook_targets_are_the_most(db):
    integrator = await make_integrator(db)

    def register():
        return register_webhook_endpoint(
            db,
            integrator_key=integrator.key,
            url="https://hooks.example.com/",
            event_types=["baas.ted.outgoing_ted"],
            headers={},
            keyring=make_keyring(),
            author=AUTHOR,
        )

    assert await outcomes(register() for _ in range(9)) == (5, {"qit.conflict"})


async def test_one_account_has_one_set_of_bank_data(db):
    integrator = await make_integrator(db)
    data = AccountData("0001", "12345", "6", "11222333000181", "Loja Exemplo Ltda")

    def create():
        return create_account(db, integrator_key=integrator.key, account_key=None, data=data, author=AUTHOR)

    assert await outcomes(create() for _ in range(5)) == (1, {"qit.conflict"})
    assert await count(db, "select count(*) from audit where action = 'account.created'") == 1


async def test_of_contacts_registered_at_once_the_last_stands_and_each_other_is_told(db):
    integrator = await make_integrator(db)
    approver = await make_approver(db, integrator.key)

    def register(number):
        return register_contact(
            db,
            integrator_key=integrator.key,
            approver_key=approver.key,
            contact_type="sms",
            destination=f"+5511987654{number:03d}",
            keyring=make_keyring(),
            author=AUTHOR,
        )

    assert await outcomes(register(number) for number in range(5)) == (5, set())
    assert await count(db, "select count(*) from contacts where removed_at is null") == 1
    assert await count(db, "select count(*) from outbox where topic = 'notice'") == 4


async def test_one_request_control_key_books_once_even_on_two_accounts(db):
    integrator = await make_integrator(db)
    accounts = [await make_account(db, integrator.key) for _ in range(2)]
    key = uuid4()

    def post(account):
        request = EntryRequest(account.key, key, "credit", Brl(100), None)
        return post_entry(db, integrator_key=integrator.key, request=request, author=AUTHOR)

    made, refusals = await outcomes(post(account) for account in accounts * 3)
    assert (made, refusals) == (3, {"qit.conflict"})
    assert await count(db, "select sum(balance_centavos) from accounts") == 100
    assert await count(db, "select sum(amount_centavos) from ledger_entries") == 100


async def test_a_refused_act_leaves_no_audit_row(db):
    integrator = await make_integrator(db)
    before = await count(db, "select count(*) from audit")
    request = EntryRequest(uuid4(), uuid4(), "credit", Brl(100), None)
    with pytest.raises(Refusal, match="qit.not_found"):
        await post_entry(db, integrator_key=integrator.key, request=request, author=AUTHOR)
    assert await count(db, "select count(*) from audit") == before
