"""A purchase moves by its table, its orders with it, and each move leaves its line."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.points import EntryType, deltas
from aval.domain.purchase import (
    FIRST_ENTRIES,
    TRANSITIONS,
    Order,
    OrderItem,
    OrderStatus,
    Purchase,
    PurchaseStatus,
    approved_status,
    begun,
    description_of,
    details_digest,
    details_of,
    first_status,
    moved,
)

NOW = datetime(2026, 3, 4, 18, 15, 11, 250_000, tzinfo=UTC)
LATER = NOW + timedelta(minutes=2)
TTL = timedelta(minutes=10)
S = PurchaseStatus
PRODUCT = {"product_id": "0", "sku_id": "F-100", "vendor_sku_id": "0"}


def a_purchase(**change: Any) -> Purchase:
    item = OrderItem(UUID(int=9), "Fone de ouvido", 2, 4_000, PRODUCT)
    order = Order(UUID(int=8), "loja-sol", 8_000, 500, 8_500, (item,))
    purchase = Purchase(
        tenant_key=UUID(int=1),
        key=UUID(int=2),
        participant_key=UUID(int=3),
        kind="internal",
        status=S.PENDING_2FA_APPROVAL,
        policy_version=4,
        device_key=UUID(int=4),
        application_key=UUID(int=5),
        catalog_id="gold",
        channel_type="MOBILE",
        vendor_order_id=None,
        products_points=8_000,
        shipping_points=500,
        debited_points=8_500,
        card_points=0,
        authorization_code="7QH2M4ZX9C1B",
        description="Resgate: Fone de ouvido",
        risk_decision="approve",
        impersonator_user=None,
        recorded={},
        request_path="/purchases",
        idempotency_key=None,
        request_fingerprint=b"",
        origin_correlation_id="app-1",
        created_at=NOW,
        updated_at=NOW,
        orders=(order,),
        status_history=(),
    )
    return replace(purchase, **change)


def test_the_table_is_that_of_the_contract() -> None:
    assert {
        (a.value, b.value): None if e is None else e.value for a, to in TRANSITIONS.items() for b, e in to.items()
    } == {
        ("pending_2fa_approval", "confirmed"): "debit",
        ("pending_2fa_approval", "authorized"): None,
        ("pending_2fa_approval", "rejected"): "release",
        ("pending_2fa_approval", "canceled"): "release",
        ("authorized", "confirmed"): "debit",
        ("authorized", "canceled"): "release",
        ("authorized", "expired"): "release",
        ("confirmed", "partially_reversed"): None,
        ("confirmed", "reversed"): None,
        ("partially_reversed", "reversed"): None,
    }
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize("start", [*S])
@pytest.mark.parametrize("to", [*S])
def test_a_move_outside_the_table_is_a_bug(start: PurchaseStatus, to: PurchaseStatus) -> None:
    reason = "device_changed" if to is S.REJECTED else None
    purchase = a_purchase(status=start)
    if to in TRANSITIONS[start]:
        assert moved(purchase, to, LATER, reason=reason).status is to
    else:
        with pytest.raises(AssertionError):
            moved(purchase, to, LATER, reason=reason)


def test_whatever_way_a_purchase_ends_its_reserve_is_gone() -> None:
    ends = {S.CONFIRMED: 1_500, S.REJECTED: 10_000, S.CANCELED: 10_000, S.EXPIRED: 10_000}
    for kind in ("internal", "external"):
        for is_two_factor in (True, False):
            start = first_status(kind, is_two_factor=is_two_factor)
            paths = [[start]]
            for path in paths:
                paths += [[*path, to] for to in TRANSITIONS[path[-1]] if to in ends or to is S.AUTHORIZED]
            for path in paths:
                lines: list[EntryType | None] = list(FIRST_ENTRIES[start])
                lines += [TRANSITIONS[a][b] for a, b in zip(path, path[1:], strict=False)]
                effects = [deltas(line, 8_500) for line in lines if line is not None]
                available, reserved = (sum(column) for column in list(zip(*effects, strict=True))[:2])
                if path[-1] in ends:
                    assert (10_000 + available, reserved) == (ends[path[-1]], 0)
                else:
                    assert (10_000 + available, reserved) == (1_500, 8_500)


@pytest.mark.parametrize(
    ("kind", "is_two_factor", "expected"),
    [
        ("internal", True, S.PENDING_2FA_APPROVAL),
        ("external", True, S.PENDING_2FA_APPROVAL),
        ("internal", False, S.CONFIRMED),
        ("external", False, S.AUTHORIZED),
    ],
)
def test_how_a_purchase_begins(kind: Any, is_two_factor: bool, expected: PurchaseStatus) -> None:
    assert first_status(kind, is_two_factor=is_two_factor) is expected
    made = begun(a_purchase(kind=kind, status=expected), authorization_ttl=TTL)
    assert [line.status for line in made.status_history] == [expected.value]
    assert made.event_sequence == 1
    assert made.confirmed_at == (NOW if expected is S.CONFIRMED else None)
    assert made.authorized_until == (NOW + TTL if expected is S.AUTHORIZED else None)
    assert made.orders[0].status is (OrderStatus.CONFIRMED if expected is S.CONFIRMED else OrderStatus.PENDING)


def test_a_move_is_told_once_and_takes_the_orders_along() -> None:
    made = begun(a_purchase(kind="external"), authorization_ttl=TTL)
    authorized = moved(made, approved_status("external"), LATER, authorization_ttl=TTL)
    assert (authorized.status, authorized.authorized_until) == (S.AUTHORIZED, LATER + TTL)
    assert authorized.orders == made.orders
    assert not authorized.is_expired(LATER + TTL - timedelta(microseconds=1))
    assert authorized.is_expired(LATER + TTL)
    ended = moved(authorized, S.EXPIRED, LATER + TTL)
    assert (ended.event_sequence, ended.orders[0].status) == (3, OrderStatus.CANCELED)
    assert [line.status for line in ended.status_history] == ["pending_2fa_approval", "authorized", "expired"]


def test_a_rejection_has_its_reason_and_nothing_else_has_one() -> None:
    rejected = moved(a_purchase(), S.REJECTED, LATER, reason="device_changed")
    assert (rejected.rejection_reason, rejected.status_history[-1].reason) == ("device_changed", "device_changed")
    for to, reason in ((S.REJECTED, None), (S.CANCELED, "device_changed")):
        with pytest.raises(AssertionError):
            moved(a_purchase(), to, LATER, reason=reason)


def test_a_reversal_leaves_orders_to_themselves() -> None:
    confirmed = moved(a_purchase(), S.CONFIRMED, NOW)
    one = replace(confirmed.orders[0], status=OrderStatus.REVERSED, refunded_points=8_500)
    other = moved(replace(confirmed, orders=(one,)), S.REVERSED, LATER)
    assert other.orders == (one,) and other.confirmed_at == NOW


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Fone"], "Resgate: Fone"),
        (["Fone", "Cabo", "Capa"], "Resgate: Fone e mais 2"),
        (["a" * 200, "b"], "Resgate: " + "a" * 122 + " e mais 1"),
    ],
)
def test_the_statement_names_the_first_item(names: list[str], expected: str) -> None:
    assert description_of(names) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"participant_key": UUID(int=30)},
        {"device_key": UUID(int=40)},
        {"debited_points": 8_499},
        {"key": UUID(int=20)},
        {"orders": ()},
    ],
)
def test_a_token_is_bound_to_participant_device_points_and_items(change: dict[str, Any]) -> None:
    vendors = {"loja-sol": "Loja Sol"}
    details = details_of(a_purchase(), vendors)
    assert (details["points"], details["vendors"], details["policy_version"]) == (8_500, ["Loja Sol"], 4)
    assert details_digest(details_of(a_purchase(**change), vendors)) != details_digest(details)
    assert details_digest(details_of(a_purchase(status=S.CONFIRMED), vendors)) == details_digest(details)


def test_a_purchase_does_not_print() -> None:
    assert "Fone" not in repr(a_purchase())
