"""Ask for documents anew once the device they stood beside is gone (redemptions.md §3.1 rule 6)."""

from uuid import UUID

from aval.domain.identity_document import DocumentStatus, asked_again
from aval.operations.move_documents import DocumentMove, move_documents
from aval.operations.record_act import Author
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.campaigns import find_tenant
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.identity_documents import read_documents


async def ask_documents_again(
    connection: Connection, *, tenant_key: UUID, participant_key: UUID, actor: str, correlation_id: str
) -> int:
    """Move every approved document of a required kind to `resubmission_requested`; answers how many.

    Runs in the transaction that removes the device; the guard of the participant is held.
    """
    campaign = await find_tenant(connection, tenant_key)
    assert campaign is not None
    required = campaign.campaign.policy.required_documents
    now = await read_clock(connection)
    documents = await read_documents(connection, tenant_key, participant_key)
    moves = [
        DocumentMove(document, asked_again(document, now))
        for document in documents
        if document.status is DocumentStatus.APPROVED and document.rules.kind in required
    ]
    await move_documents(connection, moves, author=Author(actor, correlation_id))
    await tell_onboarded(
        connection, tenant_key=tenant_key, participant_key=participant_key, correlation_id=correlation_id
    )
    return len(moves)
