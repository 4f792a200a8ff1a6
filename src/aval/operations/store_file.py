"""Decode a file of a stranger, encrypt what it shows, and put it into the store, before any row needs it."""

import asyncio
import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.file_cipher import KEY_BYTES, NONCE_BYTES, encrypted, place_of_file
from aval.operations.fresh import fresh_key
from aval.ports import DecoderBusy, FileDecoder
from aval.storage.database import Database
from aval.storage.document_objects import announce_object
from aval.storage.document_store import DocumentStore, DocumentStoreUnavailable, spooled

CHUNK_BYTES = 65_536
STORING_MAX = 2  # files on their way into the store at once: each takes a part of 5 MB in memory
RETRY_AFTER_S = 5
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file as it came in, in a file without a name; its type is what its first bytes promise."""

    content: BinaryIO = field(repr=False)
    size: int
    sha256: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that lies in the store, unused until a row takes it."""

    object_key: UUID
    data_key: bytes = field(repr=False)
    media_type: str
    received_size: int
    sha256: bytes


class FileKeeper:
    """Stores files, a few at a time; made once for a process."""

    def __init__(self, db: Database, store: DocumentStore, decoder: FileDecoder, spool: Path | None) -> None:
        self.store = store
        self.spool = spool
        self._db = db
        self._decoder = decoder
        self._storing = asyncio.Semaphore(STORING_MAX)

    async def keep(self, tenant_key: UUID, document_key: UUID, side: str, file: ReceivedFile) -> StoredFile:
        """Store one file; raises Refusal if it cannot be read, or if decoder or store are out of reach."""
        object_key, data_key = fresh_key(), secrets.token_bytes(KEY_BYTES)
        with lent_space(self.spool) as shown, lent_space(self.spool) as sealed:
            await self._decode(file, shown)
            place = place_of_file(tenant_key, document_key, side, object_key)
            await asyncio.to_thread(partial(_encrypt, shown, sealed, data_key, place))
            async with self._db.connection() as connection:
                await announce_object(connection, tenant_key, object_key)
            async with self._storing:
                await self._put(tenant_key, object_key, sealed)
        return StoredFile(object_key, data_key, file.media_type, file.size, file.sha256)

    async def _decode(self, file: ReceivedFile, shown: BinaryIO) -> None:
        try:
            is_readable = await self._decoder.rewrite(file.content, shown, file.media_type)
        except DecoderBusy:
            raise busy() from None
        if not is_readable:
            raise Refusal("rdm.file_unreadable")

    async def _put(self, tenant_key: UUID, object_key: UUID, sealed: BinaryIO) -> None:
        try:
            await self.store.put(tenant_key, object_key, sealed)
        except DocumentStoreUnavailable:
            raise busy() from None


@contextmanager
def lent_space(directory: Path | None) -> Iterator[BinaryIO]:
    """A file without a name for what is on its way; raises Refusal once no space is left for it."""
    try:
        with spooled(directory) as file:
            yield file
    except OSError as error:
        if error.errno in NO_SPACE:
            raise busy() from None
        raise


def busy() -> Refusal:
    """Make the refusal of a file that cannot be taken at the moment."""
    return Refusal("rdm.unavailable", headers={"Retry-After": str(RETRY_AFTER_S)})


def _encrypt(shown: BinaryIO, sealed: BinaryIO, data_key: bytes, place: str) -> None:
    shown.seek(0)
    for chunk in encrypted(_chunks(shown), data_key, nonce=secrets.token_bytes(NONCE_BYTES), associated=place):
        sealed.write(chunk)
    sealed.seek(0)  # which writes what is held back


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
