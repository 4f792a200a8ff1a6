"""Strict decoding of request bodies: one reading of a body or none, amounts kept as their exact text.

msgspec decodes into structs. It lets duplicate keys pass, so a body counts as proven only if it has no more colons than
the decoded value has keys – or, without escapes, than that value has when it is written again, whose texts have theirs,
too. Every other body is read a second time by a slow parser that sees all keys. That second reading comes first in
judgement: a syntax error wins over whatever the schema would say.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec.inspect import (
    AnyType,
    BoolType,
    DictType,
    FloatType,
    IntType,
    ListType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    UnionType,
)

from aval.domain.errors import Refusal, schema_refusal
from aval.domain.money import AmountError, Brl

DEPTH_MAX = 20  # spec transfers.md §2.1
# More members than this no body of the contract has; a wrong one is then not read a second time, which would take a
# second in which nobody else is answered. Its syntax may be wrong, too; the schema is for certain.
MEMBERS_MAX = 200_000
ABSENT: Any = msgspec.field(default_factory=msgspec.Raw)  # the default of an optional amount

T = TypeVar("T", bound=msgspec.Struct)

_LEAVES = (BoolType, IntType, LiteralType, NoneType, StrType)
_NOT_A_BRACKET = bytes(set(range(256)) - set(b'{}[]"'))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_NAMED = re.compile(r"Object (missing required|contains unknown) field `(.*?)`(?: - at `(\$[\w.\[\]]*)`)?", re.DOTALL)
_PLACED = re.compile(r"`(\$[\w.\[\]]*)`$")
_FIELD_NAME = re.compile(r"(?!.*\d{4})[A-Za-z0-9_]{1,64}")  # a name with many digits may be a value, such as a CPF


def decode(body: bytes, type_: type[T], *, allow_empty: bool = False) -> T:
    """Decode a JSON object into a struct that forbids unknown fields.

    Refuses `qit.syntax_error` for what has not exactly one reading as a JSON object, then `qit.schema_error` naming the
    first wrong field. With `allow_empty` no body at all reads as `{}`.
    """
    if not body and allow_empty:
        body = b"{}"
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and _is_too_deep(body):
        raise Refusal("qit.syntax_error")
    plan = _plan(type_)
    try:
        body.decode()
        value: T = plan.decode(body)
    except msgspec.ValidationError as error:
        if body.count(b",") <= MEMBERS_MAX:
            _judge_syntax(body)
        raise schema_refusal(_field_and_reason(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal("qit.syntax_error") from None
    if body.count(b":") != plan.colons(body, value):
        _judge_syntax(body)
    return value


def amount_of(raw: msgspec.Raw, field: str, *, is_zero_allowed: bool = False) -> Brl:
    """Read an amount from the exact text of a JSON number; `field` is its path for the schema error."""
    amount = amount_or_reason(raw, is_zero_allowed=is_zero_allowed)
    if isinstance(amount, str):
        raise schema_refusal((field, amount))
    return amount


def amount_or_reason(raw: msgspec.Raw, *, is_zero_allowed: bool = False) -> Brl | str:
    """Read an amount from the exact text of a JSON number, or say what is wrong with it as a keyword."""
    text = bytes(raw).decode()
    try:
        return Brl.parse(text, is_zero_allowed=is_zero_allowed)
    except AmountError:
        if text in ("", "null"):
            return "missing"
        return "invalid_value" if text[0] in "-0123456789" else "wrong_type"


def optional_amount_of(raw: msgspec.Raw, field: str, *, is_zero_allowed: bool = False) -> Brl | None:
    """Read an amount that may be absent (default `ABSENT`) or null."""
    return None if bytes(raw) in (b"", b"null") else amount_of(raw, field, is_zero_allowed=is_zero_allowed)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to decode a struct, and how to count the keys that its JSON text had at least."""

    decode: Callable[[bytes], Any]
    is_rewritable: bool
    required: int
    optional: tuple[tuple[str, object], ...]
    nested: tuple[str, ...]

    def colons(self, body: bytes, value: msgspec.Struct) -> int:
        """How many colons at most prove that no key of the body is told twice."""
        if self.is_rewritable and b"\\" not in body:
            return msgspec.json.encode(value).count(b":")
        return self.keys(value)

    def keys(self, value: msgspec.Struct) -> int:
        count = self.required
        for name, default in self.optional:
            if getattr(value, name) != default:
                count += 1
        for name in self.nested:
            count += _keys(getattr(value, name))
        return count


