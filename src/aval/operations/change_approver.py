"""Change a person who approves, or switch them off."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_document
from aval.operations.create_approver import kept_document
from aval.operations.record_act import Author, changed, record_act
from aval.storage.approvers import Approver, lock_approver, update_approver
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation


async def change_approver(
    db: Database,
    *,
    integrator_key: UUID,
    approver_key: UUID,
    document_number: str | None,
    changes: Mapping[str, Any],
    keyring: Keyring,
    author: Author,
) -> Approver:
    """Put the given name, state or CPF in place of the stored one; an approver who is not active approves nothing."""
    document = None if document_number is None else kept_document(keyring, approver_key, document_number)
    changes = dict(changes)
    if document_number is not None:
        changes["document_masked"] = masked_document(document_number)
    try:
        async with db.transaction() as connection:
            stored = await lock_approver(connection, integrator_key, approver_key)
            if stored is None:
                raise Refusal("qit.not_found")
            approver = replace(stored, **changes)
            now = await read_clock(connection)
            await update_approver(connection, integrator_key, approver, document=document, at=now)
            await record_act(
                connection,
                author,
                "approver.changed",
                integrator_key=integrator_key,
                key=approver_key,
                at=now,
                details={**changed(_audited(stored), _audited(approver)), "fields": sorted(changes)},
            )
    except UniqueViolation:
        raise Refusal("qit.conflict") from None
    return approver


def _audited(approver: Approver) -> dict[str, Any]:
    return {"document": approver.document_masked, "active": approver.active}
