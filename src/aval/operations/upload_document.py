"""Make a draft of a document from its first side, or add or replace a side of one."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from msgspec.structs import replace

from aval.domain.errors import Refusal, schema_refusal
from aval.domain.file_cipher import place_of_key
from aval.domain.identity_document import (
    DocumentFile,
    DocumentStatus,
    IdentityDocument,
    no_document,
    refuse_files,
    refuse_new,
)
from aval.domain.keyring import SEAL_NONCE_BYTES, Keyring
from aval.operations.move_documents import act_on
from aval.operations.record_act import Author
from aval.operations.store_file import StoredFile, busy
from aval.storage.audit import append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.document_objects import discard_objects, take_into_use
from aval.storage.identity_documents import (
    find_document,
    insert_document,
    put_file,
    read_documents,
    write_documents,
)
from aval.storage.participants import guard_participants


@dataclass(frozen=True, slots=True)
class Upload:
    """A side of a document of one participant; the file lies in the store already."""

    tenant_key: UUID
    participant_key: UUID
    document_key: UUID
    side: str
    file: StoredFile
    author: Author
    keyring: Keyring = field(repr=False)


async def create_document(db: Database, *, upload: Upload, document_type: str) -> IdentityDocument:
    """Make a draft with its first file. Raises Refusal."""
    async with _stored_in_vain(db, upload), db.transaction() as connection:
        await guard_living(connection, upload.tenant_key, upload.participant_key)
        refuse_new(await read_documents(connection, upload.tenant_key, upload.participant_key), document_type)
        now = await read_clock(connection)
        draft = IdentityDocument(
            integrator_key=upload.tenant_key,
            key=upload.document_key,
            participant_key=upload.participant_key,
            type=document_type,
            status=DocumentStatus.DRAFT,
            attempt=1,
            has_new_file=True,
            created_at=now,
            updated_at=now,
        )
        await insert_document(connection, draft)
        document = await _with_file(connection, upload, draft)
        details = {"side": upload.side, "sha256": upload.file.sha256.hex()}
        await append_audit(connection, [act_on(document, "document.created", upload.author, **details)])
    return document


async def add_document_file(db: Database, *, upload: Upload) -> IdentityDocument:
    """Add or replace a side of a document that waits for files; the former file is destroyed. Raises Refusal."""
    async with _stored_in_vain(db, upload), db.transaction() as connection:
        await guard_living(connection, upload.tenant_key, upload.participant_key)
        before = await own_document(connection, upload.tenant_key, upload.participant_key, upload.document_key)
        refuse_side(before, upload.side)
        refuse_files(before)
        now = await read_clock(connection)
        waiting = replace(before, has_new_file=True, purged_at=None, updated_at=now)
        await write_documents(connection, [waiting])
        document = await _with_file(connection, upload, waiting)
        former = before.stored_files.get(upload.side)
        if former is not None and former.object_key is not None:
            await discard_objects(connection, [(upload.tenant_key, former.object_key)])
        details = {"side": upload.side, "sha256": upload.file.sha256.hex()}
        await append_audit(connection, [act_on(document, "document.file_stored", upload.author, **details)])
    return document


@asynccontextmanager
async def _stored_in_vain(db: Database, upload: Upload) -> AsyncIterator[None]:
    """Let the object go at once when its upload is refused; whoever repeats that would fill the store."""
    try:
        yield
    except Refusal:
        async with db.connection() as connection:
            await discard_objects(connection, [(upload.tenant_key, upload.file.object_key)])
        raise


async def _with_file(connection: Connection, upload: Upload, document: IdentityDocument) -> IdentityDocument:
    if not await take_into_use(connection, upload.tenant_key, upload.file.object_key):
        raise busy()  # it took so long that the object was collected
    others = tuple(file for file in document.files if file.side != upload.side)
    former = next((file for file in document.files if file.side == upload.side), None)
    file = DocumentFile(
        side=upload.side,
        version=1 if former is None else former.version + 1,
        media_type=upload.file.media_type,
        received_size=upload.file.received_size,
        sha256=upload.file.sha256,
        object_key=upload.file.object_key,
        created_at=document.updated_at,
    )
    sealed = upload.keyring.sealed_key(
        upload.file.data_key,
        associated=place_of_key(upload.tenant_key, document.key, file.side, file.version),
        nonce=secrets.token_bytes(SEAL_NONCE_BYTES),
    )
    await put_file(connection, document, file, key_sealed=sealed)
    return replace(document, files=(*others, file))


async def guard_living(connection: Connection, tenant_key: UUID, participant_key: UUID) -> None:
    """Take the guard of a participant; raises Refusal if there is none, or if the person is erased."""
    participant = (tenant_key, participant_key)
    found = (await guard_participants(connection, [participant])).get(participant)
    if found is None or found.erased_at is not None:
        raise Refusal("rdm.participant_not_found")


async def own_document(
    connection: Connection, tenant_key: UUID, participant_key: UUID, document_key: UUID
) -> IdentityDocument:
    """Read a document of a participant; raises Refusal, the same for an unknown one and for somebody else's."""
    document = await find_document(connection, document_key, tenant_key=tenant_key)
    if document is None or document.participant_key != participant_key:
        raise no_document()
    return document


def refuse_side(document: IdentityDocument, side: str) -> None:
    """Raise the refusal of a side that the type of the document lacks."""
    if side not in document.rules.sides:
        raise schema_refusal(("side", "invalid_value"))
