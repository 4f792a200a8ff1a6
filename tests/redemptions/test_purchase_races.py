"""Calls on purchases at the same moment, in two API processes and a worker: one wins, nothing is counted twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import aval.storage.database as database_module
from aval.domain.errors import Refusal
from aval.domain.purchase_request import PurchaseRequest
from aval.operations import request_purchase
from aval.operations.coalesce import Postponed
from aval.operations.expire_purchases import expire_authorizations
from aval.operations.expire_window import expire_windows
from aval.operations.redemption_desk import RedemptionDesk
from aval.operations.request_purchase import PurchaseRules, Requested, RequestedPurchase, request_purchases
from aval.storage.challenges import lock_operations
from aval.storage.database import CheckViolation, Connection, Database, DatabaseUnavailable, OutcomeUnknown
from aval.storage.purchase_inserts import PurchaseRows, insert_purchases
from tests.buyers import ENABLED, Buyer, a_purchase, id_of
from tests.dripping import dripping
from tests.factories import Reply, make_keyring
from tests.proof.cases.purchase_runs import check_points
from tests.redemption_stage import RedemptionStage
from tests.twins import OpenAs, Twins

ROUNDS = 4


def codes(replies: list[Reply]) -> Counter[str]:
    return Counter(str(reply.status) if reply.code is None else reply.code for reply in replies)


async def comparisons(buyer: Buyer, purchase: Any) -> list[str]:
    rows = await buyer.stage.fetch(
        "select verdict from comparisons where operation_id = $1 order by comparison_no", UUID(id_of(purchase))
    )
    return [verdict for (verdict,) in rows]


async def test_many_right_tokens_debit_once(own_redemptions: RedemptionStage, db_as: OpenAs) -> None:
    twins = await Twins.make(own_redemptions, db_as)
    made = await twins.here.bought()
    token = await twins.here.token(made)
    replies = await twins.both(lambda buyer: buyer.validate(made, token), times=8)
    assert codes(replies) == {"201": 1, "RDM000086": 15}
    assert await twins.here.balance() == (12_000, 0)
    assert await twins.here.ledger(made) == ["reserve", "debit"]
    assert await twins.here.told(made) == ["pending_2fa_approval", "confirmed"]
    assert await comparisons(twins.here, made) == ["right"]


async def test_many_right_tokens_under_one_key_answer_alike(own_redemptions: RedemptionStage, db_as: OpenAs) -> None:
    twins = await Twins.make(own_redemptions, db_as)
    made = await twins.here.bought()
    token = await twins.here.token(made)
    replies = await twins.both(lambda buyer: buyer.validate(made, token, idempotency_key="v-1"), times=5)
    assert {(reply.status, reply.body) for reply in replies} == {(201, replies[0].body)}
    assert await twins.here.ledger(made) == ["reserve", "debit"]


async def test_two_wrong_tokens_count_two(own_redemptions: RedemptionStage, db_as: OpenAs) -> None:
    twins = await Twins.make(own_redemptions, db_as)
    made = await twins.here.bought()
    replies = await twins.both(lambda buyer: buyer.wrong(made))
    assert sorted(reply.json["extra_fields"]["attempts_remaining"] for reply in replies) == [3, 4]


async def test_forty_wrong_tokens_are_five_comparisons_one_rejection_and_one_release(
    own_redemptions: RedemptionStage, db_as: OpenAs
) -> None:
    twins = await Twins.make(own_redemptions, db_as)
    made = await twins.here.bought()
    replies = await twins.both(lambda buyer: buyer.wrong(made), times=20)
    assert codes(replies) == {"RDM000084": 4, "RDM000082": 36}
    assert await comparisons(twins.here, made) == ["wrong"] * 5
    assert await twins.here.ledger(made) == ["reserve", "release"]
    assert await twins.here.told(made) == ["pending_2fa_approval", "rejected"]
    assert await twins.here.balance() == (20_000, 0)
    judged = "select count(*) from audit where operation_id = $1::uuid and action = 'redemption.judged'"
    assert await twins.here.stage.value(judged, made["id"]) == 4


@pytest.mark.parametrize("against", ["cancel", "window", "block", "suspend", "remove"])
async def test_of_two_that_end_a_purchase_one_wins(
    own_redemptions: RedemptionStage, db_as: OpenAs, against: str
) -> None:
    stage = own_redemptions
    campaign = await stage.campaign()
    await stage.policy(campaign, **ENABLED)
    operator = await stage.operator()
    won: Counter[str] = Counter()
    for _ in range(ROUNDS):
        twins = await Twins.make(stage, db_as, campaign=campaign)
        buyer = twins.there
        made = await buyer.bought()
        token = await buyer.token(made)
        if against == "window":
            await buyer.shift(made, timedelta(hours=1) - timedelta(milliseconds=40))
            await buyer.stage.execute(
                "update challenges set issued_at = approval_deadline - interval '1 second',"
                " expires_at = approval_deadline + interval '299 seconds' where operation_id = $1::uuid",
                made["id"],
            )
        rival = rival_of(twins, against, made, operator)
        reply, _ = await asyncio.gather(twins.here.validate(made, token), rival)
        assert codes([reply]).keys() <= {"201", "RDM000086"}
        (status,) = (await stage.fetch("select status from purchases where purchase_id = $1::uuid", made["id"]))[0]
        won[status] += 1
        assert (reply.status == 201) == (status == "confirmed")
        ended = "debit" if status == "confirmed" else "release"
        assert await twins.here.ledger(made) == ["reserve", ended]
        assert len(await twins.here.told(made)) == 2
        assert await twins.here.balance() == ((12_000, 0) if status == "confirmed" else (20_000, 0))
    assert sum(won.values()) == ROUNDS


def rival_of(twins: Twins, against: str, purchase: Any, operator: dict[str, str]) -> Awaitable[Any]:
    """What ends a purchase from the other process, or from the worker."""
    buyer = twins.there
    device = buyer.device["id"]
    match against:
        case "cancel":
            return buyer.cancel(purchase)
        case "window":
            return sweeping(twins.settle_db)
        case "block":
            return buyer.stage.call("POST", f"/devices/{device}/block", {"reason": "x"}, headers=operator)
        case "suspend":
            path = f"/participants/{buyer.person.key}"
            return buyer.stage.call("PUT", path, {"status": "INACTIVE"}, headers=operator)
        case _:
            return buyer.owner.remove(device)


async def sweeping(db: Database) -> None:
    for _ in range(10):
        await expire_windows(db, most=10)
        await asyncio.sleep(0.01)


async def test_confirm_against_expiry_and_cancel_ends_once(own_redemptions: RedemptionStage, db_as: OpenAs) -> None:
    stage = own_redemptions
    campaign = await stage.campaign()
    await stage.policy(campaign, authorization_ttl_minutes=5)
    for number in range(ROUNDS):
        twins = await Twins.make(stage, db_as, campaign=campaign, has_phone=False)
        made = await twins.here.authorize()
        if number % 2:
            await twins.here.shift_authorization(made, timedelta(minutes=5) - timedelta(milliseconds=15))
            other: Awaitable[Any] = expire_authorizations(twins.settle_db, most=10)
        else:
            other = twins.there.cancel(made, headers=twins.there.of_application)
        replies = await asyncio.gather(twins.here.confirm(made), other)
        (status,) = (await stage.fetch("select status from purchases where purchase_id = $1::uuid", made["id"]))[0]
        if status == "authorized":  # neither was late nor early enough
            continue
        assert (replies[0].status == 200) == (status == "confirmed")
        assert len(await twins.here.ledger(made)) == 2
        assert len(await twins.here.told(made)) == 2
        await twins.here.balance()


@pytest.mark.parametrize(
    ("policy", "points", "most", "code"),
    [
        ({}, 15_000, 1, "332"),
        (ENABLED, 15_000, 1, "332"),
        ({"risk": {"max_points_per_day": 10_000}}, 4_000, 2, "326"),
        ({"risk": {"max_orders_per_day": 3}}, 1, 3, "326"),
        ({**ENABLED, "risk": {"max_pending_purchases": 2}}, 1, 2, "326"),
    ],
)
async def test_purchases_that_together_are_too_many_are_not_all_made(
    own_redemptions: RedemptionStage, db_as: OpenAs, policy: dict[str, Any], points: int, most: int, code: str
) -> None:
    twins = await Twins.make(own_redemptions, db_as, policy=policy)
    replies = await twins.both(lambda buyer: buyer.buy(a_purchase(points)), times=4)
    success = "202" if policy.get("enabled") else "201"
    assert codes(replies) == {success: most, code: 8 - most}
    await twins.here.balance()


async def test_twins_of_two_processes_make_one_purchase(own_redemptions: RedemptionStage, db_as: OpenAs) -> None:
    twins = await Twins.make(own_redemptions, db_as)
    replies = await twins.both(lambda buyer: buyer.buy(a_purchase(1), idempotency_key="k-1"), times=6)
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["id"] for reply in replies}) == 1
    neighbour = await Buyer.make(
        own_redemptions, campaign=twins.here.campaign, application=twins.here.application, points=10
    )
    replies = await asyncio.gather(
        twins.there.buy(a_purchase(1), idempotency_key="k-2"), neighbour.buy(a_purchase(1), idempotency_key="k-2")
    )
    assert sorted(reply.status for reply in replies) == [202, 409]


@pytest.mark.parametrize(("left", "held", "expected"), [(0.35, 0.6, "RDM000083"), (1.5, 0.3, "201")])
async def test_a_call_that_waited_is_judged_by_the_clock_after_the_wait(
    own_redemptions: RedemptionStage, left: float, held: float, expected: str
) -> None:
    buyer = await Buyer.make(own_redemptions)
    made = await buyer.bought()
    token = await buyer.token(made)
    await buyer.shift(made, timedelta(minutes=5) - timedelta(seconds=left))
    async with own_redemptions.db.transaction() as connection:
        await connection.execute("select from challenges where operation_id = $1::uuid for update", made["id"])
        asked = asyncio.create_task(buyer.validate(made, token))
        await asyncio.sleep(held)
    assert codes([await asked]) == {expected: 1}
    attempts = "select attempts_used from challenges where operation_id = $1::uuid"
    assert await own_redemptions.value(attempts, made["id"]) == 0


@pytest.mark.parametrize("by", [timedelta(milliseconds=-1), timedelta(0)])
async def test_a_token_lives_to_the_last_millisecond(
    own_redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    buyer = await Buyer.make(own_redemptions)
    made = await buyer.bought()
    token = await buyer.token(made)
    expires_at = await own_redemptions.value(
        "select expires_at from challenges where operation_id = $1::uuid", made["id"]
    )

    async def at_the_edge(_connection: Any) -> Any:
        return expires_at + by

    monkeypatch.setattr("aval.storage.redemption_calls.read_clock", at_the_edge)
    assert codes([await buyer.validate(made, token)]) == {("201" if by else "RDM000083"): 1}


@asynccontextmanager
async def commit_lost(monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> AsyncIterator[None]:
    """The next commit of a purchase's call is lost: before it was made, or only its answer."""
    commit = database_module._commit

    async def lose(connection: Any) -> None:
        monkeypatch.setattr(database_module, "_commit", commit)
        if not is_kept:
            await connection.execute("rollback")
            raise DatabaseUnavailable
        await commit(connection)
        raise OutcomeUnknown

    monkeypatch.setattr(database_module, "_commit", lose)
    yield
    assert database_module._commit is commit


