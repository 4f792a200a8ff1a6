"""Judges answers against the published OpenAPI document and the error catalogue (promises.md TN9, TN10)."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

from aval.domain.errors import CATALOGUE, ErrorEntry, entry
from aval.http.edge import Route
from aval.http.openapi import openapi_document
from tests.factories import Reply

CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
ALWAYS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
EDGE_CODES = {"QIT000404": 404, "QIT000940": 405}  # of paths and methods no document can list

_PLACEHOLDER = re.compile(r"\{\w+\}")
_PARAMETER = re.compile(r"\\\{\w+\\\}")


class Contract:
    """The document, compiled; `faults` says what is wrong with an answer, `seen` counts what was judged."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.document: dict[str, Any] = json.loads(msgspec.json.encode(openapi_document(routes)))
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self._validators: dict[tuple[str, str, int], Draft202012Validator] = {}

    def faults(self, method: str, target: str, reply: Reply, correlation_id: str | None = None) -> list[str]:
        """What does not fit, in words; an empty list is a good answer."""
        faults = [*_head_faults(reply, correlation_id), *_problem_faults(reply)]
        template = self.template_of(target.partition("?")[0])
        operation = None if template is None else self.document["paths"][template].get(method.lower())
        if template is None or operation is None:
            return faults + _edge_faults(reply)
        self.seen[method, template, reply.code or str(reply.status)] += 1
        if str(reply.status) not in operation["responses"]:
            return [*faults, f"status {reply.status} is not documented"]
        return faults + self._body_faults(method, template, reply)

    def template_of(self, path: str) -> str | None:
        """The documented path an address belongs to; a literal comes before a parameter."""
        return next((template for pattern, template in self._patterns if pattern.fullmatch(path)), None)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        templates = sorted(self.document["paths"], key=lambda path: path.replace("{", "\x7f"))
        return [(re.compile(_PARAMETER.sub("[^/]+", re.escape(template))), template) for template in templates]

    def _body_faults(self, method: str, template: str, reply: Reply) -> Iterable[str]:
        content = self.document["paths"][template][method.lower()]["responses"][str(reply.status)].get("content")
        if content is None:
            return [] if reply.status != 204 or not reply.body else ["a body where none is documented"]
        if "application/json" not in content:
            return [] if reply.headers.get("content-type") in content else ["a type of file that is not documented"]
        validator = self._validator(method, template, reply.status, content["application/json"]["schema"])
        return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(reply.json)]

    def _validator(self, method: str, template: str, status: int, schema: Mapping[str, Any]) -> Draft202012Validator:
        key = (method, template, status)
        if key not in self._validators:
            self._validators[key] = Draft202012Validator({**schema, "components": self.document["components"]})
        return self._validators[key]


def _head_faults(reply: Reply, correlation_id: str | None) -> list[str]:
    faults = [f"{name}: {reply.headers.get(name)}" for name, text in ALWAYS.items() if reply.headers.get(name) != text]
    told = reply.headers.get("x-correlation-id", "")
    if not CORRELATION_ID.fullmatch(told) or (correlation_id is not None and told != correlation_id):
        faults.append(f"x-correlation-id: {told!r}")
    is_file = reply.headers.get("content-disposition", "").startswith("attachment")
    if reply.body and not is_file and reply.headers.get("content-type") != "application/json; charset=utf-8":
        faults.append(f"content-type: {reply.headers.get('content-type')}")
    if reply.status in (429, 503) and not reply.headers.get("retry-after", "").isdigit():
        faults.append("no Retry-After")
    return faults


def _reader(told: ErrorEntry) -> Callable[[int, Mapping[str, Any]], bool]:
    """Whether a status and a body are this entry's, whatever its placeholders were filled with."""
    members = [*_MEMBERS, *(name for name in ("sub_message", "sub") if getattr(told, name))]
    texts = [told.title, told.description, told.translation]
    patterns = [re.compile(".+".join(map(re.escape, _PLACEHOLDER.split(text)))) for text in texts]

    def is_same(status: int, body: Mapping[str, Any]) -> bool:
        matches = zip(patterns, _texts(body), strict=True)
        has_members = list(body) == members and body.get("sub_message") == told.sub_message
        return status == told.http and has_members and all(pattern.fullmatch(text) for pattern, text in matches)

    return is_same


def _texts(body: Mapping[str, Any]) -> Sequence[str]:
    return [body["title"], body["description"], body["translation"]]


_MEMBERS = ("title", "description", "translation", "code", "extra_fields")
_TOLD: Mapping[str, list[Callable[[int, Mapping[str, Any]], bool]]] = defaultdict(list)
for _name in CATALOGUE:
    for _told in {entry(_name), entry(_name, is_resend=True)}:
        _TOLD[_told.code].append(_reader(_told))


def _problem_faults(reply: Reply) -> list[str]:
    if reply.status < 400:
        return []
    told = reply.json
    if list(told)[: len(_MEMBERS)] != [*_MEMBERS]:
        return [f"members {list(told)}"]
    if any(is_same(reply.status, told) for is_same in _TOLD.get(told["code"], ())):
        return []
    return [f"{told['code']} is not catalogued with {reply.status} {list(told)} {_texts(told)}"]


def _edge_faults(reply: Reply) -> list[str]:
    if reply.status == 400 and reply.code in ("QIT000400", "QIT000001"):
        return []
    if EDGE_CODES.get(reply.code or "") != reply.status:
        return [f"{reply.status} {reply.code} where no route is"]
    return [] if reply.status != 405 or reply.headers.get("allow") else ["no Allow"]
