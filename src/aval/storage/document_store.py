"""Where the files of documents lie, encrypted: a directory of this machine, or a store that speaks S3.

Names are random and say nothing. What may be there is written down in `document_objects` before it is.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit
from uuid import UUID

from aval.storage.embedded_binaries import make_directory

if TYPE_CHECKING:  # four megabytes, loaded by the first document
    from obstore.store import LocalStore, S3Store

S3_PART_BYTES = 5 * 1024 * 1024  # the least it takes
LOCAL_PART_BYTES = 1024 * 1024
TIMEOUT = timedelta(seconds=10)
RETRIES = 2


class DocumentStoreUnavailable(Exception):
    """The store could not be asked."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is: `file:///directory`, or `s3://bucket/prefix` with what S3 needs."""

    url: str
    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret: str = field(default="", repr=False)


class DocumentStore:
    """Puts, reads and deletes objects by their keys; opened when it is first used."""

    def __init__(self, address: StoreAddress, *, retries: int = RETRIES) -> None:
        self._address = address
        self._retries = retries
        self._opened: LocalStore | S3Store | None = None

    async def put(self, tenant_key: UUID, object_key: UUID, content: BinaryIO) -> None:
        """Store an object; when this returns it is there to stay. Raises DocumentStoreUnavailable."""
        from obstore import put_async
        from obstore.exceptions import BaseError

        path, is_local = _path_of(tenant_key, object_key), self._is_local
        try:
            store = self._store()
            part = LOCAL_PART_BYTES if is_local else S3_PART_BYTES
            await put_async(store, path, content, chunk_size=part, max_concurrency=1)
            if is_local:
                await asyncio.to_thread(_flush, self._directory() / path)
        except (BaseError, OSError) as error:
            raise DocumentStoreUnavailable from error

    async def read(self, tenant_key: UUID, object_key: UUID) -> bytes | None:
        """Read an object whole; None if there is none. Raises DocumentStoreUnavailable."""
        from obstore import get_async
        from obstore.exceptions import BaseError, NotFoundError

        try:
            found = await get_async(self._store(), _path_of(tenant_key, object_key))
            return bytes(await found.bytes_async())
        except (NotFoundError, FileNotFoundError):
            return None
        except (BaseError, OSError) as error:
            raise DocumentStoreUnavailable from error

    async def delete(self, objects: Sequence[tuple[UUID, UUID]]) -> None:
        """Delete objects, whether they are there or not. Raises DocumentStoreUnavailable."""
        from obstore import delete_async
        from obstore.exceptions import BaseError, NotFoundError

        for tenant_key, object_key in objects:
            try:
                await delete_async(self._store(), _path_of(tenant_key, object_key))
            except (NotFoundError, FileNotFoundError):
                continue
            except (BaseError, OSError) as error:
                raise DocumentStoreUnavailable from error

    @property
    def _is_local(self) -> bool:
        return urlsplit(self._address.url).scheme == "file"

    def _store(self) -> "LocalStore | S3Store":
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> "LocalStore | S3Store":
        from obstore.store import LocalStore, S3Store

        if self._is_local:
            make_directory(self._directory())
            return LocalStore(self._directory())
        options = {
            "endpoint": self._address.endpoint,
            "region": self._address.region,
            "access_key_id": self._address.access_key_id,
            "secret_access_key": self._address.secret,
        }
        is_plain = self._address.endpoint.startswith("http://")
        return S3Store.from_url(
            self._address.url,
            client_options={"timeout": TIMEOUT, "allow_http": is_plain},
            retry_config={"max_retries": self._retries, "retry_timeout": TIMEOUT},
            **{name: text for name, text in options.items() if text},  # type: ignore[arg-type]
        )

    def _directory(self) -> Path:
        return Path(unquote(urlsplit(self._address.url).path))


def spooled(directory: Path | None) -> BinaryIO:
    """A file without a name, for what must not be held in memory; it is gone when it is closed."""
    return tempfile.TemporaryFile(dir=directory)  # mode 600, and unlinked


def _path_of(tenant_key: UUID, object_key: UUID) -> str:
    return f"{tenant_key.hex}/{object_key.hex[-2:]}/{object_key.hex}"


def _flush(path: Path) -> None:
    """Bring a file and its name to the disk: the row that needs it is committed after this."""
    for each in (path, path.parent, path.parent.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
