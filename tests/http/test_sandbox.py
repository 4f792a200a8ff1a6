"""The sandbox's inbox and clock over HTTP."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest

from aval.domain.keyring import Keyring, Purpose
from aval.http import pix, sandbox
from aval.http.app import build_app
from aval.storage.contacts import find_sandbox_destinations
from tests.factories import Client, make_credential, make_parts, make_party
from tests.transfers import make_pix


@pytest.fixture
async def parts(db_as):
    return make_parts(await db_as("aval_app_api"))


@pytest.fixture
async def app(parts):
    return build_app(parts, [pix.routes(parts), sandbox.routes(parts)])


@pytest.fixture
async def party(db):
    return await make_party(db)


@pytest.fixture
async def call(app, party):
    return Client(app, party.api_key)


async def inbox(call, query=""):
    answer = await call("GET", f"/sandbox/inbox{query}")
    assert answer.status == 200, answer.body
    return answer.json["data"]


async def validate(call, party, key, token):
    return await call("PUT", f"/account/{party.account.key}/pix_transfer/{key}/validate_token", {"token": token})


async def test_the_inbox_shows_the_message_with_a_token_that_approves(call, db, party):
    key = await make_pix(db, party)
    (row,) = await inbox(call)
    token = row["text"][-6:]
    assert row == {
        "message_key": row["message_key"],
        "operation": "pix_transfer",
        "operation_key": str(key),
        "generation": 1,
        "channel": "sms",
        "destination": party.phone,
        "subject": None,
        "text": row["text"],
        "delivery_status": "queued",
        "created_at": row["created_at"],
    }
    assert row["text"].startswith("R$ 202,01 p/ Maria Souza (***982247**) Pix, cta ")
    assert (await validate(call, party, key, token)).status == 202


async def test_messages_are_newest_first_and_filtered_by_operation_and_destination(call, db, party):
    first = await make_pix(db, party)
    second = await make_pix(db, party, tfa_info=party.tfa_info | {"contact_type": "email"})
    rows = await inbox(call)
    assert [row["operation_key"] for row in rows] == [str(second), str(first)]
    assert rows[0]["subject"] == "R$ 202,01 para Maria Souza: código 1"
    assert [row["operation_key"] for row in await inbox(call, f"?operation_key={first}")] == [str(first)]
    assert [row["operation_key"] for row in await inbox(call, f"?destination={party.email}")] == [str(second)]
    assert [row["channel"] for row in await inbox(call, f"?destination=%2B{party.phone[1:]}")] == ["sms"]
    assert await inbox(call, "?destination=%2B5511912345678") == []
    assert await inbox(call, "?destination=nowhere") == []


STATES = [
    ("ready", "queued"),
    ("delivered", "delivered"),
    ("failed", "failed"),
    ("void", "failed"),
    ("parked", "failed"),
]


async def test_the_inbox_tells_what_became_of_a_message(call, db, party):
    await make_pix(db, party)
    for state, status in STATES:
        async with db.connection() as connection:
            await connection.execute("update outbox set state = $1", state)
        assert [row["delivery_status"] for row in await inbox(call)] == [status], status


async def test_a_fixed_token_takes_the_place_of_the_derived_one(app, db):
    party = await make_party(db, fixed_token="abc123")
    call = Client(app, party.api_key)
    key = await make_pix(db, party)
    assert (await inbox(call))[0]["text"].endswith(": abc123")
    assert (await validate(call, party, key, "ABC123")).status == 202


async def test_without_its_key_a_message_is_listed_without_a_text(call, db, party, parts):
    await make_pix(db, party)
    keyring = parts.keyring.keyring
    parts.keyring.keyring = Keyring(
        key for purpose in Purpose if purpose is not Purpose.TOKEN for key in keyring.all_of(purpose)
    )
    assert [row["text"] for row in await inbox(call)] == [None]


async def test_the_inbox_comes_in_pages_of_thirty(call, db, party):
    for _ in range(31):
        await make_pix(db, party, transaction_amount=1)
    answer = (await call("GET", "/sandbox/inbox")).json
    assert (len(answer["data"]), answer["pagination"]["next_page"]) == (30, 2)
    assert len(await inbox(call, "?page=2")) == 1


async def test_nobody_reads_another_integrators_inbox(app, call, db, party):
    key = await make_pix(db, party)
    stranger = Client(app, (await make_party(db)).api_key)
    assert await inbox(stranger) == []
    assert await inbox(stranger, f"?operation_key={key}") == []
    assert await inbox(stranger, f"?destination={party.email}") == []
    foreign = await stranger("POST", f"/sandbox/operations/{key}/advance", {"seconds": 60})
    unknown = await stranger("POST", f"/sandbox/operations/{uuid4()}/advance", {"seconds": 60})
    assert (foreign.status, foreign.code, foreign.body) == (404, "QIT000404", unknown.body)


async def test_a_live_integrator_finds_no_sandbox(app, db):
    live = await make_party(db, mode="live")
    call = Client(app, live.api_key)
    assert (await call("GET", "/sandbox/inbox")).code == "QIT000404"
    key = await make_pix(db, live)
    answer = await call("POST", f"/sandbox/operations/{key}/advance", {"seconds": 60})
    assert (answer.status, answer.code) == (404, "QIT000404")


async def test_the_api_reads_destinations_of_sandbox_integrators_only(db, db_as, party):
    live = await make_party(db, mode="live")
    api = await db_as("aval_app_api")
    async with db.connection() as connection:
        rows = await connection.fetch("select integrator_id, contact_id from contacts")
    async with api.connection() as connection:
        for integrator, amount in ((party, 2), (live, 0)):
            keys = [row["contact_id"] for row in rows]
            assert len(await find_sandbox_destinations(connection, integrator.key, keys)) == amount


async def test_the_inbox_needs_its_scope(app, db, party):
    narrow = await make_credential(db, party.key, scopes=("transfers:read",))
    assert (await Client(app, narrow.api_key)("GET", "/sandbox/inbox")).code == "GDF000014"


async def test_time_passes_for_token_cooldown_and_window_of_one_operation(call, db, party):
    key, other = await make_pix(db, party), await make_pix(db, party)
    async with db.connection() as connection:
        before = await connection.fetchrow("select * from challenges where operation_id = $1", key)
    answer = await call("POST", f"/sandbox/operations/{key}/advance", {"seconds": 120})
    assert answer.status == 200
    approval = answer.json["approval"]
    for name in ("expires_at", "can_resend_at", "approval_deadline"):
        shifted = before[name] - datetime.fromisoformat(approval[name])
        assert timedelta(seconds=120) <= shifted < timedelta(seconds=120.001)
    assert (approval["method"], approval["generation"], approval["attempts_remaining"]) == ("sms", 1, 5)
    async with db.connection() as connection:
        untouched = await connection.fetchrow("select * from challenges where operation_id = $1", other)
        assert untouched["issued_at"] > before["issued_at"]
        acts = await connection.fetch("select details from audit where action = 'operation.advanced'")
    assert [row["details"]["seconds"] for row in acts] == [120]


async def test_after_five_minutes_the_right_token_is_expired(call, db, party):
    key = await make_pix(db, party)
    token = (await inbox(call))[0]["text"][-6:]
    await call("POST", f"/sandbox/operations/{key}/advance", {"seconds": 300})
    assert (await validate(call, party, key, token)).code == "PXT000172"


async def test_a_window_that_is_over_ends_the_operation_at_once(call, db, party):
    key = await make_pix(db, party)
    answer = await call("POST", f"/sandbox/operations/{key}/advance", {"seconds": 3_600})
    assert (answer.status, answer.json) == (200, {})
    async with db.connection() as connection:
        row = await connection.fetchrow("select status, rejection_reason from challenges")
        events = await connection.fetch("select event_type from events")
    assert tuple(row) == ("rejected", "approval_window_expired")
    assert [event["event_type"] for event in events] == ["baas.pix_transfer.outgoing_pix"]
    again = await call("POST", f"/sandbox/operations/{key}/advance", {"seconds": 1})
    assert (again.status, again.json) == (200, {})


NO_TIME = [{}, {"seconds": 0}, {"seconds": 86_401}, {"seconds": "60"}, {"seconds": 1.5}, {"minutes": 1}]


async def test_time_passes_in_whole_seconds_up_to_a_day(call, db, party):
    for body in NO_TIME:
        key = await make_pix(db, party)
        assert (await call("POST", f"/sandbox/operations/{key}/advance", body)).code == "QIT000001", body
