"""Open a stored file for a reviewer; that it was seen is written down before it is shown."""

from dataclasses import dataclass, field
from uuid import UUID

from msgspec.structs import replace

from aval.domain.file_cipher import FileTampered, decrypted, place_of_file, place_of_key
from aval.domain.identity_document import DocumentFile, IdentityDocument, no_document
from aval.domain.keyring import KeyMissing, Keyring
from aval.operations.move_documents import act_on
from aval.operations.record_act import Author
from aval.operations.store_file import busy
from aval.storage.audit import append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.document_store import DocumentStore, DocumentStoreUnavailable
from aval.storage.identity_documents import find_document, find_file_key


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file as it is shown."""

    media_type: str
    content: bytes = field(repr=False)


async def read_document_file(
    db: Database, store: DocumentStore, *, document_key: UUID, side: str, keyring: Keyring, author: Author
) -> OpenedFile:
    """Decrypt one side of a document. Raises Refusal: unknown, purged, or out of reach."""
    async with db.transaction() as connection:
        document = await find_document(connection, document_key, tenant_key=None)
        file = None if document is None else document.stored_files.get(side)
        if document is None or file is None:
            raise no_document()
        key_sealed = await find_file_key(connection, document, file)
        if key_sealed is None:
            raise no_document()
        seen = replace(document, updated_at=await read_clock(connection))
        details = {"side": side, "version": file.version}
        await append_audit(connection, [act_on(seen, "document.viewed", author, **details)])
    return await _opened(store, document, file, key_sealed, keyring)


async def _opened(
    store: DocumentStore, document: IdentityDocument, file: DocumentFile, key_sealed: bytes, keyring: Keyring
) -> OpenedFile:
    assert file.object_key is not None
    tenant_key = document.integrator_key
    try:
        data_key = keyring.opened_key(
            key_sealed, associated=place_of_key(tenant_key, document.key, file.side, file.version)
        )
        place = place_of_file(tenant_key, document.key, file.side, file.object_key)
        content = _decrypted(await store.read(tenant_key, file.object_key), data_key, place)
        return OpenedFile(file.media_type, content)
    except (KeyMissing, DocumentStoreUnavailable, FileTampered):
        raise busy() from None


def _decrypted(stored: bytes | None, data_key: bytes, place: str) -> bytes:
    if stored is None:  # replaced or purged since
        raise no_document()
    return decrypted(stored, data_key, associated=place)
