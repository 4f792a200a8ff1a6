"""The look-up of callers: many in one statement, each within its own campaign, by keys alone."""

from uuid import uuid4

from aval.storage import redeemers
from aval.storage.database import Database
from aval.storage.redeemers import KnownParticipant, Presented, find_tenant_of, identify
from tests.factories import make_keyring
from tests.redemption_stage import RedemptionStage
from tests.storage.test_plans import generic_plan


def hashed(key: str) -> list[bytes]:
    return make_keyring().credential_hashes(key)


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
        each and (each.application_key, each.campaign.key, each.is_key_good, set(each.participants)) for each in found
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


async def test_the_tenant_of_a_participant_is_found_by_the_id_alone(own_redemptions: RedemptionStage) -> None:
    campaign = await own_redemptions.campaign()
    person = await own_redemptions.participant(campaign)
    async with own_redemptions.db.connection() as connection:
        assert await find_tenant_of(connection, person.key) == campaign.key
        assert await find_tenant_of(connection, uuid4()) is None


async def test_callers_are_found_by_keys_on_a_nearly_empty_database(dsn: str) -> None:
    hot = await Database.open(dsn, pool_size=1, is_hot=True)
    async with hot.connection() as connection:
        plan = await generic_plan(connection, redeemers._IDENTIFY)
    await hot.close()
    assert [line for line in plan if "Seq Scan" in line] == []
    assert sum("Index" in line and "Scan" in line for line in plan) == 6, plan
