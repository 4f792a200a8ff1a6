import json
from decimal import Decimal
from uuid import UUID

import pytest

from aval.client import ArgumentNotValid, Refused, Retry, TedBatch
from aval.client.call import Call, Lost, Reply, ids_of, read_nothing
from aval.client.problem import read_problem
from aval.client.tries import Tries, result_of

RETRY = Retry(tries_max=4, pause_first_s=0.4, pause_max_s=1.0)
LOST = Lost("ServerDisconnectedError", was_sent=True)
UNCONNECTED = Lost("ConnectionRefusedError", was_sent=False)
UNCHANGED = b'{"code":"QIT000944"}'


def call(method: str = "POST", *, is_repeatable: bool = True) -> Call[None]:
    return Call(method, "/account/1/ted", read_nothing, is_repeatable=is_repeatable)


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


def refusal_body(code: str, **extra_fields: object) -> bytes:
    texts = {"title": "T", "description": "D", "translation": "T", "code": code, "extra_fields": extra_fields}
    return json.dumps(texts).encode()


def test_pauses_double_up_to_the_longest_and_vary() -> None:
    for _ in range(50):
        tries = Tries(call(), RETRY)
        pauses = [tries.pause_after(LOST) for _ in range(4)]
        assert pauses[3] is None
        for pause, longest in zip(pauses, (0.4, 0.8, 1.0), strict=False):
            assert longest / 2 <= pause <= longest
    assert len({Tries(call(), RETRY).pause_after(LOST) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("outcome", "is_repeatable", "low", "high"),
    [
        (LOST, True, 0.2, 0.4),
        (LOST, False, None, None),
        (UNCONNECTED, False, 0.2, 0.4),
        (reply(503), True, 0.2, 0.4),
        (reply(503), False, None, None),
        (reply(503, UNCHANGED), False, 0.2, 0.4),
        (reply(503, UNCHANGED, retry_after="1"), False, 1.2, 1.4),
        (reply(503, UNCHANGED, retry_after="2"), True, None, None),
        (reply(502), True, 0.2, 0.4),
        (reply(504), False, None, None),
        (reply(429), True, None, None),
        (reply(429, retry_after="1"), False, 1.2, 1.4),
        (reply(429, retry_after="2"), True, None, None),
        (reply(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), True, None, None),
        (reply(429, retry_after="-1"), True, None, None),
        (reply(429, retry_after="99999999999999999999"), True, None, None),
        (reply(500), True, None, None),
        (reply(400, retry_after="1"), True, None, None),
        (reply(408), True, None, None),
        (reply(409), True, None, None),
        (reply(202), True, None, None),
    ],
    ids=repr,
)
def test_what_is_repeated_and_after_how_long(outcome, is_repeatable, low, high) -> None:
    pause = Tries(call(is_repeatable=is_repeatable), RETRY).pause_after(outcome)
    assert pause is None if low is None else low <= pause <= high


@pytest.mark.parametrize(
    ("outcomes", "may_have_happened"),
    [
        ([UNCONNECTED], False),
        ([LOST], True),
        ([LOST, reply(429, retry_after="0")], True),
        ([reply(503, UNCHANGED)], False),
        ([reply(503)], True),
        ([reply(500)], True),
        ([reply(400)], False),
    ],
)
def test_one_try_that_may_have_arrived_is_remembered(outcomes, may_have_happened) -> None:
    tries = Tries(call(), RETRY)
    for outcome in outcomes:
        tries.pause_after(outcome)
    assert tries.ending().may_have_happened == may_have_happened


def test_amounts_in_a_refusal_are_exact_and_a_strange_snapshot_hides_no_code() -> None:
    body = b"""{"title": "T", "description": "D", "translation": "T", "code": "TED000082",
        "extra_fields": {"ted_data": {"fee_amount": 0.10, "ted_key": 7}}}"""
    tries = Tries(call(), RETRY)
    outcome = reply(400, body)
    tries.pause_after(outcome)
    with pytest.raises(Refused) as refused:
        result_of(call(), outcome, tries)
    assert (refused.value.code, refused.value.snapshot) == ("TED000082", None)
    assert repr(refused.value.extra_fields["ted_data"]["fee_amount"]) == repr(Decimal("0.10"))


def test_a_rejected_resend_of_a_batch_is_told_once_though_it_comes_under_two_names() -> None:
    key = "9a3e5d71-0c48-4d29-b6f1-4e8a72c05d39"
    snapshot = {"request_control_key": key, "ted_batch_key": key}
    extra = {
        "ted_data": snapshot | {"ted_status": "rejected"},
        "ted_batch_data": snapshot | {"ted_batch_status": "rejected"},
    }
    told = read_problem(reply(400, refusal_body("TED000082", **extra)))
    assert told is not None and told.snapshot == TedBatch(
        request_control_key=UUID(key), key=UUID(key), status="rejected"
    )


@pytest.mark.parametrize("strange", [{"items": [{"index": "x"}]}, {"items": 7}, {"errors": [1]}])
def test_strange_fields_hide_no_code(strange) -> None:
    told = read_problem(reply(400, refusal_body("PXT000917", **strange)))
    assert told is not None
    assert (told.code, told.refused_items, told.wrong_fields, told.extra_fields) == ("PXT000917", (), (), strange)


@pytest.mark.parametrize(
    "figures",
    [
        {"tries_max": 0},
        {"tries_max": 11},
        {"pause_first_s": 0},
        {"pause_first_s": 2.0, "pause_max_s": 1.0},
    ],
)
def test_patience_has_bounds(figures) -> None:
    with pytest.raises(ArgumentNotValid):
        Retry(**figures)


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX: y", "x" * 129, "ä"])
def test_a_name_that_no_header_can_carry_is_refused(name) -> None:
    for names in ({"correlation_id": name}, {"idempotency_key": name}):
        with pytest.raises(ArgumentNotValid):
            ids_of(**names)
