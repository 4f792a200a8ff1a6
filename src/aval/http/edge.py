"""What feature files and the edge agree on: a call, its answer, and the route that joins them to a handler."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec

from aval.domain.caller import Caller
from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.principal import AdminActor, Principal

BODY_BYTES_MAX = 256 * 1024  # spec transfers.md §2.1
BATCH_BODY_BYTES_MAX = 2 * 1024 * 1024

Audience = Literal["integrator", "admin", "public", "rail", "redemption"]
Family = Literal["pix", "ted", "qit", "rdm"]
QueryKind = Literal["text", "uuid", "page", "page_size", "offset", "limit", "date", "choice"]
Media = Literal["json", "form", "multipart"]

ANY_SCOPE = "*"  # any scope of redemptions that the kind of caller can have


class StateUnknown(Exception):
    """The database was lost while it decided or after: the state is as before or as committed (QIT000500)."""


@dataclass(slots=True)
class Call:
    """One request after the edge's checks: keys in the path and query are lower-case version 4 UUIDs."""

    method: str
    path: str  # as sent, without the query
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)  # `{}` where the route reads an empty body so
    correlation_id: str
    principal: Principal | None = None
    admin: AdminActor | None = None
    # A hot handler sets it once the database has confirmed the principal; before that, a refusal is not an answer.
    is_verified: bool = False
    leave: Callable[[], None] = field(default=lambda: None, repr=False)
    caller_of_redemption: Caller | None = None
    client_address: str | None = None  # behind a trusted proxy, whom it speaks for
    # Of a streamed route only: the body as it arrives; it raises what reading it whole would raise.
    chunks: AsyncIterator[bytes] | None = field(default=None, repr=False)

    def release(self) -> None:
        """Stop counting among the integrator's calls in progress, before a wait that may be long."""
        self.leave()

    @property
    def caller(self) -> Principal:
        """The principal of an integrator's route, which the edge has made sure of."""
        assert self.principal is not None
        return self.principal

    @property
    def administrator(self) -> AdminActor:
        """The actor of an admin route, which the edge has made sure of."""
        assert self.admin is not None
        return self.admin

    @property
    def redeemer(self) -> Caller:
        """The caller of a redemption's route, which the edge has made sure of."""
        assert self.caller_of_redemption is not None
        return self.caller_of_redemption


@dataclass(slots=True)
class Answer:
    """Status, JSON bytes (none for an empty body) and headers beyond the ones every answer has, names in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]
Decision = TypeVar("Decision")


async def decided(call: Call, work: Awaitable[Decision]) -> Decision:
    """Run what PostgreSQL decides: a refusal from there has verified the caller."""
    try:
        result = await work
    except Refusal:
        call.is_verified = True
        raise
    call.is_verified = True
    return result


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A query parameter a route knows; the edge checks its kind, the handler receives its text."""

    name: str
    kind: QueryKind = "text"
    choices: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """The scope each kind of caller needs on a redemption's route; None: that kind may not call it.

    With `ANY_SCOPE` any scope of redemptions will do. An impersonator needs `impersonate` beside its scope;
    where only an application is named, one that sends impersonation headers is taken as the application it is.
    """

    operator: str | None = None
    application: str | None = None  # by itself, for no participant
    impersonator: str | None = None
    participant: str | None = None  # on the application of the subscription key
    is_username_needed: bool = False  # of impersonators, in their headers


@dataclass(frozen=True)
class Route:
    """A method and path, who may call it, and what OpenAPI tells about it.

    `family` decides which code a malformed uuid gets. A parameter of the path whose name ends `_key` or `_id` is a
    uuid. `refusals` are names of the error catalogue beyond the ones the edge itself answers with.
    """

    method: str
    path: str
    handler: Handler = field(repr=False)
    scope: str | None
    audience: Audience
    family: Family
    success: int
    summary: str
    request: type[msgspec.Struct] | None = None
    response: Any = None
    empty_body: bool = False
    body_limit: int = BODY_BYTES_MAX
    query: tuple[QueryParameter, ...] = ()
    is_hot: bool = False
    is_page: bool = False  # opened from a link, to which chats and mail programs may add: its query is not read
    refusals: tuple[str, ...] = ()
    access: Access | None = None  # of a redemption's route
    also: int | None = None  # another status of success, with the same answer
    other_success: int | None = None  # another status of success, with the same body
    media: Media = "json"  # anything else is read by the handler
    is_streamed: bool = False  # the handler reads `call.chunks`; `call.body` stays empty
    files: tuple[str, ...] = ()  # media types of a success that is a file instead of JSON

    @property
    def is_of_redemptions(self) -> bool:
        """Whether its refusals are told in the words of redemptions.md §8."""
        return self.family == "rdm"


def json_answer(status: int, value: object, **headers: str) -> Answer:
    """Encode a value; amounts (`Brl`) become exact JSON numbers. `idempotent_replayed=` names `Idempotent-Replayed`."""
    return Answer(status, encoded(value), {name.replace("_", "-"): text for name, text in headers.items()})


def encoded(value: object) -> bytes:
    """Encode dicts, lists, structs and plain values as JSON; amounts as numbers, `UNSET` members left out."""
    return msgspec.json.encode(_plain(value))


def _plain(value: Any) -> Any:
    """Replace amounts by their text: msgspec would write a dataclass as an object."""
    if isinstance(value, Brl):
        return msgspec.Raw(value.wire().encode())
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items() if member is not msgspec.UNSET}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, msgspec.Struct):
        members = zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
        return {name: _plain(member) for name, member in members if member is not msgspec.UNSET}
    return value
