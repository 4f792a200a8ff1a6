"""A participant: the person who redeems points, as the campaign enters and the edge tells them.

Source: redemptions.md §7.4.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from aval.domain.caller import CallerKind

PersonType = Literal["INDIVIDUAL", "COMPANY"]
ParticipantStatus = Literal["ACTIVE", "INACTIVE"]


class Email(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An e-mail address of a profile; nothing is ever sent there."""

    email: str
    type: str = "PERSONAL"


class Phone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A telephone of a profile; never a security device (redemptions.md §3.1)."""

    area_code: str
    number: str
    type: str = "MOBILE"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is stored sealed and erased on demand."""

    emails: tuple[Email, ...] = ()
    phones: tuple[Phone, ...] = ()
    rg: str | None = None
    birth_date: str | None = None  # YYYY-MM-DD
    gender_type: str | None = None
    address: Mapping[str, str] | None = None


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """A participant without document and profile, which are sealed."""

    integrator_key: UUID
    key: UUID
    external_id: str | None
    name: str
    username: str
    person_type: PersonType
    status: ParticipantStatus
    catalog_id: str
    created_at: datetime
    updated_at: datetime
    event_sequence: int = 0
    is_onboarded: bool = False
    erased_at: datetime | None = None


def person_type_of(document_number: str) -> PersonType:
    """Tell a person (CPF) from a company (CNPJ) by a valid document."""
    return "INDIVIDUAL" if len(document_number) == 11 else "COMPANY"


class NewParticipant(msgspec.Struct, frozen=True, kw_only=True):
    """A participant as a campaign enters them, every member checked."""

    external_id: str | None
    name: str
    username: str
    document_number: str  # a valid CPF or CNPJ in its one spelling
    person_type: PersonType
    status: ParticipantStatus
    catalog_id: str
    profile: Profile

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


_OF_THE_OPERATOR = frozenset({"status"})
_OF_THE_CAMPAIGN = frozenset({"name", "birth_date", "catalog_id"})


def scope_missing(caller: CallerKind, changed: Collection[str]) -> str | None:
    """The scope whose lack forbids a change of these members (redemptions.md §7.4); None if it is allowed."""
    if caller is CallerKind.OPERATOR:
        return None
    if not _OF_THE_OPERATOR.isdisjoint(changed):
        return "participants.admin"
    is_foreign = caller is CallerKind.PARTICIPANT and not _OF_THE_CAMPAIGN.isdisjoint(changed)
    return "participants.write" if is_foreign else None
