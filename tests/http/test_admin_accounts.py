"""Accounts, entries, fees and limits over HTTP."""

import asyncio
import json
from uuid import uuid4

import pytest

from aval.domain.money import Brl
from aval.http import admin
from aval.http.app import build_app
from tests.factories import Client, make_account, make_admin_key, make_integrator, make_parts, make_party

ACCOUNT = {
    "account_branch": "0001",
    "account_number": "0012345",
    "account_digit": "X",
    "owner_document_number": "12abc34501de35",
    "owner_name": " Loja Exemplo Ltda ",
}


@pytest.fixture
async def app(db_as):
    parts = make_parts(await db_as("aval_app_api"))
    return build_app(parts, [admin.routes(parts)])


@pytest.fixture
async def call(app, db):
    return Client(app, await make_admin_key(db))


@pytest.fixture
async def integrator(db):
    return await make_integrator(db)


@pytest.fixture
async def accounts(integrator):
    return f"/admin/integrators/{integrator.key}/accounts"


@pytest.fixture
async def account(db, integrator):
    return await make_account(db, integrator.key, balance=Brl(100_00))


@pytest.fixture
async def path(accounts, account):
    return f"{accounts}/{account.key}"


async def ledger_of(db, account_key):
    """Credits less debits of an account."""
    async with db.connection() as connection:
        return await connection.fetchval(
            "select coalesce(sum(case direction when 'credit' then amount_centavos else -amount_centavos end), 0)"
            " from ledger_entries where account_id = $1",
            account_key,
        )


async def test_an_account_starts_open_and_empty(call, accounts):
    made = await call("POST", accounts, ACCOUNT)
    assert made.status == 201
    assert made.json == ACCOUNT | {
        "account_key": made.json["account_key"],
        "created_at": made.json["created_at"],
        "owner_document_number": "12ABC34501DE35",
        "owner_name": "Loja Exemplo Ltda",
        "account_status": "open",
        "balance": 0,
    }
    assert (await call("GET", f"{accounts}/{made.json['account_key']}")).json == made.json
    assert (await call("GET", accounts)).json["data"] == [made.json]


async def test_key_and_bank_data_are_unique_within_an_integrator_only(call, db, accounts):
    key = str(uuid4())
    assert (await call("POST", accounts, ACCOUNT | {"account_key": key.upper()})).json["account_key"] == key
    same_data = await call("POST", accounts, ACCOUNT)
    same_key = await call("POST", accounts, ACCOUNT | {"account_key": key, "account_number": "999"})
    assert [(same_data.status, same_data.code), (same_key.status, same_key.code)] == [(409, "QIT000945")] * 2
    other = await make_integrator(db)
    assert (await call("POST", f"/admin/integrators/{other.key}/accounts", ACCOUNT)).status == 201


NO_BANK_DATA = [
    {"account_branch": "0000001"},
    {"account_branch": "12a"},
    {"account_number": ""},
    {"account_number": "1" * 21},
    {"account_number": 12345},
    {"account_digit": "12"},
    {"owner_document_number": "11144477734"},
    {"owner_document_number": "11111111111"},
    {"owner_name": "\u202e"},
    {"owner_name": "x" * 151},
    {"account_status": "frozen"},
    {"account_key": "7c9e6679-7425-10de-944b-e07fc1f90ae7"},
    {"balance": 5},
]


async def test_bank_data_outside_its_form_is_refused(call, accounts, path):
    for change in NO_BANK_DATA:
        assert (await call("POST", accounts, ACCOUNT | change)).code == "QIT000001", change
        assert (await call("PATCH", path, change)).code == "QIT000001", change


async def test_a_closed_account_stays_closed(call, path):
    assert (await call("PATCH", path, {"account_status": "blocked"})).json["account_status"] == "blocked"
    assert (await call("PATCH", path, {"account_status": "open"})).status == 200
    assert (await call("PATCH", path, {"account_status": "closed"})).status == 200
    assert (await call("PATCH", path, {"account_status": "closed", "owner_name": "B"})).status == 200
    reopened = await call("PATCH", path, {"account_status": "open"})
    assert (reopened.status, reopened.code) == (409, "QIT000945")


