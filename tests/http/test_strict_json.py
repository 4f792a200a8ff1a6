import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.http import strict_json
from aval.http.redemptions.purchase_body import PurchaseBody
from aval.http.strict_json import ABSENT, DEPTH_MAX, MEMBERS_MAX, amount_of, decode, optional_amount_of


class Factor(msgspec.Struct, forbid_unknown_fields=True):
    contact_type: Literal["sms", "email", "device"]
    session_id: str | None = None


class Target(msgspec.Struct, forbid_unknown_fields=True):
    ispb: str
    owner_name: str


class Movement(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    amount: msgspec.Raw
    target: Target | None = None
    factor: Factor | None = None
    message: str | None = None
    items: list[Target] | None = None
    powers: dict[str, int] | None = None
    limit: msgspec.Raw = ABSENT
    seconds: int = 30


class Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    quantity: int = 1
    note: str | None = None


class Basket(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One that is written again to count its keys."""

    key: str | None = None
    message: str | None = None
    rate: float | int | str | None = None
    lines: list[Line] | None = None
    free: dict[str, Any] | None = None
    anything: Any = None


class Empty(msgspec.Struct, forbid_unknown_fields=True):
    token: str | None = None


PLAIN: dict[str, Any] = {
    "key": "k",
    "amount": 202.01,
    "target": {"ispb": "87654321", "owner_name": "Padaria"},
    "factor": {"contact_type": "sms"},
}


def refusal_of(body: bytes, type_: type[msgspec.Struct] = Movement) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decode(body, type_)
    return caught.value


def errors_of(body: bytes) -> list[tuple[str, str]]:
    refusal = refusal_of(body)
    assert refusal.name == "qit.schema_error"
    return [(told["field"], told["reason"]) for told in refusal.extra_fields["errors"]]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n", "\t: ")])
def test_a_body_is_decoded_however_it_is_spaced(separators: tuple[str, str]) -> None:
    movement = decode(json.dumps(PLAIN, separators=separators).encode(), Movement)
    assert movement.target == Target("87654321", "Padaria")
    assert movement.factor == Factor("sms")
    assert amount_of(movement.amount, "amount") == Brl(20201)


@pytest.mark.parametrize(
    "extra",
    [
        {"message": "Nota: 1207"},
        {"message": 'a "b": c'},
        {"message": "\\"},
        {"message": "ação \U0001f642"},
        {"message": None, "factor": None},
        {"items": [{"ispb": "1", "owner_name": "a:b"}] * 30},
        {"powers": {"a": 1, "b:c": 2}},
        {"seconds": 30},
        {"seconds": 31},
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_colons_nulls_escapes_and_defaults_do_not_disturb(extra: dict[str, Any], ensure_ascii: bool) -> None:
    body = json.dumps(PLAIN | extra, ensure_ascii=ensure_ascii).encode()
    found = decode(body, Movement)
    assert {name: msgspec.to_builtins(getattr(found, name)) for name in extra} == extra


SYNTAX_ERRORS = {
    "empty": b"",
    "space only": b"  ",
    "truncated": b'{"key":"k"',
    "trailing": b'{"key":"k","amount":1} x',
    "trailing comma": b'{"key":"k","amount":1,}',
    "single quotes": b"{'key':'k'}",
    "comment": b'{"key":"k","amount":1} // x',
    "byte order mark": b'\xef\xbb\xbf{"key":"k","amount":1}',
    "UTF-16": '{"key":"k","amount":1}'.encode("utf-16"),
    "UTF-16 without mark": '{"key":"k","amount":1}'.encode("utf-16-le"),
    "invalid UTF-8": b'{"key":"\xff","amount":1}',
    "invalid UTF-8 in an amount": b'{"key":"k","amount":"\xff"}',
    "overlong UTF-8": b'{"key":"\xc0\xaf","amount":1}',
    "surrogate as UTF-8": b'{"key":"\xed\xa0\x80","amount":1}',
    "lone high surrogate": b'{"key":"\\ud800","amount":1}',
    "lone low surrogate": b'{"key":"\\udc00","amount":1}',
    "high surrogate and a letter": b'{"key":"\\ud800\\u0041","amount":1}',
    "lone surrogate in an amount": b'{"key":"k","amount":"\\uD800"}',
    "lone surrogate in an unknown field": b'{"key":"k","amount":1,"x":"\\ud800"}',
    "lone surrogate in a name": b'{"key":"k","amount":1,"\\udfff":1}',
    "raw control character": b'{"key":"a\x01","amount":1}',
    "NaN": b'{"key":"k","amount":NaN}',
    "Infinity": b'{"key":"k","amount":Infinity}',
    "-Infinity in an unknown field": b'{"x":-Infinity}',
    "leading zero": b'{"key":"k","amount":01}',
    "plus": b'{"key":"k","amount":+1}',
    "bare dot": b'{"key":"k","amount":1.}',
    "underscore": b'{"key":"k","amount":1_000}',
    "array": b"[]",
    "string": b'"key"',
    "number": b"1",
    "null": b"null",
    "duplicate": b'{"key":"k","amount":1,"key":"k"}',
    "duplicate spelled with an escape": b'{"key":"k","amount":1,"k\\u0065y":"k"}',
    "duplicate null": b'{"key":"k","amount":1,"message":null,"message":null}',
    "duplicate of a default": b'{"key":"k","amount":1,"seconds":30,"seconds":30}',
    "duplicate below": b'{"key":"k","amount":1,"factor":{"contact_type":"sms","contact_type":"sms"}}',
    "duplicate in a list": b'{"key":"k","amount":1,"items":[{"ispb":"1","ispb":"2","owner_name":"x"}]}',
    "duplicate in a map": b'{"key":"k","amount":1,"powers":{"a":1,"a":1}}',
    "duplicate in an amount": b'{"key":"k","amount":{"a":1,"a":1}}',
    "duplicate in an unknown field": b'{"key":"k","amount":1,"x":{"a":1,"a":1}}',
}


@pytest.mark.parametrize("body", SYNTAX_ERRORS.values(), ids=SYNTAX_ERRORS)
def test_what_has_not_one_reading_as_an_object_is_a_syntax_error(body: bytes) -> None:
    refusal = refusal_of(body)
    assert (refusal.name, refusal.extra_fields) == ("qit.syntax_error", {})


@pytest.mark.parametrize(
    "body",
    [
        b'{"key":1,"key":"k","amount":1}',
        b'{"unknown":1,"amount":1,"amount":2}',
        b'{"factor":{"contact_type":"fax"},"target":{"ispb":"1","ispb":"1"}}',
        b'{"key":1,"amount":NaN}',
        b'{"key":1,"message":"\\ud800"}',
        b'{"key":1,"amount":1',
        b'{"key":1,"message":"\xff"}',
    ],
)
def test_a_syntax_error_wins_over_a_schema_error_before_it(body: bytes) -> None:
    assert refusal_of(body).name == "qit.syntax_error"


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"{}", "key", "missing"),
        (b'{"key":"k"}', "amount", "missing"),
        (b'{"key":null,"amount":1}', "key", "missing"),
        (b'{"key":"k","amount":1,"status":"sent"}', "status", "unknown_field"),
        (b'{"key":"k","amount":1,"__proto__":{}}', "__proto__", "unknown_field"),
        (b'{"key":"k","amount":1,"factor":{"contact_type":"sms","x":1}}', "factor.x", "unknown_field"),
        (b'{"key":"k","amount":1,"target":{"ispb":"1"}}', "target.owner_name", "missing"),
        (b'{"key":"k","amount":1,"target":{"ispb":1,"owner_name":"x"}}', "target.ispb", "wrong_type"),
        (b'{"key":"k","amount":1,"target":"secret"}', "target", "wrong_type"),
        (b'{"key":true,"amount":1}', "key", "wrong_type"),
        (b'{"key":["k"],"amount":1}', "key", "wrong_type"),
        (b'{"key":"k","amount":1,"factor":{"contact_type":"fax"}}', "factor.contact_type", "invalid_value"),
        (b'{"key":"k","amount":1,"items":[{"ispb":"1","owner_name":"x"},{}]}', "items[1].ispb", "missing"),
        (b'{"key":"k","amount":1,"powers":{"a":"secret"}}', "powers", "wrong_type"),
        (b'{"key":"k","amount":1,"seconds":1.5}', "seconds", "wrong_type"),
        (b'{"key":"k","amount":1,"seconds":1e400}', "seconds", "invalid_value"),
        (b'{"key":"k","amount":1,"seconds":' + b"9" * 5000 + b"}", "seconds", "invalid_value"),
        (b'{"key":"k","amount":1,"bad name\\u0000":1}', "?", "unknown_field"),
        (b'{"key":"k","amount":1,"x` - at `$.y z":1}', "?", "unknown_field"),
        (b'{"key":"k","amount":1,"11144477735":1}', "?", "unknown_field"),
        (b'{"key":"k","amount":1,"' + b"x" * 65 + b'":1}', "?", "unknown_field"),
        (b'{"key":"k","amount":1,"factor":{"contact_type":"a` - at `$.b`"}}', "factor.contact_type", "invalid_value"),
    ],
)
def test_a_schema_error_names_the_field_and_a_keyword(body: bytes, field: str, reason: str) -> None:
    assert errors_of(body) == [(field, reason)]


def test_no_value_is_echoed() -> None:
    for body in (b'{"key":"k","amount":1,"factor":{"contact_type":"secret"}}', b'{"key":{"secret":"secret"}}'):
        refusal = refusal_of(body)
        assert "secret" not in json.dumps(refusal.body())
        assert "secret" not in str(refusal)
        assert refusal.__suppress_context__


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """An object with an unknown field whose value makes the whole body so many levels deep."""
    return f'{{"x":{opening * (depth - 1)}{closing * (depth - 1)}}}'.encode()


def test_a_body_may_be_twenty_levels_deep_and_no_deeper() -> None:
    assert errors_of(nested(DEPTH_MAX)) == [("x", "unknown_field")]
    assert refusal_of(nested(DEPTH_MAX + 1)).name == "qit.syntax_error"
    assert refusal_of(nested(DEPTH_MAX + 1, '{"a":', "}")).name == "qit.syntax_error"
    assert refusal_of(nested(100_000)).name == "qit.syntax_error"


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":[' + b"[]," * 50 + b"[]]}",
        b'{"x":"' + b"[{" * 50 + b'"}',
        b'{"x":"\\"' + b"[" * 50 + b'\\\\"}',
        b'{"x":"\\\\","y":"' + b"[" * 50 + b'"}',
        b'{"' + b"[" * 50 + b'":1}',
    ],
)
def test_brackets_beside_each_other_or_in_strings_are_not_depth(body: bytes) -> None:
    assert refusal_of(body).name == "qit.schema_error"


@pytest.mark.parametrize("noise", [b'"]]]]]]",', b'"\\"]]]]",', b'"\\\\","]]]]]",', b'"\\\\\\"]]]]",'])
def test_brackets_in_strings_do_not_hide_depth(noise: bytes) -> None:
    inside = (b"[" + noise) * DEPTH_MAX + b"1" + b"]" * DEPTH_MAX
    assert json.loads(inside)
    assert refusal_of(b'{"x":' + inside + b"}").name == "qit.syntax_error"
    shallow = (b"[" + noise) * (DEPTH_MAX - 1) + b"1" + b"]" * (DEPTH_MAX - 1)
    assert refusal_of(b'{"x":' + shallow + b"}").name == "qit.schema_error"


def test_depth_is_refused_before_parsing() -> None:
    assert refusal_of(b"{" * 21 + b"NaN").name == "qit.syntax_error"
    assert refusal_of(b'{"x":' + b"[" * 100_000).name == "qit.syntax_error"


def test_a_wrong_body_of_countless_members_is_not_read_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json.json, "loads", None)
    body = b'{"key": "k", "amount": 1, "items": [' + b"[]," * MEMBERS_MAX + b"[],[]]}"
    with pytest.raises(Refusal) as refused:
        decode(body, Movement)
    assert refused.value.name == "qit.schema_error"


def test_an_empty_body_reads_as_an_empty_object_only_where_allowed() -> None:
    assert decode(b"", Empty, allow_empty=True) == decode(b"{}", Empty) == Empty()
    assert refusal_of(b"", Empty).name == "qit.syntax_error"
    with pytest.raises(Refusal, match=r"qit\.syntax_error"):
        decode(b" ", Empty, allow_empty=True)


def test_a_struct_that_takes_unknown_fields_is_a_bug() -> None:
    class Open(msgspec.Struct):
        key: str

    with pytest.raises(AssertionError):
        decode(b'{"key":"k"}', Open)


BASKETS: dict[str, tuple[bytes, bool]] = {
    "plain": (b'{"key":"k","lines":[{"name":"n","quantity":2}]}', True),
    "colons in texts": (b'{"key":"a:b","free":{"c:d":"https://e"},"anything":["f:g"]}', True),
    "defaults that are told": (b'{"key":null,"lines":[{"name":"n","quantity":1,"note":null}]}', True),
    "escapes": (b'{"key":"a\\u003ab","message":"\\u003a"}', True),
    "nulls in a map": (b'{"free":{"a":null,"b":[null,{"c":null}]}}', True),
    "duplicate": (b'{"key":"k","key":"k"}', False),
    "duplicate of a default": (b'{"key":null,"key":null}', False),
    "default, then the same": (b'{"key":null,"key":"k"}', False),
    "duplicate in a line": (b'{"lines":[{"name":"n","name":"n"}]}', False),
    "duplicate of a default in a line": (b'{"lines":[{"name":"n","note":null,"note":null}]}', False),
    "duplicate in a map": (b'{"free":{"a":1,"a":1}}', False),
    "duplicate deep in a map": (b'{"free":{"a":[{"b":{"c":1,"c":2}}]}}', False),
    "duplicate in anything": (b'{"anything":{"a":1,"a":1}}', False),
    "duplicate whose colon an escape makes up for": (b'{"key":"k","message":"\\u003a","key":"k"}', False),
    "duplicate whose colons two escapes make up for": (b'{"message":"::","message":"\\u003a\\u003a\\u003a"}', False),
    "duplicate of a text with a colon": (b'{"message":"a:b","message":"a:b"}', False),
}


@pytest.mark.parametrize(("body", "is_good"), BASKETS.values(), ids=BASKETS)
def test_what_is_written_again_is_counted_alike(body: bytes, is_good: bool) -> None:
    if is_good:
        assert decode(body, Basket) == msgspec.convert(json.loads(body), Basket)
    else:
        assert refusal_of(body, Basket).name == "qit.syntax_error"


def test_a_plain_purchase_is_not_read_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_judge_syntax", None)
    item = {"name": "Fone: azul", "quantity": 1, "price": {"for": 40}, "vendor": {"id": "v"}, "image_url": "https://a"}
    body = {"channel_type": "WEB", "items": [item], "customer": {"nome": "a:b", "extra": None}}
    assert decode(json.dumps(body).encode(), PurchaseBody).customer == body["customer"]


_LEAVES = st.sampled_from(['"x"', "null", '"a:b"', "1", "1e2", '"\\u003a"', '""'])
_NAMES = st.sampled_from(['"key"', '"message"', '"free"', '"anything"', '"a:b"', '"\\u003a"', '"k\\u0065y"'])
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.lists(st.tuples(_NAMES, inner), max_size=3).map(lambda each: f"{{{','.join(map(':'.join, each))}}}")
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=4))
def test_any_duplicate_anywhere_is_seen(pairs: list[tuple[str, str]]) -> None:
    body = f"{{{','.join(map(':'.join, pairs))}}}".encode()
    seen: list[bool] = []
    json.loads(body, object_pairs_hook=lambda told: seen.append(len({name for name, _ in told}) == len(told)))
    try:
        decode(body, Basket)
        outcome = "decoded"
    except Refusal as refusal:
        outcome = refusal.name
    assert (outcome == "qit.syntax_error") is not all(seen)


def test_a_struct_that_tells_its_kind_is_not_counted_by_writing_it_again() -> None:
    class Tagged(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag="kind"):
        key: int

    assert refusal_of(b'{"key":1,"key":2}', Tagged).name == "qit.syntax_error"


KEYS = st.sampled_from(["key", "message", "k\\u0065y", "unknown", "a:b"])
PAIRS = st.lists(st.tuples(KEYS, st.sampled_from(['"x"', "null", '"a:b"', "1", "[1,2]", '{"a":1}'])), max_size=5)


@given(PAIRS, st.sampled_from([":", " : "]))
def test_any_duplicate_is_seen_and_nothing_else_is_called_one(pairs: list[tuple[str, str]], colon: str) -> None:
    body = "{" + ",".join(f'"{name}"{colon}{value}' for name, value in pairs) + "}"
    names = [json.loads(f'"{name}"') for name, _ in pairs]
    try:
        decode(body.encode(), Movement)
        outcome = "decoded"
    except Refusal as refusal:
        outcome = refusal.name
    assert (outcome == "qit.syntax_error") is (len(set(names)) != len(names))


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0d8 1k', max_size=40).map(str.encode))
def test_no_body_makes_another_error_than_a_refusal(body: bytes) -> None:
    try:
        decode(body, Movement)
    except Refusal as refusal:
        assert refusal.name in ("qit.syntax_error", "qit.schema_error")


def amount_in(text: str) -> msgspec.Raw:
    return decode(f'{{"key":"k","amount": {text} }}'.encode(), Movement).amount


@pytest.mark.parametrize(
    ("text", "centavos"), [("10", 1000), ("10.0", 1000), ("10.01", 1001), ("9999999.99", 999999999)]
)
def test_an_amount_is_judged_on_its_text(text: str, centavos: int) -> None:
    assert amount_of(amount_in(text), "amount") == Brl(centavos)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *[(text, "invalid_value") for text in ("1e400", "9" * 5000, "10.010", "0", "-0", "-5", "0.001", "1e3", "1E-2")],
        *[(text, "invalid_value") for text in ("12345678.90", "0.00", "0." + "0" * 5000 + "1")],
        *[(text, "wrong_type") for text in ('"10.01"', '"\\u0661"', "true", "[10]", '{"a":1}')],
        ("null", "missing"),
    ],
)
def test_other_amounts_are_schema_errors_of_their_field(text: str, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        amount_of(amount_in(text), "items[2].amount")
    assert caught.value.name == "qit.schema_error"
    assert caught.value.extra_fields == {"errors": [{"field": "items[2].amount", "reason": reason}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"key":"k","amount":1}', None),
        (b'{"key":"k","amount":1,"limit":null}', None),
        (b'{"key":"k","amount":1,"limit":0}', Brl(0)),
        (b'{"key":"k","amount":1,"limit":10.5}', Brl(1050)),
    ],
)
def test_an_optional_amount_may_be_absent_null_or_zero(body: bytes, expected: Brl | None) -> None:
    assert optional_amount_of(decode(body, Movement).limit, "limit", is_zero_allowed=True) == expected


def test_an_absent_amount_that_is_needed_is_missing() -> None:
    with pytest.raises(Refusal) as caught:
        amount_of(msgspec.Raw(), "limit")
    assert caught.value.extra_fields["errors"][0]["reason"] == "missing"
