"""What time does to documents: they expire, their files are purged, drafts are forgotten, objects are collected."""

import secrets
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from aval.domain.file_cipher import place_of_key
from aval.domain.identity_document import DocumentStatus, expired
from aval.domain.keyring import SEAL_NONCE_BYTES, KeyMissing, Keyring, Purpose
from aval.operations.fresh import fresh_key
from aval.operations.move_documents import DocumentMove, act_on, move_documents
from aval.operations.record_act import Author
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.audit import append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.document_objects import claim_discarded, forget_objects
from aval.storage.document_store import DocumentStore
from aval.storage.document_sweeps import (
    Due,
    SealedKey,
    guard_owners,
    read_expiring,
    read_older_seals,
    read_purgeable,
    read_stale_drafts,
    read_zones,
    replace_seals,
)
from aval.storage.identity_documents import delete_drafts, destroy_files, lock_documents

WORKER = "worker"


async def expire_documents(db: Database, *, most: int) -> int:
    """Let approved documents expire whose last day is over in their campaign's time zone; answers how many were met."""
    async with db.connection() as connection:
        zones, now = await read_zones(connection)
        today = {zone: now.astimezone(ZoneInfo(zone)).date() for zone in zones}
        over = dict(await read_expiring(connection, today, most=most))
    if not over:
        return 0
    author = _author()
    async with db.transaction() as connection:
        await guard_owners(connection, over)
        now = await read_clock(connection)
        documents = await lock_documents(connection, [due.document for due in over])
        last_days = {due.document: last_day for due, last_day in over.items()}
        moves = [
            DocumentMove(each, expired(each, now))
            for each in documents  # one that was approved anew meanwhile has another day
            if each.status is DocumentStatus.APPROVED and each.expires_on == last_days[each.integrator_key, each.key]
        ]
        await move_documents(connection, moves, author=author)
        for tenant_key, participant_key in {(each.integrator_key, each.participant_key) for each in documents}:
            await tell_onboarded(
                connection,
                tenant_key=tenant_key,
                participant_key=participant_key,
                correlation_id=author.correlation_id,
            )
    return len(over)


async def purge_documents(db: Database, *, most: int) -> int:
    """Destroy files whose time is over; status, decision, dates and hashes stay. Answers how many documents it met."""
    async with db.connection() as connection:
        found = await read_purgeable(connection, most=most)
    if found:
        async with db.transaction() as connection:
            await guard_owners(connection, found)
            still = await read_purgeable(connection, most=most)  # once the guards are held nothing of it changes
            await _purge(connection, [due for due in still if due in set(found)])
    return len(found)


async def _purge(connection: Connection, due: Sequence[Due]) -> None:
    now = await read_clock(connection)
    documents = await lock_documents(connection, [each.document for each in due])
    await destroy_files(connection, [each.document for each in due], now)
    moves = [DocumentMove(each, replace(each, purged_at=now, updated_at=now)) for each in documents]
    await move_documents(connection, moves, author=_author())


async def forget_drafts(db: Database, *, most: int) -> int:
    """Erase drafts that were not touched for 30 days; answers how many it met."""
    async with db.connection() as connection:
        found = await read_stale_drafts(connection, most=most)
    if found:
        async with db.transaction() as connection:
            await guard_owners(connection, found)
            still = set(found).intersection(await read_stale_drafts(connection, most=most))
            now = await read_clock(connection)
            drafts = await lock_documents(connection, [due.document for due in still])
            await destroy_files(connection, [due.document for due in still], now)
            await delete_drafts(connection, [due.document for due in still])
            author = _author()
            acts = [act_on(replace(each, updated_at=now), "document.deleted", author) for each in drafts]
            await append_audit(connection, acts)
    return len(found)


async def collect_objects(db: Database, store: DocumentStore, *, most: int) -> int:
    """Delete objects that no file refers to; what cannot be deleted now comes again. Raises DocumentStoreUnavailable.

    Nothing can take an object into use once it is claimed, and its row goes last.
    """
    async with db.connection() as connection:
        claimed = await claim_discarded(connection, most=most)
    await store.delete(claimed)
    async with db.connection() as connection:
        await forget_objects(connection, claimed)
    return len(claimed)


async def renew_seals(db: Database, *, keyring: Keyring, most: int) -> int:
    """Seal the keys of files under the current key, so that the former one can be dropped; answers how many it met.

    Once the former key is dropped, no older copy of the database opens a file any more.
    """
    if not keyring.all_of(Purpose.DOCUMENT):
        return 0
    current = keyring.current(Purpose.DOCUMENT).kid
    older = [key.kid for key in keyring.all_of(Purpose.DOCUMENT) if key.kid != current]
    async with db.connection() as connection:
        found = await read_older_seals(connection, older, most=most)
        renewed = [(key, newer) for key in found if (newer := _renewed(key, keyring)) is not None]
        if renewed:
            await replace_seals(connection, renewed)
    return len(renewed)


def _renewed(key: SealedKey, keyring: Keyring) -> bytes | None:
    place = place_of_key(key.tenant_key, key.document_key, key.side, key.version)
    try:
        data_key = keyring.opened_key(key.sealed, associated=place)
    except KeyMissing:
        return None
    return keyring.sealed_key(data_key, associated=place, nonce=secrets.token_bytes(SEAL_NONCE_BYTES))


def _author() -> Author:
    return Author(WORKER, str(fresh_key()))
