from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aval.domain.errors import Refusal
from aval.domain.purchase import (
    Order,
    OrderItem,
    OrderStatus,
    Purchase,
    PurchaseStatus,
    StatusLine,
    moved,
    standing_orders,
)
from aval.domain.reversal import (
    MOTIVES,
    ItemLeft,
    ItemRefund,
    ItemRequest,
    OrderLeft,
    OrderRefunds,
    Refund,
    Reversal,
    ReversalKind,
    ReversalRequest,
    left_of,
    refund_of,
    reversal_view,
    reversed_orders,
    without,
)

PHONE, CABLE, GIFT, UNKNOWN, FIRST, SECOND = (UUID(int=number) for number in range(1, 7))
NOW = datetime(2026, 11, 23, 14, 30, 23, 459_000, UTC)
LATER = NOW + timedelta(minutes=1)
INCONSISTENT, TOO_MUCH, NO_ITEM = "rdm.reversal_inconsistent", "rdm.order_inconsistent_5", "rdm.resource_not_found"
PARTIALLY = "partially_reversed"
# Two phones of 4000, three cables of 100, a gift; 500 for shipping.
LEFT = OrderLeft(
    products=8300,
    shipping=500,
    paid=8800,
    items={PHONE: ItemLeft(2, 8000, 4000), CABLE: ItemLeft(3, 300, 100), GIFT: ItemLeft(1, 0, 0)},
)
ALL = [(PHONE, 2, 8000), (CABLE, 3, 300), (GIFT, 1, 0)]
CARD = OrderLeft(products=8300, shipping=500, paid=5000, items=LEFT.items)  # the rest was paid with a card


def asked(
    *items: tuple[UUID | None, int, int], kind: int = 1, total: bool = False, value: int = 0, shipping: int = 0
) -> ReversalRequest:
    return ReversalRequest(total, kind, value, shipping, [ItemRequest(*item) for item in items])


def refused(request: ReversalRequest, left: OrderLeft = LEFT) -> str:
    with pytest.raises(Refusal) as refusal:
        refund_of(request, left)
    return refusal.value.name


def test_there_are_fifty_motives_each_a_text() -> None:
    assert len(MOTIVES) == 50
    assert all(MOTIVES)
    named = {1: "Erro no serviço do parceiro", 10: "Não existe número indicado", 14: "Estorno de frete"}
    named |= {23: "Reclamação não atendida no prazo pelo parceiro", 39: "Estorno de frete", 48: "Erro no POS"}
    named |= {50: "Pontuação expirada – liberação do cliente"}
    assert {number: MOTIVES[number - 1] for number in named} == named


@pytest.mark.parametrize(
    ("request_", "kind", "products", "shipping", "items"),
    [
        (asked(total=True), "total", 8300, 0, ALL),
        (
            asked(total=True, shipping=500, kind=2),
            "total",
            8300,
            500,
            [(PHONE, 2, 8000), (CABLE, 3, 300), (GIFT, 1, 0)],
        ),
        (asked((PHONE, 0, 0), total=True), "total", 8300, 0, ALL),
        (asked((PHONE, 1, 0)), "quantity", 4000, 0, [(PHONE, 1, 4000)]),
        (asked((PHONE, 2, 0), (CABLE, 3, 0), shipping=500), "quantity", 8300, 500, [(PHONE, 2, 8000), (CABLE, 3, 300)]),
        (asked((PHONE, 1, 0), (GIFT, 1, 0)), "quantity", 4000, 0, [(PHONE, 1, 4000), (GIFT, 1, 0)]),
        (asked((PHONE, 1, 0), (CABLE, 0, 0), (CABLE, 0, 0)), "quantity", 4000, 0, [(PHONE, 1, 4000)]),
        (asked((PHONE, 1, 0), (UNKNOWN, 0, 0), (None, 0, 0)), "quantity", 4000, 0, [(PHONE, 1, 4000)]),
        (asked((PHONE, 0, 8000), kind=2), "value", 8000, 0, [(PHONE, 0, 8000)]),
        (asked((PHONE, 0, 1), (CABLE, 0, 2), kind=2, value=3), "value", 3, 0, [(PHONE, 0, 1), (CABLE, 0, 2)]),
        (asked((CABLE, 0, 7), kind=2, shipping=9), "value", 7, 9, [(CABLE, 0, 7)]),
        (asked(value=8300), "value", 8300, 0, []),
        (asked(value=1, kind=2, shipping=500), "value", 1, 500, []),
        (asked((PHONE, 0, 0), value=1), "value", 1, 0, []),
        (asked(shipping=500), "shipping", 0, 500, []),
        (asked(shipping=1, kind=2), "shipping", 0, 1, []),
    ],
)
def test_a_reversal_gives_back_what_its_fields_say(
    request_: ReversalRequest, kind: str, products: int, shipping: int, items: list[tuple[UUID, int, int]]
) -> None:
    refunds = tuple(ItemRefund(*item) for item in items)
    assert refund_of(request_, LEFT) == Refund(ReversalKind(kind), products, shipping, refunds)


