"""The HTTP rail: what it sends, what it makes of every answer, and the callbacks of a core."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from aval.channels.outbound import OutboundHttp
from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.signature import is_signed, new_secret
from aval.ports import OutboundAnswer, OutboundCall, RailAnswer, RailSilent, RailStatus, RailTarget
from aval.rails import http
from aval.rails.http import HttpRail, RailCallback, RailRegistry, callback_of
from aval.rails.sandbox import SandboxRail
from tests.rails.core_process import running_core
from tests.rails.orders import NOW, SECRET, TARGET_ACCOUNT, order

KEY = UUID("84e1c5d7-0a3b-4f69-b28d-6c97f2e0a513")


@dataclass
class Wire:
    """Stands where the network is: keeps the calls and gives one answer to all."""

    answer: OutboundAnswer = OutboundAnswer(None, error="timeout")  # noqa: RUF009
    calls: list[OutboundCall] = field(default_factory=list)

    async def call(self, call: OutboundCall) -> OutboundAnswer:
        self.calls.append(call)
        return self.answer

    async def close(self) -> None:
        raise AssertionError


def _rail(wire: Wire, url: str = "https://core.example.com/aval") -> HttpRail:
    return HttpRail(wire, url, SECRET, clock=lambda: NOW)


def _told(**body: object) -> OutboundAnswer:
    return OutboundAnswer(200, json.dumps(body).encode())


async def test_a_settlement_carries_the_fields_of_the_contract_with_an_exact_amount() -> None:
    wire = Wire()
    sent = order(20_201, target_account=TARGET_ACCOUNT, fence=7)
    await _rail(wire).settle(sent)
    [call] = wire.calls
    assert (call.method, call.url) == ("POST", "https://core.example.com/aval/settlements")
    assert call.timeout == timedelta(seconds=10)
    assert b'"transaction_amount":202.01,' in call.body
    assert json.loads(call.body) == {
        "rail_reference": str(sent.rail_reference),
        "fence": 7,
        "operation": "pix_transfer",
        "operation_key": str(sent.operation_key),
        "account_key": str(sent.account_key),
        "transaction_amount": 202.01,
        "end_to_end_id": "E12345678202611231430abcdefghijk",
        "pix_message": "aluguel",
        "target_pix_key": "maria@example.com",
        "target_account": TARGET_ACCOUNT,
    }


async def test_every_call_is_signed_and_no_two_have_the_same_id() -> None:
    wire = Wire(OutboundAnswer(404))
    rail = _rail(wire, "https://core.example.com/")
    await rail.settle(order())
    await rail.query(order(rail_reference=KEY))
    await rail.find_pix_key("a@example.com")
    assert [(call.method, call.url, call.timeout.total_seconds()) for call in wire.calls] == [
        ("POST", "https://core.example.com/settlements", 10),
        ("GET", f"https://core.example.com/settlements/{KEY}", 10),
        ("POST", "https://core.example.com/pix_keys", 2),
    ]
    assert [call.body for call in wire.calls[1:]] == [b"", b'{"target_pix_key":"a@example.com"}']
    assert all(is_signed([SECRET], call.headers, call.body, NOW) for call in wire.calls)
    assert len({call.headers["webhook-id"] for call in wire.calls}) == 3
    assert [call.headers.get("Content-Type") for call in wire.calls] == ["application/json", None, "application/json"]


async def test_a_signature_carries_the_time_of_the_call() -> None:
    wire = Wire()
    await HttpRail(wire, "https://core.example.com", SECRET).settle(order())
    assert abs(int(wire.calls[0].headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 60


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (_told(settlement_status="pending"), RailAnswer(RailStatus.PENDING)),
        (
            _told(settlement_status="sent", transaction_key=str(KEY), rejection_reason=None, note="more"),
            RailAnswer(RailStatus.SENT, transaction_key=KEY),
        ),
        *[
            (
                _told(settlement_status="rejected", transaction_key=None, rejection_reason=reason),
                RailAnswer(RailStatus.REJECTED, rejection_reason=reason),
            )
            for reason in ("target_account_not_found", "rail_refused")
        ],
    ],
)
async def test_a_documented_answer_is_taken(answer: OutboundAnswer, expected: RailAnswer) -> None:
    assert await _rail(Wire(answer)).settle(order()) == expected
    assert await _rail(Wire(answer)).query(order()) == expected


SENT = json.dumps({"settlement_status": "sent", "transaction_key": str(KEY)}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        *[OutboundAnswer(None, error=error) for error in ("timeout", "redirect", "tls_failed", "target_not_allowed")],
        *[OutboundAnswer(status, SENT) for status in (100, 201, 202, 204, 301, 400, 401, 403, 409, 410, 500, 503)],
        OutboundAnswer(200, SENT, "too_large"),
        *[OutboundAnswer(200, body) for body in (b"", b"sent", b"{}", b"[]", b"null", SENT[:-1], SENT * 2, b"\xff")],
        *[OutboundAnswer(200, body) for body in (b'{"x":' + b"[" * 65_000, b'{"settlement_status":"\xff"}')],
        _told(settlement_status="sent"),
        _told(settlement_status="sent", transaction_key=None),
        _told(settlement_status="sent", transaction_key="1"),
        _told(settlement_status="SENT", transaction_key=str(KEY)),
        _told(settlement_status="rejected"),
        _told(settlement_status="rejected", rejection_reason="closed"),
        _told(settlement_status="returned", refusal_code=1, enumerator="x", description="y"),
        _told(settlement_status="not_found"),
        _told(settlement_status=None),
    ],
)
async def test_any_other_answer_is_an_unknown_outcome(answer: OutboundAnswer) -> None:
    assert await _rail(Wire(answer)).settle(order()) == RailAnswer(RailStatus.UNKNOWN)
    assert await _rail(Wire(answer)).query(order()) == RailAnswer(RailStatus.UNKNOWN)
    with pytest.raises(RailSilent):
        await _rail(Wire(answer)).find_pix_key("a@example.com")


async def test_404_means_never_seen_on_a_query_only() -> None:
    wire = Wire(OutboundAnswer(404, b"not json"))
    assert await _rail(wire).query(order()) == RailAnswer(RailStatus.NOT_FOUND)
    assert await _rail(wire).settle(order()) == RailAnswer(RailStatus.UNKNOWN)
    assert await _rail(wire).find_pix_key("a@example.com") is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Maria  Souza", "Maria  Souza"), (" Jo\u202ea\u0303o\x00\n ", "Joa\u0303o"), ("x" * 5_000, "x" * 150)],
)
async def test_names_of_a_rail_are_stripped_and_capped(name: str, shown: str) -> None:
    answer = _told(target_account={**TARGET_ACCOUNT, "owner_name": name, "more": 1}, financial_institution_name=name)
    found = await _rail(Wire(answer)).find_pix_key("a@example.com")
    assert found is not None
    assert found.target_account == {**TARGET_ACCOUNT, "owner_name": shown}
    assert found.financial_institution_name == shown


async def test_an_owner_without_institution_is_found_and_one_without_name_is_not() -> None:
    found = await _rail(Wire(_told(target_account=TARGET_ACCOUNT))).find_pix_key("a@example.com")
    assert found is not None
    assert found.financial_institution_name is None
    with pytest.raises(RailSilent):
        await _rail(Wire(_told(target_account={**TARGET_ACCOUNT, "owner_name": "\u200b"}))).find_pix_key(
            "a@example.com"
        )


@pytest.mark.parametrize("missing", list(TARGET_ACCOUNT))
async def test_an_owner_with_a_missing_field_is_no_answer(missing: str) -> None:
    account = {name: text for name, text in TARGET_ACCOUNT.items() if name != missing}
    with pytest.raises(RailSilent):
        await _rail(Wire(_told(target_account=account))).find_pix_key("a@example.com")


@pytest.mark.parametrize("name", [name for name in TARGET_ACCOUNT if name != "owner_name"])
async def test_an_owner_with_hidden_characters_in_bank_data_is_no_answer(name: str) -> None:
    with pytest.raises(RailSilent):
        await _rail(Wire(_told(target_account={**TARGET_ACCOUNT, name: "1\x00"}))).find_pix_key("a@example.com")


def test_the_registry_gives_the_sandbox_without_url() -> None:
    registry = RailRegistry(Wire())
    assert isinstance(registry.rail_of(RailTarget(KEY, None, None)), SandboxRail)
    rail = registry.rail_of(RailTarget(KEY, "https://core.example.com", SECRET))
    assert isinstance(rail, HttpRail)
    assert SECRET not in repr(rail)
    with pytest.raises(AssertionError):
        registry.rail_of(RailTarget(KEY, "https://core.example.com", None))


REFUSAL = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}


def _callback(**body: object) -> bytes:
    return json.dumps({"rail_reference": str(KEY), **body}).encode()


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (_callback(settlement_status="pending"), RailAnswer(RailStatus.PENDING)),
        (
            _callback(settlement_status="sent", transaction_key=str(KEY).upper(), rejection_reason=None),
            RailAnswer(RailStatus.SENT, transaction_key=KEY),
        ),
        (
            _callback(settlement_status="rejected", rejection_reason="rail_refused"),
            RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused"),
        ),
        (_callback(settlement_status="returned", **REFUSAL), RailAnswer(RailStatus.RETURNED, refusal=REFUSAL)),
    ],
)
def test_a_callback_is_read(body: bytes, answer: RailAnswer) -> None:
    assert callback_of(body) == RailCallback(KEY, answer)


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b"[]", b"1", b"null", b'{"settlement_status":"pending"}'),
        _callback(),
        _callback(settlement_status="unknown"),
        _callback(settlement_status="sent"),
        _callback(settlement_status="sent", transaction_key="x"),
        _callback(settlement_status="rejected"),
        _callback(settlement_status="rejected", rejection_reason="other"),
        _callback(settlement_status="pending", status="sent"),
        _callback(settlement_status="pending", rail_reference="1"),
        *[_callback(settlement_status="returned", **{**REFUSAL, name: None}) for name in REFUSAL],
        *[
            _callback(settlement_status="returned", **{**REFUSAL, "refusal_code": code})
            for code in (-1, 10**6, "1", 1.5)
        ],
        *[
            _callback(settlement_status="returned", **{**REFUSAL, "enumerator": name})
            for name in ("", "a b", "a\n", "á")
        ],
        *[_callback(settlement_status="returned", **{**REFUSAL, "description": text}) for text in ("", "x" * 256)],
    ],
)
def test_a_callback_of_another_shape_is_a_schema_error(body: bytes) -> None:
    with pytest.raises(Refusal, match=r"qit\.schema_error"):
        callback_of(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"sent", b"\xff", b'{"a":1}}', b'{"a":NaN}', b'{"a":"\\ud800"}', b"[" * 60_000, b'{"a":"\xff"}'),
        _callback(settlement_status="pending") + b"x",
        _callback(settlement_status="pending")[:-1] + b',"settlement_status":"pending"}',
        b'{"a":{"b":1,"b":1}}',
    ],
)
def test_a_callback_that_is_no_json_is_a_syntax_error(body: bytes) -> None:
    with pytest.raises(Refusal, match=r"qit\.syntax_error"):
        callback_of(body)


@asynccontextmanager
async def _outbound() -> AsyncIterator[OutboundHttp]:
    outbound = OutboundHttp([], True)
    try:
        yield outbound
    finally:
        await outbound.close()


async def _ledger(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/ledger") as answer:
        ledger: dict[str, Any] = await answer.json()
        return ledger


async def test_a_core_that_takes_the_order_and_fails_to_say_so_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SETTLEMENT_TIMEOUT", timedelta(seconds=1))
    for fault in ("accept_then_timeout", "accept_then_500"):
        with running_core(**{"secret": SECRET, fault: 1.0, "hold_s": 5.0, "seed": 1}) as url:
            async with _outbound() as outbound:
                rail, sent = HttpRail(outbound, url, SECRET), order()
                assert await rail.settle(sent) == RailAnswer(RailStatus.UNKNOWN)
                assert (await rail.query(sent)).status is RailStatus.SENT
            [entry] = (await _ledger(url))["entries"]
            assert (entry["posts"], entry["statuses"]) == (1, ["sent"])


async def test_a_stalling_core_is_an_unknown_outcome_and_may_take_the_order_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "SETTLEMENT_TIMEOUT", timedelta(milliseconds=50))
    with running_core(secret=SECRET, stalls=1.0, hold_s=30.0, seed=1) as url:
        async with _outbound() as outbound:
            rail = HttpRail(outbound, url, SECRET)
            assert await rail.settle(order()) == RailAnswer(RailStatus.UNKNOWN)
            assert await rail.query(order()) == RailAnswer(RailStatus.UNKNOWN)


async def test_a_core_refuses_another_secret_and_the_ledger_tells_repetitions() -> None:
    with running_core(secret=SECRET, seed=1) as url:
        async with _outbound() as outbound:
            rail, sent = HttpRail(outbound, url, SECRET), order(fence=5)
            stranger = replace(rail, secret=new_secret(bytes(32)))
            assert await stranger.settle(sent) == RailAnswer(RailStatus.UNKNOWN)
            for again in (sent, replace(sent, fence=4), replace(sent, fence=6, amount=Brl(1))):
                await rail.settle(again)
        ledger = await _ledger(url)
    assert ledger["bad_signatures"] == 1
    [entry] = ledger["entries"]
    assert entry["statuses"] == ["sent"]
    assert entry["fences"] == [5, 4, 6]
    assert {name: entry[name] for name in ("posts", "duplicate_posts", "stale_posts", "conflicting_posts")} == {
        **{"posts": 3, "duplicate_posts": 2, "stale_posts": 1, "conflicting_posts": 1}
    }


@asynccontextmanager
async def _callback_listener(heard: asyncio.Queue[RailCallback]) -> AsyncIterator[str]:
    refusals = iter([500])

    async def serve(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): text for name, text in request.headers.items()}
        assert is_signed([SECRET], headers, body, datetime.now(UTC))
        heard.put_nowait(callback_of(body))
        return web.Response(status=next(refusals, 204))

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _heard(heard: asyncio.Queue[RailCallback], number: int) -> list[RailCallback]:
    async with asyncio.timeout(10):
        return [await heard.get() for _ in range(number)]


@pytest.mark.parametrize(
    ("faults", "changes", "statuses"),
    [
        ({}, {}, ["sent", "sent"]),  # the first one is refused by the listener and said again
        ({"duplicate_callbacks": 1.0}, {}, ["sent", "sent", "sent"]),
        ({"late_callbacks": 1.0, "later_s": 0.05}, {}, ["sent", "sent", "pending"]),
        ({"by_centavos": True, "later_s": 0.4}, {"amount": Brl(95), "operation": "ted"}, ["sent", "sent", "returned"]),
    ],
)
async def test_a_core_calls_back_signed_repeated_and_out_of_order(
    faults: dict[str, object], changes: dict[str, object], statuses: list[str]
) -> None:
    heard: asyncio.Queue[RailCallback] = asyncio.Queue()
    sent = order(**changes)  # type: ignore[arg-type]
    async with _callback_listener(heard) as callback_url, _outbound() as outbound:
        with running_core(secret=SECRET, callback_url=callback_url, seed=1, **faults) as url:
            await HttpRail(outbound, url, SECRET).settle(sent)
            told = await _heard(heard, len(statuses))
    assert [callback.answer.status for callback in told] == statuses
    assert {callback.rail_reference for callback in told} == {sent.rail_reference}


async def test_a_core_can_be_told_to_behave_while_it_runs() -> None:
    with running_core(secret="", accept_then_500=1.0, seed=1) as url:
        async with aiohttp.ClientSession() as session, _outbound() as outbound:
            change = {"secret": SECRET, "accept_then_500": 0.0}
            assert (await session.put(f"{url}/control", json=change)).status == 200
            assert (await HttpRail(outbound, url, SECRET).settle(order())).status is RailStatus.SENT
