"""Ask outside about a purchase before its transaction: the item validator, then the risk adapter, 2 s each."""

import asyncio

from aval.domain.purchase_request import Checked, ItemVerdict, PurchaseRequest, RiskDecision
from aval.ports import ItemValidator, RiskAdapter

TIMEOUT_S = 2  # spec redemptions.md §4.1


async def check_purchase(
    request: PurchaseRequest, *, validator: ItemValidator | None, risk: RiskAdapter | None
) -> Checked:
    """What both said; nobody to ask accepts. A failure or time-out is `order_not_completed`, or `unspecified`."""
    items, sku_id = ItemVerdict.OK, ""
    if validator is not None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                items, sku_id = await validator.validate(request)
        except Exception:  # noqa: BLE001 – whatever it is, it is no verdict
            items = ItemVerdict.ORDER_NOT_COMPLETED
    if risk is None or items is not ItemVerdict.OK:
        return Checked(items, sku_id)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return Checked(items, sku_id, await risk.decide(request))
    except Exception:  # noqa: BLE001 – the same
        return Checked(items, sku_id, RiskDecision.UNSPECIFIED)
