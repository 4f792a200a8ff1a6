"""Destroy whatever files a participant sent, when the person is erased."""

from uuid import UUID

from msgspec.structs import replace

from aval.domain.identity_document import DocumentStatus
from aval.operations.move_documents import DocumentMove, act_on, move_documents
from aval.operations.record_act import Author
from aval.storage.audit import append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.identity_documents import delete_drafts, destroy_files, read_documents, write_documents


async def destroy_documents(
    connection: Connection, *, tenant_key: UUID, participant_key: UUID, actor: str, correlation_id: str
) -> int:
    """Drop the keys of all files, drafts, and what reviewers wrote; answers how many files there were.

    Runs in the transaction that erases the participant; the guard is held.
    """
    author = Author(actor, correlation_id)
    documents = await read_documents(connection, tenant_key, participant_key)
    if not documents:
        return 0
    now = await read_clock(connection)
    destroyed = await destroy_files(connection, [(tenant_key, each.key) for each in documents], now)
    after = [replace(each, public_message=None, internal_note=None, updated_at=now) for each in documents]
    drafts = [each for each in after if each.status is DocumentStatus.DRAFT]
    await delete_drafts(connection, [(tenant_key, each.key) for each in drafts])
    await append_audit(connection, [act_on(each, "document.deleted", author) for each in drafts])
    await write_documents(connection, [each for each in after if each not in drafts])
    moves = [
        DocumentMove(each, replace(each, purged_at=now)) for each in after if each.stored_files and each not in drafts
    ]
    await move_documents(connection, moves, author=author)
    return destroyed
