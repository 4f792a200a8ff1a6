"""Who is asked about a purchase before it is made, and what counts as an answer (redemptions.md §4.1)."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from aval.domain.purchase_request import Checked, ItemVerdict, PurchaseRequest, RiskDecision
from aval.operations import check_purchase as module
from aval.operations.check_purchase import check_purchase
from tests.domain.test_purchase_request import a_request

SLOW = object()
REQUEST = a_request()


@dataclass
class Asked:
    """Answers with a value, an exception, or not in time."""

    answer: Any
    asked: list[PurchaseRequest] = field(default_factory=list)

    async def _answered(self, request: PurchaseRequest) -> Any:
        self.asked.append(request)
        if self.answer is SLOW:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Validator(Asked):
    async def validate(self, request: PurchaseRequest) -> tuple[ItemVerdict, str]:
        verdict: tuple[ItemVerdict, str] = await self._answered(request)
        return verdict


class Risk(Asked):
    async def decide(self, request: PurchaseRequest) -> RiskDecision:
        return RiskDecision(await self._answered(request))


OK, LIMITED = (ItemVerdict.OK, ""), (ItemVerdict.QUANTITY_LIMIT, "F-100")


@pytest.mark.parametrize(
    ("items", "risk", "checked"),
    [
        (None, None, Checked()),
        (OK, None, Checked()),
        (None, "approve", Checked()),
        (None, "score", Checked(risk=RiskDecision.SCORE)),
        (OK, "deny", Checked(risk=RiskDecision.DENY)),
        (OK, OSError(), Checked(risk=RiskDecision.UNSPECIFIED)),
        (OK, SLOW, Checked(risk=RiskDecision.UNSPECIFIED)),
        (OK, "a word nobody knows", Checked(risk=RiskDecision.UNSPECIFIED)),
        (LIMITED, None, Checked(*LIMITED)),
        (OSError(), None, Checked(ItemVerdict.ORDER_NOT_COMPLETED)),
        (SLOW, None, Checked(ItemVerdict.ORDER_NOT_COMPLETED)),
    ],
)
async def test_nobody_to_ask_accepts_and_no_answer_is_none(
    monkeypatch: pytest.MonkeyPatch, items: Any, risk: Any, checked: Checked
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.02)
    validator, adapter = Validator(items), Risk(risk)
    told = await check_purchase(
        REQUEST, validator=None if items is None else validator, risk=None if risk is None else adapter
    )
    assert told == checked
    assert validator.asked == [REQUEST] * (items is not None) and adapter.asked == [REQUEST] * (risk is not None)


@pytest.mark.parametrize("items", [LIMITED, OSError(), SLOW])
async def test_of_items_that_are_refused_the_risk_is_not_asked(monkeypatch: pytest.MonkeyPatch, items: Any) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.02)
    adapter = Risk("approve")
    told = await check_purchase(REQUEST, validator=Validator(items), risk=adapter)
    assert told.items is not ItemVerdict.OK and adapter.asked == []
