"""Webhook targets of an integrator, its events, and sending one again (transfers.md §7.2)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta

from aval.domain.calendar import wire_datetime
from aval.domain.errors import schema_refusal
from aval.http.edge import Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of, given, key_of
from aval.http.paging import ORDERED, PAGE, Listing, Page, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.operations.change_webhook_endpoint import change_webhook_endpoint
from aval.operations.delete_webhook_endpoint import delete_webhook_endpoint
from aval.operations.register_webhook_endpoint import register_webhook_endpoint
from aval.operations.resend_callback import resend_callback
from aval.operations.rotate_webhook_secret import rotate_webhook_secret
from aval.storage.clock import read_clock
from aval.storage.events import CallbackStatus, Event, EventFilter, list_events
from aval.storage.webhook_endpoints import WebhookEndpoint, list_endpoints

ENDPOINTS = "/webhook_endpoints"
ENDPOINT = ENDPOINTS + "/{webhook_endpoint_key}"
SCOPE = "webhooks:write"
HEADERS_MAX = 10  # spec transfers.md §7.2
EVENTS_PAGE_SIZE = 25
EVENTS_SPAN_MAX = timedelta(days=14)

EventType = Literal[
    "baas.pix_transfer.outgoing_pix",
    "baas.ted.outgoing_ted",
    "aval.pix_transfer_batch.finished",
    "aval.ted_batch.finished",
    "aval.device.status_change",
    "aval.operation.denied",
    "aval.token_delivery.failed",
]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,1022}[!-~])?")
# What Aval, HTTP or the connection itself says; everything that begins with webhook- is the signature's.
_RESERVED = frozenset(
    "accept-encoding connection content-encoding content-length content-type expect host keep-alive "
    "proxy-authorization proxy-connection te trailer transfer-encoding upgrade x-correlation-id".split()
)
_DATETIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

EventTypes = Annotated[list[EventType], Meta(min_length=1, max_length=20)]


class EndpointBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new target; without `event_types` it hears of everything."""

    url: str
    event_types: EventTypes | None = None
    headers: dict[str, str] | None = None


class EndpointChange(msgspec.Struct, forbid_unknown_fields=True):
    """What changes of a target; given headers take the place of all stored ones."""

    url: str | None = None
    event_types: EventTypes | None = None
    headers: dict[str, str] | None = None
    enabled: bool | None = None


class EndpointMade(msgspec.Struct):
    """A new target and its signing secret, which is shown this once."""

    webhook_endpoint_key: str
    secret: str


class EndpointAnswer(msgspec.Struct):
    """A target; neither secret nor headers are shown again."""

    webhook_endpoint_key: str
    url: str
    event_types: list[str]
    enabled: bool
    created_at: str


class SecretAnswer(msgspec.Struct):
    """A new signing secret, which is shown this once; the old one signs for 24 h more."""

    secret: str


class CallbackAnswer(msgspec.Struct):
    """One event on its way to one target."""

    callback_key: str
    callback_status: CallbackStatus


class EventAnswer(msgspec.Struct):
    """Something that happened to an operation."""

    event_key: str
    event_type: str
    status: Literal["processed"]
    origin_enumerator: str
    origin_key: str
    callbacks: list[CallbackAnswer]


def _route(method: str, path: str, handler: Any, success: int, summary: str, **options: Any) -> Route:
    return Route(method, path, handler, SCOPE, "integrator", "qit", success, summary, **options)


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls, events = Endpoints(app), Events(app)
    unknown = ("qit.not_found",)
    made: dict[str, Any] = {"request": EndpointBody, "response": EndpointMade, "refusals": ("qit.conflict",)}
    changed: dict[str, Any] = {"request": EndpointChange, "response": EndpointAnswer, "refusals": unknown}
    listed: dict[str, Any] = {"response": Listing[EndpointAnswer], "query": ORDERED}
    event_query = (
        QueryParameter("event_type", "choice", EVENT_TYPES),
        QueryParameter("callback_status", "choice", get_args(CallbackStatus)),
        QueryParameter("origin_key", "uuid"),
        QueryParameter("start_datetime", description="YYYY-MM-DDTHH:MM:SSZ; by default 14 days before the end"),
        QueryParameter("end_datetime", description="YYYY-MM-DDTHH:MM:SSZ; by default now, or 14 days after the start"),
        PAGE,
    )
    return [
        _route("POST", ENDPOINTS, calls.create, 201, "Register a webhook target", **made),
        _route("GET", ENDPOINTS, calls.list_all, 200, "List webhook targets", **listed),
        _route("PATCH", ENDPOINT, calls.change, 200, "Change a webhook target", **changed),
        _route("DELETE", ENDPOINT, calls.delete, 204, "Remove a webhook target", refusals=unknown),
        _route(
            "POST",
            ENDPOINT + "/rotate_secret",
            calls.rotate_secret,
            201,
            "Give a webhook target a new secret",
            response=SecretAnswer,
            refusals=unknown,
        ),
        _route(
            "GET",
            "/notification/events",
            events.list_all,
            200,
            "List events and what became of their callbacks",
            response=Listing[EventAnswer],
            query=event_query,
        ),
        _route(
            "POST",
            "/notification/callback/{callback_key}/resend",
            events.resend,
            202,
            "Send a webhook again",
            response=CallbackAnswer,
            refusals=unknown,
        ),
    ]


