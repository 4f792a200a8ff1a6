"""create_template: judged, stored for good, audited."""

import pytest

from aval.domain.errors import Refusal
from aval.domain.template import MessageTemplate
from aval.operations.create_template import create_template
from tests.factories import AUTHOR, Party
from tests.stage import Stage

SMS = MessageTemplate("sms", "[amount] p/ [payee_name], codigo [generation]: [token]")


async def test_a_template_is_stored_and_audited_without_its_text(stage: Stage, party: Party) -> None:
    key = await create_template(stage.parts.db, integrator_key=party.key, template=SMS, author=AUTHOR)
    stored = "select template_type, subject, body from templates where integrator_id = $1 and template_id = $2"
    assert await stage.fetch(stored, party.key, key) == [("sms", None, SMS.body)]
    audited = "select actor, details from audit where integrator_id = $1 and action = 'template.created'"
    assert await stage.fetch(audited, party.key) == [
        (AUTHOR.name, {"key": str(key), "after": {"template_type": "sms"}})
    ]


async def test_a_template_that_is_not_valid_leaves_nothing(stage: Stage, party: Party) -> None:
    with pytest.raises(Refusal) as refusal:
        await create_template(
            stage.parts.db, integrator_key=party.key, template=MessageTemplate("sms", "[amount]"), author=AUTHOR
        )
    assert refusal.value.name == "pmb.invalid_template"
    assert await stage.fetch("select from templates where integrator_id = $1", party.key) == []
