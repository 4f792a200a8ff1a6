"""Idempotency-Key on validate, resend and cancel: same key, path and body, same bytes (transfers.md §2.5)."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.factories import Reply, make_party
from tests.transfers import Wire, settle
from tests.world import World

CONFLICT = {
    "pix_transfer": "PXT000902",
    "ted": "TED000902",
    "pix_transfer_batch": "PXT000902",
    "ted_batch": "TED000902",
}
INVALID_STATUS = ("PXT000175", "TED000086", "PXT000180", "TED000102")
KEY = {"idempotency_key": "order-1207"}


@pytest.fixture(params=CONFLICT)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


def approved(wire: Wire) -> int:
    """The status of an approval: a batch is finished with it, a single is not."""
    return 201 if wire.is_batch else 202


async def guess(wire: Wire, key: UUID) -> str:
    return "000000" if await wire.world.token(wire.party, key) != "000000" else "000001"


async def attempts_left(wire: Wire, key: UUID) -> int:
    (row,) = await wire.world.fetch("select 5 - attempts_used as left from challenges where operation_id = $1", key)
    return int(row["left"])


async def is_conflict(wire: Wire, answer: Reply) -> bool:
    return (answer.status, answer.code) == (409, CONFLICT[wire.kind])


async def test_an_approval_is_repeated_whatever_became_of_it(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    first = await wire.validate(key, token, **KEY)
    await settle(wire.world)
    again = await wire.validate(key, token, **KEY)
    assert (first.status, again.status, again.body) == (approved(wire), approved(wire), first.body)
    assert (await wire.validate(key, token)).code in INVALID_STATUS
    assert await is_conflict(wire, await wire.validate(key, await guess(wire, key), **KEY))


async def test_a_wrong_token_is_repeated_without_another_attempt(wire: Wire) -> None:
    key = await wire.new()
    wrong = await guess(wire, key)
    answers = [await wire.validate(key, wrong, **KEY) for _ in range(7)]
    assert {(answer.status, answer.body) for answer in answers} == {(400, answers[0].body)}
    assert await attempts_left(wire, key) == 4
    assert await is_conflict(wire, await wire.approve(key, **KEY))
    assert await attempts_left(wire, key) == 4
    assert (await wire.approve(key, idempotency_key="order-1208")).status == approved(wire)


async def test_calls_at_the_same_moment_are_one(wire: Wire) -> None:
    key = await wire.new()
    wrong = await guess(wire, key)
    answers = await asyncio.gather(*(wire.validate(key, wrong, **KEY) for _ in range(8)))
    assert len({(answer.status, answer.body) for answer in answers}) == 1
    assert await attempts_left(wire, key) == 4


async def test_what_was_superseded_or_expired_is_repeated_after_a_resend(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await wire.world.advance(key, 300)
    expired = await wire.validate(key, token, **KEY)
    await wire.resend(key)
    assert (await wire.validate(key, token, **KEY)).body == expired.body
    superseded = await wire.validate(key, token, idempotency_key="order-1208")
    assert superseded.json["extra_fields"] == {"reason": "superseded_token"}
    assert (await wire.validate(key, token, idempotency_key="order-1208")).body == superseded.body
    assert await attempts_left(wire, key) == 4


async def test_rejected_bodies_are_kept(wire: Wire) -> None:
    key = await wire.new()
    wrong = await guess(wire, key)
    for _ in range(4):
        await wire.validate(key, wrong)
    fifth = await wire.validate(key, wrong, **KEY)
    assert (await wire.validate(key, wrong, **KEY)).body == fifth.body
    # Told once more it is a rejected body again, so it is kept as well.
    after = await wire.validate(key, wrong, idempotency_key="order-1208")
    assert after.body == fifth.body
    assert await is_conflict(wire, await wire.validate(key, "abcdef", idempotency_key="order-1208"))
    resent = await wire.resend(key, **KEY)
    assert (await wire.resend(key, **KEY)).body == resent.body
    assert await is_conflict(wire, await wire.resend(key, {"contact_type": "email"}, **KEY))


async def test_a_rejection_at_approval_is_repeated(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await wire.world.execute("update accounts set balance_centavos = 0 where account_id = $1", wire.party.account.key)
    rejected = await wire.validate(key, token, **KEY)
    assert (rejected.status, rejected.code) in ((400, "PXT000901"), (400, "TED000901"))
    assert (await wire.validate(key, token, **KEY)).body == rejected.body


async def test_a_resend_is_repeated_and_nothing_is_sent_again(wire: Wire) -> None:
    key = await wire.new()
    await wire.world.advance(key, 30)
    first = await wire.resend(key, **KEY)
    await wire.world.advance(key, 30)
    again = await wire.resend(key, {}, **KEY)
    assert (first.status, again.status, again.body) == (202, 202, first.body)
    assert await is_conflict(wire, await wire.resend(key, {"contact_type": "sms"}, **KEY))
    rows = await wire.world.fetch("select from outbox where operation_id = $1", key)
    assert len(rows) == 2


async def test_a_cancellation_is_repeated(wire: Wire) -> None:
    key = await wire.new()
    first = await wire.cancel(key, **KEY)
    again = await wire.cancel(key, {}, **KEY)
    assert (first.status, again.status, again.body) == (200, 200, first.body)
    assert (await wire.cancel(key)).code in INVALID_STATUS


async def test_each_path_has_keys_of_its_own(wire: Wire) -> None:
    key, other = await wire.new(), await wire.new()
    wrong = await guess(wire, key)
    await wire.world.advance(key, 30)
    assert (await wire.validate(key, wrong, **KEY)).code in ("PXT000173", "TED000084")
    assert (await wire.resend(key, **KEY)).status == 202
    assert (await wire.cancel(key, **KEY)).status == 200
    assert (await wire.approve(other, **KEY)).status == approved(wire)


NOTHING_KEPT: list[Any] = [None, {"token": "12345"}, {"token": None}, {"status": "sent"}]


async def test_what_was_never_judged_leaves_the_key_free(wire: Wire) -> None:
    key = await wire.new()
    for body in NOTHING_KEPT:
        assert (await wire.validate(key, body, **KEY)).status == 400
    await wire.world.execute("update challenges set kid = 'gone' where operation_id = $1", key)
    assert (await wire.validate(key, "000000", **KEY)).code in ("PXT000174", "TED000085")
    await wire.world.execute("update challenges set kid = 'token-1' where operation_id = $1", key)
    assert (await wire.resend(key, **KEY)).status == 429
    await wire.world.advance(key, 30)
    assert (await wire.resend(key, **KEY)).status == 202
    assert (await wire.approve(key, **KEY)).status == approved(wire)


async def test_invalid_status_leaves_the_key_free(wire: Wire) -> None:
    key = await wire.new()
    await wire.cancel(key)
    for body in ({"token": "000000"}, {"token": "000001"}, None):
        assert (await wire.validate(key, body, **KEY)).code in INVALID_STATUS


async def test_after_a_day_the_key_is_free(wire: Wire) -> None:
    key = await wire.new()
    wrong = await guess(wire, key)
    await wire.validate(key, wrong, **KEY)
    await wire.world.execute("update idempotency_keys set created_at = created_at - interval '24 hours'")
    assert (await wire.approve(key, **KEY)).status == approved(wire)
    assert (await wire.approve(key, **KEY)).status == approved(wire)


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 129, "é", "a/b", "a\n"])
async def test_a_key_of_another_form_is_refused(wire: Wire, text: str) -> None:
    answer = await wire.cancel(await wire.new(), idempotency_key=text)
    assert (answer.status, answer.code) == (400, "QIT000400")


@pytest.mark.parametrize("text", ["x" * 128, "A-Za-z0-9._:-"])
async def test_a_key_may_be_long(wire: Wire, text: str) -> None:
    assert (await wire.cancel(await wire.new(), idempotency_key=text)).status == 200


async def test_the_path_is_the_same_in_any_case(wire: Wire) -> None:
    key = await wire.new()
    first = await wire.cancel(key, **KEY)
    shouted = f"/account/{str(wire.party.account.key).upper()}/{wire.kind}/{str(key).upper()}/cancel"
    assert (await wire.call("PATCH", shouted, **KEY)).body == first.body


async def test_a_token_kept_is_a_keyed_fingerprint_only(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    await wire.validate(key, token, **KEY)
    (row,) = await wire.world.fetch("select * from idempotency_keys where path like $1", f"%{key}%")
    assert token.encode() not in bytes(row["fingerprint"]) + bytes(row["body"])
    assert len(row["fingerprint"]) == 32
