"""Bodies of participants: every member checked, in its one spelling (redemptions.md §7.4)."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import parse_date
from aval.domain.contact import normalized_email
from aval.domain.errors import schema_refusal
from aval.domain.participant import (
    Email,
    NewParticipant,
    ParticipantStatus,
    PersonType,
    Phone,
    Profile,
    person_type_of,
)
from aval.http.fields import document_of, given, matching, text_of

LISTED_MAX = 10
ADDRESS_MEMBERS_MAX = 20
NAME_CHARACTERS_MAX = 150
_AREA_CODE = re.compile("[1-9][1-9]")
_NUMBER = re.compile("[0-9]{8,9}")
_MEMBER = re.compile("[A-Za-z0-9_]{1,40}")
_BORN_FROM = date(1900, 1, 1)

Emails = Annotated[list[Email], Meta(min_length=1, max_length=LISTED_MAX)]
Phones = Annotated[list[Phone], Meta(max_length=LISTED_MAX)]
Address = Annotated[dict[str, str], Meta(max_length=ADDRESS_MEMBERS_MAX)]
GenderType = Annotated[str, Meta(max_length=32)]


class ParticipantBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new participant; `person_type` is by default the one of the document."""

    name: str
    username: str
    document_number: str
    status: ParticipantStatus
    catalog_id: str
    emails: Emails
    external_id: str | None = None
    rg: str | None = None
    birth_date: str | None = None
    person_type: PersonType | None = None
    gender_type: GenderType | None = None
    phones: Phones | None = None
    address: Address | None = None


class ParticipantChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What changes of a participant; null takes birth date or address away, what is not given stays."""

    emails: Emails | None = None
    phones: Phones | None = None
    address: Address | None | UnsetType = UNSET
    name: str | None = None
    birth_date: str | None | UnsetType = UNSET
    catalog_id: str | None = None
    status: ParticipantStatus | None = None


class SegmentAnswer(msgspec.Struct):
    """Where a participant belongs."""

    client_id: str
    campaign_id: str
    catalog_id: str
    name: str


class ParticipantAnswer(msgspec.Struct, kw_only=True):
    """A participant; name, log-in and document are null once the person is erased."""

    id: str
    name: str | None
    username: str | None
    document_number: str | None
    person_type: PersonType
    status: ParticipantStatus
    emails: list[Email]
    phones: list[Phone]
    segment: SegmentAnswer
    onboarding_status: Literal[
        "suspended",
        "rejected",
        "resubmission_requested",
        "not_started",
        "device_pending",
        "documents_pending",
        "in_review",
        "complete",
    ]
    external_id: str | UnsetType = UNSET
    rg: str | UnsetType = UNSET
    birth_date: str | UnsetType = UNSET
    gender_type: str | UnsetType = UNSET
    address: dict[str, str] | UnsetType = UNSET


class ParticipantListing(msgspec.Struct):
    """Those who fit, of whom there is one at most."""

    items: list[ParticipantAnswer]
    offset: int
    limit: int
    total: int


def new_participant(body: ParticipantBody) -> NewParticipant:
    """Check every member of a new participant."""
    values = _checked(given(body))
    document = values["document_number"]
    person_type = values.get("person_type") or person_type_of(document)
    if person_type != person_type_of(document):
        raise schema_refusal(("person_type", "invalid_value"))
    profile = Profile(**{name: values[name] for name in Profile.__struct_fields__ if name in values})
    return NewParticipant(
        external_id=values.get("external_id"),
        name=values["name"],
        username=values["username"],
        document_number=document,
        person_type=person_type,
        status=body.status,
        catalog_id=values["catalog_id"],
        profile=profile,
    )


def changes_of(body: ParticipantChange) -> dict[str, Any]:
    """Check every member that is given."""
    return _checked(given(body, nullable=frozenset({"address", "birth_date"})))


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _CHECKS[name](value, name) if name in _CHECKS and value is not None else value
        for name, value in values.items()
    }


def _text(characters_max: int) -> Callable[[Any, str], str]:
    return lambda text, field: text_of(text, field, characters_max=characters_max)


def _emails(listed: Sequence[Email], field: str) -> tuple[Email, ...]:
    return tuple(_email(each, f"{field}[{place}]") for place, each in enumerate(listed))


def _email(each: Email, field: str) -> Email:
    address = normalized_email(each.email.strip(" "))
    if address is None:
        raise schema_refusal((f"{field}.email", "invalid_value"))
    return Email(address, text_of(each.type, f"{field}.type", characters_max=32))


def _phones(listed: Sequence[Phone], field: str) -> tuple[Phone, ...]:
    return tuple(
        Phone(
            matching(each.area_code, f"{field}[{place}].area_code", _AREA_CODE),
            matching(each.number, f"{field}[{place}].number", _NUMBER),
            text_of(each.type, f"{field}[{place}].type", characters_max=32),
        )
        for place, each in enumerate(listed)
    )


def _address(address: Mapping[str, str], field: str) -> dict[str, str]:
    if not all(map(_MEMBER.fullmatch, address)):
        raise schema_refusal((field, "unknown_field"))
    return {name: text_of(value, f"{field}.{name}", characters_max=200) for name, value in address.items()}


def _birth_date(text: str, field: str) -> str:
    day = parse_date(text)
    if day is None or day < _BORN_FROM:
        raise schema_refusal((field, "invalid_value"))
    return text


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": _text(NAME_CHARACTERS_MAX),
    "username": _text(128),
    "external_id": _text(64),
    "catalog_id": _text(64),
    "rg": _text(32),
    "gender_type": _text(32),
    "document_number": document_of,
    "emails": _emails,
    "phones": _phones,
    "address": _address,
    "birth_date": _birth_date,
}
