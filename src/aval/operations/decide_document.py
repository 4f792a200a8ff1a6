"""Approve a document, reject it, ask for new files, or reopen it."""

from uuid import UUID

from aval.domain.identity_document import IdentityDocument, Verdict, decided, no_document, refuse_twin, wrong_status
from aval.operations.create_campaign import name_of
from aval.operations.move_documents import DocumentMove, move_documents
from aval.operations.record_act import Author
from aval.operations.tell_onboarded import tell_onboarded
from aval.operations.upload_document import guard_living
from aval.storage.campaigns import find_tenant
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.identity_documents import find_document, read_documents


async def decide_document(db: Database, *, document_key: UUID, verdict: Verdict, author: Author) -> IdentityDocument:
    """Decide under the guard of the participant, so that of two decisions one counts. Raises Refusal."""
    async with db.transaction() as connection:
        found = await find_document(connection, document_key, tenant_key=None)
        if found is None:
            raise no_document()
        await guard_living(connection, found.integrator_key, found.participant_key)
        before = await find_document(connection, document_key, tenant_key=found.integrator_key)
        campaign = await find_tenant(connection, found.integrator_key)
        if before is None:
            raise no_document()
        assert campaign is not None
        if before.status is not verdict.decidable:
            raise wrong_status(before)
        refuse_twin(before, await read_documents(connection, before.integrator_key, before.participant_key))
        now = await read_clock(connection)
        after = decided(before, verdict, campaign.campaign.policy, actor=name_of(author), at=now)
        details = {"decision": verdict.decision.value}
        (document,) = await move_documents(connection, [DocumentMove(before, after, details)], author=author)
        await tell_onboarded(
            connection,
            tenant_key=document.integrator_key,
            participant_key=document.participant_key,
            correlation_id=author.correlation_id,
        )
    return document
