"""Participants: who may change what, and nothing personal that prints."""

import pytest

from aval.domain.caller import CallerKind
from aval.domain.participant import Email, NewParticipant, Profile, person_type_of, scope_missing

OPERATOR, IMPERSONATOR, PARTICIPANT = CallerKind.OPERATOR, CallerKind.IMPERSONATOR, CallerKind.PARTICIPANT
REACHED = {"emails", "phones", "address"}


@pytest.mark.parametrize(
    ("caller", "changed", "scope"),
    [
        (PARTICIPANT, REACHED, None),
        (PARTICIPANT, {"name"}, "participants.write"),
        (PARTICIPANT, REACHED | {"birth_date"}, "participants.write"),
        (PARTICIPANT, {"catalog_id"}, "participants.write"),
        (PARTICIPANT, {"status"}, "participants.admin"),
        (IMPERSONATOR, REACHED | {"name", "birth_date", "catalog_id"}, None),
        (IMPERSONATOR, {"name", "status"}, "participants.admin"),
        (OPERATOR, REACHED | {"name", "birth_date", "catalog_id", "status"}, None),
        (PARTICIPANT, set(), None),
    ],
)
def test_each_caller_changes_what_is_theirs(caller: CallerKind, changed: set[str], scope: str | None) -> None:
    assert scope_missing(caller, changed) == scope


def test_a_new_participant_does_not_print() -> None:
    person = NewParticipant(
        external_id=None,
        name="Helena",
        username="helena",
        document_number="31860492533",
        person_type="INDIVIDUAL",
        status="ACTIVE",
        catalog_id="gold",
        profile=Profile(emails=(Email("helena@example.com"),)),
    )
    assert repr(person) == "NewParticipant"


@pytest.mark.parametrize(("document", "expected"), [("31860492533", "INDIVIDUAL"), ("12ABC34501DE35", "COMPANY")])
def test_a_document_tells_a_person_from_a_company(document: str, expected: str) -> None:
    assert person_type_of(document) == expected
