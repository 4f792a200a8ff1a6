"""Orders and reversals over HTTP: who may, what bodies say, what is answered."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.ids import PARTS_MAX, part_key
from aval.domain.reversal import MOTIVES
from aval.http.app import App, build_app
from aval.http.redemptions import orders
from aval.operations.create_admin_key import create_admin_key
from aval.storage.database import Database
from tests.confirmed_orders import BALANCE, Shop, SoldItem, SoldOrder, balance_of, make_shop, sell
from tests.contract import Contract
from tests.factories import AUTHOR, Client, Reply, make_keyring, make_parts

NOT_FOUND = "RDM000910"


@dataclass
class Till:
    """A shop with one sold order, and the application that serves it; every answer must fit the document."""

    db: Database
    app: App
    contract: Contract
    shop: Shop
    order: SoldOrder
    purchase: UUID
    admin_key: str

    async def ask(self, method: str, path: str, body: Any = None, raw: bytes | None = None, **headers: str) -> Reply:
        """As the operator, unless the headers say otherwise."""
        sent = {"authorization": f"Bearer {self.admin_key}"} | headers
        reply = await Client(self.app)(method, path, body, raw=raw, **sent)
        assert self.contract.faults(method, path, reply) == []
        return reply

    async def reverse(self, body: Any = None, *, order: SoldOrder | None = None, **change: Any) -> Reply:
        headers = change.pop("headers", {})
        path = f"/orders/{(order or self.order).key}/reversals"
        return await self.ask("POST", path, a_body(**change) if body is None else body, **headers)

    async def admin_with(self, *scopes: str) -> dict[str, str]:
        """Headers of an admin key with these scopes."""
        _, secret = await create_admin_key(
            self.db, name=uuid4().hex, scopes=scopes, keyring=make_keyring(), author=AUTHOR
        )
        return {"authorization": f"Bearer {secret}"}


def a_body(**change: Any) -> dict[str, Any]:
    """A total reversal without shipping."""
    body = {"executeTotalRefund": True, "refundType": 1, "refundMotiveId": 5}
    return {name: value for name, value in (body | change).items() if value is not None}


@pytest.fixture
async def till(db: Database, db_as: Callable[[str], Awaitable[Database]]) -> Till:
    parts = make_parts(await db_as("aval_app_api"))
    routes = orders.routes(parts)
    shop = await make_shop(db)
    order = SoldOrder([SoldItem(2, 4000)], shipping=500)
    sold = await sell(db, shop, [order])
    made = Till(db, build_app(parts, [routes]), Contract(routes), shop, order, sold.key, "")
    headers = await made.admin_with("reversals.write")
    return replace(made, admin_key=headers["authorization"].removeprefix("Bearer "))


async def test_the_documented_example(till: Till) -> None:
    """redemptions.md §10: one of two items by quantity, then the rest with its shipping."""
    item = str(till.order.items[0].key)
    body = {
        "executeTotalRefund": False,
        "currentRefundValue": 0,
        "refundShippingValue": 0,
        "refundMotiveId": 5,
        "refundMotiveDescription": "Chegou quebrado",
        "refundType": 1,
        "orderItems": [{"orderItemId": item, "refundQuantity": 1, "refundValue": 0}],
    }
    first = await till.reverse(body)
    assert first.status == 201
    told = first.json
    assert UUID(told.pop("id")) and told.pop("created_at") and told.pop("requested_by")
    assert told == {
        "order_id": str(till.order.key),
        "kind": "quantity",
        "points": 4000,
        "shipping_points": 0,
        "total": 4000,
        "items": [{"order_item_id": item, "quantity": 1, "points": 4000}],
        "motive_id": 5,
        "motive_description": "Chegou quebrado",
    }
    rest = await till.reverse(refundShippingValue=500, orderItems=[])
    assert [rest.json[name] for name in ("kind", "points", "shipping_points", "total")] == ["total", 4000, 500, 4500]
    order = await till.ask("GET", f"/orders/{till.order.key}")
    assert (order.json["status"], order.json["refunded_points"], order.json["points_paid"]) == ("reversed", 8500, 8500)
    assert order.json["items"][0]["refunded_quantity"] == 2
    assert await balance_of(till.db, till.shop) == (BALANCE, 0)


async def test_both_spellings_are_one_call_under_one_key(till: Till) -> None:
    paths = [f"/orders/{till.order.key}/reversals", f"/orders/{till.order.key}/reversal/external"]
    body = a_body(executeTotalRefund=False, currentRefundValue=10)
    answers = await asyncio.gather(*(till.ask("POST", path, body, idempotency_key="r-1") for path in (*paths, *paths)))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert (await till.ask("POST", paths[1], a_body(), idempotency_key="r-1")).code == "RDM000902"
    external = await till.ask("POST", paths[1], body)
    assert (external.status, external.json["total"]) == (201, 10)
    assert await balance_of(till.db, till.shop) == (BALANCE - 8500 + 20, 0)


async def test_a_key_stands_for_what_a_body_says_not_for_how_it_is_written(till: Till) -> None:
    body = a_body(executeTotalRefund=False, currentRefundValue=10, refundShippingValue=0, orderItems=[])
    path = f"/orders/{till.order.key}/reversals"
    raw = json.dumps(dict(reversed(body.items())), indent=2).encode()
    first = await till.ask("POST", path, body, idempotency_key="k")
    again = await till.ask(
        "POST",
        path.upper().replace("/ORDERS", "/orders").replace("REVERSALS", "reversals"),
        raw=raw,
        idempotency_key="k",
    )
    assert (again.status, again.body) == (first.status, first.body)


SCHEMA_ERRORS: list[dict[str, Any]] = [
    {"executeTotalRefund": None},
    {"executeTotalRefund": 1},
    {"refundType": None},
    {"refundType": 3},
    {"refundType": "1"},
    {"refundMotiveId": None},
    {"refundMotiveId": 0},
    {"refundMotiveId": 51},
    {"currentRefundValue": -1},
    {"currentRefundValue": 1.0},
    {"currentRefundValue": "10"},
    {"refundShippingValue": 10**12},
    {"orderItems": {}},
    {"orderItems": [{"refundQuantity": 1}]},
    {"orderItems": [{"orderItemId": "a", "refundQuantity": 1.5}]},
    {"orderItems": [{"orderItemId": "a", "points": 1}]},
    {"refundMotiveDescription": "a" * 501},
    {"refundMotiveDescription": "quebrado\u202e"},
    {"refundMotiveDescription": 7},
    {"points": 10},
    {"execute_total_refund": True},
]


async def test_a_body_of_another_shape_is_a_schema_error(till: Till) -> None:
    for change in SCHEMA_ERRORS:
        reply = await till.reverse(**change)
        assert (reply.status, reply.code) == (400, "QIT000001"), change
        assert reply.json["extra_fields"]["reason"] == "schema"
    assert await balance_of(till.db, till.shop) == (BALANCE - 8500, 0)


async def test_an_exponent_is_no_number_of_points(till: Till) -> None:
    raw = b'{"executeTotalRefund": false, "refundType": 1, "refundMotiveId": 5, "currentRefundValue": 1e3}'
    reply = await till.ask("POST", f"/orders/{till.order.key}/reversals", raw=raw)
    assert (reply.status, reply.code) == (400, "QIT000001")


async def test_a_description_is_free_or_none(till: Till) -> None:
    for text in ("a" * 500, None, "", "  ", " quebrado "):
        body = a_body(executeTotalRefund=False, currentRefundValue=1) | {"refundMotiveDescription": text}
        reply = await till.reverse(body)
        assert (reply.status, reply.json["motive_description"]) == (201, (text or "").strip() or None)


@pytest.mark.parametrize(
    ("change", "status", "code", "more"),
    [
        ({"currentRefundValue": 1}, 422, "RDM000915", {"reason": "reversal_inconsistent"}),
        ({"refundShippingValue": 501}, 422, "322", {"reason": "order_inconsistent"}),
        (
            {
                "executeTotalRefund": False,
                "orderItems": [{"orderItemId": "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264", "refundQuantity": 1}],
            },
            404,
            NOT_FOUND,
            {"reason": "resource_not_found", "resource": "order_item"},
        ),
        (
            {"executeTotalRefund": False, "orderItems": [{"orderItemId": "nada", "refundQuantity": 1}]},
            404,
            NOT_FOUND,
            {"reason": "resource_not_found", "resource": "order_item"},
        ),
    ],
)
async def test_refusals_are_told_by_the_dictionary(
    till: Till, change: dict[str, Any], status: int, code: str, more: dict[str, str]
) -> None:
    reply = await till.reverse(**change)
    assert (reply.status, reply.code, reply.json["extra_fields"]) == (status, code, more)
    if code == "322":
        assert reply.json["sub_message"] == "Valor do resgate menor que o valor do estorno. (#322-5)"
        (sub,) = reply.json["sub"]
        assert (sub["type"], sub["message"]) == (5, "Valor do resgate menor que o valor do estorno.")


async def test_a_status_that_does_not_allow_it_is_told(till: Till) -> None:
    pending = SoldOrder([SoldItem(1, 10)])
    await sell(till.db, till.shop, [pending], kind="external", status="authorized")
    reply = await till.reverse(order=pending)
    assert (reply.status, reply.code) == (409, "RDM000912")
    assert reply.json["extra_fields"] == {"reason": "wrong_status", "status": "pending"}


async def test_only_the_scope_for_it_reverses(till: Till) -> None:
    body, path = a_body(), f"/orders/{till.order.key}/reversals"
    for headers in (
        await till.admin_with("points.write", "campaigns.write"),
        till.shop.headers,
        till.shop.speaking_for(),
    ):
        reply = await till.ask("POST", path, body, **headers)
        assert (reply.status, reply.code) == (403, "RDM000918")
        assert reply.json["extra_fields"] == {"reason": "insufficient_scope", "scope": "reversals.write"}
    assert (await till.ask("POST", path, body, authorization="Bearer nobody")).code == "GDF000014"
    assert await balance_of(till.db, till.shop) == (BALANCE - 8500, 0)


async def test_who_owns_an_order_reads_it_and_nobody_else(till: Till) -> None:
    """A foreign campaign's order, another participant's, an unknown one and a malformed id are all the same."""
    other = await make_shop(till.db)
    path = f"/orders/{till.order.key}"
    seen = [
        (await till.ask("GET", path, **headers)).json for headers in ({}, till.shop.headers, till.shop.speaking_for())
    ]
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["purchase_id"] == str(till.purchase)
    stranger = await another_participant(till)
    unknown = [f"/orders/{text}" for text in (uuid4(), "1", str(till.order.key)[:-1], f"{{{till.order.key}}}")]
    for suffix in ("", "/reversals"):
        answers = [
            await till.ask("GET", path + suffix, **other.headers),
            await till.ask("GET", path + suffix, **other.speaking_for()),
            await till.ask("GET", path + suffix, **till.shop.speaking_for(stranger)),
            *[await till.ask("GET", each + suffix) for each in unknown],
        ]
        assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
        assert (answers[0].code, answers[0].json["extra_fields"]["resource"]) == (NOT_FOUND, "order")


async def test_the_operator_reads_and_reverses_an_order_of_any_campaign_by_its_id(till: Till) -> None:
    other, order = await make_shop(till.db), SoldOrder([SoldItem(1, 30)])
    sold = await sell(till.db, other, [SoldOrder([SoldItem(1, 10)], vendor_id="loja-lua"), order])
    for each, purchase, points in ((till.order, till.purchase, 8500), (order, sold.key, 30)):
        told = (await till.ask("GET", f"/orders/{each.key}")).json
        assert (told["id"], told["purchase_id"], told["points_paid"]) == (str(each.key), str(purchase), points)
        assert (await till.reverse(order=each, executeTotalRefund=False, currentRefundValue=10)).status == 201
        assert (await till.ask("GET", f"/orders/{each.key}")).json["refunded_points"] == 10
        assert (await till.ask("GET", f"/orders/{each.key}/reversals")).json["total"] == 1
    assert (await till.ask("GET", f"/orders/{order.key}", **till.shop.headers)).code == NOT_FOUND


async def test_the_id_of_a_purchase_or_an_item_is_none_of_an_order(till: Till) -> None:
    """They differ from it in their last byte, as does that of the order the purchase does not have."""
    item, missing = till.order.items[0].key, part_key(till.purchase, PARTS_MAX)
    for key in (till.purchase, item, missing):
        path = f"/orders/{key}"
        answers = [
            await till.ask("GET", path),
            await till.ask("GET", path, **till.shop.headers),
            await till.ask("GET", path, **till.shop.speaking_for()),
            await till.ask("GET", f"{path}/reversals"),
            await till.ask("POST", f"{path}/reversals", a_body()),
            await till.ask("POST", f"{path}/reversal/external", a_body(), idempotency_key=f"k-{key}"),
        ]
        assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
        assert (answers[0].code, answers[0].json["extra_fields"]["resource"]) == (NOT_FOUND, "order")
    assert await balance_of(till.db, till.shop) == (BALANCE - 8500, 0)


async def test_reversals_are_listed_oldest_first_and_by_pages(till: Till) -> None:
    made = [(await till.reverse(executeTotalRefund=False, currentRefundValue=value)).json for value in (1, 2, 3)]
    path = f"/orders/{till.order.key}/reversals"
    whole = await till.ask("GET", path, **till.shop.headers)
    assert whole.json == {"items": made, "offset": 0, "limit": 20, "total": 3}
    page = await till.ask("GET", f"{path}?offset=1&limit=1")
    assert page.json == {"items": made[1:2], "offset": 1, "limit": 1, "total": 3}


async def test_motives_are_open_to_every_credential(till: Till) -> None:
    for headers in (await till.admin_with("documents.review"), till.shop.headers, till.shop.speaking_for()):
        reply = await till.ask("GET", "/reversal_motives?limit=100", **headers)
        assert reply.json["total"] == 50
        assert [motive["name"] for motive in reply.json["items"]] == list(MOTIVES)
        assert reply.json["items"][13] == {"id": 14, "name": "Estorno de frete"}
    page = await till.ask("GET", "/reversal_motives?offset=48")
    assert [motive["id"] for motive in page.json["items"]] == [49, 50]
    assert (await till.ask("GET", "/reversal_motives", authorization="Bearer x")).status == 401


async def another_participant(till: Till) -> UUID:
    """A second participant of the same campaign."""
    key = uuid4()
    async with till.db.connection() as connection:
        for statement in (
            "insert into aval.approvers select integrator_id, $2, sha256('x'), document_sealed, document_masked, name,"
            " active, created_at, updated_at from aval.approvers where approver_id = $1",
            "insert into aval.participants (integrator_id, participant_id, username, person_type, status, catalog_id,"
            " profile_sealed, created_at, updated_at) select integrator_id, $2, 'outra', person_type, status,"
            " catalog_id, profile_sealed, created_at, updated_at from aval.participants where participant_id = $1",
        ):
            await connection.execute(statement, till.shop.participant, key)
    return key
