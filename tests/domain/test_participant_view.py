"""A participant in full, and what is left to tell of who was erased."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.campaign import Campaign, TwoFactorPolicy
from aval.domain.participant import Email, Participant, Phone, Profile
from aval.domain.participant_view import participant_view

NOW = datetime(2026, 3, 4, tzinfo=UTC)
CAMPAIGN = Campaign(
    UUID(int=1), "verao", "loja", "Clube", "live", "active", "pt-BR", "America/Sao_Paulo", {"gold": "Ouro"}, {}, 1,
    TwoFactorPolicy(),
)  # fmt: skip
HELENA = Participant(
    integrator_key=UUID(int=1),
    key=UUID(int=2),
    external_id="h-1",
    name="Helena",
    username="helena",
    person_type="INDIVIDUAL",
    status="ACTIVE",
    catalog_id="gold",
    created_at=NOW,
    updated_at=NOW,
)
PROFILE = Profile(
    (Email("h@example.com"),), (Phone("11", "987651234"),), "1", "1990-02-28", "FEMALE", {"city": "Recife"}
)
WHOLE: dict[str, Any] = {
    "id": UUID(int=2),
    "external_id": "h-1",
    "name": "Helena",
    "username": "helena",
    "document_number": "52998224725",
    "rg": "1",
    "birth_date": "1990-02-28",
    "person_type": "INDIVIDUAL",
    "gender_type": "FEMALE",
    "status": "ACTIVE",
    "emails": ({"email": "h@example.com", "type": "PERSONAL"},),
    "phones": ({"area_code": "11", "number": "987651234", "type": "MOBILE"},),
    "address": {"city": "Recife"},
    "segment": {"client_id": "loja", "campaign_id": "verao", "catalog_id": "gold", "name": "Ouro"},
    "onboarding_status": "complete",
}


def test_a_participant_is_told_in_full() -> None:
    assert participant_view(HELENA, PROFILE, "52998224725", CAMPAIGN, "complete") == WHOLE


def test_what_is_not_known_is_not_told() -> None:
    told = participant_view(replace(HELENA, external_id=None), Profile(), "52998224725", CAMPAIGN, "complete")
    unknown = {"external_id", "rg", "birth_date", "gender_type", "address"}
    assert told == {k: v for k, v in WHOLE.items() if k not in unknown} | {"emails": (), "phones": ()}


def test_who_was_erased_has_neither_name_nor_document() -> None:
    told = participant_view(replace(HELENA, erased_at=NOW), Profile(), None, CAMPAIGN, "suspended")
    assert (told["name"], told["username"], told["document_number"]) == (None, None, None)
    assert (told["id"], told["external_id"]) == (UUID(int=2), "h-1")


@pytest.mark.parametrize(("catalog_id", "name"), [("gold", "Ouro"), ("bronze", "bronze")])
def test_a_catalogue_the_campaign_no_longer_has_goes_by_its_id(catalog_id: str, name: str) -> None:
    told = participant_view(replace(HELENA, catalog_id=catalog_id), PROFILE, None, CAMPAIGN, "complete")
    assert told["segment"]["name"] == name
