"""Administration of the people who approve: registry, contacts, powers on accounts (transfers.md §8)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aval.domain.calendar import wire_datetime
from aval.domain.contact import normalized_email, normalized_phone
from aval.domain.errors import schema_refusal
from aval.domain.money import Brl
from aval.http.admin_accounts import account_of
from aval.http.admin_route import ACCOUNT, INTEGRATOR, admin_route
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, cpf_of, found, given, key_of, text_of
from aval.http.paging import ORDERED, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import ABSENT, decode, optional_amount_of
from aval.operations.change_approver import change_approver
from aval.operations.create_approver import create_approver
from aval.operations.grant_powers import grant_powers
from aval.operations.register_contact import register_contact
from aval.operations.remove_contact import remove_contact
from aval.operations.revoke_powers import revoke_powers
from aval.storage.account_approvers import Grant, list_grants
from aval.storage.approvers import Approver, find_approver, list_approvers
from aval.storage.contacts import Contact, list_contacts
from aval.storage.integrators import find_integrator

APPROVERS = INTEGRATOR + "/approvers"
APPROVER = APPROVERS + "/{approver_key}"
CONTACTS = APPROVER + "/contacts"
POWERS = ACCOUNT + "/approvers"
NAME_CHARACTERS_MAX = 150

ContactType = Literal["sms", "email"]
Power = Literal["pix_transfer", "pix_transfer_batch", "ted", "ted_batch"]


class ApproverBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new approver."""

    document_number: str
    name: str
    active: bool | None = None


class ApproverChange(msgspec.Struct, forbid_unknown_fields=True):
    """What changes of an approver."""

    document_number: str | None = None
    name: str | None = None
    active: bool | None = None


class ApproverAnswer(msgspec.Struct):
    """An approver; the CPF is masked."""

    approver_key: str
    document_number: str
    name: str
    active: bool
    created_at: str


class ContactBody(msgspec.Struct, forbid_unknown_fields=True):
    """A contact that takes the place of the one of its type."""

    contact_type: ContactType
    destination: str


class ContactAnswer(msgspec.Struct):
    """A contact; its destination is only shown masked."""

    contact_key: str
    contact_type: str
    masked_destination: str
    usable_at: str


class PowersBody(msgspec.Struct, forbid_unknown_fields=True):
    """What an approver may approve on an account; absent or null `max_amount` is no bound."""

    powers: list[Power]
    max_amount: msgspec.Raw = ABSENT


class PowersAnswer(msgspec.Struct):
    """What an approver may approve on an account."""

    approver_key: str
    powers: Annotated[list[str], Meta(description="Kinds of operations")]
    max_amount: Brl | None


_NORMALIZED: dict[str, Callable[[str], str | None]] = {"sms": normalized_phone, "email": normalized_email}


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Approvers(app)
    conflict = ("qit.conflict",)
    return [
        admin_route(
            "POST",
            APPROVERS,
            calls.create,
            success=201,
            summary="Enter an approver",
            request=ApproverBody,
            response=ApproverAnswer,
            refusals=conflict,
        ),
        admin_route(
            "GET",
            APPROVERS,
            calls.list_all,
            success=200,
            summary="List approvers",
            response=Listing[ApproverAnswer],
            query=ORDERED,
        ),
        admin_route("GET", APPROVER, calls.read, success=200, summary="Read an approver", response=ApproverAnswer),
        admin_route(
            "PATCH",
            APPROVER,
            calls.change,
            success=200,
            summary="Change an approver",
            request=ApproverChange,
            response=ApproverAnswer,
            refusals=conflict,
        ),
        *_contact_routes(Contacts(app)),
        *_power_routes(Powers(app)),
    ]


def _contact_routes(calls: "Contacts") -> list[Route]:
    return [
        admin_route(
            "POST",
            CONTACTS,
            calls.register,
            success=201,
            summary="Register a contact",
            request=ContactBody,
            response=ContactAnswer,
        ),
        admin_route(
            "GET",
            CONTACTS,
            calls.list_all,
            success=200,
            summary="List contacts",
            response=Listing[ContactAnswer],
            query=ORDERED,
        ),
        admin_route("DELETE", CONTACTS + "/{contact_key}", calls.remove, success=204, summary="Remove a contact"),
    ]


def _power_routes(calls: "Powers") -> list[Route]:
    one = POWERS + "/{approver_key}"
    return [
        admin_route(
            "PUT",
            one,
            calls.grant,
            success=200,
            summary="Give an approver powers on an account",
            request=PowersBody,
            response=PowersAnswer,
        ),
        admin_route("DELETE", one, calls.revoke, success=204, summary="Take an approver's powers away"),
        admin_route(
            "GET",
            POWERS,
            calls.list_all,
            success=200,
            summary="List who has powers on an account",
            response=Listing[PowersAnswer],
            query=ORDERED,
        ),
    ]


