"""Who is asked about a purchase before it is made: an item validator and a risk service, over HTTP.

Both take a POST of JSON and answer 200 with a verdict; anything else, or silence, is no answer (docs/adr/0037).
"""

from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from aval.domain.purchase_request import ItemVerdict, PurchaseRequest, RiskDecision
from aval.ports import Outbound, OutboundCall

TIMEOUT = timedelta(seconds=2)  # spec redemptions.md §4.1

AnswerT = TypeVar("AnswerT")


class HookSilent(Exception):
    """No verdict came in time, or none that can be read."""


class _ItemAnswer(msgspec.Struct):
    verdict: ItemVerdict
    sku_id: str = ""


class _RiskAnswer(msgspec.Struct):
    decision: RiskDecision


class HttpItemValidator:
    """Asks a server about the items of purchases."""

    def __init__(self, outbound: Outbound, url: str, key: str) -> None:
        self._outbound, self._url, self._key = outbound, url, key

    async def validate(self, request: PurchaseRequest) -> tuple[ItemVerdict, str]:
        """The server's verdict; raises HookSilent."""
        answer = await _asked(self._outbound, self._url, self._key, request, _ItemAnswer)
        return answer.verdict, answer.sku_id


class HttpRiskAdapter:
    """Asks a server about the risk of purchases."""

    def __init__(self, outbound: Outbound, url: str, key: str) -> None:
        self._outbound, self._url, self._key = outbound, url, key

    async def decide(self, request: PurchaseRequest) -> RiskDecision:
        """The server's decision; raises HookSilent."""
        return (await _asked(self._outbound, self._url, self._key, request, _RiskAnswer)).decision


async def _asked(outbound: Outbound, url: str, key: str, request: PurchaseRequest, type_: type[AnswerT]) -> AnswerT:
    headers = {"content-type": "application/json", "x-correlation-id": request.correlation_id}
    if key:
        headers["authorization"] = f"Bearer {key}"
    body = msgspec.json.encode(question_of(request))
    answer = await outbound.call(OutboundCall("POST", url, headers, body, TIMEOUT))
    if answer.status != 200:
        raise HookSilent
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except msgspec.MsgspecError:
        raise HookSilent from None


def question_of(request: PurchaseRequest) -> dict[str, Any]:
    """What a server is told of a purchase: whose, what and from where; neither name, nor document, nor telephone."""
    return {
        "campaign_id": request.caller.tenant.campaign_id,
        "participant_id": request.participant_key,
        "purchase_id": request.key,
        "kind": request.kind,
        "channel_type": request.channel_type,
        "is_two_factor": request.is_two_factor,
        "total_points": request.products_points + request.shipping_points,
        "debited_points": request.debited_points,
        "vendor_order_id": request.vendor_order_id,
        "impersonator_user": request.caller.impersonator_user,
        "client_address": request.recorded.get("client_address"),
        "user_agent": request.recorded.get("user_agent"),
        "items": [
            {
                "vendor_id": order.vendor_id,
                "name": item.name,
                "quantity": item.quantity,
                "unit_points": item.unit_points,
            }
            | {name: item.facts[name] for name in ("product_id", "sku_id", "vendor_sku_id")}
            for order in request.orders
            for item in order.items
        ],
    }