async def test_an_account_cannot_take_the_bank_data_of_another(call, accounts, path):
    await call("POST", accounts, ACCOUNT)
    taken = {name: ACCOUNT[name] for name in ("account_branch", "account_number", "account_digit")}
    assert (await call("PATCH", path, taken)).code == "QIT000945"


async def test_an_integrator_reads_its_own_account_and_no_other(app, db):
    ours, theirs = await make_party(db), await make_party(db)
    own = Client(app, ours.api_key)
    found = await own("GET", f"/account/{ours.account.key}")
    assert (found.status, found.json["balance"]) == (200, 1_000_000)
    foreign, unknown = await own("GET", f"/account/{theirs.account.key}"), await own("GET", f"/account/{uuid4()}")
    assert (foreign.status, foreign.body) == (404, unknown.body)
    assert foreign.code == "QIT000404"


async def test_entries_move_the_balance_and_the_ledger_together(call, db, path, account):
    credit = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 50.25, "description": "Aporte"}
    made = await call("POST", f"{path}/entries", credit)
    assert (made.status, made.json["balance"], made.json["amount"]) == (201, 150.25, 50.25)
    debit = {"request_control_key": str(uuid4()), "entry_type": "debit", "amount": 150.25}
    assert (await call("POST", f"{path}/entries", debit)).json["balance"] == 0
    assert (await call("GET", path)).json["balance"] == 0
    assert await ledger_of(db, account.key) == 0
    rows = (await call("GET", f"{path}/entries")).json["data"]
    assert [(row["entry_type"], row["amount"], row["balance"]) for row in rows] == [
        ("credit", 100, 100),
        ("credit", 50.25, 150.25),
        ("debit", 150.25, 0),
    ]


async def test_a_debit_below_zero_is_refused_and_leaves_nothing(call, db, path, account):
    debit = {"request_control_key": str(uuid4()), "entry_type": "debit", "amount": 100.01}
    refused = await call("POST", f"{path}/entries", debit)
    assert (refused.status, refused.code) == (409, "QIT000945")
    assert await ledger_of(db, account.key) == 100_00


async def test_the_same_entry_again_is_the_same_entry(call, db, path, account):
    body = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 10}
    first = await call("POST", f"{path}/entries", body)
    other_spelling = json.dumps(body).replace(": 10}", ":10.0 }").encode()
    again = await call("POST", f"{path}/entries", raw=other_spelling)
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for other in ({"amount": 11}, {"entry_type": "debit"}, {"description": "x"}):
        assert (await call("POST", f"{path}/entries", body | other)).code == "QIT000945"
    assert await ledger_of(db, account.key) == 110_00


async def test_an_entrys_key_serves_one_account_of_an_integrator(call, db, integrator, accounts, path):
    body = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 10}
    other = await make_account(db, integrator.key)
    assert (await call("POST", f"{path}/entries", body)).status == 201
    assert (await call("POST", f"{accounts}/{other.key}/entries", body)).code == "QIT000945"


