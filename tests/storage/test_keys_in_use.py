"""Keys that rows still need: no value is left sealed under one that `prune` may drop."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from aval.domain.keyring import Key, Keyring, Purpose
from aval.storage.keys_in_use import kids_in_use
from tests.buyers import Buyer, a_purchase
from tests.factories import KeyringHolder, make_keyring
from tests.redemption_stage import RedemptionStage

ROTATED_AT = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def holder(own_redemptions: RedemptionStage) -> Iterator[KeyringHolder]:
    """The keys of the stage's API."""
    made = own_redemptions.parts.keyring
    assert isinstance(made, KeyringHolder)
    yield made


async def buyer_of(stage: RedemptionStage) -> Buyer:
    return await Buyer.make(stage, has_phone=False, policy={})


def rotate(holder: KeyringHolder, kid: str) -> None:
    """From now on things are sealed under a new key."""
    keys = [key for purpose in Purpose for key in make_keyring().all_of(purpose)]
    holder.keyring = Keyring([*keys, Key(Purpose.SEAL, kid, kid.encode().ljust(32, b"."), ROTATED_AT)])


async def sealing_kids(stage: RedemptionStage) -> set[str]:
    async with stage.db.connection() as connection:
        return {kid for purpose, kid in await kids_in_use(connection) if purpose is Purpose.SEAL}


async def test_what_a_purchase_was_told_of_its_customer(
    own_redemptions: RedemptionStage, holder: KeyringHolder
) -> None:
    buyer = await buyer_of(own_redemptions)
    rotate(holder, "seal-of-customer")
    await buyer.bought(a_purchase(customer={"name": "Outra Pessoa"}))
    assert await sealing_kids(own_redemptions) == {"seal-1", "seal-of-customer"}


async def test_an_answer_about_a_purchase_that_is_kept(own_redemptions: RedemptionStage, holder: KeyringHolder) -> None:
    buyer = await buyer_of(own_redemptions)
    made = await buyer.authorize()
    rotate(holder, "seal-of-answer")
    assert (await buyer.confirm(made, idempotency_key="k")).status == 200
    assert await sealing_kids(own_redemptions) == {"seal-1", "seal-of-answer"}
