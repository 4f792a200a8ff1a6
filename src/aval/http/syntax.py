"""Paths, queries and idempotency keys, checked once the caller is known."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

import msgspec

from aval.domain.calendar import parse_date
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.ids import parse_uuid
from aval.http.edge import Call, QueryParameter, Route
from aval.http.limits import QUERY_PARAMETERS_MAX, check_media_type
from aval.http.strict_json import decode

PAGE_SIZE_MAX = 30  # spec transfers.md §2.4
LIMIT_MAX = 100  # spec redemptions.md, conventions
_IDEMPOTENCY_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PAGE = re.compile(r"[1-9][0-9]{0,8}")
_OFFSET = re.compile(r"0|[1-9][0-9]{0,8}")
_TELLABLE = re.compile(r"[A-Za-z_]{1,64}")  # a name may hold a value: no digits
NOTHING: Mapping[str, str] = MappingProxyType({})


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call that takes none."""


def check_syntax(call: Call, route: Route, query: bytes) -> None:
    """Check everything but the JSON of a call, and put its keys and query in place; raises the refusal."""
    if not _IDEMPOTENCY_KEY.fullmatch(call.headers.get("idempotency-key", "-")):
        raise Refusal("qit.bad_request")
    if call.body and route.media == "json":
        check_media_type(call.headers)
    call.params = _checked_params(call.params, route)
    call.query = _checked_query(query, route) if query and not route.is_page else NOTHING
    if route.empty_body and not call.body:
        call.body = b"{}"
    elif call.body and route.request is None and route.audience != "rail" and route.media == "json":
        decode(call.body, _Nothing)


def is_key(name: str) -> bool:
    """Whether a parameter of this name is a uuid."""
    return name.endswith(("_key", "_id"))


def _checked_params(params: Mapping[str, str], route: Route) -> Mapping[str, str]:
    if route.is_of_redemptions:  # there a malformed id is an unknown one
        return params
    checked = {}
    for name, text in params.items():
        checked[name] = _uuid(name, text, route) if is_key(name) else text
    return checked


def _checked_query(query: bytes, route: Route) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError:
        raise schema_refusal(("query", "malformed")) from None
    known = {parameter.name: parameter for parameter in route.query}
    checked: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            raise schema_refusal((name if _TELLABLE.fullmatch(name) else "?", "unknown_field"))
        if name in checked:
            raise schema_refusal((name, "repeated"))
        checked[name] = _CHECKS[known[name].kind](known[name], text, route)
    return checked


def _text(parameter: QueryParameter, text: str, _route: Route) -> str:
    if "\x00" in text:
        raise schema_refusal((parameter.name, "invalid_value"))
    return text


def _page(parameter: QueryParameter, text: str, route: Route) -> str:
    is_fine = _PAGE.fullmatch(text) and (parameter.kind == "page" or int(text) <= PAGE_SIZE_MAX)
    if not is_fine:
        raise _refusal_of(route, "invalid_page", parameter.name)
    return text


def _offset(parameter: QueryParameter, text: str, _route: Route) -> str:
    if not _OFFSET.fullmatch(text) or (parameter.kind == "limit" and not 1 <= int(text) <= LIMIT_MAX):
        raise schema_refusal((parameter.name, "invalid_value"))
    return text


def _date(parameter: QueryParameter, text: str, route: Route) -> str:
    if parse_date(text) is None:
        raise _refusal_of(route, "invalid_timestamp", parameter.name)
    return text


def _choice(parameter: QueryParameter, text: str, _route: Route) -> str:
    if text not in parameter.choices:
        raise schema_refusal((parameter.name, "invalid_value"))
    return text


def _uuid(name: str, text: str, route: Route) -> str:
    if parse_uuid(text) is None:
        raise _refusal_of(route, "invalid_uuid", name)
    return text.lower()


def _refusal_of(route: Route, slug: str, name: str) -> Refusal:
    """TED has codes of its own for these; elsewhere they are schema errors."""
    if route.family == "ted":
        return Refusal(f"ted.{slug}", key=name, timestamp_format="YYYY-MM-DD")
    return schema_refusal((name, "invalid_value"))


_CHECKS: Mapping[str, Callable[[QueryParameter, str, Route], str]] = {
    "text": _text,
    "uuid": lambda parameter, text, route: _uuid(parameter.name, text, route),
    "page": _page,
    "page_size": _page,
    "offset": _offset,
    "limit": _offset,
    "date": _date,
    "choice": _choice,
}
