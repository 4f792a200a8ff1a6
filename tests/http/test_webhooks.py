"""Webhook targets, events and callbacks over HTTP."""

import json
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from aval.http import webhooks
from aval.http.app import build_app
from aval.http.webhooks import EVENT_TYPES
from aval.storage.webhook_events import EventRow, append_events
from tests.factories import Client, make_credential, make_integrator, make_keyring, make_parts, make_party
from tests.transfers import make_pix

URL = "https://hooks.example.com/aval"


@pytest.fixture
async def app(db_as):
    parts = make_parts(await db_as("aval_app_api"))
    return build_app(parts, [webhooks.routes(parts)])


@pytest.fixture
async def party(db):
    return await make_party(db)


@pytest.fixture
async def call(app, party):
    return Client(app, party.api_key)


@pytest.fixture
async def stranger(app, db):
    other = await make_integrator(db)
    return Client(app, (await make_credential(db, other.key)).api_key)


async def rows_of(db, query):
    async with db.connection() as connection:
        return await connection.fetch(query)


async def make_event(db, party, *, sequence=1, at=None, event_type="baas.pix_transfer.outgoing_pix", operation=None):
    operation = operation or await make_pix(db, party)
    event = EventRow(
        integrator_key=party.key,
        event_id=uuid4(),
        operation_key=operation,
        operation_kind="pix_transfer",
        sequence=sequence,
        event_type=event_type,
        body="{}",
        correlation_id="tests",
        at=at or datetime.now(UTC) - timedelta(minutes=1),
    )
    async with db.transaction() as connection:
        await append_events(connection, [event])
    return event


async def test_a_target_hears_of_everything_unless_it_says_otherwise(call):
    made = await call("POST", "/webhook_endpoints", {"url": URL})
    assert (made.status, set(made.json)) == (201, {"webhook_endpoint_key", "secret"})
    assert made.json["secret"].startswith("whsec_")
    (row,) = (await call("GET", "/webhook_endpoints")).json["data"]
    assert row == {
        "webhook_endpoint_key": made.json["webhook_endpoint_key"],
        "url": URL,
        "event_types": list(EVENT_TYPES),
        "enabled": True,
        "created_at": row["created_at"],
    }


async def test_secret_and_headers_are_sealed(call, db):
    made = await call("POST", "/webhook_endpoints", {"url": URL, "headers": {"X-Key": "open sesame"}})
    (row,) = await rows_of(db, "select * from webhook_endpoints")
    keyring, place = make_keyring(), f"webhook_endpoints/{row['endpoint_id']}"
    assert keyring.opened(row["secret_sealed"], associated=place) == made.json["secret"]
    assert json.loads(keyring.opened(row["headers_sealed"], associated=f"{place}/headers")) == {"X-Key": "open sesame"}
    assert "sesame" not in str(await rows_of(db, "select audit::text from audit"))


async def test_a_sixth_target_is_refused_until_one_is_deleted(call):
    keys = [(await call("POST", "/webhook_endpoints", {"url": URL})).json["webhook_endpoint_key"] for _ in range(5)]
    sixth = await call("POST", "/webhook_endpoints", {"url": URL})
    assert (sixth.status, sixth.code) == (409, "QIT000945")
    assert (await call("DELETE", f"/webhook_endpoints/{keys[0]}")).status == 204
    assert (await call("POST", "/webhook_endpoints", {"url": URL})).status == 201
    assert (await call("DELETE", f"/webhook_endpoints/{keys[0]}")).code == "QIT000404"


NO_TARGETS = [
    "http://hooks.example.com/",
    "https://user:pass@hooks.example.com/",
    "https://hooks.example.com:8080/",
    "https://hooks.example.com/#part",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://hooks.example.com./",
    "https://hooks.example.com/" + "x" * 2_048,
    "ftp://hooks.example.com/",
    "",
]


async def test_a_target_that_could_reach_inside_is_refused(call):
    for url in NO_TARGETS:
        answer = await call("POST", "/webhook_endpoints", {"url": url})
        assert (answer.status, answer.code) == (400, "QIT000001"), url
        assert answer.json["extra_fields"]["errors"][0]["field"] == "url", url


NO_ENDPOINTS = [
    {},
    {"url": URL, "event_types": []},
    {"url": URL, "event_types": ["baas.boleto.paid"]},
    {"url": URL, "enabled": False},
    {"url": URL, "headers": {"Host": "a"}},
    {"url": URL, "headers": {"content-type": "text/plain"}},
    {"url": URL, "headers": {"Webhook-Signature": "v1,x"}},
    {"url": URL, "headers": {"X-A": "a\r\nX-B: b"}},
    {"url": URL, "headers": {"X A": "a"}},
    {"url": URL, "headers": {"X-A": "a", "x-a": "b"}},
    {"url": URL, "headers": {"X-A": ""}},
    {"url": URL, "headers": {f"X-{place}": "a" for place in range(11)}},
]


