"""Enter one person of a file with contacts and powers, by the same operations as anybody else."""

from uuid import UUID

from aval.domain.keyring import Keyring
from aval.operations.create_approver import create_approver
from aval.operations.grant_powers import grant_powers
from aval.operations.plan_approvers import ApproverPlan
from aval.operations.record_act import Author
from aval.operations.register_contact import register_contact
from aval.storage.account_approvers import Grant
from aval.storage.database import Database


async def import_approver(
    db: Database, *, integrator_key: UUID, plan: ApproverPlan, keyring: Keyring, author: Author
) -> None:
    """Do what is still to be done, a transaction and an audit row for each act; a second run goes on where it ended."""
    person, key = plan.person, plan.approver_key
    if key is None:
        approver = await create_approver(
            db,
            integrator_key=integrator_key,
            document_number=person.document_number,
            name=person.name,
            active=person.active is not False,
            keyring=keyring,
            author=author,
        )
        key = approver.key
    for kind in plan.contacts:
        await register_contact(
            db,
            integrator_key=integrator_key,
            approver_key=key,
            contact_type=kind,
            destination=person.contacts[kind],
            keyring=keyring,
            author=author,
        )
    for account_key, line in plan.grants:
        grant = Grant(key, list(line.powers), line.max_amount)
        await grant_powers(db, integrator_key=integrator_key, account_key=account_key, grant=grant, author=author)
