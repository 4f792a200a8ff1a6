"""What every rail does, held against the sandbox and against a core that runs as a process of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import pytest

from aval.channels.outbound import OutboundHttp
from aval.ports import PayeeFound, Rail, RailAnswer, RailSilent, RailStatus, RailTarget, SettlementOrder
from aval.rails.http import RailRegistry
from tests.rails.core_process import running_core
from tests.rails.orders import LATER, SECRET, order

CORE_LATER_S = 0.1


@dataclass
class Subject:
    """A rail, and how "later" comes for it."""

    rail: Rail
    wait_s: float

    async def later(self, settled: SettlementOrder) -> SettlementOrder:
        await asyncio.sleep(self.wait_s)
        return replace(settled, now=LATER)


@pytest.fixture(scope="module")
def core_url() -> Iterator[str]:
    with running_core(secret=SECRET, by_centavos=True, later_s=CORE_LATER_S, hold_s=0.05, seed=1) as url:
        yield url


@pytest.fixture(params=["sandbox", "http"])
async def subject(request: pytest.FixtureRequest, core_url: str) -> AsyncIterator[Subject]:
    is_http = request.param == "http"
    outbound = OutboundHttp([], True)
    target = RailTarget(order().integrator_key, core_url if is_http else None, SECRET if is_http else None)
    yield Subject(RailRegistry(outbound).rail_of(target), CORE_LATER_S if is_http else 0)
    await outbound.close()


def _word(answer: RailAnswer) -> tuple[str, str | None]:
    assert (answer.transaction_key is not None) == (answer.status is RailStatus.SENT)
    return answer.status.value, answer.rejection_reason


SENT, PENDING, UNKNOWN, NOT_FOUND = (("sent", None), ("pending", None), ("unknown", None), ("not_found", None))
TARGET_UNKNOWN, REFUSED = ("rejected", "target_account_not_found"), ("rejected", "rail_refused")


@pytest.mark.parametrize(
    ("number", "at_first", "in_the_end"),
    [
        *((0, SENT, SENT), (90, SENT, SENT), (91, PENDING, SENT), (92, PENDING, REFUSED)),
        *((93, TARGET_UNKNOWN, TARGET_UNKNOWN), (94, UNKNOWN, SENT), (95, SENT, SENT), (96, UNKNOWN, NOT_FOUND)),
        *((97, UNKNOWN, UNKNOWN), (98, SENT, SENT), (99, REFUSED, REFUSED)),
    ],
)
@pytest.mark.parametrize("is_by_ispb", [False, True])
async def test_an_order_is_answered_and_can_be_asked_for_later(
    subject: Subject, number: int, at_first: object, in_the_end: object, is_by_ispb: bool
) -> None:
    # The ISPB wins over the centavos.
    sent = order(10_099, ispb=f"999999{number:02d}") if is_by_ispb else order(10_000 + number)
    assert _word(await subject.rail.settle(sent)) == at_first
    assert _word(await subject.rail.query(await subject.later(sent))) == in_the_end


async def test_a_reference_that_was_never_sent_is_not_found(subject: Subject) -> None:
    assert _word(await subject.rail.query(order(send_number=0))) == NOT_FOUND


async def test_an_order_has_one_transaction_key_however_often_it_is_sent_or_asked_for(subject: Subject) -> None:
    sent = order()
    answers = [
        await subject.rail.settle(sent),
        await subject.rail.settle(replace(sent, send_number=2, fence=2)),
        await subject.rail.query(replace(sent, send_number=2)),
    ]
    assert len({answer.transaction_key for answer in answers}) == 1
    assert (await subject.rail.settle(order())).transaction_key != answers[0].transaction_key


async def test_what_was_not_accepted_is_sent_again_with_the_same_reference(subject: Subject) -> None:
    first = order(10_096)
    second = replace(first, send_number=2, fence=2)
    answers = [
        await subject.rail.settle(first),
        await subject.rail.query(await subject.later(first)),
        await subject.rail.settle(second),
        await subject.rail.query(second),
    ]
    assert [_word(answer) for answer in answers] == [UNKNOWN, NOT_FOUND, SENT, SENT]
    assert answers[2].transaction_key == answers[3].transaction_key


async def test_the_owner_of_a_key_is_found(subject: Subject) -> None:
    account = {
        **{"account_branch": "0001", "account_number": "1234567", "account_digit": "8", "ispb": "87654321"},
        **{"account_type": "checking_account", "owner_document_number": "52998224725"},
        "owner_name": "Favorecido Teste",
    }
    assert await subject.rail.find_pix_key("+5511987654321") == PayeeFound(account, "Banco Teste")


async def test_an_unknown_key_has_no_owner(subject: Subject) -> None:
    assert await subject.rail.find_pix_key("nao.existe@example.com") is None


async def test_a_look_up_without_answer_says_so(subject: Subject) -> None:
    with pytest.raises(RailSilent):
        await subject.rail.find_pix_key("sem.resposta@example.com")