async def test_events_and_headers_outside_their_form_are_refused(call, db):
    for body in NO_ENDPOINTS:
        assert (await call("POST", "/webhook_endpoints", body)).code == "QIT000001", body
        assert await rows_of(db, "select from webhook_endpoints") == [], body


async def test_a_change_keeps_the_secret_and_what_it_does_not_name(call, db):
    key = (await call("POST", "/webhook_endpoints", {"url": URL, "headers": {"X-A": "a"}})).json["webhook_endpoint_key"]
    (before,) = await rows_of(db, "select * from webhook_endpoints")
    path = f"/webhook_endpoints/{key}"
    changed = await call("PATCH", path, {"enabled": False, "event_types": ["baas.ted.outgoing_ted"]})
    assert (changed.status, changed.json["enabled"], changed.json["url"]) == (200, False, URL)
    assert changed.json["event_types"] == ["baas.ted.outgoing_ted"]
    (after,) = await rows_of(db, "select * from webhook_endpoints")
    assert (after["secret_sealed"], after["headers_sealed"]) == (before["secret_sealed"], before["headers_sealed"])
    await call("PATCH", path, {"headers": {}})
    (bare,) = await rows_of(db, "select headers_sealed from webhook_endpoints")
    assert bare["headers_sealed"] is None
    assert (await call("PATCH", path, {"url": "http://hooks.example.com/"})).code == "QIT000001"


async def test_after_a_rotation_the_old_secret_signs_for_a_day_more(call, db):
    made = (await call("POST", "/webhook_endpoints", {"url": URL})).json
    (before,) = await rows_of(db, "select * from webhook_endpoints")
    rotated = await call("POST", f"/webhook_endpoints/{made['webhook_endpoint_key']}/rotate_secret")
    assert rotated.status == 201 and rotated.json["secret"] not in (None, made["secret"])
    (after,) = await rows_of(db, "select * from webhook_endpoints")
    assert after["former_secret_sealed"] == before["secret_sealed"]
    assert after["former_secret_until"] - after["updated_at"] == timedelta(hours=24)
    place = f"webhook_endpoints/{after['endpoint_id']}"
    assert make_keyring().opened(after["secret_sealed"], associated=place) == rotated.json["secret"]


async def test_another_integrators_target_is_as_unknown_as_none(call, stranger, db, party):
    key = (await call("POST", "/webhook_endpoints", {"url": URL})).json["webhook_endpoint_key"]
    event = await make_event(db, party)
    (callback,) = await rows_of(db, "select callback_id from callbacks")
    assert (await stranger("GET", "/webhook_endpoints")).json["data"] == []
    assert (await stranger("GET", f"/notification/events?origin_key={event.operation_key}")).json["data"] == []
    for method, path, body in (
        ("PATCH", "/webhook_endpoints/{}", {"enabled": False}),
        ("DELETE", "/webhook_endpoints/{}", None),
        ("POST", "/webhook_endpoints/{}/rotate_secret", None),
        ("POST", "/notification/callback/{}/resend", None),
    ):
        own_key = callback["callback_id"] if "callback" in path else key
        foreign, unknown = (
            await stranger(method, path.format(own_key), body),
            await stranger(method, path.format(uuid4()), body),
        )
        assert (foreign.status, foreign.code, foreign.body) == (404, "QIT000404", unknown.body)
    assert (await call("GET", "/webhook_endpoints")).json["data"][0]["enabled"]


async def test_every_act_of_a_credential_is_audited_under_its_key(call, db, party):
    key = (await call("POST", "/webhook_endpoints", {"url": f"{URL}?key=hidden"})).json["webhook_endpoint_key"]
    await call("PATCH", f"/webhook_endpoints/{key}", {"enabled": False})
    await call("POST", f"/webhook_endpoints/{key}/rotate_secret")
    await call("DELETE", f"/webhook_endpoints/{key}")
    rows = await rows_of(db, "select action, actor, details from audit where action like 'webhook%' order by at")
    verbs = [
        "webhook_endpoint.created",
        "webhook_endpoint.changed",
        "webhook_secret.rotated",
        "webhook_endpoint.deleted",
    ]
    assert [row["action"] for row in rows] == verbs
    principal = await party.principal(db)
    assert {row["actor"] for row in rows} == {f"credential:{principal.credential_key}"}
    assert "hidden" not in str([row["details"] for row in rows])


