"""Campaigns and their policy: versions follow one another, one of two writers wins, and each version stays readable."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aval.domain.campaign import CampaignData, PolicyVersion, TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.operations.change_campaign import change_campaign
from aval.operations.change_policy import change_policy
from aval.operations.create_campaign import create_campaign
from aval.operations.record_act import Author
from aval.storage.campaigns import StoredCampaign, find_campaign, find_tenant, list_campaigns
from aval.storage.database import Database, RestrictViolation
from aval.storage.policies import find_policy

MARINA = Author("admin:op-marina", "c-1")


@pytest.fixture
async def api(db_as: Callable[[str], Awaitable[Database]]) -> Database:
    return await db_as("aval_app_api")


async def make(api: Database, campaign_id: str = "40510", **more: object) -> StoredCampaign:
    data = CampaignData(campaign_id=campaign_id, client_id="cliente-1", name="Verão", catalogs={"gold": "Ouro"}, **more)  # type: ignore[arg-type]
    return await create_campaign(api, data=data, author=MARINA)


async def put(api: Database, version: int, *, campaign_id: str = "40510", enabled: bool = True) -> PolicyVersion:
    policy = TwoFactorPolicy(enabled=enabled, min_points=version)
    return await change_policy(api, campaign_id=campaign_id, expected_version=version, policy=policy, author=MARINA)


async def test_a_campaign_begins_with_version_1_of_its_policy_which_has_the_defaults(api: Database) -> None:
    made = await make(api)
    async with api.reading() as connection:
        policy = await find_policy(connection, made.campaign.key)
        assert await find_campaign(connection, "40510") == made
        assert await find_tenant(connection, made.campaign.key) == made
        assert await list_campaigns(connection, offset=0, limit=10) == ([made], 1)
    assert policy == PolicyVersion(1, TwoFactorPolicy(), "op-marina", made.created_at)


async def test_an_id_in_use_is_refused_and_nothing_is_stored(api: Database, db: Database) -> None:
    await make(api, status="paused")
    with pytest.raises(Refusal) as refused:
        await make(api)
    assert (refused.value.name, refused.value.extra_fields) == ("rdm.wrong_status", {"status": "paused"})
    async with db.reading() as connection:
        assert await connection.fetchval("select count(*) from integrators") == 1
        assert await connection.fetchval("select count(*) from audit") == 1


async def test_of_two_writers_with_the_same_version_one_wins_and_the_other_is_told_the_current_one(
    api: Database,
) -> None:
    await make(api)
    results = await asyncio.gather(*(put(api, 1) for _ in range(8)), return_exceptions=True)
    won = [each for each in results if isinstance(each, PolicyVersion)]
    refused = [each for each in results if isinstance(each, Refusal)]
    assert [each.version for each in won] == [2]
    assert [(each.name, each.extra_fields) for each in refused] == [("rdm.policy_version_conflict", {"version": 2})] * 7


async def test_each_version_stays_readable_and_the_audit_has_old_and_new(api: Database, db: Database) -> None:
    key = (await make(api)).campaign.key
    await put(api, 1)
    await put(api, 2, enabled=False)
    async with db.reading() as connection:
        versions = [await find_policy(connection, key, number) for number in (1, 2, 3, None, 4)]
        acts = await connection.fetch("select action, details from audit order by at")
    assert [each and (each.version, each.policy.enabled) for each in versions] == [
        (1, False),
        (2, True),
        (3, False),
        (3, False),
        None,
    ]
    assert [row["action"] for row in acts] == ["campaign.created", "policy.changed", "policy.changed"]
    told = acts[2]["details"]
    assert (told["version"], told["before"]["enabled"], told["after"]["enabled"]) == (3, True, False)


async def test_every_change_of_the_policy_is_one_event_numbered_without_a_gap(api: Database, db: Database) -> None:
    await make(api)
    await put(api, 1)
    await put(api, 2)
    async with db.reading() as connection:
        rows = await connection.fetch("select sequence, event_type, body from events order by sequence")
    assert [(row["sequence"], row["event_type"]) for row in rows] == [
        (1, "two_factor.policy_changed"),
        (2, "two_factor.policy_changed"),
    ]
    assert '"data":{"campaign_id":"40510","version":3,"enabled":true}' in rows[1]["body"]


async def test_versions_are_never_edited_or_deleted(api: Database, db: Database) -> None:
    await make(api)
    for statement in ("update two_factor_policies set version = 9", "delete from two_factor_policies"):
        with pytest.raises(RestrictViolation):
            async with db.transaction() as connection:
                await connection.execute(statement)


async def test_a_change_of_a_campaign_replaces_what_is_given_and_keeps_the_rest(api: Database, db: Database) -> None:
    made = await make(api, mode="sandbox")
    changed = await change_campaign(
        api, campaign_id="40510", changes={"status": "paused", "vendors": {"loja": "Loja"}}, author=MARINA
    )
    assert (changed.campaign.status, changed.campaign.vendors) == ("paused", {"loja": "Loja"})
    assert (changed.campaign.name, changed.campaign.mode) == (made.campaign.name, "sandbox")
    async with db.reading() as connection:
        assert await find_campaign(connection, "40510") == changed
        details = await connection.fetchval("select details from audit where action = 'campaign.changed'")
    assert details["before"] == {"status": "active", "vendors": {}}
    assert details["after"] == {"status": "paused", "vendors": {"loja": "Loja"}}


async def test_a_campaign_nobody_made_is_unknown_to_both_changes(api: Database) -> None:
    for work in (put(api, 1, campaign_id="x"), change_campaign(api, campaign_id="x", changes={}, author=MARINA)):
        with pytest.raises(Refusal) as refused:
            await work
        assert (refused.value.name, refused.value.extra_fields) == (
            "rdm.resource_not_found",
            {"resource": "campaign"},
        )