@pytest.mark.parametrize(
    "request_",
    [
        asked((PHONE, 1, 0), total=True),
        asked((PHONE, 0, 1), total=True),
        asked(total=True, value=1),
        asked((PHONE, 1, 1)),
        asked((PHONE, 1, 1), kind=2),
        asked((PHONE, 0, 1)),
        asked((PHONE, 1, 0), kind=2),
        asked((PHONE, 1, 0), (CABLE, 0, 1)),
        asked((PHONE, 1, 0), (CABLE, 0, 1), kind=2),
        asked((PHONE, 1, 0), value=4000),
        asked((PHONE, 0, 2), kind=2, value=1),
        asked((PHONE, 0, 2), (CABLE, 0, 2), kind=2, value=2),
        asked((PHONE, 1, 0), (PHONE, 1, 0)),
        asked((PHONE, 0, 1), (CABLE, 0, 1), (PHONE, 0, 1), kind=2),
        asked(),
        asked(kind=2),
        asked((PHONE, 0, 0)),
        asked((GIFT, 1, 0)),
    ],
)
def test_fields_that_contradict_each_other_or_give_nothing_back_are_refused(request_: ReversalRequest) -> None:
    assert refused(request_) == INCONSISTENT


@pytest.mark.parametrize("key", [UNKNOWN, None])
@pytest.mark.parametrize(("quantity", "value", "kind"), [(1, 0, 1), (0, 1, 2)])
def test_an_item_of_another_order_is_unknown(key: UUID | None, quantity: int, value: int, kind: int) -> None:
    assert refused(asked((PHONE, quantity, value), (key, quantity, value), kind=kind)) == NO_ITEM


def test_two_ids_that_are_none_are_two_unknown_items() -> None:
    assert refused(asked((None, 1, 0), (None, 1, 0))) == NO_ITEM


@pytest.mark.parametrize(
    "request_",
    [
        asked((PHONE, 3, 0)),
        asked((GIFT, 2, 0), (PHONE, 1, 0)),
        asked((PHONE, 0, 8001), kind=2),
        asked((CABLE, 0, 301), kind=2),
        asked(value=8301),
        asked(shipping=501),
        asked(total=True, shipping=501),
        asked((PHONE, 1, 0), shipping=501),
    ],
)
def test_more_than_is_left_is_refused(request_: ReversalRequest) -> None:
    assert refused(request_) == TOO_MUCH


@pytest.mark.parametrize(
    ("request_", "products", "shipping"),
    [(asked(total=True, shipping=500), 5000, 0), (asked(value=4600, shipping=400), 4600, 400)],
)
def test_what_a_card_paid_does_not_come_back(request_: ReversalRequest, products: int, shipping: int) -> None:
    refund = refund_of(request_, CARD)
    assert (refund.products, refund.shipping) == (products, shipping)


@pytest.mark.parametrize("request_", [asked(value=5001), asked((PHONE, 2, 0)), asked(value=4600, shipping=401)])
def test_a_partial_reversal_beyond_the_points_paid_is_refused(request_: ReversalRequest) -> None:
    assert refused(request_, CARD) == TOO_MUCH


