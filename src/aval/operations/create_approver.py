"""Enter a person who approves."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_document
from aval.operations.fresh import new_key, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.approvers import Approver, insert_approver
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation
from aval.storage.integrators import find_integrator


async def create_approver(
    db: Database,
    *,
    integrator_key: UUID,
    document_number: str,
    name: str,
    active: bool,
    keyring: Keyring,
    author: Author,
) -> Approver:
    """Store an approver with the CPF sealed; a second one of the same CPF is refused."""
    try:
        async with db.transaction() as connection:
            if await find_integrator(connection, integrator_key) is None:
                raise Refusal("qit.not_found")
            now = await read_clock(connection)
            approver = Approver(new_key(now), masked_document(document_number), name, active, now)
            index, document_sealed = kept_document(keyring, approver.key, document_number)
            await insert_approver(
                connection, integrator_key, approver, document_index=index, document_sealed=document_sealed
            )
            await record_act(
                connection,
                author,
                "approver.created",
                integrator_key=integrator_key,
                key=approver.key,
                at=now,
                details={"after": {"document": approver.document_masked, "active": active}},
            )
    except UniqueViolation:
        raise Refusal("qit.conflict") from None
    return approver


def kept_document(keyring: Keyring, approver_key: UUID, document_number: str) -> tuple[bytes, bytes]:
    """Make of a CPF what is stored: its blind index and its seal."""
    index = document_index(keyring, document_number)
    return index, sealed(keyring, document_number, associated=f"approvers/{approver_key}")


def document_index(keyring: Keyring, document_number: str) -> bytes:
    """Make of a CPF what it is found by."""
    return keyring.index_of(f"cpf:{document_number}")
