"""Points over HTTP: credits under a key, the balance, and the statement in the campaign's days."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from aval.storage.database import Database
from tests.club import Club, operator_key
from tests.factories import Reply

OpenAs = Callable[[str], Awaitable[Database]]


@pytest.fixture
async def api(db_as: OpenAs) -> Database:
    return await db_as("aval_app_api")


@pytest.fixture
async def club(api: Database) -> Club:
    return await Club.make(api)


async def credit(club: Club, person: dict[str, Any], points: Any = 20000, key: str | None = None, **more: Any) -> Reply:
    body = {"type": "credit", "points": points, "description": "Campanha de verão"} | more
    path = f"/participants/{person['id']}/credits"
    return await club.ask("POST", path, body, idempotency_key=key or uuid4().hex)


async def test_a_credit_answers_the_line_and_the_balance(club: Club) -> None:
    person = await club.enter()
    reply = await credit(club, person, external_reference="nota-1")
    balance = {
        "points_value": 20000,
        "points_value_onhold": 0,
        "total_points_value": 20000,
        "total_credit_points_value": 20000,
        "total_debit_points_value": 0,
    }
    assert reply.status == 201
    line = {
        "authorization_code": reply.json["authorization_code"],
        "date": reply.json["date"],
        "description": "Campanha de verão",
        "value_points": 20000,
        "type": "credit",
        "available_after": 20000,
        "reserved_after": 0,
    }
    assert reply.json == line | {"external_reference": "nota-1", "balance": balance}
    for path in ("/participants/me/balance", f"/participants/{person['id']}/balance"):
        assert (await club.act(person, "GET", path)).json == balance
    assert (await club.ask("GET", f"/participants/{person['id']}/balance")).json == balance
    assert (await club.act(person, "GET", "/participants/me/statement")).json["items"] == [line]


async def test_what_is_taken_is_told_above_zero_and_never_below_what_is_there(club: Club) -> None:
    person = await club.enter()
    await credit(club, person, 100)
    taken = await credit(club, person, 30, type="expiration")
    corrected = await credit(club, person, -20, type="adjustment")
    assert [(reply.json["value_points"], reply.json["available_after"]) for reply in (taken, corrected)] == [
        (30, 70),
        (20, 50),
    ]
    assert corrected.json["balance"]["total_debit_points_value"] == 50
    for entry_type, points in (("expiration", 51), ("adjustment", -51)):
        refused = await credit(club, person, points, type=entry_type)
        assert (refused.status, refused.code) == (422, "332")
        assert refused.json["sub_message"].startswith("Verifique o seu saldo")
    assert (await club.act(person, "GET", "/participants/me/balance")).json["points_value"] == 50


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"points": 0}, "points"),
        ({"points": -1}, "points"),
        ({"points": 0, "type": "adjustment"}, "points"),
        ({"points": -1, "type": "expiration"}, "points"),
        ({"points": 1.0}, "points"),
        ({"points": 1_000_000_000_000}, "points"),
        ({"points": "1"}, "points"),
        ({"type": "debit"}, "type"),
        ({"description": ""}, "description"),
        ({"external_reference": "x" * 65}, "external_reference"),
        ({"currency": "BRL"}, "currency"),
    ],
)
async def test_a_wrong_line_is_refused_and_its_key_stays_free(club: Club, change: dict[str, Any], field: str) -> None:
    person = await club.enter()
    values = {"points": 1} | change
    reply = await credit(club, person, values.pop("points"), "key", **values)
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert reply.json["extra_fields"]["errors"][0]["field"] == field
    assert (await credit(club, person, 5, "key")).status == 201


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 129])
async def test_the_key_is_mandatory_and_of_its_form(club: Club, key: str | None) -> None:
    person = await club.enter()
    headers = {} if key is None else {"idempotency_key": key}
    body = {"type": "credit", "points": 1, "description": "x"}
    reply = await club.ask("POST", f"/participants/{person['id']}/credits", body, **headers)
    assert (reply.status, reply.code) == (400, "QIT000400")


async def test_a_repetition_answers_the_same_bytes_and_writes_once(club: Club) -> None:
    person = await club.enter()
    replies = await asyncio.gather(*(credit(club, person, 7, "k") for _ in range(5)))
    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    other = await credit(club, person, 8, "k")
    assert (other.status, other.code) == (409, "RDM000902")
    assert (await credit(club, await club.enter(), 8, "k")).status == 201  # the key of another person's path
    assert (await club.act(person, "GET", "/participants/me/balance")).json["points_value"] == 7


async def test_nobody_but_the_operator_with_the_scope_credits(club: Club, api: Database) -> None:
    person = await club.enter()
    path, body = f"/participants/{person['id']}/credits", {"type": "credit", "points": 1, "description": "x"}
    other_key = await operator_key(api, "participants.admin")
    for reply in (
        await club.apply("POST", path, body, idempotency_key="k"),
        await club.act(person, "POST", path, body, idempotency_key="k"),
        await club.ask("POST", path, body, idempotency_key="k", authorization=f"Bearer {other_key}"),
    ):
        assert (reply.status, reply.json["extra_fields"]["scope"]) == (403, "points.write")
    unknown = await club.ask("POST", f"/participants/{uuid4()}/credits", body, idempotency_key="k")
    assert (unknown.status, unknown.code) == (404, "113")


async def test_the_log_in_is_needed_to_read_points_for_somebody(club: Club) -> None:
    person = await club.enter()
    for suffix in ("balance", "statement", "extract"):
        reply = await club.act(person, "GET", f"/participants/me/{suffix}", username="")
        assert (reply.status, reply.json["extra_fields"]["headers"]) == (400, ["username"])


async def test_the_statement_is_newest_first_in_pages_under_either_name(club: Club) -> None:
    person = await club.enter()
    for points in (1, 2, 3):
        await credit(club, person, points)

    async def points_of(path: str) -> tuple[list[int], int]:
        reply = await club.act(person, "GET", f"/participants/me/{path}")
        return [line["value_points"] for line in reply.json["items"]], reply.json["total"]

    assert await points_of("statement") == await points_of("extract") == ([3, 2, 1], 3)
    assert await points_of("statement?offset=1&limit=1") == await points_of("extract?_offset=1&_limit=1") == ([2], 3)
    assert await points_of("statement?limit=2&_limit=2") == ([3, 2], 3)
    for query in ("limit=1&_limit=2", "limit=0", "limit=101", "_offset=-1", "start_date=2026-13-01", "page=1"):
        reply = await club.act(person, "GET", f"/participants/me/statement?{query}")
        assert (reply.status, reply.code) == (400, "QIT000001"), query


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Asia/Tokyo"])
async def test_days_of_the_statement_are_those_of_the_campaign_and_both_ends_count(
    api: Database, db: Database, zone: str
) -> None:
    club = await Club.make(api, timezone=zone)
    person = await club.enter()
    await credit(club, person, 5)
    async with db.reading() as connection:
        rows = await connection.fetch("select created_at from points_entries")
        today, tomorrow, yesterday = [
            await connection.fetchval(
                "select (($1::timestamptz at time zone $2)::date + $3::integer)::text", at, zone, days
            )
            for at in [rows[0]["created_at"]]
            for days in (0, 1, -1)
        ]
    for query, expected in (
        (f"start_date={today}&end_date={today}", 1),
        (f"start_date={today}", 1),
        (f"end_date={today}", 1),
        (f"start_date={tomorrow}", 0),
        (f"end_date={yesterday}", 0),
        (f"start_date={tomorrow}&end_date={yesterday}", 0),
        ("start_date=0001-01-01&end_date=9999-12-31", 1),
    ):
        reply = await club.act(person, "GET", f"/participants/me/statement?{query}")
        assert (reply.status, reply.json["total"], len(reply.json["items"])) == (200, expected, expected), query
        operator = await club.ask("GET", f"/participants/{person['id']}/statement?{query}")
        assert operator.json == reply.json


async def test_who_got_no_answer_repeats_the_call_under_its_key_and_has_one_line(club: Club, db: Database) -> None:
    person = await club.enter()
    async with db.transaction() as connection:
        await connection.execute(
            "create function die() returns trigger language plpgsql as $$"
            " begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$"
        )
        await connection.execute(
            "create constraint trigger dies after insert on points_entries deferrable initially deferred"
            " for each row execute function die()"
        )
    lost = await credit(club, person, 7, "k")
    assert (lost.status, lost.code) == (500, "QIT000500")  # nobody knows; 503 would say that nothing was kept
    async with db.transaction() as connection:
        await connection.execute("drop trigger dies on points_entries")
    again, twice = await credit(club, person, 7, "k"), await credit(club, person, 7, "k")
    assert (again.status, again.json["available_after"], twice.body) == (201, 7, again.body)
    assert (await club.act(person, "GET", "/participants/me/statement")).json["total"] == 1
