"""Applications and their keys: made, changed, rotated, revoked (redemptions.md §7.1, §12)."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import Campaign
from aval.domain.redemption_event import EVENT_TYPES
from tests.factories import Reply, make_keyring
from tests.redemption_stage import Headers, RedemptionStage, reason_of

BODY = {"name": "Aplicativo", "scopes": ["redemptions.read", "policy.read"]}


def path_of(campaign: Campaign, *more: object) -> str:
    return "/".join([f"/campaigns/{campaign.campaign_id}/applications", *map(str, more)])


async def made(stage: RedemptionStage, campaign: Campaign, operator: Headers, **change: Any) -> Reply:
    reply = await stage.call("POST", path_of(campaign), BODY | change, headers=operator)
    assert reply.status == 201, reply.body
    return reply


def headers_of(application: Any, **change: str) -> Headers:
    sent = {
        "authorization": f"Bearer {application['api_key']}",
        "ocp-apim-subscription-key": application["subscription_key"],
    }
    return sent | change


async def test_an_application_shows_its_secrets_once_and_keeps_only_hashes(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    answer = (await made(redemptions, campaign, operator)).json
    secrets = [answer.pop(name) for name in ("client_secret", "api_key", "subscription_key", "webhook_secret")]
    assert len(set(secrets)) == 4 and all(len(secret) >= 43 for secret in secrets)
    assert answer["scopes"] == ["policy.read", "redemptions.read"]
    listed = (await redemptions.call("GET", path_of(campaign), headers=operator)).json
    assert listed["items"] == [
        answer | {"keys": [{name: answer["keys"][0][name] for name in ("key_id", "created_at")}]}
    ]
    rows = await redemptions.fetch(
        "select client_secret_hash, subscription_key_hash, api_key_hash from applications join application_keys"
        " using (integrator_id, application_id) where integrator_id = $1",
        campaign.key,
    )
    hashes = {make_keyring().credential_hashes(secret)[0] for secret in secrets[:3]}
    assert {bytes(value) for value in rows[0]} == hashes
    stored = await redemptions.fetch(
        "select a::text || k::text || w::text || u::text from applications a join application_keys k using"
        " (integrator_id, application_id) join webhook_endpoints w on w.endpoint_id = a.application_id"
        " join audit u on u.integrator_id = a.integrator_id where a.integrator_id = $1",
        campaign.key,
    )
    for secret in secrets:
        assert all(secret not in text and hashlib.sha256(secret.encode()).hexdigest() not in text for (text,) in stored)


async def test_its_webhook_endpoint_hears_of_everything_and_is_off_without_an_address(
    redemptions: RedemptionStage,
) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()

    async def endpoint(client_id: str) -> Any:
        query = "select url, enabled, event_types from webhook_endpoints where endpoint_id = $1::text::uuid"
        (row,) = await redemptions.fetch(query, client_id)
        return row

    told = (await made(redemptions, campaign, operator, webhook_url="https://app.example.com/hooks")).json
    assert await endpoint(told["client_id"]) == ("https://app.example.com/hooks", True, list(EVENT_TYPES))
    silent = (await made(redemptions, campaign, operator)).json
    assert await endpoint(silent["client_id"]) == ("", False, list(EVENT_TYPES))
    for change, expected in (
        ({"webhook_url": "https://app.example.com/new"}, ("https://app.example.com/new", True)),
        ({"webhook_url": None}, ("", False)),
    ):
        reply = await redemptions.call("PATCH", path_of(campaign, silent["client_id"]), change, headers=operator)
        assert (reply.status, reply.json["webhook_url"]) == (200, change["webhook_url"])
        assert (await endpoint(silent["client_id"]))[:2] == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "A"},
        BODY | {"name": ""},
        BODY | {"name": "x" * 81},
        BODY | {"scopes": []},
        BODY | {"scopes": ["policy.write"]},
        BODY | {"scopes": ["transfers:read"]},
        BODY | {"webhook_url": "http://app.example.com"},
        BODY | {"webhook_url": "https://127.0.0.1/"},
        BODY | {"webhook_url": "https://user@app.example.com/"},
        BODY | {"calls_per_minute": 0},
        BODY | {"calls_per_minute": 1_000_001},
        BODY | {"calls_per_minute": 10.5},
        BODY | {"client_id": "x"},
    ],
)
async def test_a_body_that_does_not_fit_makes_nothing(redemptions: RedemptionStage, body: Any) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    reply = await redemptions.call("POST", path_of(campaign), body, headers=operator)
    assert (reply.status, reply.code, reason_of(reply)) == (400, "QIT000001", "schema")
    assert await redemptions.value("select count(*) from applications where integrator_id = $1", campaign.key) == 0


@pytest.mark.parametrize(("mode", "expected", "prefix"), [("live", 600, "aval_live_"), ("sandbox", None, "aval_test_")])
async def test_a_sandbox_has_no_limit_of_calls(
    redemptions: RedemptionStage, mode: str, expected: int | None, prefix: str
) -> None:
    campaign, operator = await redemptions.campaign(mode=mode), await redemptions.operator()
    answer = (await made(redemptions, campaign, operator)).json
    assert answer["calls_per_minute"] == expected
    assert answer["api_key"].startswith(prefix)
    for given in (7, None):
        body = {"calls_per_minute": given}
        reply = await redemptions.call("PATCH", path_of(campaign, answer["client_id"]), body, headers=operator)
        assert reply.json["calls_per_minute"] == given


async def test_scopes_change_at_the_next_request(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    answer = (await made(redemptions, campaign, operator)).json
    policy = f"/campaigns/{campaign.campaign_id}/two_factor"
    assert (await redemptions.call("GET", policy, headers=headers_of(answer))).status == 200
    body = {"scopes": ["redemptions.read", "redemptions.read"]}
    reply = await redemptions.call("PATCH", path_of(campaign, answer["client_id"]), body, headers=operator)
    assert reply.json["scopes"] == ["redemptions.read"]
    refused = await redemptions.call("GET", policy, headers=headers_of(answer))
    assert (refused.status, refused.code) == (403, "RDM000918")
    assert refused.json["extra_fields"] == {"reason": "insufficient_scope", "scope": "policy.read"}


async def test_two_keys_at_a_time_and_a_revoked_one_is_dead_at_the_next_request(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    first = (await made(redemptions, campaign, operator)).json
    keys, own = path_of(campaign, first["client_id"], "keys"), f"/campaigns/{campaign.campaign_id}"
    second = await redemptions.call("POST", keys, headers=operator)
    assert second.status == 201
    third = await redemptions.call("POST", keys, headers=operator)
    assert (third.status, third.code) == (409, "RDM000912")
    for key in (first["api_key"], second.json["api_key"]):
        assert (await redemptions.call("GET", own, headers=headers_of(first | {"api_key": key}))).status == 200
    former = first["keys"][0]["key_id"]
    assert (await redemptions.call("DELETE", f"{keys}/{former}", headers=operator)).status == 204
    assert (await redemptions.call("GET", own, headers=headers_of(first))).status == 401
    again = await redemptions.call("DELETE", f"{keys}/{former}", headers=operator)
    assert (again.status, again.json["extra_fields"]["resource"]) == (404, "key")
    assert (await redemptions.call("GET", own, headers=headers_of(first | second.json))).status == 200
    assert (await redemptions.call("POST", keys, headers=operator)).status == 201


async def test_of_many_at_once_only_one_is_the_second_key(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    keys = path_of(campaign, (await made(redemptions, campaign, operator)).json["client_id"], "keys")
    replies = await asyncio.gather(*(redemptions.call("POST", keys, headers=operator) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [201, 409, 409, 409, 409]


async def test_a_revoked_application_is_dead_and_stays_so(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    answer = (await made(redemptions, campaign, operator, webhook_url="https://app.example.com/hooks")).json
    own, path = f"/campaigns/{campaign.campaign_id}", path_of(campaign, answer["client_id"])
    assert (await redemptions.call("GET", own, headers=headers_of(answer))).status == 200
    assert (await redemptions.call("DELETE", path, headers=operator)).status == 204
    assert (await redemptions.call("GET", own, headers=headers_of(answer))).status == 401
    for method, target, body in (
        ("DELETE", path, None),
        ("PATCH", path, {"name": "Outro"}),
        ("POST", f"{path}/keys", None),
    ):
        reply = await redemptions.call(method, target, body, headers=operator)
        assert (reply.status, reply.code, reply.json["extra_fields"]["status"]) == (409, "RDM000912", "revoked")
    query = "select enabled from webhook_endpoints where endpoint_id = $1::text::uuid"
    assert await redemptions.value(query, answer["client_id"]) is False


async def test_an_application_of_another_campaign_is_an_unknown_one(redemptions: RedemptionStage) -> None:
    operator, campaign, other = (
        await redemptions.operator(),
        await redemptions.campaign(),
        await redemptions.campaign(),
    )
    foreign = (await made(redemptions, other, operator)).json
    for method, more, body in (("PATCH", (), {"name": "X"}), ("DELETE", (), None), ("POST", ("keys",), None)):
        replies = [
            await redemptions.call(
                method, path_of(campaign, client, *more), body, headers=operator, x_correlation_id="twin"
            )
            for client in (foreign["client_id"], uuid4(), "not-an-id", "%00")
        ]
        assert {(reply.status, reply.body, *reply.headers.items()) for reply in replies} == {
            (404, replies[0].body, *replies[0].headers.items())
        }
        assert replies[0].json["extra_fields"] == {"reason": "resource_not_found", "resource": "application"}
    assert (await redemptions.call("GET", path_of(other), headers=operator)).json["items"][0]["name"] == "Aplicativo"


async def test_every_act_is_audited_without_a_secret(redemptions: RedemptionStage) -> None:
    campaign, operator = await redemptions.campaign(), await redemptions.operator()
    client = (await made(redemptions, campaign, operator)).json["client_id"]
    key = (await redemptions.call("POST", path_of(campaign, client, "keys"), headers=operator)).json
    await redemptions.call("PATCH", path_of(campaign, client), {"name": "Outro"}, headers=operator)
    await redemptions.call("DELETE", path_of(campaign, client, "keys", key["key_id"]), headers=operator)
    await redemptions.call("DELETE", path_of(campaign, client), headers=operator)
    rows = await redemptions.fetch(
        "select action, actor, details::text from audit where integrator_id = $1 and action like 'application%'"
        " order by at",
        campaign.key,
    )
    assert [action for action, _, _ in rows] == [
        "application.created",
        "application_key.created",
        "application.changed",
        "application_key.revoked",
        "application.revoked",
    ]
    assert {actor.partition(" ")[0] for _, actor, _ in rows} == {"admin:operator"}
    assert all(key["api_key"] not in details for _, _, details in rows)


async def test_only_the_back_office_manages_applications(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application, person = await redemptions.application(campaign), await redemptions.participant(campaign)
    unfit = await redemptions.operator("policy.write")
    callers = [
        unfit,
        redemptions.as_application(application),
        redemptions.as_impersonator(application, campaign, person),
        redemptions.as_participant(application, campaign, person),
    ]
    for headers in callers:
        reply = await redemptions.call("POST", path_of(campaign), BODY, headers=headers)
        assert (reply.status, reply.code) == (403, "RDM000918")
        assert reply.json["extra_fields"]["scope"] == "campaigns.write"
