"""The numbers of a deployment, read over real operations in every state."""

from uuid import uuid4

import pytest

from aval.http.app import App
from aval.storage.database import Database
from aval.storage.metrics import (
    STAGES,
    WrongTokens,
    read_funnel,
    read_parked,
    read_queue_ages,
    read_wrong_tokens,
)
from tests.factories import Client, Party, make_parts, make_party
from tests.http.test_openapi import all_routes


@pytest.mark.parametrize(
    ("alphabet", "wrong", "risk"), [("digits", 100, 0.0365), ("crockford32", 240, 8.158e-5), ("digits", 0, 0.0)]
)
def test_risk_is_a_years_guesses_over_the_tokens_there_are(alphabet: str, wrong: int, risk: float) -> None:
    assert WrongTokens("x", alphabet, wrong).risk_year == pytest.approx(risk, rel=1e-3)


async def requested(db: Database, party: Party, count: int) -> list[str]:
    call = Client(App(make_parts(db), all_routes(make_parts(db))), party.api_key)
    keys = []
    for _ in range(count):
        body = {
            "request_control_key": str(uuid4()),
            "pix_transfer_type": "key",
            "transaction_amount": 1,
            "target_pix_key": "52998224725",
            "end_to_end_id": f"E12345678202611231430{uuid4().hex[:11]}",
            "tfa_info": party.tfa_info,
        }
        answer = await call("POST", f"/account/{party.account.key}/pix_transfer", body)
        assert answer.status == 202, answer.body
        keys.append(answer.json["pix_transfer_key"])
    return keys


async def test_the_funnel_tells_how_far_operations_came(db: Database) -> None:
    party = await make_party(db)
    keys = await requested(db, party, 4)
    call = Client(App(make_parts(db), all_routes(make_parts(db))), party.api_key)
    path = f"/account/{party.account.key}/pix_transfer/{keys[0]}/validate_token"
    assert (await call("PUT", path, {"token": "000000"})).status == 400
    async with db.connection() as connection:
        await connection.execute("update outbox set state = 'delivered' where operation_id = any($1)", keys[:3])
        (row,) = await read_funnel(connection)
        (wrong,) = await read_wrong_tokens(connection)
    assert (row.kind, row.channel) == ("pix_transfer", "sms")
    assert dict(zip(STAGES, row.counts, strict=True)) == {
        "requested": 4,
        "delivered": 3,
        "attempted": 1,
        "approved": 0,
        "settled": 0,
    }
    assert wrong == WrongTokens(str(party.key), "crockford32", 1)


async def test_queues_tell_how_long_the_oldest_has_waited_and_what_was_given_up(db: Database) -> None:
    party = await make_party(db)
    keys = await requested(db, party, 2)
    async with db.connection() as connection:
        await connection.execute(
            "update outbox set due_at = clock_timestamp() - interval '90 s' where operation_id = $1", keys[0]
        )
        ages = dict(await read_queue_ages(connection))
        await connection.execute("update outbox set state = 'parked' where operation_id = $1", keys[1])
        parked = dict(await read_parked(connection))
    assert ages["messages"] == pytest.approx(90, abs=5)
    assert ages["settlements"] == ages["webhooks"] == 0
    assert parked == {"messages": 1, "settlements": 0, "webhooks": 0}


async def test_hours_old_operations_leave_the_funnel(db: Database) -> None:
    party = await make_party(db)
    await requested(db, party, 1)
    async with db.connection() as connection:
        await connection.execute("alter table operations disable trigger all")
        await connection.execute("update operations set created_at = created_at - interval '61 min'")
        assert await read_funnel(connection) == []
