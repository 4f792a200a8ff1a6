"""What only the sandbox does: it says when to ask again, keeps to "later", and returns a TED."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from aval.ports import RailAnswer, RailStatus
from aval.rails.sandbox import SandboxRail
from tests.rails.orders import LATER, NOW, order

RAIL = SandboxRail()


@pytest.mark.parametrize(
    ("number", "asks_again"),
    [(n, n in (91, 92, 94, 95, 96, 98)) for n in (0, 1, 50, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99)],
)
async def test_it_says_when_to_ask_again(number: int, asks_again: bool) -> None:
    assert (await RAIL.settle(order(number + 100))).ask_again_at == (LATER if asks_again else None)


@pytest.mark.parametrize("number", [91, 92, 94, 95, 96, 97, 98])
async def test_before_later_a_query_repeats_the_first_answer(number: int) -> None:
    sent = order(number)
    early = replace(sent, now=LATER - timedelta(milliseconds=1))
    assert await RAIL.query(early) == await RAIL.settle(sent)


@pytest.mark.parametrize("number", [91, 92, 94, 95, 96, 98])
async def test_after_later_nothing_is_asked_again(number: int) -> None:
    assert (await RAIL.query(order(number, now=LATER))).ask_again_at is None


async def test_a_ted_comes_back_later() -> None:
    ted = order(10_095, operation="ted")
    assert (await RAIL.settle(ted)).status is RailStatus.SENT
    returned = {
        **{"refusal_code": 1, "enumerator": "conta_destinatario_encerrada"},
        "description": "Target account is closed",
    }
    key = (await RAIL.settle(ted)).transaction_key
    told = RailAnswer(RailStatus.RETURNED, transaction_key=key, refusal=returned)
    assert await RAIL.query(replace(ted, now=LATER)) == told


@pytest.mark.parametrize(
    ("ispb", "status"),
    [("99999900", "sent"), ("99999990", "sent"), ("99999999", "rejected"), ("99999899", "sent"), ("00000000", "sent")],
)
async def test_only_a_scripted_ispb_decides(ispb: str, status: str) -> None:
    assert (await RAIL.settle(order(ispb=ispb))).status == status


async def test_a_transaction_key_follows_from_the_reference_and_has_the_shape_of_version_4() -> None:
    reference = UUID("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264")
    keys = {
        (await SandboxRail().settle(order(rail_reference=reference, now=now))).transaction_key for now in (NOW, LATER)
    }
    [key] = keys
    assert key is not None
    assert key.version == 4
    assert key != reference
