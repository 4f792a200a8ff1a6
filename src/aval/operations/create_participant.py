"""Enter a participant."""

from secrets import token_bytes

import msgspec

from aval.domain.campaign import Campaign
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_document
from aval.domain.participant import NewParticipant, Participant, Profile
from aval.operations.create_approver import document_index
from aval.operations.fresh import new_key, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation
from aval.storage.participants import KeptDocument, StoredParticipant, insert_participant

INDEX_BYTES = 32


async def create_participant(
    db: Database, *, campaign: Campaign, person: NewParticipant, keyring: Keyring, author: Author
) -> StoredParticipant:
    """Store a participant with document and profile sealed, and an empty points account.

    Refused: a catalogue the campaign has not; a log-in or document the campaign knows already.
    """
    refuse_catalog(campaign, person.catalog_id)
    try:
        async with db.transaction() as connection:
            now = await read_clock(connection)
            participant = Participant(
                integrator_key=campaign.key,
                key=new_key(now),
                external_id=person.external_id,
                name=person.name,
                username=person.username,
                person_type=person.person_type,
                status=person.status,
                catalog_id=person.catalog_id,
                created_at=now,
                updated_at=now,
            )
            document = _kept(keyring, participant, person.document_number)
            profile = sealed_profile(keyring, participant, person.profile)
            await insert_participant(connection, participant, document, profile_sealed=profile)
            await record_act(
                connection,
                author,
                "participant.created",
                integrator_key=campaign.key,
                key=participant.key,
                at=now,
                details={"after": {"status": person.status, "catalog_id": person.catalog_id}},
            )
    except UniqueViolation:
        raise Refusal("rdm.participant_exists") from None
    return StoredParticipant(participant, document.sealed, profile)


def refuse_catalog(campaign: Campaign, catalog_id: str) -> None:
    """Raise for a catalogue that the campaign has not."""
    if catalog_id not in campaign.catalogs:
        raise schema_refusal(("catalog_id", "invalid_value"))


def sealed_profile(keyring: Keyring, participant: Participant, profile: Profile) -> bytes:
    """Seal what is personal of a participant, for their row alone."""
    return sealed(keyring, msgspec.json.encode(profile).decode(), associated=f"participants/{participant.key}")


def opened_profile(keyring: Keyring, stored: StoredParticipant) -> Profile:
    """Open what is personal of a participant; nothing once they are erased."""
    if stored.profile_sealed is None:
        return Profile()
    text = keyring.opened(stored.profile_sealed, associated=f"participants/{stored.participant.key}")
    return msgspec.json.decode(text, type=Profile)


def opened_document(keyring: Keyring, stored: StoredParticipant) -> str | None:
    """Open the CPF or CNPJ of a participant; None once they are erased."""
    if stored.document_sealed is None:
        return None
    return keyring.opened(stored.document_sealed, associated=f"approvers/{stored.participant.key}")


def no_document() -> KeptDocument:
    """Make what is kept of the document of nobody: found by none, nothing in it."""
    return KeptDocument(token_bytes(INDEX_BYTES), b"", "")


def _kept(keyring: Keyring, participant: Participant, number: str) -> KeptDocument:
    return KeptDocument(
        index=document_index(keyring, number),
        sealed=sealed(keyring, number, associated=f"approvers/{participant.key}"),
        masked=masked_document(number),
    )
