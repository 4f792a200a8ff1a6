"""The routes of transfers: which calls each kind has, and what they may answer (transfers.md §3.1, §4, §6)."""

from dataclasses import dataclass
from typing import Any

import msgspec

from aval.domain.batch import single_kind
from aval.domain.transfer import Kind
from aval.http.batch_calls import BatchCalls
from aval.http.edge import BATCH_BODY_BYTES_MAX, Handler, Route
from aval.http.paging import Listing
from aval.http.transfer_body import ResendBody, ValidateBody
from aval.http.transfer_calls import TransferCalls

Slugs = tuple[str, ...]
Body = type[msgspec.Struct]

_READ = ("account_not_found", "operation_not_found")
_CANCEL = (*_READ, "invalid_status")  # its body is always the same, so that no key conflicts
_TOKEN_CALLS = (*_CANCEL, "attempts_exceeded", "idempotency_conflict")
_CREATE = (
    "account_not_found",
    "account_unavailable",
    "idempotency_conflict",
    "tfa_info_required",
    "approver_not_allowed",
    "contact_not_available",
    "device_not_available",
    "channel_closed_on_create",
    "limit_exceeded",
    "insufficient_funds",
)
_VALIDATE = (
    *_TOKEN_CALLS,
    "token_required",
    "token_expired",
    "incorrect_token",
    "error_validating_token",
    "device_approval_pending",
    "approver_not_allowed",
    "account_unavailable",
    "limit_exceeded",
    "insufficient_funds",
)
_SETTLED = ("target_account_not_found", "rail_refused")
_RESEND = (
    *_TOKEN_CALLS,
    "resend_not_available",
    "resend_limit_reached",
    "resend_too_soon",
    "contact_not_available",
    "limit_exceeded",
    "channel_closed_on_resend",
)


@dataclass(frozen=True, slots=True)
class Bodies:
    """What the calls of a kind take and tell."""

    request: Body
    created: Body
    approved: Body
    resent: Body
    cancelled: Body
    detail: Body

    @classmethod
    def of_single(cls, request: Body, answer: Body, detail: Body) -> "Bodies":
        """Those of a single, which every call tells alike."""
        return cls(request, answer, answer, answer, answer, detail)


class _Table:
    """Makes the routes of one kind."""

    def __init__(self, calls: TransferCalls, bodies: Bodies) -> None:
        self._calls = calls
        self._bodies = bodies
        self.many = f"/account/{{account_key}}/{calls.kind}"
        self.one = f"{self.many}/{{{calls.key_name}}}"

    def route(
        self, method: str, path: str, handler: Handler, success: int, summary: str, slugs: Slugs, **more: Any
    ) -> Route:
        """One route; its refusals are slugs of the kind, or whole names of the catalogue."""
        family: Any = single_kind(self._calls.kind).family  # which code a malformed key gets
        scope = "transfers:read" if method == "GET" else "transfers:write"
        refusals = tuple(slug if "." in slug else f"{self._calls.kind.family}.{slug}" for slug in slugs)
        return Route(method, path, handler, scope, "integrator", family, success, summary, refusals=refusals, **more)

    def token_calls(self, validated: int, validate: Slugs, resend: Slugs = _RESEND) -> list[Route]:
        """Validate, resend and cancel."""
        calls, bodies, one = self._calls, self._bodies, self.one
        bare: dict[str, Any] = {"empty_body": True}
        to_validate = bare | {"request": ValidateBody, "response": bodies.approved, "is_hot": True}
        to_resend = bare | {"request": ResendBody, "response": bodies.resent}
        to_cancel = bare | {"response": bodies.cancelled}
        cancel = "Cancel while it waits for approval"
        return [
            self.route(
                "PUT",
                f"{one}/validate_token",
                calls.validate,
                validated,
                "Approve with the token",
                validate,
                **to_validate,
            ),
            self.route("PATCH", f"{one}/resend_token", calls.resend, 202, "Send a new token", resend, **to_resend),
            self.route("PATCH", f"{one}/cancel", calls.cancel, 200, cancel, _CANCEL, **to_cancel),
        ]


def single_routes(calls: TransferCalls, create: Handler, bodies: Bodies, faults: Slugs) -> list[Route]:
    """List the routes of one kind of single transfer; `faults` are what only it is refused for."""
    table = _Table(calls, bodies)
    created = {"request": bodies.request, "response": bodies.created, "is_hot": True}
    listed = {"response": Listing[bodies.detail], "query": calls.list_query()}  # type: ignore[name-defined]
    read = f"{table.one}/{{{calls.direction_name}}}"
    return [
        table.route("POST", table.many, create, 202, f"Request a {calls.kind}", (*_CREATE, *faults), **created),
        *table.token_calls(202, (*_VALIDATE, *_SETTLED, *_at_approval(faults))),
        table.route("GET", read, calls.read_one, 200, "Read one transfer", _READ, response=bodies.detail),
        table.route("GET", f"{table.many}s", calls.list_all, 200, "List transfers", _READ[:1], **listed),
    ]


def batch_routes(calls: BatchCalls, bodies: Bodies, item: Body, faults: Slugs) -> list[Route]:
    """List the routes of one kind of batch. A thousand look-ups wait for a caller who is known: create is not hot."""
    table = _Table(calls, bodies)
    created = {"request": bodies.request, "response": bodies.created, "body_limit": BATCH_BODY_BYTES_MAX}
    listed = {"response": Listing[bodies.detail], "query": calls.list_query()}  # type: ignore[name-defined]
    items = {"response": Listing[item], "query": calls.items_query()}  # type: ignore[valid-type]
    create = (*_CREATE, "invalid_batch_item", *faults)
    unknown_ted = "ted.operation_not_found"  # what a resend answers of a TED batch nobody has, as published
    resend = _RESEND if calls.kind is Kind.PIX_TRANSFER_BATCH else (unknown_ted, *_without_operation(_RESEND))
    return [
        table.route("POST", table.many, calls.create, 202, f"Request a {calls.kind}", create, **created),
        *table.token_calls(201, (*_VALIDATE, *_at_approval(faults)), resend),
        table.route("GET", table.one, calls.read_one, 200, "Read one batch", _READ, response=bodies.detail),
        table.route("GET", f"{table.one}/{calls.items_name}", calls.list_items, 200, "List its items", _READ, **items),
        table.route("GET", f"{table.many}es", calls.list_all, 200, "List batches", _READ[:1], **listed),
    ]


def _without_operation(slugs: Slugs) -> Slugs:
    return tuple(slug for slug in slugs if slug != "operation_not_found")


def _at_approval(faults: Slugs) -> Slugs:
    return tuple(slug for slug in faults if slug == "outside_ted_hours")
