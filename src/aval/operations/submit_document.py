"""Hand a document to the reviewers, or take a draft back."""

from uuid import UUID

from msgspec.structs import replace

from aval.domain.identity_document import DocumentStatus, IdentityDocument, refuse_submission, submitted, wrong_status
from aval.operations.move_documents import DocumentMove, act_on, move_documents
from aval.operations.record_act import Author
from aval.operations.tell_onboarded import tell_onboarded
from aval.operations.upload_document import guard_living, own_document
from aval.storage.audit import append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.identity_documents import delete_drafts, destroy_files, read_documents


async def submit_document(
    db: Database, *, tenant_key: UUID, participant_key: UUID, document_key: UUID, author: Author
) -> IdentityDocument:
    """Let a document wait for its review. Raises Refusal."""
    async with db.transaction() as connection:
        await guard_living(connection, tenant_key, participant_key)
        before = await own_document(connection, tenant_key, participant_key, document_key)
        refuse_submission(before, await read_documents(connection, tenant_key, participant_key))
        after = submitted(before, await read_clock(connection))
        (document,) = await move_documents(connection, [DocumentMove(before, after)], author=author)
        await tell_onboarded(
            connection,
            tenant_key=tenant_key,
            participant_key=participant_key,
            correlation_id=author.correlation_id,
        )
    return document


async def delete_draft(
    db: Database, *, tenant_key: UUID, participant_key: UUID, document_key: UUID, author: Author
) -> None:
    """Erase a draft, its files with it. Raises Refusal."""
    async with db.transaction() as connection:
        await guard_living(connection, tenant_key, participant_key)
        draft = await own_document(connection, tenant_key, participant_key, document_key)
        if draft.status is not DocumentStatus.DRAFT:
            raise wrong_status(draft)
        now = await read_clock(connection)
        await destroy_files(connection, [(tenant_key, document_key)], now)
        await delete_drafts(connection, [(tenant_key, document_key)])
        await append_audit(connection, [act_on(replace(draft, updated_at=now), "document.deleted", author)])