class Approvers:
    """Handlers of approvers."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST I/approvers."""
        body = decode(call.body, ApproverBody)
        approver = await create_approver(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            document_number=cpf_of(body.document_number, "document_number"),
            name=text_of(body.name, "name", characters_max=NAME_CHARACTERS_MAX),
            active=body.active is not False,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, _approver(approver))

    async def list_all(self, call: Call) -> Answer:
        """GET I/approvers."""
        page, integrator_key = page_of(call), key_of(call, "integrator_key")
        async with self._app.db.connection() as connection:
            found(await find_integrator(connection, integrator_key))
            rows = await list_approvers(connection, integrator_key, **page.rows)
        return json_answer(200, listing(page, rows, _approver))

    async def read(self, call: Call) -> Answer:
        """GET I/approvers/{approver_key}."""
        async with self._app.db.connection() as connection:
            approver = await find_approver(connection, key_of(call, "integrator_key"), key_of(call, "approver_key"))
        return json_answer(200, _approver(found(approver)))

    async def change(self, call: Call) -> Answer:
        """PATCH I/approvers/{approver_key}."""
        changes: dict[str, Any] = given(decode(call.body, ApproverChange))
        document = changes.pop("document_number", None)
        if "name" in changes:
            changes["name"] = text_of(changes["name"], "name", characters_max=NAME_CHARACTERS_MAX)
        approver = await change_approver(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            approver_key=key_of(call, "approver_key"),
            document_number=None if document is None else cpf_of(document, "document_number"),
            changes=changes,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(200, _approver(approver))


class Contacts:
    """Handlers of contacts."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def register(self, call: Call) -> Answer:
        """POST I/approvers/{approver_key}/contacts."""
        body = decode(call.body, ContactBody)
        destination = _NORMALIZED[body.contact_type](body.destination.strip(" "))
        if destination is None:
            raise schema_refusal(("destination", "invalid_value"))
        contact = await register_contact(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            approver_key=key_of(call, "approver_key"),
            contact_type=body.contact_type,
            destination=destination,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, _contact(contact))

    async def list_all(self, call: Call) -> Answer:
        """GET I/approvers/{approver_key}/contacts."""
        page = page_of(call)
        integrator_key, approver_key = key_of(call, "integrator_key"), key_of(call, "approver_key")
        async with self._app.db.connection() as connection:
            found(await find_approver(connection, integrator_key, approver_key))
            rows = await list_contacts(connection, integrator_key, approver_key, **page.rows)
        return json_answer(200, listing(page, rows, _contact))

    async def remove(self, call: Call) -> Answer:
        """DELETE I/approvers/{approver_key}/contacts/{contact_key}."""
        await remove_contact(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            approver_key=key_of(call, "approver_key"),
            contact_key=key_of(call, "contact_key"),
            author=author_of(call),
        )
        return Answer(204)


class Powers:
    """Handlers of powers on accounts."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def grant(self, call: Call) -> Answer:
        """PUT A/approvers/{approver_key}."""
        body = decode(call.body, PowersBody)
        grant = Grant(
            approver_key=key_of(call, "approver_key"),
            powers=sorted(set(body.powers)),
            max_amount=optional_amount_of(body.max_amount, "max_amount"),
        )
        await grant_powers(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=key_of(call, "account_key"),
            grant=grant,
            author=author_of(call),
        )
        return json_answer(200, _powers(grant))

    async def revoke(self, call: Call) -> Answer:
        """DELETE A/approvers/{approver_key}."""
        await revoke_powers(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            account_key=key_of(call, "account_key"),
            approver_key=key_of(call, "approver_key"),
            author=author_of(call),
        )
        return Answer(204)

    async def list_all(self, call: Call) -> Answer:
        """GET A/approvers."""
        page, account = page_of(call), await account_of(self._app, call)
        async with self._app.db.connection() as connection:
            rows = await list_grants(connection, key_of(call, "integrator_key"), account.key, **page.rows)
        return json_answer(200, listing(page, rows, _powers))


def _approver(approver: Approver) -> ApproverAnswer:
    return ApproverAnswer(
        approver_key=str(approver.key),
        document_number=approver.document_masked,
        name=approver.name,
        active=approver.active,
        created_at=wire_datetime(approver.created_at),
    )


def _contact(contact: Contact) -> ContactAnswer:
    return ContactAnswer(
        contact_key=str(contact.key),
        contact_type=contact.contact_type,
        masked_destination=contact.masked_destination,
        usable_at=wire_datetime(contact.usable_at),
    )


def _powers(grant: Grant) -> PowersAnswer:
    return PowersAnswer(str(grant.approver_key), list(grant.powers), grant.max_amount)
