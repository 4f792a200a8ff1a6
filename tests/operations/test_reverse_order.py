"""Reversals on a real database: the caps hold in any race, and points, counters, events and audit tell the same."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from aval.domain.errors import Refusal
from aval.domain.reversal import ItemRequest, ReversalRequest
from aval.http.edge import encoded
from aval.operations.reverse_order import ReversalCall, reverse_order
from aval.storage.database import Database
from aval.storage.purchases import find_purchase
from tests.confirmed_orders import BALANCE, Shop, Sold, SoldItem, SoldOrder, balance_of, make_shop, sell

SALE = 3_500


@pytest.fixture
async def shop(db: Database) -> Shop:
    return await make_shop(db)


@pytest.fixture
async def api(db_as: Any) -> Database:
    """The database under the role of the API, which alone reverses."""
    opened: Database = await db_as("aval_app_api")
    return opened


def two_orders() -> list[SoldOrder]:
    """An order of three phones and a cable with shipping, and one of a single gift card."""
    phones = SoldOrder([SoldItem(3, 1000), SoldItem(1, 100)], shipping=200)
    return [phones, SoldOrder([SoldItem(1, 200)], vendor_id="loja-lua")]


def a_reversal(order: SoldOrder, request: ReversalRequest, **change: Any) -> ReversalCall:
    given = {
        "order_key": order.key,
        "request": request,
        "motive_id": 5,
        "motive_description": None,
        "actor": "admin:op-marina",
        "correlation_id": "call-1",
        "path": f"/orders/{order.key}/reversals",
        "idempotency_key": None,
        "fingerprint": b"f" * 32,
        "render": lambda reversal: (201, encoded({"id": reversal.key})),
    }
    return ReversalCall(**given | change)


def total(shipping: int = 0) -> ReversalRequest:
    return ReversalRequest(is_total=True, refund_type=1, shipping=shipping)


def value(points: int) -> ReversalRequest:
    return ReversalRequest(is_total=False, refund_type=2, value=points)


def quantity(order: SoldOrder, count: int, place: int = 0) -> ReversalRequest:
    return ReversalRequest(is_total=False, refund_type=1, items=[ItemRequest(order.items[place].key, count, 0)])


async def fetch(db: Database, query: str, *values: object) -> list[Any]:
    async with db.connection() as connection:
        return [dict(row) for row in await connection.fetch(query, *values)]


async def states(db: Database, sold: Sold) -> list[str]:
    """Status of the purchase, then of its orders."""
    async with db.reading() as connection:
        found = await find_purchase(connection, sold.key, None)
    assert found is not None
    return [found.purchase.status, *(order.status for order in found.purchase.orders)]


async def events(db: Database, sold: Sold) -> list[tuple[int, str]]:
    query = "select sequence, event_type from aval.events where operation_id = $1 order by sequence"
    return [(row["sequence"], row["event_type"]) for row in await fetch(db, query, sold.key)]


async def refusal_of(api: Database, call: ReversalCall) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await reverse_order(api, call=call)
    return refusal.value


async def test_points_are_available_at_once_and_all_counters_agree(db: Database, api: Database, shop: Shop) -> None:
    orders = two_orders()
    sold = await sell(db, shop, orders)
    assert await balance_of(db, shop) == (BALANCE - SALE, 0)
    await reverse_order(api, call=a_reversal(orders[0], quantity(orders[0], 2)))
    assert await balance_of(db, shop) == (BALANCE - SALE + 2000, 0)
    (purchase,) = await fetch(db, "select * from aval.purchases where purchase_id = $1", sold.key)
    (order,) = await fetch(db, "select * from aval.order_refunds")
    (item,) = await fetch(db, "select * from aval.item_refunds")
    assert purchase["refunded_points"] == order["refunded_points"] == 2000
    assert (order["order_id"], order["purchase_id"], order["points_paid"]) == (orders[0].key, sold.key, 3300)
    assert (item["item_id"], item["order_id"]) == (orders[0].items[0].key, orders[0].key)
    assert [item[name] for name in ("quantity", "unit_points", "refunded_quantity", "refunded_points")] == [
        *(3, 1000),
        *(2, 2000),
    ]
    assert [line["status"] for line in purchase["status_history"]] == ["confirmed", "partially_reversed"]
    assert await states(db, sold) == ["partially_reversed", "partially_reversed", "confirmed"]


async def test_a_purchase_ends_reversed_with_the_last_of_its_points(db: Database, api: Database, shop: Shop) -> None:
    """Each reversal is told; the purchase is only when it moves, and each move has its line and its audit record."""
    orders = two_orders()
    sold = await sell(db, shop, orders)
    steps = [(orders[0], value(50)), (orders[0], total(200)), (orders[1], total())]
    seen = []
    for order, request in steps:
        await reverse_order(api, call=a_reversal(order, request))
        seen.append(await states(db, sold))
    partial = "partially_reversed"
    assert seen == [[partial, partial, "confirmed"], [partial, "reversed", "confirmed"], ["reversed"] * 3]
    assert await events(db, sold) == [
        (1, "order.reversed"),
        (2, "purchase.partially_reversed"),
        (3, "order.reversed"),
        (4, "order.reversed"),
        (5, "purchase.reversed"),
    ]
    acts = await fetch(db, "select actor, action from aval.audit where operation_id = $1", sold.key)
    assert Counter(act["action"] for act in acts) == {
        "order.reversed": 3,
        "purchase.partially_reversed": 1,
        "purchase.reversed": 1,
    }
    assert {act["actor"] for act in acts} == {"admin:op-marina"}
    assert await balance_of(db, shop) == (BALANCE, 0)


async def test_the_ledger_names_order_reversal_and_the_code_of_the_purchase(
    db: Database, api: Database, shop: Shop
) -> None:
    orders = two_orders()
    sold = await sell(db, shop, orders)
    _, body = await reverse_order(api, call=a_reversal(orders[0], total(200)))
    (line,) = await fetch(db, "select * from aval.points_entries where entry_type = 'reversal'")
    (purchase,) = await fetch(db, "select * from aval.purchases where purchase_id = $1", sold.key)
    (reversal,) = await fetch(db, "select * from aval.reversals")
    assert str(reversal["reversal_id"]).encode() in body
    assert (line["points"], line["purchase_id"], line["order_id"]) == (3300, sold.key, orders[0].key)
    assert (line["reversal_id"], line["correlation_id"]) == (reversal["reversal_id"], "call-1")
    assert line["authorization_code"] == purchase["authorization_code"]
    assert reversal["requested_by"] == "op-marina"
    assert [item["points"] for item in reversal["items"]] == [3000, 100]


async def test_an_event_carries_the_call_and_the_origin_of_the_purchase(
    db: Database, api: Database, shop: Shop
) -> None:
    orders = two_orders()
    sold = await sell(db, shop, orders)
    await reverse_order(api, call=a_reversal(orders[0], value(1)))
    rows = await fetch(db, "select body::jsonb as body from aval.events where operation_id = $1", sold.key)
    for told in (row["body"] for row in rows):
        assert told["correlation_id"] == "call-1"
        assert told["data"]["origin_correlation_id"] == "origin-1"
        assert not {"approval", "customer", "shipping"} & set(told["data"])
    told = {row["body"]["webhook_type"]: row["body"]["data"] for row in rows}
    reversed_ = told["order.reversed"]
    assert (reversed_["order_status"], reversed_["purchase_id"]) == ("partially_reversed", str(sold.key))
    assert (reversed_["total"], reversed_["kind"], reversed_["order_id"]) == (1, "value", str(orders[0].key))
    assert told["purchase.partially_reversed"]["status"] == "partially_reversed"


@pytest.mark.parametrize("status", ["pending", "canceled"])
async def test_an_order_that_is_not_confirmed_is_left_alone(
    db: Database, api: Database, shop: Shop, status: str
) -> None:
    order = SoldOrder([SoldItem(1, 100)])
    await sell(db, shop, [order], kind="external", status="authorized" if status == "pending" else "canceled")
    refusal = await refusal_of(api, a_reversal(order, total()))
    assert (refusal.name, refusal.extra_fields) == ("rdm.wrong_status", {"status": status})
    assert await fetch(db, "select 1 from aval.reversals") == []


async def test_a_reversed_order_is_final(db: Database, api: Database, shop: Shop) -> None:
    order = SoldOrder([SoldItem(1, 100)])
    await sell(db, shop, [order])
    await reverse_order(api, call=a_reversal(order, total()))
    assert (await refusal_of(api, a_reversal(order, total()))).extra_fields == {"status": "reversed"}


async def test_an_unknown_order_is_not_found(db: Database, api: Database, shop: Shop) -> None:
    refusal = await refusal_of(api, a_reversal(SoldOrder([SoldItem(1, 100)]), total()))
    assert (refusal.name, refusal.extra_fields) == ("rdm.resource_not_found", {"resource": "order"})


async def test_an_item_of_another_order_of_the_same_purchase_is_unknown(
    db: Database, api: Database, shop: Shop
) -> None:
    orders = two_orders()
    await sell(db, shop, orders)
    refusal = await refusal_of(api, a_reversal(orders[0], quantity(orders[1], 1)))
    assert (refusal.name, refusal.extra_fields) == ("rdm.resource_not_found", {"resource": "order_item"})


async def test_a_refused_reversal_changes_nothing(db: Database, api: Database, shop: Shop) -> None:
    orders = two_orders()
    sold = await sell(db, shop, orders)
    before = await balance_of(db, shop)
    for request in (value(3101), quantity(orders[0], 4), ReversalRequest(False, 1), total(201)):
        await refusal_of(api, a_reversal(orders[0], request, idempotency_key="k"))
    assert (await balance_of(db, shop), await events(db, sold)) == (before, [])
    assert await states(db, sold) == ["confirmed"] * 3
    assert await fetch(db, "select 1 from aval.idempotency_keys") == []


async def test_the_same_key_answers_the_same_bytes_and_another_body_conflicts(
    db: Database, api: Database, shop: Shop
) -> None:
    orders = two_orders()
    await sell(db, shop, orders)
    call = a_reversal(orders[0], value(10), idempotency_key="k")
    answers = await asyncio.gather(*(reverse_order(api, call=call) for _ in range(6)))
    assert len(set(answers)) == 1
    other = a_reversal(orders[0], value(11), idempotency_key="k", fingerprint=b"g" * 32)
    assert (await refusal_of(api, other)).name == "rdm.idempotency_conflict"
    assert await balance_of(db, shop) == (BALANCE - SALE + 10, 0)


async def test_concurrent_reversals_never_exceed_a_cap(db: Database, api: Database, shop: Shop) -> None:
    """Twelve at once on one order of 100 points a value of 30 each: three succeed."""
    order = SoldOrder([SoldItem(1, 100)], shipping=40)
    sold = await sell(db, shop, [order])
    before = await balance_of(db, shop)
    done = await raced(api, [a_reversal(order, value(30)) for _ in range(12)])
    assert done == {"done": 3, "rdm.order_inconsistent_5": 9}
    done = await raced(api, [a_reversal(order, ReversalRequest(False, 1, shipping=25)) for _ in range(8)])
    assert done == {"done": 1, "rdm.order_inconsistent_5": 7}
    assert await balance_of(db, shop) == (before[0] + 115, 0)
    assert await states(db, sold) == ["partially_reversed"] * 2


async def test_a_total_in_a_race_with_itself_gives_back_once(db: Database, api: Database, shop: Shop) -> None:
    order = SoldOrder([SoldItem(2, 50)], shipping=40)
    await sell(db, shop, [order])
    done = await raced(api, [a_reversal(order, total(40)) for _ in range(10)])
    assert done == {"done": 1, "rdm.wrong_status": 9}
    assert await balance_of(db, shop) == (BALANCE, 0)


async def test_orders_of_one_purchase_reversed_at_once_leave_it_reversed(
    db: Database, api: Database, shop: Shop
) -> None:
    """Its status is right and its events have no gap, whichever order comes last."""
    for _ in range(5):
        orders = [SoldOrder([SoldItem(1, 100)], shipping=5, vendor_id=f"loja-{number}") for number in range(6)]
        sold = await sell(db, shop, orders)
        assert await raced(api, [a_reversal(order, total(5)) for order in orders]) == {"done": 6}
        assert await states(db, sold) == ["reversed"] * 7
        told = await events(db, sold)
        assert [sequence for sequence, _ in told] == list(range(1, 9))
        assert Counter(name for _, name in told) == {
            "order.reversed": 6,
            "purchase.partially_reversed": 1,
            "purchase.reversed": 1,
        }
    assert await balance_of(db, shop) == (BALANCE, 0)


async def test_random_reversals_in_races_keep_every_cap(db: Database, api: Database, shop: Shop) -> None:
    """Σ reversals of an order never above what was paid, of an item never above its quantity and value."""
    chance = random.Random(20261122)
    orders = [
        SoldOrder([SoldItem(chance.randint(1, 4), unit_points) for unit_points in (0, 10, 70)], shipping=30, card=card)
        for card in (0, 25)
    ]
    for order in orders:  # a card pays for single orders only
        await sell(db, shop, [order], kind="external")
    for _ in range(8):
        calls = []
        for order in (chance.choice(orders) for _ in range(6)):
            place = chance.randrange(3)
            request = chance.choice(
                [
                    value(chance.randint(1, 40)),
                    quantity(order, chance.randint(1, 2), place),
                    ReversalRequest(False, 2, items=[ItemRequest(order.items[place].key, 0, chance.randint(1, 30))]),
                    ReversalRequest(False, 1, shipping=chance.randint(1, 15)),
                ]
            )
            calls.append(a_reversal(order, request))
        await raced(api, calls)
    rows = await fetch(
        db,
        "select o.*, (select sum(r.products_points + r.shipping_points) from aval.reversals r"
        " where r.order_id = o.order_id)::bigint as given, (select coalesce(sum(i.refunded_points), 0)"
        " from aval.item_refunds i where i.order_id = o.order_id)::bigint as of_items, (select sum(e.points)"
        " from aval.points_entries e where e.order_id = o.order_id)::bigint as booked from aval.order_refunds o",
    )
    for row in rows:
        assert 0 < row["given"] == row["refunded_points"] == row["booked"] <= row["points_paid"]
        assert row["of_items"] <= row["refunded_points"] - row["refunded_shipping_points"] <= row["products_points"]
        assert row["refunded_shipping_points"] <= row["shipping_points"]
    await balance_of(db, shop)


async def raced(api: Database, calls: list[ReversalCall]) -> dict[str, int]:
    """What came of calls made at once, counted."""

    async def run(call: ReversalCall) -> str:
        try:
            status, _ = await reverse_order(api, call=call)
        except Refusal as refusal:
            return refusal.name
        assert status == 201
        return "done"

    return dict(Counter(await asyncio.gather(*map(run, calls))))