async def test_events_are_told_with_their_callbacks_and_filtered(call, db, party):
    await call("POST", "/webhook_endpoints", {"url": URL})
    operation = await make_pix(db, party)
    first = await make_event(db, party, operation=operation)
    second = await make_event(db, party, operation=operation, sequence=2, event_type="aval.token_delivery.failed")
    answer = await call("GET", "/notification/events")
    callbacks = await rows_of(db, "select event_id, callback_id from callbacks")
    callback_of = {row["event_id"]: str(row["callback_id"]) for row in callbacks}
    assert answer.json["data"][0] == {
        "event_key": str(first.event_id),
        "event_type": "baas.pix_transfer.outgoing_pix",
        "status": "processed",
        "origin_enumerator": "pix_transfer",
        "origin_key": str(operation),
        "callbacks": [{"callback_key": callback_of[first.event_id], "callback_status": "pending"}],
    }
    assert answer.json["pagination"] == {"current_page": 1, "next_page": None, "rows_per_page": 25}

    async def found(query):
        return [row["event_key"] for row in (await call("GET", f"/notification/events?{query}")).json["data"]]

    both = [str(first.event_id), str(second.event_id)]
    assert await found("event_type=aval.token_delivery.failed") == both[1:]
    assert await found(f"origin_key={operation}") == both
    assert await found(f"origin_key={uuid4()}") == []
    assert await found("callback_status=pending") == both
    assert await found("callback_status=sent") == []
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert await found(f"start_datetime={tomorrow}") == []
    assert await found(f"end_datetime={tomorrow}") == both


async def test_events_of_one_moment_are_told_in_their_order(call, db, party):
    operation, at = await make_pix(db, party), datetime.now(UTC) - timedelta(minutes=1)
    order = random.sample(range(1, 13), k=12)
    events = {n: await make_event(db, party, operation=operation, sequence=n, at=at) for n in order}
    told = [row["event_key"] for row in (await call("GET", "/notification/events")).json["data"]]
    assert told == [str(events[number].event_id) for number in range(1, 13)]


async def test_events_come_in_pages_of_twenty_five(call, db, party):
    operation = await make_pix(db, party)
    events = [await make_event(db, party, operation=operation, sequence=number) for number in range(1, 27)]
    first = (await call("GET", "/notification/events")).json
    assert (len(first["data"]), first["pagination"]["next_page"]) == (25, 2)
    second = (await call("GET", "/notification/events?page=2")).json
    assert [row["event_key"] for row in second["data"]] == [str(events[-1].event_id)]
    assert second["data"][0]["callbacks"] == []


NO_FILTERS = [
    "event_type=boleto",
    "callback_status=lost",
    "origin_key=1",
    "start_datetime=2026-11-23",
    "start_datetime=2026-02-30T00:00:00Z",
    "start_datetime=9999-12-31T00:00:00Z",
    "end_datetime=0001-01-01T00:00:00Z",
    "start_datetime=2026-11-01T00:00:00Z&end_datetime=2026-11-15T00:00:01Z",
    "start_datetime=2026-11-02T00:00:00Z&end_datetime=2026-11-01T00:00:00Z",
    "page=0",
    "page_size=10",
    "order_by=desc",
]


async def test_a_filter_outside_its_form_is_refused(call):
    for query in NO_FILTERS:
        answer = await call("GET", f"/notification/events?{query}")
        assert (answer.status, answer.code) == (400, "QIT000001"), query


async def test_fourteen_days_exactly_are_within_the_span(call):
    query = "start_datetime=2026-11-01T00:00:00Z&end_datetime=2026-11-15T00:00:00Z"
    assert (await call("GET", f"/notification/events?{query}")).status == 200


async def test_a_callback_is_sent_again_whatever_became_of_it(call, db, party):
    await call("POST", "/webhook_endpoints", {"url": URL})
    await make_event(db, party)
    async with db.connection() as connection:
        await connection.execute(
            "update callbacks set status = 'failed', claim_count = 8, fence = 8, due_at = 'infinity'"
        )
        key = await connection.fetchval("select callback_id from callbacks")
    answer = await call("POST", f"/notification/callback/{key}/resend")
    assert (answer.status, answer.json) == (202, {"callback_key": str(UUID(str(key))), "callback_status": "pending"})
    (row,) = await rows_of(db, "select *, due_at <= clock_timestamp() as is_due from callbacks")
    assert (row["status"], row["claim_count"], row["is_due"]) == ("pending", 0, True)
    assert row["fence"] > 8, "a worker that still holds the former lease may not write"


async def test_targets_need_their_scope(app, db, party):
    narrow = await make_credential(db, party.key, scopes=("transfers:write",))
    assert (await Client(app, narrow.api_key)("GET", "/webhook_endpoints")).code == "GDF000014"