def test_of_an_order_paid_with_a_card_alone_nothing_comes_back() -> None:
    assert refused(asked(total=True, shipping=500), OrderLeft(8300, 500, 0, LEFT.items)) == INCONSISTENT
    assert refused(asked(shipping=1), OrderLeft(8300, 500, 0, LEFT.items)) == TOO_MUCH


def test_a_total_after_partials_gives_back_the_rest_alone() -> None:
    """One phone came back by its number, 300 points belong to no item: 4000 of the products are left."""
    items = {PHONE: ItemLeft(1, 4000, 4000), CABLE: ItemLeft(3, 300, 100), GIFT: ItemLeft(1, 0, 0)}
    refund = refund_of(asked(total=True, shipping=500), OrderLeft(4000, 500, 4500, items))
    assert (refund.products, refund.shipping, refund.total) == (4000, 500, 4500)
    assert refund.items == (ItemRefund(PHONE, 1, 4000), ItemRefund(CABLE, 3, 0), ItemRefund(GIFT, 1, 0))


def test_a_total_without_shipping_leaves_the_shipping() -> None:
    items = {PHONE: ItemLeft(0, 0, 4000)}
    assert refused(asked(total=True), OrderLeft(0, 500, 500, items)) == INCONSISTENT
    assert refund_of(asked(total=True, shipping=200), OrderLeft(0, 500, 500, items)).total == 200


def test_a_quantity_whose_value_came_back_already_is_too_much() -> None:
    left = OrderLeft(3000, 0, 3000, {PHONE: ItemLeft(2, 3000, 4000)})
    assert refused(asked((PHONE, 1, 0)), left) == TOO_MUCH
    assert refund_of(asked((PHONE, 0, 3000), kind=2), left).total == 3000


def item(key: UUID, quantity: int, unit_points: int) -> OrderItem:
    facts = {"product_id": "0", "sku_id": "0", "vendor_sku_id": "0"}
    return OrderItem(key, "Fone de ouvido", quantity, unit_points, facts)


def purchase() -> Purchase:
    """Confirmed, with two orders: that of LEFT, and one of 100 points."""
    items = (item(PHONE, 2, 4000), item(CABLE, 3, 100), item(GIFT, 1, 0))
    orders = (
        Order(FIRST, "loja-sol", 8300, 500, 8800, items, OrderStatus.CONFIRMED),
        Order(SECOND, "loja-lua", 100, 0, 100, (item(UNKNOWN, 1, 100),), OrderStatus.CONFIRMED),
    )
    return Purchase(
        tenant_key=UUID(int=7),
        key=UUID(int=8),
        participant_key=UUID(int=9),
        kind="internal",
        status=PurchaseStatus.CONFIRMED,
        policy_version=1,
        device_key=None,
        application_key=UUID(int=10),
        catalog_id="gold",
        channel_type="ONLINE",
        vendor_order_id=None,
        products_points=8400,
        shipping_points=500,
        debited_points=8900,
        card_points=0,
        authorization_code="7QH2M4ZX9C1B",
        description="Resgate",
        risk_decision="approve",
        impersonator_user=None,
        recorded={},
        request_path="/purchases",
        idempotency_key=None,
        request_fingerprint=bytes(32),
        origin_correlation_id="app-1",
        created_at=NOW,
        updated_at=NOW,
        orders=orders,
        status_history=(StatusLine("confirmed", "then"),),
        confirmed_at=NOW,
        event_sequence=3,
    )


def test_what_is_left_of_an_order_is_all_of_it_at_first() -> None:
    assert left_of(purchase().orders[0]) == LEFT


