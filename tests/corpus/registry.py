"""§4.5, §4.6 and §4.8: phones, e-mail addresses, names, templates, webhook and rail targets."""

from uuid import UUID

from tests.corpus.asking import (
    SCHEMA,
    created,
    good,
)
from tests.proof.cases import values
from tests.proof.cases.household import Household
from tests.proof.cases.trial import trial_of
from tests.world import World


async def test_contacts_and_names_of_the_registry(world: World, home: Household) -> None:
    before = await world.snapshot()
    integrator = f"/admin/integrators/{home.keys['integrator_key']}"
    contacts = f"{integrator}/approvers/{home.keys['approver_key']}/contacts"
    with trial_of(world, at_least=60) as trial:
        for contact_type, texts in (("sms", values.NO_PHONES), ("email", values.NO_EMAILS)):
            for text in texts:
                body = {"contact_type": contact_type, "destination": text}
                await trial.refused(text, world.call("POST", contacts, body, key=home.admin_key), *SCHEMA, text)
        for text in values.NO_NAMES:
            calls = {
                f"POST {integrator}/approvers": {"document_number": "39053344705", "name": text},
                f"PATCH {integrator}/approvers/{home.keys['approver_key']}": {"name": text},
                f"PATCH {integrator}/accounts/{home.keys['account_key']}": {"owner_name": text},
                f"PATCH {integrator}": {"name": text},
            }
            for name, body in calls.items():
                await trial.refused(text, world.call(*name.split(" "), body, key=home.admin_key), *SCHEMA, text)
        await trial.unchanged(before)


async def test_odd_names_are_tamed_where_they_are_rendered(world: World, home: Household) -> None:
    with trial_of(world, at_least=12) as trial:
        for text in values.ODD_NAMES:
            body = good(home, "ted")
            body["target_account"]["owner_name"] = text
            reply = await trial.accepted(text, created(world, home, "ted", body), 202)
            inbox = f"/sandbox/inbox?operation_key={reply.json['ted_key']}"
            (message,) = (await world.call("GET", inbox, key=home.party.api_key)).json["data"]
            shown = message["text"].split(" p/ ")[1].split(" (***")[0]
            is_tame = not any(mark in shown for mark in ("[", "]", "http", "://", "www.", "\n"))
            trial.expect(text, (is_tame, len(message["text"]) <= 160), (True, True))
            query = "select facts from operations where operation_id = $1"
            (row,) = await world.fetch(query, UUID(reply.json["ted_key"]))
            trial.expect(text, row["facts"]["payee_name"], text)


async def test_templates(world: World, home: Household) -> None:
    before, path = await world.snapshot(), "/notification/template"
    with trial_of(world, at_least=20) as trial:
        for reason, texts in values.NO_TEMPLATES.items():
            for text in texts:
                call = world.call("POST", path, {"template_type": "sms", "template": text}, key=home.party.api_key)
                reply = await trial.refused(text, call, 400, "PMB000902", text)
                trial.expect(text, reply.json["extra_fields"]["reason"], reason)
        for body in values.NO_TEMPLATE_BODIES:
            await trial.refused(body, world.call("POST", path, body, key=home.party.api_key), *SCHEMA)
        await trial.unchanged(before)


async def test_webhook_and_rail_targets(world: World, home: Household) -> None:
    before, template = await world.snapshot(), "/webhook_endpoints/{webhook_endpoint_key}"
    with trial_of(world, at_least=90) as trial:
        for text in values.NO_TARGET_URLS:
            calls = [
                world.call("POST", "/webhook_endpoints", {"url": text}, key=home.party.api_key),
                world.call("PATCH", home.path(template), {"url": text}, key=home.party.api_key),
            ]
            body = {"name": "Loja", "ispb": "12345678", "mode": "live", "rail_url": text}
            calls.append(world.call("POST", "/admin/integrators", body, key=home.admin_key))
            for call in calls:
                await trial.refused(text, call, *SCHEMA, text)
        for headers in (
            {"Host": "x"},
            {"webhook-id": "x"},
            {"X Own": "x"},
            {"X-Own": "a\r\nb"},
            {"X-Own": ""},
            {"": "x"},
        ):
            body = {"url": "https://hooks.example.com/", "headers": headers}
            call = world.call("POST", "/webhook_endpoints", body, key=home.party.api_key)
            await trial.refused(headers, call, *SCHEMA)
        await trial.unchanged(before)
