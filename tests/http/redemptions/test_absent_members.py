"""What a member without a value means, and which texts are none, in bodies of redemptions (transfers.md §2.1)."""

from typing import Any

import pytest

from tests.buyers import Buyer, a_purchase, an_item
from tests.redemption_stage import RedemptionStage


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions, has_phone=False, policy={})


async def test_null_is_absent_in_an_item(buyer: Buyer) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("product_id", "sku_id", "vendor_sku_id", "image_url"))
    made = await buyer.buy(a_purchase(items=[an_item(**nothing, category={"id": None, "name": None})]))
    assert made.status == 201, made.body
    (item,) = made.json["orders"][0]["items"]
    assert [item[name] for name in ("product_id", "sku_id", "vendor_sku_id")] == ["0", "0", "0"]
    assert item["category"] == {"id": "0"}


async def test_null_is_absent_under_a_key(buyer: Buyer) -> None:
    made = await buyer.buy(a_purchase(items=[an_item(sku_id=None)]), idempotency_key="resgate-1")
    again = await buyer.buy(a_purchase(items=[an_item()]), idempotency_key="resgate-1")
    assert (made.status, again.status, again.json["id"]) == (201, 201, made.json["id"])


async def test_null_is_absent_in_a_reversal(redemptions: RedemptionStage, buyer: Buyer) -> None:
    (order,) = (await buyer.bought())["orders"]
    line = {"orderItemId": order["items"][0]["id"], "refundQuantity": None, "refundValue": 300}
    nothing = {"currentRefundValue": None, "refundShippingValue": None, "refundMotiveDescription": None}
    told = {"executeTotalRefund": False, "refundType": 2, "refundMotiveId": 16, "orderItems": [line]} | nothing
    path, operator = f"/orders/{order['id']}/reversals", await redemptions.operator()
    part = await redemptions.call("POST", path, told, headers=operator)
    assert (part.status, part.json["kind"], part.json["total"]) == (201, "value", 300)
    total = told | {"executeTotalRefund": True, "orderItems": None}
    rest = await redemptions.call("POST", path, total, headers=operator)
    assert (rest.status, rest.json["kind"], rest.json["total"]) == (201, "total", 7_700)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("customer", {"nome": "a\x00"}),
        ("shipping", {"rua\u202e": 1}),
        ("parameters", {"notas": [{"texto": "a\u200bb"}]}),
    ],
)
async def test_hidden_characters_are_refused_in_what_is_only_recorded(buyer: Buyer, member: str, value: Any) -> None:
    refused = await buyer.buy(a_purchase(**{member: value}))
    assert (refused.status, refused.code) == (400, "QIT000001")
    assert refused.json["extra_fields"]["errors"] == [{"field": member, "reason": "invalid_value"}]
    assert await buyer.balance() == (20_000, 0)
