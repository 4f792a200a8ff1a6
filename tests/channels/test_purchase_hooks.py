"""Servers that are asked about a purchase: what they are told, and that a bad answer is none."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.channels.purchase_hooks import HookSilent, HttpItemValidator, HttpRiskAdapter
from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import Campaign, TwoFactorPolicy
from aval.domain.purchase_request import Checked, ItemVerdict, PurchaseRequest, RiskDecision
from aval.operations import check_purchase as checking
from aval.operations.check_purchase import check_purchase
from aval.ports import OutboundAnswer, OutboundCall
from tests.domain.test_purchase import a_purchase

CAMPAIGN = Campaign(
    *(UUID(int=1), "40510", "loja", "Clube Sol", "live", "active", "pt-BR", "America/Sao_Paulo"),
    catalogs={},
    vendors={},
    policy_version=1,
    policy=TwoFactorPolicy(),
)
CALLER = Caller(CallerKind.IMPERSONATOR, "application:x", frozenset(), CAMPAIGN, impersonator_user="atendente-22")
PURCHASE = a_purchase()
REQUEST = PurchaseRequest(
    caller=CALLER,
    participant_key=UUID(int=3),
    kind="internal",
    key=PURCHASE.key,
    path="/purchases",
    idempotency_key=None,
    fingerprint=b"",
    correlation_id="app-1",
    channel_type="MOBILE",
    vendor_order_id=None,
    orders=PURCHASE.orders,
    products_points=8_000,
    shipping_points=500,
    debited_points=8_500,
    card_points=0,
    recorded={"client_address": "192.0.2.1", "private": "sealed"},
)


class Server:
    """Answers every call alike, and keeps what it was asked."""

    def __init__(self, body: Any, status: int | None = 200) -> None:
        self.answer = OutboundAnswer(status, json.dumps(body).encode() if not isinstance(body, bytes) else body)
        self.calls: list[OutboundCall] = []

    async def call(self, call: OutboundCall) -> OutboundAnswer:
        self.calls.append(call)
        return self.answer

    async def close(self) -> None: ...


async def test_both_are_told_what_is_bought_and_nothing_of_the_person() -> None:
    items, risk = Server({"verdict": "ok"}), Server({"decision": "score"})
    validator = HttpItemValidator(items, "https://items.example", "k-1")
    adapter = HttpRiskAdapter(risk, "https://risk.example", "")
    assert await validator.validate(REQUEST) == (ItemVerdict.OK, "")
    assert await adapter.decide(REQUEST) is RiskDecision.SCORE
    (asked,), (other,) = items.calls, risk.calls
    assert (asked.method, asked.url, asked.headers["authorization"]) == ("POST", "https://items.example", "Bearer k-1")
    assert "authorization" not in other.headers and other.headers["x-correlation-id"] == "app-1"
    assert asked.timeout.total_seconds() == 2
    told = json.loads(asked.body)
    assert told["items"] == [
        {
            "vendor_id": "loja-sol",
            "name": "Fone de ouvido",
            "quantity": 2,
            "unit_points": 4_000,
            "product_id": "0",
            "sku_id": "F-100",
            "vendor_sku_id": "0",
        }
    ]
    assert (told["campaign_id"], told["debited_points"], told["client_address"]) == ("40510", 8_500, "192.0.2.1")
    assert "sealed" not in asked.body.decode()


@pytest.mark.parametrize(
    "server",
    [Server({"verdict": "ok", "decision": "approve"}, 500), Server({}), Server({"verdict": "?", "decision": "?"})]
    + [Server(b"<html>"), Server(b"", None)],
)
async def test_anything_but_a_verdict_is_silence(server: Server) -> None:
    with pytest.raises(HookSilent):
        await HttpItemValidator(server, "https://x.example", "").validate(REQUEST)
    with pytest.raises(HookSilent):
        await HttpRiskAdapter(server, "https://x.example", "").decide(REQUEST)
    silent = await check_purchase(REQUEST, validator=None, risk=HttpRiskAdapter(server, "https://x.example", ""))
    assert silent == Checked(risk=RiskDecision.UNSPECIFIED)


async def test_a_limited_quantity_names_its_sku_and_risk_is_not_asked() -> None:
    items, risk = Server({"verdict": "quantity_limit", "sku_id": "F-100"}), Server({"decision": "approve"})
    checked = await check_purchase(
        REQUEST,
        validator=HttpItemValidator(items, "https://x.example", ""),
        risk=HttpRiskAdapter(risk, "https://x.example", ""),
    )
    assert checked == Checked(ItemVerdict.QUANTITY_LIMIT, "F-100")
    assert risk.calls == []


async def test_nobody_to_ask_accepts() -> None:
    assert await check_purchase(REQUEST, validator=None, risk=None) == Checked()


async def test_whoever_is_too_slow_said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Server):
        async def call(self, call: OutboundCall) -> OutboundAnswer:
            await asyncio.sleep(60)
            return await super().call(call)

    monkeypatch.setattr(checking, "TIMEOUT_S", 0.01)
    slow = Slow({"verdict": "ok", "decision": "approve"})
    validator, risk = HttpItemValidator(slow, "https://x", ""), HttpRiskAdapter(slow, "https://x", "")
    items = await check_purchase(REQUEST, validator=validator, risk=risk)
    assert items == Checked(ItemVerdict.ORDER_NOT_COMPLETED)
    assert await check_purchase(REQUEST, validator=None, risk=risk) == Checked(risk=RiskDecision.UNSPECIFIED)


def test_a_request_does_not_print() -> None:
    assert "atendente" not in repr(replace(REQUEST, vendor_order_id="VG"))