def test_a_reversal_counts_in_items_order_and_purchase() -> None:
    refund = refund_of(asked((PHONE, 1, 0), (CABLE, 2, 0), shipping=100), LEFT)
    after = without(purchase(), FIRST, refund, LATER)
    order, other = after.orders
    assert [(each.refunded_quantity, each.refunded_points) for each in order.items] == [(1, 4000), (2, 200), (0, 0)]
    assert (order.refunded_points, order.refunded_shipping_points, order.status) == (4300, 100, PARTIALLY)
    assert other == purchase().orders[1]
    assert (after.refunded_points, after.status, after.updated_at, after.event_sequence) == (4300, PARTIALLY, LATER, 5)
    assert [line.status for line in after.status_history] == ["confirmed", PARTIALLY]
    assert left_of(order) == OrderLeft(
        4100, 400, 4500, {PHONE: ItemLeft(1, 4000, 4000), CABLE: ItemLeft(1, 100, 100), GIFT: ItemLeft(1, 0, 0)}
    )


def test_a_purchase_is_reversed_when_the_last_of_its_orders_is() -> None:
    """Each reversal has its event; the purchase has one more only when it moves."""
    steps = [(FIRST, asked(value=1)), (FIRST, asked(total=True, shipping=500)), (SECOND, asked(total=True))]
    found = purchase()
    told = []
    for key, request in steps:
        order = next(order for order in found.orders if order.key == key)
        found = without(found, key, refund_of(request, left_of(order)), LATER)
        told.append((found.status.value, *(order.status.value for order in found.orders), found.event_sequence))
    assert told == [
        (PARTIALLY, PARTIALLY, "confirmed", 5),
        (PARTIALLY, "reversed", "confirmed", 6),
        ("reversed", "reversed", "reversed", 8),
    ]
    assert found.refunded_points == found.debited_points


def test_a_reversal_is_told_as_documented() -> None:
    refund = refund_of(asked((PHONE, 1, 0)), LEFT)
    reversal = Reversal(
        key=UUID(int=20),
        order_key=FIRST,
        refund=refund,
        motive_id=5,
        motive_description="Chegou quebrado",
        requested_by="op-marina",
        created_at=NOW,
    )
    assert reversal_view(reversal) == {
        "id": UUID(int=20),
        "order_id": FIRST,
        "kind": "quantity",
        "points": 4000,
        "shipping_points": 0,
        "total": 4000,
        "items": [{"order_item_id": PHONE, "quantity": 1, "points": 4000}],
        "motive_id": 5,
        "motive_description": "Chegou quebrado",
        "requested_by": "op-marina",
        "created_at": "2026-11-23T14:30:23.459Z",
    }


numbers, points = st.integers(0, 3), st.sampled_from([0, 1, 100, 400, 4000, 8000])
lines = st.lists(st.tuples(st.sampled_from([PHONE, CABLE, GIFT]), numbers, points), max_size=3)


@given(lines, st.sampled_from([1, 2]), st.booleans(), points, st.sampled_from([0, 1, 500]), st.data())
def test_whatever_is_asked_never_more_comes_back_than_is_left(
    items: list[tuple[UUID, int, int]], kind: int, total: bool, value: int, shipping: int, data: st.DataObject
) -> None:
    draw = data.draw
    item_left = {
        key: ItemLeft(draw(st.integers(0, item.quantity)), draw(st.integers(0, item.points)), item.unit_points)
        for key, item in LEFT.items.items()
    }
    products = draw(st.integers(0, sum(item.points for item in item_left.values())))
    left_shipping = draw(st.integers(0, 500))
    left = OrderLeft(products, left_shipping, draw(st.integers(0, products + left_shipping)), item_left)
    try:
        refund = refund_of(asked(*items, kind=kind, total=total, value=value, shipping=shipping), left)
    except Refusal as refusal:
        assert refusal.name in (INCONSISTENT, TOO_MUCH)
        return
    assert 0 < refund.total <= left.paid
    assert 0 <= refund.products <= left.products
    assert 0 <= refund.shipping <= min(left.shipping, shipping)
    for item in refund.items:
        assert 0 <= item.quantity <= left.items[item.item_key].quantity
        assert 0 <= item.points <= left.items[item.item_key].points
    assert not refund.items or sum(item.points for item in refund.items) == refund.products


