"""Keep the words of a message, as an integrator wants them."""

from uuid import UUID

from aval.domain.template import MessageTemplate, invalid_template, template_problem
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.templates import insert_template


async def create_template(db: Database, *, integrator_key: UUID, template: MessageTemplate, author: Author) -> UUID:
    """Store a template and return its key; it is never changed, so the audit names it by that key."""
    problem = template_problem(template)
    if problem is not None:
        raise invalid_template(problem)
    async with db.transaction() as connection:
        now = await read_clock(connection)
        key = new_key(now)
        await insert_template(connection, integrator_key, key, template, now)
        await record_act(
            connection,
            author,
            "template.created",
            integrator_key=integrator_key,
            key=key,
            at=now,
            details={"after": {"template_type": template.channel}},
        )
    return key
