"""The look-up of callers: many in one statement, each within its own campaign, by keys alone."""

from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID, uuid4

from aval.operations.change_application import change_application
from aval.operations.create_application import NewApplication
from aval.operations.rotate_application_keys import revoke_application_key
from aval.storage import redeemers
from aval.storage.database import Database
from aval.storage.redeemers import Identified, KnownParticipant, Presented, find_tenant_of, identify
from tests.factories import AUTHOR, make_keyring
from tests.redemption_stage import RedemptionStage
from tests.storage.test_plans import generic_plan


def hashed(key: str) -> list[bytes]:
    return make_keyring().credential_hashes(key)


def presented(application: NewApplication, *participants: UUID, api_key: str = "") -> Presented:
    """What an application sends, with another API key if one is told."""
    return Presented(hashed(application.subscription_key), hashed(api_key or application.api_key), participants)


async def found_by(db: Database, calls: Sequence[Presented]) -> list[Identified]:
    """Who the calls of one batch are; each is somebody."""
    async with db.connection() as connection:
        found = await identify(connection, calls)
    known = [each for each in found if each is not None]
    assert len(known) == len(calls)
    return known


async def test_each_of_many_callers_is_found_for_itself(own_redemptions: RedemptionStage) -> None:
    stage = own_redemptions
    one, other = await stage.campaign(), await stage.campaign()
    first, second, third = await stage.application(one), await stage.application(one), await stage.application(other)
    person, stranger = await stage.participant(one), await stage.participant(other)
    calls = [
        Presented(hashed(first.subscription_key), hashed(first.api_key), [person.key, stranger.key, uuid4()]),
        Presented(hashed(first.subscription_key), hashed(second.api_key)),
        Presented(hashed("x" * 43), hashed(first.api_key), [person.key]),
        Presented([], []),
        Presented([b"\0" * 32, *hashed(third.subscription_key)], [*hashed(third.api_key), b"\1" * 32], [person.key]),
        Presented(hashed(first.subscription_key), hashed(first.api_key), [person.key]),
    ]
    async with stage.db.connection() as connection:
        found = await identify(connection, calls)
        assert await identify(connection, []) == []
    told = [
        each and (each.application_key, each.campaign.key, each.key is not None, set(each.participants))
        for each in found
    ]
    assert told == [
        (first.application.key, one.key, True, {person.key}),
        (first.application.key, one.key, False, set()),
        None,
        None,
        (third.application.key, other.key, True, set()),
        (first.application.key, one.key, True, {person.key}),
    ]
    assert found[0] is not None
    assert found[0].participants[person.key] == KnownParticipant(person.key, "gold", person.participant.username)
    assert found[0].campaign == one and found[0].now.tzinfo is not None


async def test_callers_with_the_same_keys_know_only_the_participants_they_mean(
    own_redemptions: RedemptionStage,
) -> None:
    stage = own_redemptions
    campaign = await stage.campaign()
    application = await stage.application(campaign)
    one, two, three = [await stage.participant(campaign) for _ in range(3)]
    meant = [[one.key], [two.key], [], [one.key], [three.key, uuid4(), one.key], [uuid4()]]
    found = await found_by(stage.db, [presented(application, *keys) for keys in meant])
    assert [list(each.participants) for each in found] == [
        [one.key],
        [two.key],
        [],
        [one.key],
        [three.key, one.key],
        [],
    ]
    for person in (one, two, three):
        told = {each.participants[person.key] for each in found if person.key in each.participants}
        assert told == {KnownParticipant(person.key, "gold", person.participant.username)}
    assert all((each.key is not None) and each.campaign == campaign for each in found)


async def test_participants_of_another_campaign_are_unknown_beside_calls_of_that_campaign(
    own_redemptions: RedemptionStage,
) -> None:
    stage = own_redemptions
    campaigns = [await stage.campaign(), await stage.campaign()]
    left, right = [await stage.application(campaign) for campaign in campaigns]
    lefty, righty = [await stage.participant(campaign) for campaign in campaigns]
    both = (lefty.key, righty.key)
    calls = [
        presented(left, *both),
        presented(right, *both),
        presented(left, righty.key),
        presented(right, lefty.key),
        presented(right, *both),
    ]
    found = await found_by(stage.db, calls)
    assert [each.campaign for each in found] == [campaigns[at] for at in (0, 1, 0, 1, 1)]
    assert [list(each.participants) for each in found] == [[lefty.key], [righty.key], [], [], [righty.key]]