class Endpoints:
    """Handlers of webhook targets."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /webhook_endpoints."""
        body = decode(call.body, EndpointBody)
        headers = _headers_of(body.headers or {})
        endpoint, secret = await register_webhook_endpoint(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            url=await self._url_of(body.url),
            event_types=_event_types_of(body.event_types or EVENT_TYPES),
            headers=headers,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, EndpointMade(str(endpoint.key), secret))

    async def list_all(self, call: Call) -> Answer:
        """GET /webhook_endpoints."""
        page = page_of(call)
        async with self._app.db.connection() as connection:
            rows = await list_endpoints(connection, call.caller.integrator.key, **page.rows)
        return json_answer(200, listing(page, rows, _endpoint))

    async def change(self, call: Call) -> Answer:
        """PATCH /webhook_endpoints/{webhook_endpoint_key}."""
        changes = given(decode(call.body, EndpointChange))
        headers = changes.pop("headers", None)
        if headers is not None:
            headers = _headers_of(headers)
        if "event_types" in changes:
            changes["event_types"] = _event_types_of(changes["event_types"])
        if "url" in changes:
            changes["url"] = await self._url_of(changes["url"])
        endpoint = await change_webhook_endpoint(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            endpoint_key=key_of(call, "webhook_endpoint_key"),
            changes=changes,
            headers=headers,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(200, _endpoint(endpoint))

    async def delete(self, call: Call) -> Answer:
        """DELETE /webhook_endpoints/{webhook_endpoint_key}."""
        await delete_webhook_endpoint(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            endpoint_key=key_of(call, "webhook_endpoint_key"),
            author=author_of(call),
        )
        return Answer(204)

    async def rotate_secret(self, call: Call) -> Answer:
        """POST /webhook_endpoints/{webhook_endpoint_key}/rotate_secret."""
        secret = await rotate_webhook_secret(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            endpoint_key=key_of(call, "webhook_endpoint_key"),
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, SecretAnswer(secret))

    async def _url_of(self, url: str) -> str:
        trimmed = url.strip(" ")
        problem = await self._app.check_target(trimmed)
        if problem is not None:
            raise schema_refusal(("url", problem))
        return trimmed


class Events:
    """Handlers of events and their callbacks."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def list_all(self, call: Call) -> Answer:
        """GET /notification/events."""
        page: Page = page_of(call, size=EVENTS_PAGE_SIZE)
        async with self._app.db.connection() as connection:
            wanted = _filter_of(call, await read_clock(connection))
            rows = await list_events(
                connection, call.caller.integrator.key, wanted, offset=page.offset, limit=page.limit
            )
        return json_answer(200, listing(page, rows, _event))

    async def resend(self, call: Call) -> Answer:
        """POST /notification/callback/{callback_key}/resend."""
        callback_key = key_of(call, "callback_key")
        status = await resend_callback(
            self._app.db,
            integrator_key=call.caller.integrator.key,
            callback_key=callback_key,
            author=author_of(call),
        )
        return json_answer(202, {"callback_key": callback_key, "callback_status": status})


def _headers_of(headers: dict[str, str]) -> dict[str, str]:
    """Accept headers that cannot end early, come twice, or speak for Aval."""
    if len(headers) > HEADERS_MAX:
        raise schema_refusal(("headers", "invalid_value"))
    names = {name.lower() for name in headers}
    is_own = len(names) == len(headers) and not names & _RESERVED
    is_safe = all(
        _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value) and not name.lower().startswith("webhook-")
        for name, value in headers.items()
    )
    if not (is_own and is_safe):
        raise schema_refusal(("headers", "invalid_value"))
    return headers


def _event_types_of(event_types: list[EventType] | tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(event_types))


def _filter_of(call: Call, now: datetime) -> EventFilter:
    start, end = _datetime_of(call, "start_datetime"), _datetime_of(call, "end_datetime")
    try:
        if end is None:
            end = now if start is None else start + EVENTS_SPAN_MAX
        if start is None:
            start = end - EVENTS_SPAN_MAX
    except OverflowError:  # at the very ends of the calendar
        raise schema_refusal(("start_datetime", "invalid_value")) from None
    if not timedelta(0) <= end - start <= EVENTS_SPAN_MAX:
        raise schema_refusal(("end_datetime", "invalid_value"))
    origin_key = call.query.get("origin_key")
    return EventFilter(
        start_at=start,
        end_at=end,
        event_type=call.query.get("event_type"),
        callback_status=call.query.get("callback_status"),
        origin_key=None if origin_key is None else UUID(origin_key),
    )


def _datetime_of(call: Call, name: str) -> datetime | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        if not _DATETIME.fullmatch(text):
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise schema_refusal((name, "invalid_value")) from None


def _endpoint(endpoint: WebhookEndpoint) -> EndpointAnswer:
    return EndpointAnswer(
        webhook_endpoint_key=str(endpoint.key),
        url=endpoint.url,
        event_types=list(endpoint.event_types),
        enabled=endpoint.enabled,
        created_at=wire_datetime(endpoint.created_at),
    )


def _event(event: Event) -> EventAnswer:
    callbacks = [CallbackAnswer(str(callback.key), callback.status) for callback in event.callbacks]
    return EventAnswer(
        str(event.key), event.event_type, "processed", event.origin_kind, str(event.origin_key), callbacks
    )
