"""Campaigns and policies over HTTP: who may, what bodies say, what is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aval.storage.database import Database
from tests.club import Club, operator_key

OpenAs = Callable[[str], Awaitable[Database]]
DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "applies_to": ["internal", "external"],
    "min_points": 0,
    "channel": "sms",
    "token_alphabet": "crockford32",
    "token_length": 6,
    "token_ttl_seconds": 300,
    "max_attempts": 5,
    "resend_interval_seconds": 30,
    "max_resends": 5,
    "approval_window_minutes": 60,
    "document_policy": "approved",
    "required_documents": ["identity", "selfie"],
    "max_resubmissions": 3,
    "document_retention_days": 90,
    "device_change_cooldown_hours": 24,
    "max_participants_per_number": 1,
    "message_template": "[campaign]: resgate de [points] pontos em [vendors]. Nao compartilhe."
    " Codigo [generation]: [token]",
    "authorization_ttl_minutes": None,
    "risk": {
        "max_points_per_order": None,
        "max_points_per_day": None,
        "max_orders_per_day": None,
        "max_pending_purchases": 5,
    },
}


@pytest.fixture
async def api(db_as: OpenAs) -> Database:
    return await db_as("aval_app_api")


@pytest.fixture
async def club(api: Database) -> Club:
    return await Club.make(api)


def a_campaign(**change: Any) -> dict[str, Any]:
    body = {
        "id": "40510",
        "name": "Clube Sol",
        "client_id": "cliente-1",
        "catalogs": [{"id": "gold", "name": "Ouro"}],
        "vendors": [{"id": "loja-sol", "name": "Loja Sol"}],
    }
    return {name: value for name, value in (body | change).items() if value is not None}


async def test_a_campaign_is_made_with_its_defaults_and_read_as_it_was_made(club: Club) -> None:
    made = await club.ask("POST", "/campaigns", a_campaign())
    assert made.status == 201
    assert made.json | {"created_at": "", "updated_at": ""} == {
        "id": "40510",
        "name": "Clube Sol",
        "client_id": "cliente-1",
        "mode": "live",
        "status": "active",
        "catalogs": [{"id": "gold", "name": "Ouro"}],
        "vendors": [{"id": "loja-sol", "name": "Loja Sol"}],
        "locale": "pt-BR",
        "timezone": "America/Sao_Paulo",
        "oidc": None,
        "policy_version": 1,
        "created_at": "",
        "updated_at": "",
    }
    assert (await club.ask("GET", "/campaigns/40510")).json == made.json
    listed = (await club.ask("GET", "/campaigns?offset=1&limit=1")).json
    assert listed == {"items": [made.json], "offset": 1, "limit": 1, "total": 2}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "a b"}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"client_id": ""}, "client_id"),
        ({"name": " "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"mode": "test"}, "mode"),
        ({"status": "open"}, "status"),
        ({"timezone": "America/Nowhere"}, "timezone"),
        ({"timezone": "localtime"}, "timezone"),
        ({"locale": "fr"}, "locale"),
        ({"catalogs": [{"id": "a", "name": "A"}, {"id": "a", "name": "B"}]}, "catalogs[1].id"),
        ({"vendors": [{"id": "a/b", "name": "A"}]}, "vendors[0].id"),
        ({"vendors": [{"id": "a", "name": "\x00"}]}, "vendors[0].name"),
        ({"oidc": {"issuer": "x", "audience": "y", "jwks_uri": "http://10.0.0.1/jwks"}}, "oidc.jwks_uri"),
        ({"oidc": {"issuer": "x", "audience": "y"}}, "oidc.jwks_uri"),
        ({"policy": {}}, "policy"),
    ],
)
async def test_a_wrong_member_is_named_and_nothing_is_stored(club: Club, change: dict[str, Any], field: str) -> None:
    reply = await club.ask("POST", "/campaigns", a_campaign(**change))
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert [error["field"] for error in reply.json["extra_fields"]["errors"]] == [field]
    assert (await club.ask("GET", "/campaigns")).json["total"] == 1


async def test_an_id_is_used_once(club: Club) -> None:
    replies = await asyncio.gather(*(club.ask("POST", "/campaigns", a_campaign()) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409]
    assert {reply.code for reply in replies if reply.status == 409} == {"RDM000912"}


async def test_a_change_replaces_what_is_given_but_never_id_and_mode(club: Club) -> None:
    path = f"/campaigns/{club.id}"
    oidc = {"issuer": "https://login.example.com", "audience": "clube", "jwks_uri": "https://login.example.com/keys"}
    reply = await club.ask("PATCH", path, {"status": "paused", "oidc": oidc, "timezone": "America/Manaus"})
    assert (reply.status, reply.json["status"], reply.json["timezone"]) == (200, "paused", "America/Manaus")
    assert reply.json["oidc"]["claims"]["participant_id"] == "custom:participant_id"
    assert reply.json["name"] == "Clube Sol"
    assert (await club.ask("PATCH", path, {"oidc": None})).json["oidc"] is None
    assert (await club.ask("PATCH", path, {})).json["status"] == "paused"
    for name, value in (("mode", "sandbox"), ("id", "x")):
        refused = await club.ask("PATCH", path, {name: value})
        assert refused.json["extra_fields"]["errors"] == [{"field": name, "reason": "unknown_field"}]


async def test_the_policy_begins_with_its_defaults_as_version_1(club: Club) -> None:
    reply = await club.ask("GET", f"/campaigns/{club.id}/two_factor")
    assert reply.json | {"changed_at": ""} == DEFAULTS | {"version": 1, "changed_by": "tests", "changed_at": ""}
    assert (await club.apply("GET", f"/campaigns/{club.id}/two_factor")).json == reply.json


async def test_a_put_replaces_the_whole_policy_and_what_is_left_out_takes_its_default(club: Club) -> None:
    path = f"/campaigns/{club.id}/two_factor"
    first = {"expected_version": 1, "enabled": True, "min_points": 1000, "risk": {"max_points_per_day": 200000}}
    reply = await club.ask("PUT", path, first)
    risk = DEFAULTS["risk"] | {"max_points_per_day": 200000}
    expected = DEFAULTS | {"enabled": True, "min_points": 1000, "risk": risk, "version": 2}
    assert {name: reply.json[name] for name in expected} == expected
    second = await club.ask("PUT", path, {"expected_version": 2, "applies_to": ["external"]})
    assert (second.json["version"], second.json["enabled"], second.json["min_points"]) == (3, False, 0)
    assert (await club.ask("GET", path + "?version=2")).json == reply.json
    assert (await club.ask("GET", path)).json == second.json


async def test_a_version_that_is_not_the_current_one_is_refused_with_the_current_one(club: Club) -> None:
    path = f"/campaigns/{club.id}/two_factor"
    replies = await asyncio.gather(*(club.ask("PUT", path, {"expected_version": 1}) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [200, 409, 409, 409, 409]
    for reply in replies:
        if reply.status == 409:
            assert (reply.code, reply.json["extra_fields"]["version"]) == ("RDM000913", 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expected_version": None}, "expected_version"),
        ({"expected_version": 0}, "expected_version"),
        ({"token_length": 8}, "token_length"),
        ({"token_ttl_seconds": 600}, "token_ttl_seconds"),
        ({"max_attempts": 3}, "max_attempts"),
        ({"channel": "email"}, "channel"),
        ({"applies_to": []}, "applies_to"),
        ({"applies_to": ["internal", "internal"]}, "applies_to"),
        ({"required_documents": ["selfie", "selfie"]}, "required_documents"),
        ({"required_documents": ["passport"]}, "required_documents[0]"),
        ({"min_points": -1}, "min_points"),
        ({"min_points": 1.0}, "min_points"),
        ({"resend_interval_seconds": 9}, "resend_interval_seconds"),
        ({"approval_window_minutes": 1441}, "approval_window_minutes"),
        ({"authorization_ttl_minutes": 0}, "authorization_ttl_minutes"),
        ({"risk": {"max_orders_per_day": 0}}, "risk.max_orders_per_day"),
        ({"risk": {"other": 1}}, "risk.other"),
        ({"message_template": "[token] [points] [vendors] [generation]"}, "message_template"),
        ({"message_template": "[points] [vendors] [token]"}, "message_template"),
        ({"message_template": "[points] [vendors] [generation] ✓ [token]"}, "message_template"),
        ({"message_template": "[points]\n[vendors] [generation] [token]"}, "message_template"),
        ({"message_template": "x" * 100 + "[points] [vendors] [generation] [token]"}, "message_template"),
        ({"override_token": "000000"}, "override_token"),
        ({"version": 2}, "version"),
    ],
)
async def test_a_policy_outside_its_limits_is_refused_and_adds_no_version(
    club: Club, change: dict[str, Any], field: str
) -> None:
    path = f"/campaigns/{club.id}/two_factor"
    body = {name: value for name, value in ({"expected_version": 1} | change).items() if value is not None}
    reply = await club.ask("PUT", path, body)
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert [error["field"] for error in reply.json["extra_fields"]["errors"]] == [field]
    assert (await club.ask("GET", path)).json["version"] == 1


async def test_outer_spaces_are_no_part_of_a_template(club: Club) -> None:
    words = "[campaign]: [points] pontos, [vendors] [generation]: [token]"
    body = {"expected_version": 1, "message_template": f" {words} "}
    reply = await club.ask("PUT", f"/campaigns/{club.id}/two_factor", body)
    assert (reply.status, reply.json["message_template"]) == (200, words)


@pytest.mark.parametrize(("version", "code"), [("2", "RDM000910"), ("999999999", "RDM000910"), ("x", "QIT000001")])
async def test_a_version_that_is_not_there_is_unknown(club: Club, version: str, code: str) -> None:
    assert (await club.ask("GET", f"/campaigns/{club.id}/two_factor?version={version}")).code == code


async def test_nobody_but_the_operator_writes_campaigns_and_policies(club: Club, api: Database) -> None:
    path = f"/campaigns/{club.id}"
    calls = (
        ("POST", "/campaigns", a_campaign(), "campaigns.write"),
        ("PATCH", path, {"status": "closed"}, "campaigns.write"),
        ("PUT", path + "/two_factor", {"expected_version": 1, "enabled": True}, "policy.write"),
    )
    reviewer = {"authorization": f"Bearer {await operator_key(api, 'documents.review')}"}
    for method, target, body, scope in calls:
        for reply in (await club.apply(method, target, body), await club.ask(method, target, body, **reviewer)):
            assert (reply.status, reply.code) == (403, "RDM000918")
            assert reply.json["extra_fields"]["scope"] == scope
    assert (await club.ask("GET", path, **reviewer)).json["status"] == "active"
    assert (await club.ask("GET", path + "/two_factor")).json["version"] == 1


async def test_another_campaign_answers_like_one_that_does_not_exist(club: Club, api: Database) -> None:
    other = await Club.make(api)
    for suffix in ("", "/two_factor", "/two_factor?version=1"):
        foreign, nobody, odd = [
            await club.apply("GET", f"/campaigns/{campaign_id}{suffix}", x_correlation_id="c-1")
            for campaign_id in (other.id, "nobody", "a%20b")
        ]
        assert (foreign.status, foreign.code) == (404, "RDM000910")
        assert foreign.body == nobody.body == odd.body
        assert foreign.headers.keys() == nobody.headers.keys()
    assert (await club.ask("GET", f"/campaigns/{other.id}")).status == 200
    for method, path, body in (
        ("PATCH", "/campaigns/no", {}),
        ("PUT", "/campaigns/no/two_factor", {"expected_version": 1}),
    ):
        assert (await club.ask(method, path, body)).code == "RDM000910"


async def test_an_application_without_the_scope_does_not_read_the_policy(api: Database) -> None:
    club = await Club.make(api, scopes=("redemptions.read",))
    reply = await club.apply("GET", f"/campaigns/{club.id}/two_factor")
    assert (reply.status, reply.json["extra_fields"]["scope"]) == (403, "policy.read")
    assert (await club.apply("GET", f"/campaigns/{club.id}")).status == 200