@asynccontextmanager
async def write_lost(monkeypatch: pytest.MonkeyPatch, *, is_kept: bool) -> AsyncIterator[None]:
    """The next statement that stores purchases, which commits by itself, loses its connection."""

    async def insert(connection: Connection, rows: PurchaseRows) -> frozenset[UUID]:
        monkeypatch.setattr(request_purchase, "insert_purchases", insert_purchases)
        if is_kept:
            assert len(await insert_purchases(connection, rows)) == len(rows.event_bodies)
        connection.terminate()
        return await insert_purchases(connection, rows)

    monkeypatch.setattr(request_purchase, "insert_purchases", insert)
    yield
    assert request_purchase.insert_purchases is insert_purchases  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("mode", ["sandbox", "live"])
async def test_a_call_whose_commit_was_lost_is_repeated_under_its_key(
    own_redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, mode: str, is_kept: bool
) -> None:
    """Where messages are counted a purchase is stored in a transaction, elsewhere by one statement."""
    buyer = await Buyer.make(own_redemptions, mode=mode)
    async with (commit_lost if mode == "live" else write_lost)(monkeypatch, is_kept=is_kept):
        first = await buyer.buy(idempotency_key="k-1")
    assert first.status == (503 if mode == "live" and not is_kept else 500)
    purchases = "select count(*) from purchases where integrator_id = $1"
    assert await own_redemptions.value(purchases, buyer.campaign.key) == int(is_kept)
    made = await buyer.buy(idempotency_key="k-1")
    assert (made.status, await own_redemptions.value(purchases, buyer.campaign.key)) == (202, 1)
    assert await buyer.balance() == (12_000, 8_000)
    token = await buyer.token(made)
    async with commit_lost(monkeypatch, is_kept=is_kept):
        assert (await buyer.validate(made, token, idempotency_key="v-1")).status == (500 if is_kept else 503)
    done = await buyer.validate(made, token, idempotency_key="v-1")
    assert (done.status, done.json["status"]) == (201, "confirmed")
    assert await buyer.ledger(made) == ["reserve", "debit"]
    assert await buyer.told(made) == ["pending_2fa_approval", "confirmed"]
    own_redemptions.faults[:] = [fault for fault in own_redemptions.faults if not fault.endswith("server error")]


