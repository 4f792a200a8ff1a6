"""The housekeeping of identity documents: what expires, what is purged, what is left over in the store."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from aval.domain.keyring import Keyring
from aval.operations.sweep_documents import (
    collect_objects,
    expire_documents,
    forget_drafts,
    purge_documents,
    renew_seals,
)
from aval.storage.database import Database
from aval.storage.document_store import DocumentStore, DocumentStoreUnavailable

ROWS_MAX = 100
EXPIRY_INTERVAL = timedelta(seconds=10)
PURGE_INTERVAL = timedelta(minutes=5)  # promises.md PV4: due files are gone within 24 h

_log = structlog.get_logger("aval.worker")


async def expire_and_collect(db: Database, store: DocumentStore, stopping: asyncio.Event) -> None:
    """Let documents expire, and delete objects no file refers to; a store that is away is waited for."""
    await _all_of(lambda: expire_documents(db, most=ROWS_MAX), stopping)
    try:
        await _all_of(lambda: collect_objects(db, store, most=ROWS_MAX), stopping)
    except DocumentStoreUnavailable:
        _log.error("document_store_unavailable")


async def purge_and_renew(db: Database, keyring: Keyring, stopping: asyncio.Event) -> None:
    """Destroy files whose time is over, forget drafts nobody touches, and bring seals up to the current key."""
    await _all_of(lambda: purge_documents(db, most=ROWS_MAX), stopping)
    await _all_of(lambda: forget_drafts(db, most=ROWS_MAX), stopping)
    await _all_of(lambda: renew_seals(db, keyring=keyring, most=ROWS_MAX), stopping)


async def _all_of(sweep: Callable[[], Awaitable[int]], stopping: asyncio.Event) -> None:
    while not stopping.is_set() and await sweep() == ROWS_MAX:
        continue