async def test_a_bad_key_among_good_ones_is_bad_alone(own_redemptions: RedemptionStage) -> None:
    """API keys: unknown, revoked, another application's; subscription keys: unknown, revoked."""
    stage = own_redemptions
    campaign = await stage.campaign()
    good, other, keyless, ended = [await stage.application(campaign) for _ in range(4)]
    person = await stage.participant(campaign)
    await revoke_application_key(
        stage.db,
        integrator_key=campaign.key,
        application_key=keyless.key.application_key,
        key=keyless.key.key,
        author=AUTHOR,
    )
    await change_application(
        stage.db,
        integrator_key=campaign.key,
        application_key=ended.key.application_key,
        changes={"is_revoked": True},
        author=AUTHOR,
    )
    unknown = Presented(hashed("x" * 43), hashed(good.api_key), [person.key])
    bad = [
        presented(good, person.key, api_key=key) for key in ("aval_test_" + "x" * 43, other.api_key, keyless.api_key)
    ]
    calls = [presented(good, person.key), *bad, presented(keyless, person.key), presented(good, person.key)]
    found = await found_by(stage.db, calls)
    assert [(each.key is not None) for each in found] == [True, False, False, False, False, True]
    assert all(set(each.participants) == {person.key} for each in found)
    async with stage.db.connection() as connection:
        among = await identify(connection, [presented(ended, person.key), *calls, unknown])
    assert [each is None for each in among] == [True, *[False] * len(calls), True]


async def test_keys_are_good_under_any_live_key_of_the_deployment(own_redemptions: RedemptionStage) -> None:
    stage = own_redemptions
    campaign = await stage.campaign()
    application, person = await stage.application(campaign), await stage.participant(campaign)
    newer = [b"\0" * 32, b"\1" * 32]
    calls = [
        Presented([newer[0], *hashed(application.subscription_key)], [newer[1], *hashed(application.api_key)], [key])
        for key in (person.key, uuid4())
    ]
    calls += [Presented([newer[0], *hashed(application.subscription_key)], [newer[1]], [person.key])]
    found = await found_by(stage.db, calls)
    assert [(each.key is not None) for each in found] == [True, True, False]
    assert [list(each.participants) for each in found] == [[person.key], [], [person.key]]


async def test_applications_of_one_campaign_share_its_documents(own_redemptions: RedemptionStage) -> None:
    stage = own_redemptions
    campaign, other = await stage.campaign(), await stage.campaign()
    applications = [await stage.application(each) for each in (campaign, other, campaign, campaign)]
    found = await found_by(stage.db, [presented(application) for application in applications])
    assert [each.campaign for each in found] == [campaign, other, campaign, campaign]
    assert found[0].campaign is found[2].campaign is found[3].campaign
    assert {each.oidc.issuer for each in found if each.oidc} == {stage.issuer.oidc["issuer"]}


async def test_the_tenant_of_a_participant_is_found_by_the_id_alone(own_redemptions: RedemptionStage) -> None:
    campaign = await own_redemptions.campaign()
    person = await own_redemptions.participant(campaign)
    async with own_redemptions.db.connection() as connection:
        assert await find_tenant_of(connection, person.key) == campaign.key
        assert await find_tenant_of(connection, uuid4()) is None


async def test_callers_are_found_by_keys_while_there_are_hardly_any(own_redemptions: RedemptionStage, dsn: str) -> None:
    """Before there is anything, and with the statistics of a single campaign."""
    hot = await Database.open(dsn, pool_size=1, is_hot=True)
    for campaigns in range(2):
        if campaigns:
            campaign = await own_redemptions.campaign()
            await own_redemptions.application(campaign)
            await own_redemptions.participant(campaign)
            await own_redemptions.execute("analyze campaigns, applications, integrators, two_factor_policies")
        async with hot.connection() as connection:
            plan = await generic_plan(connection, redeemers._IDENTIFY)
        scans = [following for line, following in pairwise(plan) if "Scan using" in line]
        assert [line for line in plan if "Seq Scan" in line] == []
        assert len(scans) == 6 and all("Index Cond: " in following for following in scans), plan
    await hot.close()


async def test_a_plan_once_made_is_kept_for_batches_of_any_size(own_redemptions: RedemptionStage, dsn: str) -> None:
    stage = own_redemptions
    campaign = await stage.campaign()
    applications = [await stage.application(campaign) for _ in range(3)]
    people = [await stage.participant(campaign) for _ in range(3)]
    hot = await Database.open(dsn, pool_size=1, is_hot=True)
    async with hot.connection() as connection:
        for round_no in range(15):
            calls = [presented(each, people[0].key) for each in applications[: 1 + round_no % 3]]
            assert None not in await identify(
                connection, [*calls, *(presented(applications[0], p.key) for p in people)]
            )
        row = await connection.fetchrow(
            "select custom_plans, generic_plans from pg_prepared_statements where statement = $1", redeemers._IDENTIFY
        )
    await hot.close()
    assert row is not None and tuple(row) == (5, 10)  # PostgreSQL looks at five of its own before it decides
