"""Administration of integrators does not find campaigns and their people, nor the reverse (docs/adr/0034)."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from aval.http import admin
from aval.http.app import build_app
from aval.operations.create_admin_key import create_admin_key
from aval.storage.database import Database
from aval.storage.production import sandbox_shortcuts
from tests.club import Club
from tests.factories import AUTHOR, Client, make_keyring, make_parts, make_party

OpenAs = Callable[[str], Awaitable[Database]]
CPF = "31860492533"


@pytest.fixture
async def api(db_as: OpenAs) -> Database:
    return await db_as("aval_app_api")


async def administration(api: Database) -> Client:
    _, key = await create_admin_key(api, name=uuid4().hex, keyring=make_keyring(), author=AUTHOR)
    parts = make_parts(api)
    return Client(build_app(parts, [admin.routes(parts)]), key)


def calls_on(tenant: str, person: str) -> list[tuple[str, str, Any]]:
    account = {
        "account_branch": "0001",
        "account_number": "123",
        "account_digit": "4",
        "owner_document_number": CPF,
        "owner_name": "X",
    }
    contact = {"contact_type": "sms", "destination": "+5511912345678"}
    base = f"/admin/integrators/{tenant}"
    return [
        ("GET", base, None),
        ("PATCH", base, {"name": "X"}),
        ("PUT", base + "/fees", {}),
        ("GET", base + "/fees", None),
        ("POST", base + "/credentials", {"type": "bearer", "scopes": ["transfers:write"]}),
        ("GET", base + "/credentials", None),
        ("POST", base + "/accounts", account),
        ("GET", base + "/accounts", None),
        ("POST", base + "/approvers", {"document_number": CPF, "name": "X"}),
        ("GET", base + "/approvers", None),
        ("GET", f"{base}/approvers/{person}", None),
        ("PATCH", f"{base}/approvers/{person}", {"name": "X", "active": False}),
        ("GET", f"{base}/approvers/{person}/contacts", None),
        ("POST", f"{base}/approvers/{person}/contacts", contact),
        ("DELETE", f"{base}/approvers/{person}/contacts/{uuid4()}", None),
    ]


async def test_a_campaign_is_no_integrator_on_any_path_of_the_administration(api: Database, db: Database) -> None:
    club = await Club.make(api)
    person, admin_call = await club.enter(), await administration(api)
    for method, path, body in calls_on(str(club.stored.campaign.key), person["id"]):
        reply = await admin_call(method, path, body)
        assert (reply.status, reply.code) == (404, "QIT000404"), (method, path, reply.body)
    assert (await admin_call("GET", "/admin/integrators")).json["data"] == []
    assert (await club.ask("GET", f"/participants/{person['id']}")).json == person
    async with db.reading() as connection:
        assert await connection.fetchval("select count(*) from audit where action like 'contact.%'") == 0


async def test_an_integrator_is_no_campaign_and_its_approvers_are_no_participants(api: Database, db: Database) -> None:
    club, party = await Club.make(api), await make_party(db)
    for path in (f"/campaigns/{party.integrator.key}", f"/participants/{party.approver.key}"):
        assert (await club.ask("GET", path)).status == 404
    assert (await club.ask("GET", "/campaigns")).json["total"] == 1
    for method, path, _ in calls_on(str(party.integrator.key), str(party.approver.key)):
        if method == "GET":
            reply = await (await administration(api))(method, path)
            assert reply.status == 200, (path, reply.body)


async def test_a_live_campaign_is_none_of_the_shortcuts_that_production_refuses(api: Database, db: Database) -> None:
    await Club.make(api, mode="live")
    async with db.reading() as connection:
        assert await sandbox_shortcuts(connection) == []