async def test_a_row_that_names_nobody_is_seen_after_every_run(own_redemptions: RedemptionStage) -> None:
    """What no key check sees is looked for by `model` and `funds` (docs/adr/0048)."""
    buyer, other = await Buyer.make(own_redemptions), await Buyer.make(own_redemptions)
    made = await buyer.buy(idempotency_key="k-1")
    await check_points(own_redemptions.db)
    device = "select device_id from phone_devices where participant_id = $1"
    own, foreign = [await own_redemptions.value(device, each.person.key) for each in (buyer, other)]
    await own_redemptions.execute(
        "update purchases set device_id = $2 where purchase_id = $1", made.json["id"], foreign
    )
    with pytest.raises(AssertionError):
        await check_points(own_redemptions.db)
    await own_redemptions.execute("update purchases set device_id = $2 where purchase_id = $1", made.json["id"], own)
    await check_points(own_redemptions.db)


@pytest.mark.parametrize(
    ("kind", "key"), [("purchase", "6b0d549b-6f03-475a-9600-a35a099950d8"), ("device_registration", None)]
)
async def test_only_a_purchase_has_no_request_control_key(
    own_redemptions: RedemptionStage, kind: str, key: str | None
) -> None:
    """It has an Idempotency-Key, if any; whatever reads operations finds its own key in that place."""
    buyer = await Buyer.make(own_redemptions)
    made = UUID((await buyer.bought())["id"])
    async with own_redemptions.db.connection() as connection:
        ((purchase, _),) = (await lock_operations(connection, [(buyer.campaign.key, made)], may_wait=True)).values()
    assert purchase.request_control_key == made
    copy = "insert into operations select (jsonb_populate_record(o, $2)).* from operations o where kind = $1"
    with pytest.raises(CheckViolation, match="operations_without_request"):
        await own_redemptions.execute(copy, kind, {"operation_id": str(uuid4()), "request_control_key": key})


