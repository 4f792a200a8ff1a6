"""The sandbox: reading messages that no phone receives, and letting time pass (transfers.md §10)."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import wire_datetime
from aval.domain.contact import normalized_email, normalized_phone
from aval.domain.errors import Refusal
from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.masks import masked_email, masked_phone
from aval.domain.principal import Integrator
from aval.domain.view import approval_view
from aval.http.edge import Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of, key_of
from aval.http.paging import PAGE, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.operations.advance_clock import advance_clock
from aval.storage.contacts import find_contact_keys, find_sandbox_destinations
from aval.storage.database import Connection
from aval.storage.sandbox import InboxMessage, list_messages

_DELIVERY_STATUS: Mapping[str, Literal["queued", "delivered", "failed"]] = {
    "ready": "queued",
    "delivered": "delivered",
    "failed": "failed",
    "void": "failed",
    "parked": "failed",
}

INBOX_QUERY = (QueryParameter("operation_key", "uuid"), QueryParameter("destination"), PAGE)


class InboxAnswer(msgspec.Struct):
    """A token message; no `text` if the key its token came from is gone."""

    message_key: str
    operation: str
    operation_key: str
    generation: int
    channel: Literal["sms", "email"]
    destination: str
    subject: str | None
    text: str | None
    delivery_status: Literal["queued", "delivered", "failed"]
    created_at: str


class AdvanceBody(msgspec.Struct, forbid_unknown_fields=True):
    """How much time passes."""

    seconds: Annotated[int, Meta(ge=1, le=86_400)]


class ApprovalAnswer(msgspec.Struct):
    """Where the approval of an operation stands (§2.6)."""

    method: Literal["sms", "email", "device"]
    masked_destination: str | None
    generation: int
    attempts_remaining: int | None
    expires_at: str
    can_resend_at: str | None
    approval_deadline: str


class AdvanceAnswer(msgspec.Struct):
    """The approval as it is then; nothing once the operation is final."""

    approval: ApprovalAnswer | UnsetType = UNSET


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Sandbox(app)
    return [
        Route(
            "GET",
            "/sandbox/inbox",
            calls.read_inbox,
            "sandbox",
            "integrator",
            "qit",
            200,
            "Read the messages of the sandbox, newest first",
            response=Listing[InboxAnswer],
            query=INBOX_QUERY,
            refusals=("qit.not_found",),
        ),
        Route(
            "POST",
            "/sandbox/operations/{operation_key}/advance",
            calls.advance,
            "sandbox",
            "integrator",
            "qit",
            200,
            "Let time pass for an operation",
            request=AdvanceBody,
            response=AdvanceAnswer,
            refusals=("qit.not_found",),
        ),
    ]


class Sandbox:
    """Handlers of the sandbox; live integrators find nothing here."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def read_inbox(self, call: Call) -> Answer:
        """GET /sandbox/inbox."""
        return await inbox_answer(self._app, call, _sandbox_of(call).key)

    async def advance(self, call: Call) -> Answer:
        """POST /sandbox/operations/{operation_key}/advance."""
        integrator = _sandbox_of(call)
        challenge = await advance_clock(
            self._app.db,
            integrator_key=integrator.key,
            operation_key=key_of(call, "operation_key"),
            earlier_by=timedelta(seconds=decode(call.body, AdvanceBody).seconds),
            author=author_of(call),
        )
        return json_answer(200, {} if challenge is None else {"approval": approval_view(challenge)})


async def inbox_answer(app: Parts, call: Call, integrator_key: UUID) -> Answer:
    """A page of the messages of a tenant in sandbox mode, for a route with `INBOX_QUERY`."""
    page, operation_key = page_of(call), call.query.get("operation_key")
    keyring = app.keyring.current()
    async with app.db.connection() as connection:
        wanted = call.query.get("destination")
        contact_keys = None
        if wanted is not None:
            contact_keys = await _contacts_at(connection, integrator_key, wanted, keyring)
        messages = await list_messages(
            connection,
            integrator_key,
            operation_key=None if operation_key is None else UUID(operation_key),
            contact_keys=contact_keys,
            offset=page.offset,
            limit=page.limit,
        )
        contacts = {message.contact_key for message in messages}
        destinations = await _destinations(connection, integrator_key, contacts, keyring)

    def row(message: InboxMessage) -> InboxAnswer:
        """One message as it was sent."""
        masked = message.token_message.challenge.masked_destination or ""
        return _row(message, destinations.get(message.contact_key) or masked, keyring)  # erased, or its key is gone

    return json_answer(200, listing(page, messages, row))


def _sandbox_of(call: Call) -> Integrator:
    if not call.caller.integrator.is_sandbox:
        raise Refusal("qit.not_found")
    return call.caller.integrator


async def _destinations(
    connection: Connection, integrator_key: UUID, contact_keys: set[UUID], keyring: Keyring
) -> dict[UUID, str]:
    found = await find_sandbox_destinations(connection, integrator_key, list(contact_keys))
    destinations = {}
    for contact in found:
        with suppress(KeyMissing):
            opened = keyring.opened(contact.destination_sealed, associated=f"contacts/{contact.contact_key}")
            destinations[contact.contact_key] = opened
    return destinations


async def _contacts_at(connection: Connection, integrator_key: UUID, wanted: str, keyring: Keyring) -> list[UUID]:
    """Find the contacts of one destination: by its mask, which is stored, and then by what is sealed."""
    phone, email = normalized_phone(wanted), normalized_email(wanted)
    mask = masked_phone(phone) if phone else masked_email(email) if email else None
    if mask is None:
        return []
    alike = await find_contact_keys(connection, integrator_key, mask)
    destinations = await _destinations(connection, integrator_key, set(alike), keyring)
    return [key for key, destination in destinations.items() if destination in (phone, email)]


def _row(message: InboxMessage, destination: str, keyring: Keyring) -> InboxAnswer:
    told = message.token_message
    try:
        rendered = told.rendered(keyring)
    except KeyMissing:
        rendered = None
    return InboxAnswer(
        message_key=str(message.key),
        operation=told.transfer.kind.value,
        operation_key=str(told.transfer.key),
        generation=told.generation,
        channel=told.channel,
        destination=destination,
        subject=rendered.subject if rendered else None,
        text=rendered.text if rendered else None,
        delivery_status=_DELIVERY_STATUS[message.state],
        created_at=wire_datetime(message.created_at),
    )
