"""One logical call as a value: what is sent in every try, and how what came back is read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

import msgspec

from aval.client.errors import ArgumentNotValid, CallIds

Result = TypeVar("Result")
Key = UUID | str

ANSWER_BYTES_MAX = 8 * 1024 * 1024  # far above a page of 30 rows

_SECONDS = re.compile("[0-9]{1,6}")
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")  # spec transfers.md §2.4, §2.5


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """A call whose every try is the same to Aval; `is_repeatable` if a second one that arrives changes nothing more."""

    method: str
    path: str
    read: Callable[[bytes], Result] = field(repr=False)  # raises msgspec.DecodeError
    body: bytes = field(default=b"", repr=False)
    query: str = field(default="", repr=False)
    ids: CallIds = field(default_factory=lambda: ids_of())
    is_repeatable: bool = True

    @property
    def name(self) -> str:
        """Method and path, which hold nothing secret."""
        return f"{self.method} {self.path}"

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def headers(self) -> dict[str, str]:
        """The headers of every try, but for the credential's."""
        headers = {"Accept": "application/json", "X-Correlation-Id": self.ids.correlation_id}
        if self.body:
            headers["Content-Type"] = "application/json"
        if self.ids.idempotency_key is not None:
            headers["Idempotency-Key"] = self.ids.idempotency_key
        return headers


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of one try; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def retry_after_s(self) -> int | None:
        """When to come again, if it is told in seconds."""
        text = self.headers.get("retry-after", "")
        return int(text) if _SECONDS.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Lost:
    """One try without a whole answer; `was_sent` unless there was no connection at all."""

    cause: str
    was_sent: bool


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One try as it went, for logs and measurements; without a status if no whole answer came."""

    method: str
    path: str
    status: int | None
    took_s: float
    ids: CallIds

    @classmethod
    def of(cls, call: Call[Any], outcome: Reply | Lost, took_s: float) -> "Tried":
        """Put it together."""
        status = outcome.status if isinstance(outcome, Reply) else None
        return cls(method=call.method, path=call.path, status=status, took_s=took_s, ids=call.ids)


def not_watched(tried: Tried) -> None:
    """Nobody wants to know."""


def ids_of(
    correlation_id: str | None = None, idempotency_key: str | None = None, request_control_key: Key | None = None
) -> CallIds:
    """The names of a call: those given, and a new correlation id if there is none."""
    for name, text in (("correlation_id", correlation_id), ("idempotency_key", idempotency_key)):
        if text is not None and not _NAME.fullmatch(text):
            raise ArgumentNotValid(name, "not_1_to_128_of_A-Za-z0-9._:-")
    name = "request_control_key"
    return CallIds(
        correlation_id=correlation_id or str(uuid4()),
        idempotency_key=idempotency_key,
        request_control_key=None if request_control_key is None else key_text(name, request_control_key),
    )


def once(correlation_id: str | None, idempotency_key: str | None) -> CallIds:
    """The names of a call that must count once: with an Idempotency-Key, made here if none is given."""
    return ids_of(correlation_id, idempotency_key or str(uuid4()))


def key_text(name: str, key: Key) -> str:
    """A key as it stands in a path or a body."""
    try:
        return str(key if isinstance(key, UUID) else UUID(key))
    except (ValueError, AttributeError, TypeError):
        raise ArgumentNotValid(name, "not_a_uuid") from None


def json_body(**values: Any) -> bytes:
    """A JSON object of what is not None."""
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})


def read_nothing(body: bytes) -> None:
    """Read an answer whose body does not matter."""