@pytest.mark.parametrize(
    ("entry_types", "participant", "purchase"),
    [(["credit"], "gen_random_uuid()", "null"), (["reserve", "release"], "participant_id", "gen_random_uuid()")],
)
async def test_a_line_that_names_nobody_is_seen_after_every_run(
    own_redemptions: RedemptionStage, entry_types: list[str], participant: str, purchase: str
) -> None:
    """No key check sees the account or the purchase of a line (docs/adr/0048)."""
    made = await (await Buyer.make(own_redemptions)).buy(idempotency_key="k-1")
    columns = (
        "integrator_id, available_after, reserved_after, authorization_code, description, correlation_id, created_at"
    )
    await own_redemptions.execute(
        f"insert into points_entries (entry_id, entry_no, points, entry_type, participant_id, purchase_id, {columns})"
        f" select gen_random_uuid(), 1000 + nth, 1, line, {participant}, {purchase}, {columns}"
        " from points_entries, unnest($2::text[]) with ordinality as l (line, nth) where purchase_id = $1",
        made.json["id"],
        entry_types,
    )
    with pytest.raises(AssertionError, match="left join aval.purchases p using"):
        await check_points(own_redemptions.db)


async def test_one_bad_row_does_not_fail_its_neighbours(own_redemptions: RedemptionStage) -> None:
    campaign = await own_redemptions.campaign()
    await own_redemptions.policy(campaign, **ENABLED)
    application = await own_redemptions.application(campaign)
    buyers = [await Buyer.make(own_redemptions, campaign=campaign, application=application) for _ in range(6)]
    bodies = [a_purchase(30_000 if number % 2 else 10) for number in range(6)]
    replies = await asyncio.gather(*(buyer.buy(body) for buyer, body in zip(buyers, bodies, strict=True)))
    assert [reply.status for reply in replies] == [202, 422] * 3
    made = [reply.json for reply in replies if reply.status == 202]
    tokens = [await buyers[0].token(purchase) for purchase in made]
    answers = await asyncio.gather(
        *(buyer.validate(p, t) for buyer, p, t in zip(buyers[::2], made, tokens, strict=True)),
        buyers[0].validate(made[1], tokens[1]),
    )
    assert [answer.status for answer in answers] == [201, 201, 201, 404]


