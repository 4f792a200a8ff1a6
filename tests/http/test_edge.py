import json
from uuid import UUID

import msgspec
import pytest

from aval.domain.money import Brl
from aval.http.edge import Call, encoded, json_answer


class Row(msgspec.Struct, rename={"amount": "transaction_amount"}):
    amount: Brl
    key: str | msgspec.UnsetType = msgspec.UNSET


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Brl(1000), b"10"),
        (Brl(1050), b"10.5"),
        ({"total_amount": Brl(20201)}, b'{"total_amount":202.01}'),
        ([Brl(0), None], b"[0,null]"),
        ((Row(Brl(1)), {"x": msgspec.UNSET}), b'[{"transaction_amount":0.01},{}]'),
        ({"rows": [Row(Brl(999999999), key="a")]}, b'{"rows":[{"transaction_amount":9999999.99,"key":"a"}]}'),
        (UUID("7E2A4C19-53B6-4F0D-8A7C-91D0E5B3F264"), b'"7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"'),
    ],
)
def test_amounts_are_written_as_exact_numbers_wherever_they_stand(value: object, text: bytes) -> None:
    assert encoded(value) == text


def test_header_names_may_be_written_with_underscores() -> None:
    answer = json_answer(202, {}, idempotent_replayed="true")
    assert (answer.status, json.loads(answer.body)) == (202, {})
    assert answer.headers == {"idempotent-replayed": "true"}


def test_neither_a_call_nor_its_headers_print_what_was_sent() -> None:
    call = Call("PUT", "/x", {}, {}, {"authorization": "Bearer aval_test_x"}, b'{"token":"7K3M9Q"}', "c-1")
    assert "7K3M9Q" not in repr(call)
    assert "aval_test_x" not in repr(call)


def test_leaving_early_leaves_once_for_all() -> None:
    left: list[int] = []
    call = Call("PUT", "/x", {}, {}, {}, b"", "c-1", leave=lambda: left.append(1))
    call.release()
    assert left == [1]
