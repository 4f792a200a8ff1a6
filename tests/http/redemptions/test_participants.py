"""Participants over HTTP: entered, found, read and changed, each by who may."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from aval.operations.fresh import new_cpf
from aval.storage.database import Database
from tests.club import Club, a_person

OpenAs = Callable[[str], Awaitable[Database]]
CNPJ_WITH_LETTERS = "12ABC34501DE35"


@pytest.fixture
async def api(db_as: OpenAs) -> Database:
    return await db_as("aval_app_api")


@pytest.fixture
async def club(api: Database) -> Club:
    return await Club.make(api)


async def test_a_participant_is_entered_and_read_as_entered(club: Club) -> None:
    body = a_person(
        rg="12.345.678-9",
        birth_date="1990-02-28",
        gender_type="FEMALE",
        phones=[{"area_code": "11", "number": "900001234", "type": "MOBILE"}],
        address={"street": "Rua das Flores", "zip_code": "01310100"},
    )
    made = await club.apply("POST", "/participants", body)
    assert made.status == 201
    segment = {"client_id": "cliente-1", "campaign_id": club.id, "catalog_id": "gold", "name": "Ouro"}
    del body["catalog_id"]
    assert made.json == body | {"id": made.json["id"], "segment": segment, "onboarding_status": "not_started"}
    path = f"/participants/{made.json['id']}"
    assert (await club.act(made.json, "GET", path)).json == made.json
    assert (await club.act(made.json, "GET", "/participants/me")).json == made.json
    assert (await club.ask("GET", path)).json == made.json


async def test_a_company_has_a_cnpj_that_may_hold_letters(club: Club) -> None:
    person = await club.enter(document_number=CNPJ_WITH_LETTERS.lower(), person_type=None)
    assert (person["document_number"], person["person_type"]) == (CNPJ_WITH_LETTERS, "COMPANY")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"username": None}, "username"),
        ({"username": "x" * 129}, "username"),
        ({"document_number": None}, "document_number"),
        ({"document_number": "11111111111"}, "document_number"),
        ({"document_number": "31860492534"}, "document_number"),
        ({"document_number": "318.604.925-33"}, "document_number"),
        ({"document_number": "12ABC34501DE36"}, "document_number"),
        ({"person_type": "COMPANY"}, "person_type"),
        ({"emails": None}, "emails"),
        ({"emails": []}, "emails"),
        ({"emails": [{"email": "a@b"}, {"email": "helena"}]}, "emails[0].email"),
        ({"emails": [{"email": "a@example.com", "other": 1}]}, "emails[0].other"),
        ({"status": None}, "status"),
        ({"status": "BLOCKED"}, "status"),
        ({"catalog_id": None}, "catalog_id"),
        ({"catalog_id": "silver"}, "catalog_id"),
        ({"birth_date": "1990-02-30"}, "birth_date"),
        ({"birth_date": "0001-01-01"}, "birth_date"),
        ({"phones": [{"area_code": "10", "number": "900001234"}]}, "phones[0].area_code"),
        ({"phones": [{"area_code": "11", "number": "+5511900001234"}]}, "phones[0].number"),
        ({"address": {"street": "x" * 201}}, "address.street"),
        ({"address": {"rua principal": "x"}}, "address"),
        ({"onboarding_status": "complete"}, "onboarding_status"),
    ],
)
async def test_a_wrong_member_is_named_never_told_and_nothing_is_stored(
    club: Club, db: Database, change: dict[str, Any], field: str
) -> None:
    body = a_person()
    body |= change
    reply = await club.apply(
        "POST", "/participants", {name: value for name, value in body.items() if value is not None}
    )
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert [error["field"] for error in reply.json["extra_fields"]["errors"]] == [field]
    assert body["document_number"] is None or str(body["document_number"]).encode() not in reply.body
    async with db.reading() as connection:
        assert await connection.fetchval("select count(*) from approvers") == 0


async def test_a_log_in_and_a_document_are_registered_once_in_a_campaign(club: Club, api: Database) -> None:
    document = new_cpf()
    same_document = [club.apply("POST", "/participants", a_person(document_number=document)) for _ in range(4)]
    same_login = [club.apply("POST", "/participants", a_person(username="helena")) for _ in range(4)]
    for calls in (same_document, same_login):
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies) == [201, 409, 409, 409]
        assert {reply.code for reply in replies if reply.status == 409} == {"RDM000928"}
    other = await Club.make(api)
    assert (await other.enter(document_number=document, username="helena"))["username"] == "helena"


async def test_participants_are_found_by_log_in_or_document_within_the_campaign(club: Club, api: Database) -> None:
    document = new_cpf()
    person = await club.enter(username="helena.prado", document_number=document)
    other = await Club.make(api)
    for query, caller, expected in (
        ("login=helena.prado", club, [person]),
        (f"document={document}", club, [person]),
        (f"login=helena.prado&document={document}", club, [person]),
        (f"login=helena.prado&document={new_cpf()}", club, []),
        ("login=helena", club, []),
        ("document=123", club, []),
        ("", club, []),
        ("login=helena.prado&offset=1", club, []),
        ("login=helena.prado", other, []),
        (f"document={document}", other, []),
    ):
        reply = await caller.apply("GET", f"/participants?{query}" if query else "/participants")
        assert (reply.status, reply.json["items"]) == (200, expected), query


async def test_an_application_changes_a_person_but_never_the_status(club: Club) -> None:
    person = await club.enter()
    path = f"/participants/{person['id']}"
    emails = [{"email": "nova@example.com", "type": "WORK"}]
    change = {"emails": emails, "name": "Helena Martins", "catalog_id": "blue", "birth_date": "1991-01-01"}
    reply = await club.act(person, "PUT", path, change)
    assert reply.status == 200
    segment = person["segment"] | {"catalog_id": "blue", "name": "Azul"}
    changed = person | {name: change[name] for name in ("emails", "name", "birth_date")} | {"segment": segment}
    assert reply.json == changed
    refused = await club.act(changed, "PUT", path, {"status": "INACTIVE", "name": "Outro"})
    assert (refused.code, refused.json["extra_fields"]["scope"]) == ("RDM000918", "participants.admin")
    same = await club.act(changed, "PUT", path, {"status": "ACTIVE"})
    assert (same.status, same.json) == (200, changed)
    assert (await club.ask("PUT", path, {"status": "INACTIVE"})).json["onboarding_status"] == "suspended"
    assert (await club.ask("PUT", path, {"status": "ACTIVE", "birth_date": None})).json == {
        name: value for name, value in changed.items() if name != "birth_date"
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"document_number": "31860492533"}, "document_number"),
        ({"username": "x"}, "username"),
        ({"emails": []}, "emails"),
        ({"catalog_id": "silver"}, "catalog_id"),
        ({"name": ""}, "name"),
    ],
)
async def test_a_wrong_change_changes_nothing(club: Club, change: dict[str, Any], field: str) -> None:
    person = await club.enter()
    path = f"/participants/{person['id']}"
    reply = await club.act(person, "PUT", path, change)
    assert [error["field"] for error in reply.json["extra_fields"]["errors"]] == [field]
    assert (await club.ask("GET", path)).json == person


async def test_somebody_of_another_campaign_is_nobody_on_every_path(club: Club, api: Database) -> None:
    other = await Club.make(api)
    person, foreign = await club.enter(), await other.enter()
    for method, suffix, body in (
        ("GET", "", None),
        ("PUT", "", {"name": "X"}),
        ("GET", "/balance", None),
        ("GET", "/statement", None),
        ("GET", "/extract", None),
    ):
        replies = [
            await club.act(person, method, f"/participants/{key}{suffix}", body, x_correlation_id="c-1")
            for key in (foreign["id"], uuid4(), "x")
        ]
        assert {(reply.status, reply.code, reply.body) for reply in replies} == {(404, "113", replies[0].body)}
    impersonating = await club.act(foreign, "GET", "/participants/me")
    assert (impersonating.status, impersonating.code) == (404, "113")
    for key in (uuid4(), "me", "x"):
        assert (await club.ask("GET", f"/participants/{key}")).code == "113"


async def test_an_application_by_itself_reads_nobody(club: Club) -> None:
    person = await club.enter()
    for suffix in ("", "/balance", "/statement"):
        reply = await club.apply("GET", f"/participants/{person['id']}{suffix}")
        assert (reply.status, reply.code) == (401, "103")


async def test_the_audit_tells_what_changed_but_nothing_personal(club: Club, db: Database) -> None:
    person = await club.enter()
    path = f"/participants/{person['id']}"
    await club.act(person, "PUT", path, {"name": "Outra Pessoa", "catalog_id": "blue"})
    async with db.reading() as connection:
        acts = await connection.fetch("select actor, action, details from audit where action like 'participant.%'")
    assert {row["action"] for row in acts} == {"participant.created", "participant.changed"}
    changed = next(row["details"] for row in acts if row["action"] == "participant.changed")
    assert (changed["changed"], changed["after"]) == (["catalog_id", "name"], {"catalog_id": "blue"})
    told = str(acts)
    assert not any(text in told for text in (person["document_number"], person["username"], "Helena", "Outra"))


async def test_who_is_erased_leaves_an_id_and_points_and_may_be_entered_anew(club: Club, db: Database) -> None:
    person = await club.enter(rg="12.345.678-9")
    path = f"/participants/{person['id']}"
    body = {"type": "credit", "points": 5, "description": "x"}
    await club.ask("POST", f"{path}/credits", body, idempotency_key="k")
    reply = await club.ask("POST", f"{path}/erase")
    assert reply.status == 200
    assert reply.json == {
        "id": person["id"],
        "name": None,
        "username": None,
        "document_number": None,
        "person_type": "INDIVIDUAL",
        "status": "INACTIVE",
        "emails": [],
        "phones": [],
        "segment": person["segment"],
        "onboarding_status": "suspended",
    }
    assert (await club.ask("POST", f"{path}/erase")).json == reply.json
    assert (await club.ask("GET", f"{path}/balance")).json["points_value"] == 5
    for query in (f"login={person['username']}", f"document={person['document_number']}", f"login={person['id']}"):
        assert (await club.apply("GET", f"/participants?{query}")).json["items"] == []
    refused = await club.ask("PUT", path, {"status": "ACTIVE"})
    assert (refused.status, refused.code, refused.json["extra_fields"]["status"]) == (409, "RDM000912", "INACTIVE")
    async with db.reading() as connection:
        row = await connection.fetchrow(
            "select * from participants p join approvers a on a.approver_id = participant_id"
        )
        acts = await connection.fetchval("select count(*) from audit where action = 'participant.erased'")
    assert acts == 1
    assert not any(text in str(row) for text in (person["username"], "Helena", person["document_number"]))
    again = await club.enter(username=person["username"], document_number=person["document_number"])
    assert again["id"] != person["id"]


async def test_nobody_but_the_operator_erases(club: Club) -> None:
    person = await club.enter()
    path = f"/participants/{person['id']}/erase"
    for reply in (await club.act(person, "POST", path), await club.apply("POST", path)):
        assert (reply.status, reply.json["extra_fields"]["scope"]) == (403, "participants.admin")
    assert (await club.ask("POST", f"/participants/{uuid4()}/erase")).code == "113"