TWIN = """
insert into purchases
select (jsonb_populate_record(p, jsonb_build_object('purchase_id', gen_random_uuid(),
        'authorization_code', 'AAAAAAAAAAAA', 'idempotency_key', $2::text))).*
  from purchases p where p.purchase_id = $1
"""


async def test_batches_with_the_same_keys_in_another_order_do_not_block_each_other(
    own_redemptions: RedemptionStage, db_as: OpenAs, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, asked = own_redemptions, list[PurchaseRequest]()
    buyer = await Buyer.make(stage, has_phone=False, policy={})
    made = await buyer.bought(a_purchase(1))

    async def gather(_: RedemptionDesk, request: PurchaseRequest) -> RequestedPurchase:
        asked.append(request)
        raise Refusal("rdm.insufficient_points")

    monkeypatch.setattr(RedemptionDesk, "request", gather)
    first, held_up, last = "k-1", "k-2", "k-3"
    for key in (first, held_up, last, last, held_up, first):
        other = await Buyer.make(stage, campaign=buyer.campaign, application=buyer.application, has_phone=False)
        await other.buy(a_purchase(1), idempotency_key=key)
    api, keyring, rules = await db_as("aval_app_api"), make_keyring(), PurchaseRules()

    async def batch(requests: list[PurchaseRequest]) -> list[Requested]:
        return await request_purchases(api, requests=requests, keyring=keyring, rules=rules, may_wait=False)

    async with stage.db.transaction() as connection:
        await connection.execute(TWIN, made["id"], held_up)
        both = asyncio.gather(batch(asked[:3]), batch(asked[3:]))
        await asyncio.sleep(0.3)  # both wait for the one key
    results = [result for results in await both for result in results]
    assert sorted(map(type, results), key=str) == sorted([RequestedPurchase] * 2 + [Postponed] * 4, key=str)


@pytest.mark.parametrize(
    ("path", "change", "told"),
    [
        ("/two_factor", {"expected_version": 1, "enabled": True}, (422, "RDM000911")),
        ("", {"status": "paused"}, (422, "RDM000914")),
    ],
)
async def test_a_body_that_drips_outlives_no_policy(
    own_redemptions: RedemptionStage, path: str, change: dict[str, Any], told: tuple[int, str]
) -> None:
    stage = own_redemptions
    buyer = await Buyer.make(stage, has_phone=False, policy={})
    async with dripping(stage, "POST", "/purchases", a_purchase(), headers=buyer.headers) as answered:
        campaign = f"/campaigns/{buyer.campaign.campaign_id}{path}"
        operator = await stage.operator()
        assert (await stage.call("PUT" if path else "PATCH", campaign, change, headers=operator)).status == 200
    reply = await answered
    assert (reply.status, reply.json["code"]) == told
    assert await buyer.balance() == (20_000, 0)