@cache
def _plan(type_: type[msgspec.Struct]) -> _Plan:
    assert type_.__struct_config__.forbid_unknown_fields
    info = msgspec.inspect.type_info(type_)
    assert isinstance(info, msgspec.inspect.StructType)
    certain = [field for field in info.fields if field.required or field.default is not msgspec.NODEFAULT]
    return _Plan(
        decode=msgspec.json.Decoder(type_).decode,
        is_rewritable=_is_rewritable(info),
        required=sum(field.required for field in certain),
        optional=tuple((field.name, field.default) for field in certain if not field.required),
        nested=tuple(field.name for field in certain if not _is_leaf(field.type)),
    )


def _is_leaf(info: msgspec.inspect.Type) -> bool:
    return all(map(_is_leaf, info.types)) if isinstance(info, UnionType) else isinstance(info, _LEAVES)


def _is_rewritable(info: msgspec.inspect.Type) -> bool:
    """Whether a value that is written again has the keys that were read, and no others.

    A key that was read with its default, or twice, is then missing; an amount (`Raw`) would tell all keys inside again.
    """
    if isinstance(info, StructType):
        is_plain = info.cls.__struct_config__.omit_defaults and info.tag is None and not info.array_like
        return is_plain and all(
            field.default_factory is msgspec.NODEFAULT and _is_rewritable(field.type) for field in info.fields
        )
    if isinstance(info, DictType):
        return isinstance(info.key_type, StrType) and _is_rewritable(info.value_type)
    if isinstance(info, ListType):
        return _is_rewritable(info.item_type)
    if isinstance(info, UnionType):
        return all(map(_is_rewritable, info.types))
    return isinstance(info, (*_LEAVES, AnyType, FloatType))


def _keys(value: object) -> int:
    if isinstance(value, msgspec.Struct):
        return _plan(type(value)).keys(value)
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _is_too_deep(body: bytes) -> bool:
    """Peel the brackets outside strings, innermost first, a level a round; the rest lies deeper or has no partner."""
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(_AS_SQUARE, _NOT_A_BRACKET)
    brackets = b"".join(bare.split(b'"')[::2])
    if b"[" * (DEPTH_MAX + 1) in brackets:  # the plain case without the rounds
        return True
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _judge_syntax(body: bytes) -> None:
    """Refuse a body that a parser seeing every key does not read as an object in exactly one way."""
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number, parse_int=str, parse_float=str)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        raise Refusal("qit.syntax_error") from None
    if not isinstance(value, dict):
        raise Refusal("qit.syntax_error")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_number(_: str) -> NoReturn:
    raise ValueError


def _field_and_reason(message: str) -> tuple[str, str]:
    """Translate the message of a validation error, which may hold a value, into a field and a keyword, which do not."""
    if named := _NAMED.fullmatch(message):
        trouble, name, place = named.groups()
        shown = name if _FIELD_NAME.fullmatch(name) else "?"
        reason = "missing" if trouble == "missing required" else "unknown_field"
        return _path(f"{place or '$'}.{shown}"), reason
    placed = _PLACED.search(message)
    return _path(placed[1] if placed else "$"), _reason_of_value(message)


def _reason_of_value(message: str) -> str:
    if not message.startswith("Expected") or ", got `" not in message:
        return "invalid_value"
    return "missing" if ", got `null`" in message else "wrong_type"


def _path(place: str) -> str:
    return place.replace("[...]", "").removeprefix("$").removeprefix(".")
