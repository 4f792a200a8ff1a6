"""Orders and their reversals (redemptions.md §5, §12)."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from aval.domain.caller import Caller
from aval.domain.campaign import Points
from aval.domain.ids import parse_uuid, whole_key
from aval.domain.purchase import Order, Purchase
from aval.domain.redemption_view import order_view
from aval.domain.reversal import MOTIVES, ItemRequest, Reversal, ReversalRequest, reversal_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, Route, encoded, json_answer
from aval.http.fields import text_of
from aval.http.parts import Parts
from aval.http.redemptions.order_answers import MotiveListing, OrderAnswer, ReversalAnswer, ReversalListing
from aval.http.redemptions.route import PAGE, Listing, page_of, redemption_route, uuid_or
from aval.http.strict_json import decode
from aval.http.transfer_body import fingerprint_of
from aval.operations.expire_purchases import expire_purchase
from aval.operations.reverse_order import ReversalCall, order_of, reverse_order, unknown_order
from aval.storage.purchases import ReadPurchase, find_purchase
from aval.storage.reversals import list_reversals

NOT_FOUND = "rdm.resource_not_found"
DESCRIPTION_CHARACTERS_MAX = 500  # spec redemptions.md §5
_READ = "redemptions.read"
_READERS = Access(ANY_SCOPE, application=_READ, impersonator=_READ, participant=_READ)
_ANYBODY = Access(ANY_SCOPE, application=ANY_SCOPE, participant=ANY_SCOPE)
_OPERATOR = Access("reversals.write")


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is given back of one item; a line with nothing is ignored."""

    order_item_id: str
    refund_quantity: Points | None = None
    refund_value: Points | None = None


class ReversalBody(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What is given back of an order, and why."""

    execute_total_refund: bool
    refund_type: Literal[1, 2]
    refund_motive_id: Annotated[int, Meta(ge=1, le=len(MOTIVES))]
    current_refund_value: Points | None = None
    refund_shipping_value: Points | None = None
    order_items: list[ItemBody] | None = None
    refund_motive_description: str | None = None


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    orders = Orders(app)
    return [
        redemption_route(
            "GET",
            "/orders/{order_id}",
            orders.read,
            _READERS,
            200,
            "Read an order",
            response=OrderAnswer,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "GET",
            "/orders/{order_id}/reversals",
            orders.list_reversals,
            _READERS,
            200,
            "List the reversals of an order, oldest first",
            response=ReversalListing,
            query=PAGE,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "GET",
            "/reversal_motives",
            orders.list_motives,
            _ANYBODY,
            200,
            "List the motives of reversals",
            response=MotiveListing,
            query=PAGE,
        ),
        *(_reversal_route(orders, path) for path in ("/orders/{order_id}/reversals", EXTERNAL)),
    ]


EXTERNAL = "/orders/{order_id}/reversal/external"


def _reversal_route(orders: "Orders", path: str) -> Route:
    return redemption_route(
        "POST",
        path,
        orders.reverse,
        _OPERATOR,
        201,
        "Give points of an order back, as is documented for external ones" if path == EXTERNAL else "Reverse an order",
        request=ReversalBody,
        response=ReversalAnswer,
        refusals=(
            NOT_FOUND,
            "rdm.idempotency_conflict",
            "rdm.wrong_status",
            "rdm.reversal_inconsistent",
            "rdm.order_inconsistent_5",
        ),
    )


class Orders:
    """Handlers of orders and reversals."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def read(self, call: Call) -> Answer:
        """GET /orders/{id}."""
        purchase, order = await self._order(call)
        return json_answer(200, order_view(purchase, order))

    async def list_reversals(self, call: Call) -> Answer:
        """GET /orders/{id}/reversals."""
        page, (purchase, order) = page_of(call), await self._order(call)
        async with self._app.db.reading() as connection:
            rows, total = await list_reversals(
                connection, purchase.tenant_key, order.key, offset=page.offset, limit=page.limit
            )
        return json_answer(200, Listing([reversal_view(row) for row in rows], page.offset, page.limit, total))

    async def list_motives(self, call: Call) -> Answer:
        """GET /reversal_motives."""
        page = page_of(call)
        motives = [{"id": number, "name": name} for number, name in enumerate(MOTIVES, 1)]
        shown = motives[page.offset : page.offset + page.limit]
        return json_answer(200, Listing(shown, page.offset, page.limit, len(motives)))

    async def reverse(self, call: Call) -> Answer:
        """POST /orders/{id}/reversals, and its other spelling."""
        order_key, body = uuid_or(call, "order_id", NOT_FOUND), decode(call.body, ReversalBody)
        description = body.refund_motive_description
        reversal = ReversalCall(
            order_key=order_key,
            request=_request_of(body),
            motive_id=body.refund_motive_id,
            motive_description=text_of(
                description, "refundMotiveDescription", characters_max=DESCRIPTION_CHARACTERS_MAX
            )
            if description and description.strip(" ")
            else None,
            actor=call.redeemer.actor,
            correlation_id=call.correlation_id,
            path=f"/orders/{order_key}/reversals",
            idempotency_key=call.headers.get("idempotency-key"),
            fingerprint=fingerprint_of(self._app.keyring.current(), msgspec.json.encode(body)),
            render=_rendered,
        )
        status, answer = await reverse_order(self._app.db, call=reversal)
        return Answer(status, answer)

    async def _order(self, call: Call) -> tuple[Purchase, Order]:
        """The order a caller may read, and its purchase; one whose time is over is ended first."""
        order_key = uuid_or(call, "order_id", NOT_FOUND)
        found = await self._found(call.redeemer, order_key)
        if found.is_over:
            await expire_purchase(self._app.db, key=found.purchase.id)
            found = await self._found(call.redeemer, order_key)
        return found.purchase, order_of(found.purchase, order_key)

    async def _found(self, caller: Caller, order_key: UUID) -> ReadPurchase:
        """The purchase of an order as it is stored; anybody else's is unknown."""
        async with self._app.db.reading() as connection:
            tenant_key = None if caller.campaign is None else caller.campaign.key
            found = await find_purchase(connection, whole_key(order_key), tenant_key)
        if found is None or caller.participant_key not in (None, found.purchase.participant_key):
            raise unknown_order()
        return found


def _request_of(body: ReversalBody) -> ReversalRequest:
    return ReversalRequest(
        is_total=body.execute_total_refund,
        refund_type=body.refund_type,
        value=body.current_refund_value or 0,
        shipping=body.refund_shipping_value or 0,
        items=[
            ItemRequest(parse_uuid(item.order_item_id), item.refund_quantity or 0, item.refund_value or 0)
            for item in body.order_items or ()
        ],
    )


def _rendered(reversal: Reversal) -> tuple[int, bytes]:
    return 201, encoded(reversal_view(reversal))
