"""How a participant is told on the wire; who was erased has no name and no document.

Source: redemptions.md §7.4.
"""

from typing import Any

import msgspec

from aval.domain.campaign import Campaign
from aval.domain.participant import Participant, Profile


def participant_view(
    participant: Participant, profile: Profile, document_number: str | None, campaign: Campaign, onboarding_status: str
) -> dict[str, Any]:
    """A participant in full, for those who may know the document anyway."""
    is_erased = participant.erased_at is not None
    view: dict[str, Any] = {
        "id": participant.key,
        "external_id": participant.external_id,
        "name": None if is_erased else participant.name,
        "username": None if is_erased else participant.username,
        "document_number": document_number,
        "rg": profile.rg,
        "birth_date": profile.birth_date,
        "person_type": participant.person_type,
        "gender_type": profile.gender_type,
        "status": participant.status,
        "emails": msgspec.to_builtins(profile.emails),
        "phones": msgspec.to_builtins(profile.phones),
        "address": profile.address,
        "segment": {
            "client_id": campaign.client_id,
            "campaign_id": campaign.campaign_id,
            "catalog_id": participant.catalog_id,
            "name": campaign.catalogs.get(participant.catalog_id, participant.catalog_id),
        },
        "onboarding_status": onboarding_status,
    }
    return {name: value for name, value in view.items() if value is not None or name in _ALWAYS}


_ALWAYS = frozenset({"name", "username", "document_number"})
