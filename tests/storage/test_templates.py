"""The schema's own guards of templates, and who may do what with them (promises.md D10, D15)."""

from uuid import uuid4

import asyncpg
import pytest

from aval.domain.template import MessageTemplate
from aval.storage.templates import find_templates, insert_template
from tests.factories import Party
from tests.stage import Stage

SMS = MessageTemplate("sms", "[amount] p/ [payee_name], codigo [generation]: [token]")
PIX = "baas.token_validation.pix_transfer.single"


async def make_template(stage: Stage, party: Party, template: MessageTemplate = SMS):
    key = uuid4()
    async with stage.db.connection() as connection:
        now = await connection.fetchval("select clock_timestamp()")
        await insert_template(connection, party.key, key, template, now)
    return key


async def configure(stage: Stage, party: Party, sms_key):
    await stage.execute(
        "insert into template_configurations (integrator_id, configuration_id, event_type, sms_template_id, created_at,"
        " updated_at) values ($1, gen_random_uuid(), $2, $3, now(), now())",
        party.key,
        PIX,
        sms_key,
    )


async def test_templates_are_found_by_key_within_their_integrator(stage: Stage, party: Party) -> None:
    key, other = await make_template(stage, party), await stage.party()
    async with stage.db.connection() as connection:
        assert await find_templates(connection, party.key, [key, uuid4()]) == {key: SMS}
        assert await find_templates(connection, other.key, [key]) == {}


async def test_nobody_changes_or_deletes_a_template(stage: Stage, party: Party) -> None:
    key = await make_template(stage, party)
    for statement in ("update templates set body = ''", "delete from templates"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await stage.execute(f"{statement} where integrator_id = $1 and template_id = $2", party.key, key)


BAD = [
    MessageTemplate("sms", "x" * 161),
    MessageTemplate("sms", "[token]", "Código"),
    MessageTemplate("email", "[token]"),
    MessageTemplate("email", "[token]", "x" * 81),
    MessageTemplate("email", "é" * 32_769, "Código"),
]


@pytest.mark.parametrize("bad", BAD)
async def test_the_schema_repeats_form_and_size(stage: Stage, party: Party, bad: MessageTemplate) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await make_template(stage, party, bad)


async def test_a_configuration_names_templates_of_its_own_integrator_and_an_event_once(
    stage: Stage, party: Party
) -> None:
    key, other = await make_template(stage, party), await stage.party()
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await configure(stage, other, key)
    with pytest.raises(asyncpg.CheckViolationError):
        await configure(stage, party, None)
    await configure(stage, party, key)
    with pytest.raises(asyncpg.UniqueViolationError):
        await configure(stage, party, key)


GRANTS = {
    ("templates", "aval_app_api"): {"SELECT", "INSERT"},
    ("templates", "aval_app_notify"): {"SELECT"},
    ("templates", "aval_app_settle"): set(),
    ("templates", "aval_app_webhook"): set(),
    ("templates", "aval_readonly"): {"SELECT"},
    ("templates", "aval_backup"): {"SELECT"},
    ("template_configurations", "aval_app_api"): {"SELECT", "INSERT", "UPDATE"},
    ("template_configurations", "aval_app_notify"): set(),
    ("template_configurations", "aval_readonly"): {"SELECT"},
    ("template_configurations", "aval_backup"): {"SELECT"},
}


async def test_each_role_may_do_what_it_needs(stage: Stage) -> None:
    for (table, role), wanted in GRANTS.items():
        granted = await stage.fetch(
            "select privilege from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege"
            " where has_table_privilege($1, $2, privilege)",
            role,
            f"aval.{table}",
        )
        assert {privilege for (privilege,) in granted} == wanted, (table, role)
