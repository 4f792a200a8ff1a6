"""Giving points of an order back: what a request asks for, and whether the order still has it.

Source: redemptions.md §5.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.calendar import wire_datetime
from aval.domain.campaign import Points
from aval.domain.errors import Refusal
from aval.domain.purchase import Order, OrderStatus, Purchase, PurchaseStatus, moved, standing_orders

MOTIVES: tuple[str, ...] = (
    "Erro no serviço do parceiro",
    "Pagamento recusado",
    "Produto não entregue",
    "Cancelamento de pedido",
    "Produto danificado",
    "Mudou-se",
    "Ausente",
    "Não procurado",
    "Recusado",
    "Não existe número indicado",
    "Desconhecido",
    "Endereço insuficiente",
    "Indisponibilidade",
    "Estorno de frete",
    "Pedido teste",
    "Arrependimento do cliente",
    "Pedido bloqueado",
    "Pedido extraviado",
    "Pedido não gerado",
    "Desconto no produto",
    "Automático",
    "Pedido não efetivado",
    "Reclamação não atendida no prazo pelo parceiro",
    "Dificuldade na região",
    "Frete indevido",
    "E-mail inválido",
    "Destinatário ausente",
    "Pedido roubado",
    "Pedido extraviado",
    "Endereço insuficiente",
    "Não atende a região",
    "Produto não retirado nos Correios",
    "Endereço não localizado",
    "Mudou-se",
    "Pedido não gerado no parceiro",
    "Pedido não processado pelo parceiro",
    "Pedido bloqueado",
    "Frete indevido",
    "Estorno de frete",
    "E-mail inválido",
    "Arrependimento do cliente",
    "Não cumprimento do SLA",
    "Pedido avariado",
    "Pedido teste",
    "Indisponibilidade",
    "Desconto no produto",
    "Pedido não migrado",
    "Erro no POS",
    "Arrependimento – liberação do cliente",
    "Pontuação expirada – liberação do cliente",
)
BY_QUANTITY = 1  # refundType
REVERSIBLE = frozenset({OrderStatus.CONFIRMED, OrderStatus.PARTIALLY_REVERSED})


class ReversalKind(StrEnum):
    """What a reversal gives back."""

    TOTAL = "total"
    QUANTITY = "quantity"
    VALUE = "value"
    SHIPPING = "shipping"


class ItemRequest(msgspec.Struct, frozen=True):
    """What a request asks back of one item; None stands for an id that is none."""

    item_key: UUID | None
    quantity: int
    value: Points


class ReversalRequest(msgspec.Struct, frozen=True):
    """What a request asks back of an order."""

    is_total: bool
    refund_type: int  # 1 by quantity, 2 by value
    value: Points = 0
    shipping: Points = 0
    items: Sequence[ItemRequest] = ()


class ItemLeft(msgspec.Struct, frozen=True):
    """What of an item was not given back yet."""

    quantity: int
    points: Points
    unit_points: Points


class OrderLeft(msgspec.Struct, frozen=True):
    """What of an order was not given back yet; `paid` is all that was paid with points, shipping too."""

    products: Points
    shipping: Points
    paid: Points
    items: Mapping[UUID, ItemLeft]  # in the order's own order


class ItemRefund(msgspec.Struct, frozen=True):
    """What a reversal gives back of one item."""

    item_key: UUID
    quantity: int
    points: Points


class OrderRefunds(msgspec.Struct, frozen=True):
    """All that was given back of an order by now; `points` are products and shipping."""

    order_key: UUID
    points: Points
    shipping_points: Points
    items: tuple[ItemRefund, ...]


class Refund(msgspec.Struct, frozen=True):
    """What a reversal gives back; the products of a `value` without items belong to none of them."""

    kind: ReversalKind
    products: Points
    shipping: Points
    items: tuple[ItemRefund, ...] = ()

    @property
    def total(self) -> Points:
        """All points given back."""
        return self.products + self.shipping


class Reversal(msgspec.Struct, frozen=True, kw_only=True):
    """A reversal that was made."""

    key: UUID
    order_key: UUID
    refund: Refund
    motive_id: int
    motive_description: str | None
    requested_by: str
    created_at: datetime


def refund_of(request: ReversalRequest, left: OrderLeft) -> Refund:
    """Decide what is given back.

    Raises Refusal: fields that contradict each other or give nothing back (RDM000915), an unknown item (RDM000910),
    more than is left (322 sub 5).
    """
    wanted = [item for item in request.items if item.quantity or item.value]
    kind = _kind_of(request, wanted)
    if any(item.item_key not in left.items for item in wanted):
        raise Refusal("rdm.resource_not_found", extra_fields={"resource": "order_item"})
    if kind is ReversalKind.TOTAL:
        refund = _rest(request.shipping, left)
    else:
        items = tuple(_refund_of_item(item, left) for item in wanted)
        products = sum(item.points for item in items) if items else request.value
        refund = Refund(kind, products, request.shipping, items)
    if refund.total == 0:
        raise Refusal("rdm.reversal_inconsistent")
    if not _is_within(request.shipping, refund, left):
        raise Refusal("rdm.order_inconsistent_5")
    return refund


def _kind_of(request: ReversalRequest, wanted: Sequence[ItemRequest]) -> ReversalKind:
    has_quantities, has_values = any(item.quantity for item in wanted), any(item.value for item in wanted)
    named = [item.item_key for item in wanted if item.item_key is not None]
    contradictions = (
        request.is_total and (wanted or request.value),
        has_quantities and has_values,
        has_quantities and (request.refund_type != BY_QUANTITY or request.value),
        has_values and request.refund_type == BY_QUANTITY,
        has_values and request.value not in (0, sum(item.value for item in wanted)),
        len({*named}) < len(named),
        not (request.is_total or wanted or request.value or request.shipping),
    )
    if any(contradictions):
        raise Refusal("rdm.reversal_inconsistent")
    if request.is_total:
        return ReversalKind.TOTAL
    if has_quantities:
        return ReversalKind.QUANTITY
    return ReversalKind.VALUE if request.value or has_values else ReversalKind.SHIPPING


def _refund_of_item(item: ItemRequest, left: OrderLeft) -> ItemRefund:
    assert item.item_key is not None
    points = item.value or item.quantity * left.items[item.item_key].unit_points
    return ItemRefund(item.item_key, item.quantity, points)


def _rest(shipping: Points, left: OrderLeft) -> Refund:
    """Everything that is left, products first: what was paid otherwise than with points does not come back."""
    products = min(left.products, left.paid)
    items, unassigned = [], products
    for key, item in left.items.items():
        points = min(item.points, unassigned)
        unassigned -= points
        if item.quantity or points:
            items.append(ItemRefund(key, item.quantity, points))
    return Refund(ReversalKind.TOTAL, products, min(shipping, left.paid - products), tuple(items))


def _is_within(shipping: Points, refund: Refund, left: OrderLeft) -> bool:
    return (
        all(
            item.quantity <= left.items[item.item_key].quantity and item.points <= left.items[item.item_key].points
            for item in refund.items
        )
        and refund.products <= left.products
        and shipping <= left.shipping
        and refund.total <= left.paid
    )


def left_of(order: Order) -> OrderLeft:
    """What of an order was not given back yet."""
    refunded_products = order.refunded_points - order.refunded_shipping_points
    return OrderLeft(
        products=order.products_points - refunded_products,
        shipping=order.shipping_points - order.refunded_shipping_points,
        paid=order.points_paid - order.refunded_points,
        items={
            item.key: ItemLeft(
                item.quantity - item.refunded_quantity, item.points - item.refunded_points, item.unit_points
            )
            for item in order.items
        },
    )


def without(purchase: Purchase, order_key: UUID, refund: Refund, at: datetime) -> Purchase:
    """The purchase after a reversal of one of its orders: counters, statuses, and an event more, or two if it moved."""
    orders = tuple(_order_without(order, refund) if order.key == order_key else order for order in purchase.orders)
    after = replace(
        purchase,
        orders=orders,
        refunded_points=purchase.refunded_points + refund.total,
        event_sequence=purchase.event_sequence + 1,
        updated_at=at,
    )
    status = PurchaseStatus(_status_after(after.refunded_points, after.debited_points))
    return after if status is after.status else moved(after, status, at)


def reversed_orders(orders: Sequence[Order], refunds: Sequence[OrderRefunds]) -> tuple[Order, ...]:
    """Orders of a confirmed purchase as they stand after all that was given back of them."""
    by_order = {refund.order_key: refund for refund in refunds}
    confirmed = standing_orders(tuple(orders), PurchaseStatus.CONFIRMED)
    return tuple(
        _less(order, refund.points, refund.shipping_points, refund.items)
        if (refund := by_order.get(order.key))
        else order
        for order in confirmed
    )


def _order_without(order: Order, refund: Refund) -> Order:
    return _less(order, refund.total, refund.shipping, refund.items)


def _less(order: Order, points: Points, shipping: Points, items: Sequence[ItemRefund]) -> Order:
    by_item = {item.item_key: item for item in items}
    refunded = order.refunded_points + points
    return replace(
        order,
        status=OrderStatus(_status_after(refunded, order.points_paid)),
        refunded_points=refunded,
        refunded_shipping_points=order.refunded_shipping_points + shipping,
        items=tuple(
            replace(
                item,
                refunded_quantity=item.refunded_quantity + by_item[item.key].quantity,
                refunded_points=item.refunded_points + by_item[item.key].points,
            )
            if item.key in by_item
            else item
            for item in order.items
        ),
    )


def _status_after(refunded: Points, paid: Points) -> str:
    assert 0 < refunded <= paid
    return "reversed" if refunded == paid else "partially_reversed"


def reversal_view(reversal: Reversal) -> dict[str, Any]:
    """A reversal as the wire tells it."""
    refund = reversal.refund
    return {
        "id": reversal.key,
        "order_id": reversal.order_key,
        "kind": refund.kind.value,
        "points": refund.products,
        "shipping_points": refund.shipping,
        "total": refund.total,
        "items": [
            {"order_item_id": item.item_key, "quantity": item.quantity, "points": item.points} for item in refund.items
        ],
        "motive_id": reversal.motive_id,
        "motive_description": reversal.motive_description,
        "requested_by": reversal.requested_by,
        "created_at": wire_datetime(reversal.created_at),
    }
