"""Erase a person: what they are called, their numbers and their files; purchases and ledger stay under the id."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.create_participant import no_document
from aval.operations.destroy_documents import destroy_documents
from aval.operations.erase_phones import erase_phones
from aval.operations.fresh import fresh_key
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.participants import (
    StoredParticipant,
    erase_kept_answers,
    erase_participant_row,
    find_open_purchase,
    find_participant,
    lock_participant,
)


async def erase_participant(
    db: Database, *, integrator_key: UUID, participant_key: UUID, keyring: Keyring, author: Author
) -> StoredParticipant:
    """Overwrite all that tells who a participant is, in one transaction; done once, a repetition answers the same.

    Refused while a purchase is pending or authorized. A key that files were sealed with is gone at once.
    """
    owner = {"tenant_key": integrator_key, "participant_key": participant_key}
    async with db.transaction() as connection:
        stored = await lock_participant(connection, integrator_key, participant_key)
        if stored is None:
            raise Refusal("rdm.participant_not_found")
        if stored.participant.erased_at is not None:
            return stored
        status = await find_open_purchase(connection, integrator_key, participant_key)
        if status is not None:
            raise Refusal("rdm.wrong_status", extra_fields={"status": status})
        await erase_phones(connection, **owner, keyring=keyring, author=author)
        files = await destroy_documents(connection, **owner, actor=author.name, correlation_id=author.correlation_id)
        await erase_kept_answers(connection, integrator_key, participant_key)
        now = await read_clock(connection)
        nobody = str(fresh_key())  # a log-in that nobody can have taken before, as they could the participant's id
        await erase_participant_row(connection, stored.participant, no_document(), username=nobody, at=now)
        await record_act(
            connection,
            author,
            "participant.erased",
            integrator_key=integrator_key,
            key=participant_key,
            at=now,
            details={"before": {"status": stored.participant.status}, "files_destroyed": files},
        )
        erased = await find_participant(connection, integrator_key, participant_key)
    assert erased is not None
    return erased