def test_each_combination_of_fields_has_exactly_one_kind_or_none() -> None:
    """All 96 combinations of which fields say something, against the table of §5."""
    told = {}
    for total, kind, value, shipping, quantity, item_value in product(
        (False, True), (1, 2), (0, 100, 7), (0, 10), (0, 1), (0, 100)
    ):
        items = [(CABLE, quantity, item_value)]
        if total:
            expected = "total" if not (value or quantity or item_value) else None
        elif quantity:
            expected = "quantity" if kind == 1 and not (item_value or value) else None
        elif item_value:
            expected = "value" if kind == 2 and value in (0, 100) else None
        else:
            expected = "value" if value else "shipping" if shipping else None
        try:
            found = refund_of(asked(*items, kind=kind, total=total, value=value, shipping=shipping), LEFT).kind.value
        except Refusal as refusal:
            assert refusal.name == INCONSISTENT
            found = None
        told[total, kind, value, shipping, quantity, item_value] = (found, expected)
    assert {case: both for case, both in told.items() if both[0] != both[1]} == {}


def as_ordered(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    """Orders as they are stored: what never changes of them."""
    return tuple(
        Order(
            *(order.key, order.vendor_id, order.products_points, order.shipping_points, order.points_paid),
            items=tuple(OrderItem(each.key, each.name, each.quantity, each.unit_points, each.facts) for each in items),
        )
        for order in orders
        for items in [order.items]
    )


def given_back(orders: tuple[Order, ...], touched: set[UUID]) -> list[OrderRefunds]:
    """What is stored of what was given back of orders: those, and items, that a reversal named."""
    return [
        OrderRefunds(
            order.key,
            order.refunded_points,
            order.refunded_shipping_points,
            tuple(
                ItemRefund(each.key, each.refunded_quantity, each.refunded_points)
                for each in order.items
                if each.key in touched
            ),
        )
        for order in orders
        if order.refunded_points
    ]


asks = st.builds(
    ReversalRequest,
    st.booleans(),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 0, 0, 1, 30, 4000]),
    st.sampled_from([0, 0, 1, 500]),
    st.lists(
        st.builds(
            ItemRequest,
            st.sampled_from([PHONE, CABLE, GIFT, UNKNOWN]),
            st.sampled_from([0, 1, 2]),
            st.sampled_from([0, 0, 70, 4000]),
        ),
        max_size=2,
    ),
)


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND]), asks), max_size=12), st.booleans())
def test_what_was_given_back_in_all_leads_where_its_reversals_led_one_by_one(
    steps: list[tuple[UUID, ReversalRequest]], is_backwards: bool
) -> None:
    found, touched = purchase(), set[UUID]()
    steps = [*steps, (FIRST, asked(value=1)), (SECOND, asked(value=30))]
    for key, request in steps:
        order = next(order for order in found.orders if order.key == key)
        if order.status is OrderStatus.REVERSED:
            continue
        try:
            refund = refund_of(request, left_of(order))
        except Refusal:
            continue
        touched |= {each.item_key for each in refund.items}
        found = without(found, key, refund, LATER)
        refunds = given_back(found.orders, touched)
        assert reversed_orders(as_ordered(found.orders), refunds[::-1] if is_backwards else refunds) == found.orders
    assert found.refunded_points > 0


def test_orders_of_which_nothing_was_given_back_are_confirmed() -> None:
    assert reversed_orders(as_ordered(purchase().orders), []) == purchase().orders


def test_orders_stand_as_their_purchase_does_wherever_it_is_read() -> None:
    """The stored form knows no state: that of the purchase gives it, for each move a purchase can make."""
    pending = replace(purchase(), status=PurchaseStatus.PENDING_2FA_APPROVAL, orders=as_ordered(purchase().orders))
    authorized = moved(pending, PurchaseStatus.AUTHORIZED, LATER)
    for made in (
        pending,
        authorized,
        moved(pending, PurchaseStatus.REJECTED, LATER, reason="device_changed"),
        moved(pending, PurchaseStatus.CANCELED, LATER),
        moved(authorized, PurchaseStatus.EXPIRED, LATER),
        moved(authorized, PurchaseStatus.CONFIRMED, LATER),
    ):
        assert standing_orders(as_ordered(made.orders), made.status) == made.orders