async def test_entries_that_race_never_take_more_than_there_is(call, db, path, account):
    def debit():
        body = {"request_control_key": str(uuid4()), "entry_type": "debit", "amount": 30}
        return call("POST", f"{path}/entries", body)

    answers = await asyncio.gather(*(debit() for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 5
    assert await ledger_of(db, account.key) == 10_00
    assert (await call("GET", path)).json["balance"] == 10


async def test_one_entry_sent_eight_times_at_once_is_booked_once(call, db, path, account):
    body = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 5}
    answers = await asyncio.gather(*(call("POST", f"{path}/entries", body) for _ in range(8)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert await ledger_of(db, account.key) == 105_00


NO_ENTRIES = [
    {"amount": 0},
    {"amount": -5},
    {"amount": "10"},
    {"amount": None},
    {"entry_type": "transfer"},
    {"request_control_key": "1"},
    {"description": "x" * 141},
    {"balance": 1},
]


async def test_an_entry_outside_its_form_is_refused(call, path):
    for change in NO_ENTRIES:
        body = {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 10}
        assert (await call("POST", f"{path}/entries", body | change)).code == "QIT000001", change


async def test_fees_of_an_account_stand_before_the_integrators_until_they_are_deleted(call, path):
    inherited = {"pix_transfer": None, "ted": None}
    assert (await call("GET", f"{path}/fees")).json == inherited
    assert (await call("PUT", f"{path}/fees", {"ted": 0})).json == {"pix_transfer": None, "ted": 0}
    assert (await call("GET", f"{path}/fees")).json == {"pix_transfer": None, "ted": 0}
    assert (await call("DELETE", f"{path}/fees")).status == 204
    assert (await call("GET", f"{path}/fees")).json == inherited


async def test_limits_are_replaced_as_a_whole(call, db, path):
    assert (await call("GET", f"{path}/limits")).json == {"pix": {}, "ted": {}}
    pix = {"daily_amount_limit": 20000, "sms_amount_limit": 0.5, "email_amount_limit": None}
    answer = await call("PUT", f"{path}/limits", {"pix": pix, "ted": None})
    kept = {"pix": {"daily_amount_limit": 20000, "sms_amount_limit": 0.5}, "ted": {}}
    assert (answer.status, answer.json) == (200, kept)
    assert (await call("GET", f"{path}/limits")).json == kept
    async with db.connection() as connection:
        stored = await connection.fetchval("select limits from accounts")
    assert stored["pix"] == {"daily_amount_limit": 20000_00, "sms_amount_limit": 50}
    assert (await call("PUT", f"{path}/limits", {})).json == {"pix": {}, "ted": {}}


NO_LIMITS = [{"boleto": {}}, {"pix": {"weekly_amount_limit": 1}}, {"ted": {"daily_amount_limit": "1"}}]


async def test_limits_have_the_documented_names_only(call, path):
    for body in NO_LIMITS:
        assert (await call("PUT", f"{path}/limits", body)).code == "QIT000001", body


ACCOUNT_CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"account_status": "blocked"}),
    ("GET", "/entries", None),
    ("POST", "/entries", {"request_control_key": str(uuid4()), "entry_type": "credit", "amount": 1}),
    ("GET", "/fees", None),
    ("PUT", "/fees", {}),
    ("DELETE", "/fees", None),
    ("GET", "/limits", None),
    ("PUT", "/limits", {}),
    ("GET", "/approvers", None),
    ("PUT", f"/approvers/{uuid4()}", {"powers": ["ted"]}),
    ("DELETE", f"/approvers/{uuid4()}", None),
]


async def test_another_integrators_account_is_as_unknown_as_none(call, db, accounts):
    for method, suffix, body in ACCOUNT_CALLS:
        other = await make_integrator(db)
        foreign = await make_account(db, other.key)
        answers = [await call(method, f"{accounts}/{key}{suffix}", body) for key in (foreign.key, uuid4())]
        assert [(answer.status, answer.code) for answer in answers] == [(404, "QIT000404")] * 2, (method, suffix)
        assert answers[0].body == answers[1].body, (method, suffix)


async def test_the_audit_tells_nothing_of_the_owner(call, db, accounts):
    made = await call("POST", accounts, ACCOUNT)
    await call("PATCH", f"{accounts}/{made.json['account_key']}", {"owner_name": "Outra Pessoa"})
    async with db.connection() as connection:
        rows = await connection.fetch("select action, details from audit where action like 'account.%' order by at")
    assert [row["action"] for row in rows] == ["account.created", "account.changed"]
    assert rows[1]["details"]["fields"] == ["owner_name"]
    told = str([row["details"] for row in rows])
    assert "Exemplo" not in told and "Outra" not in told and "12ABC34501DE35" not in told
