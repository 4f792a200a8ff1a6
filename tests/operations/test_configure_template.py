"""configure_template: one configuration an event, known to every process from then on, audited."""

import asyncio

from aval.domain.errors import Refusal
from aval.domain.template import MessageTemplate
from aval.operations.configure_template import configure_template
from aval.operations.create_template import create_template
from tests.factories import AUTHOR, Party
from tests.stage import Stage

PIX, TED = "baas.token_validation.pix_transfer.single", "baas.token_validation.ted.single"
SMS = MessageTemplate("sms", "[amount] p/ [payee_name], codigo [generation]: [token]")


async def make_sms(stage: Stage, party: Party):
    return await create_template(stage.parts.db, integrator_key=party.key, template=SMS, author=AUTHOR)


async def configure(stage: Stage, party: Party, event_type: str, key=None, **templates):
    return await configure_template(
        stage.parts.db,
        integrator_key=party.key,
        configuration_key=key,
        event_type=event_type,
        template_keys=templates,
        author=AUTHOR,
    )


async def test_a_configuration_makes_cached_principals_stale(stage: Stage, party: Party) -> None:
    before = (await party.principal(stage.db)).integrator
    template = await make_sms(stage, party)
    await configure(stage, party, PIX, sms=template)
    after = (await party.principal(stage.db)).integrator
    assert (before.templates, after.templates) == ({}, {PIX: {"sms": template}})
    assert after.version == before.version + 1


async def test_creation_and_change_are_audited_with_what_was_and_what_is(stage: Stage, party: Party) -> None:
    first, second = await make_sms(stage, party), await make_sms(stage, party)
    key = await configure(stage, party, PIX, sms=first)
    assert await configure(stage, party, TED, key, sms=second) == key
    acts = await stage.fetch(
        "select action, details from audit where integrator_id = $1 and action like 'template_configuration.%'"
        " order by at",
        party.key,
    )
    whole = {"event_type": PIX, "sms_template_key": str(first), "email_template_key": None}
    was = {"event_type": PIX, "sms_template_key": str(first)}
    now = {"event_type": TED, "sms_template_key": str(second)}
    assert acts == [
        ("template_configuration.created", {"key": str(key), "after": whole}),
        ("template_configuration.changed", {"key": str(key), "before": was, "after": now}),
    ]


async def test_of_two_first_configurations_of_an_event_one_is_refused(stage: Stage, party: Party) -> None:
    template = await make_sms(stage, party)
    answers = await asyncio.gather(
        *(configure(stage, party, PIX, sms=template) for _ in range(4)), return_exceptions=True
    )
    refused = [answer.name for answer in answers if isinstance(answer, Refusal)]
    assert refused == ["pmb.configuration_exists"] * 3
    assert len(await stage.fetch("select from template_configurations where integrator_id = $1", party.key)) == 1


async def test_a_refused_configuration_leaves_the_version(stage: Stage, party: Party) -> None:
    before = (await party.principal(stage.db)).integrator.version
    template = await make_sms(stage, party)
    refused = await asyncio.gather(configure(stage, party, "bank_slip", sms=template), return_exceptions=True)
    assert isinstance(refused[0], Refusal)
    assert (await party.principal(stage.db)).integrator.version == before
