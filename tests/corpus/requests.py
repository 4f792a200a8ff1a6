"""§4.2 in this process: bodies, media types, members, paths, queries, ids."""

import json
from uuid import UUID

from tests.corpus.asking import (
    SCHEMA,
    SINGLES,
    SYNTAX,
    ask,
    created,
    good,
    with_text,
    written,
)
from tests.proof.cases import bodies, values
from tests.proof.cases.household import BODIES, Household, body_of
from tests.proof.cases.trial import trial_of
from tests.world import World


async def test_bodies_that_are_no_json(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=900) as trial:
        for method, template in written(world):
            body = body_of(home, method, template) or {"a": 1}
            for name, raw in bodies.not_json(body).items():
                await trial.refused((method, template, name), ask(world, home, method, template, raw), *SYNTAX)
            if method in ("POST", "PUT", "PATCH") and _needs_body(world, method, template):
                await trial.refused((template, "empty"), ask(world, home, method, template, b""), *SYNTAX)
        await trial.unchanged(before)


def _needs_body(world: World, method: str, template: str) -> bool:
    operation = world.contract.document["paths"][template][method.lower()]
    return bool(operation.get("requestBody", {}).get("required"))


async def test_extra_fields(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=500) as trial:
        for method, template in written(world):
            body = body_of(home, method, template) or {}
            for name, value in bodies.EXTRA_FIELDS.items():
                if name in body:
                    continue
                raw = json.dumps(body | {name: value}).encode()
                reply = await trial.refused((template, name), ask(world, home, method, template, raw), *SCHEMA, value)
                trial.expect((template, name), reply.json["extra_fields"]["errors"][0]["reason"], "unknown_field")
        for kind, holder in (("pix_transfer", "tfa_info"), ("pix_transfer", "target_account"), ("ted", "tfa_info")):
            for name, value in bodies.EXTRA_FIELDS.items():
                body = good(home, kind)
                body[holder] = body[holder] | {name: value}
                await trial.refused((kind, holder, name), created(world, home, kind, body), *SCHEMA, value)
        await trial.unchanged(before)


async def test_media_types_and_encodings(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=500) as trial:
        for method, template in written(world):
            raw = json.dumps(body_of(home, method, template) or {}).encode()
            for text in bodies.MEDIA_TYPES:
                call = ask(world, home, method, template, raw, content_type=text)
                await trial.refused((method, template, text), call, 415, "QIT000942", text)
            for text in bodies.ENCODINGS:
                call = ask(world, home, method, template, raw, content_encoding=text)
                await trial.refused((method, template, text), call, 415, "QIT000942")
        await trial.unchanged(before)


async def test_members_that_are_null_or_of_another_type(world: World, home: Household) -> None:
    """Every required member of every body: absent, null, and of each type it is not."""
    before = await world.snapshot()
    with trial_of(world, at_least=150) as trial:
        for name in BODIES:
            method, template = name.split(" ")
            schema = world.contract.document["paths"][template][method.lower()]["requestBody"]["content"]
            model = schema["application/json"]["schema"]["$ref"].rpartition("/")[2]
            required = world.contract.document["components"]["schemas"][model].get("required", [])
            body = body_of(home, method, template)
            for member in required:
                lacking = json.dumps({each: value for each, value in body.items() if each != member}).encode()
                await trial.refused((template, member), ask(world, home, method, template, lacking), *SCHEMA)
                others = ["null", '"\\u0000"', "true", "[[]]", '{"a":1}', "1.5", '""', "-1"]
                for text in others if isinstance(body[member], str) else [*others[:-3], '"x"']:
                    is_event = member == "event_type" and text[0] == '"'  # a text, but of no event
                    status, code = (400, "PMB000026") if is_event else SCHEMA
                    raw = with_text(body, member, text)
                    await trial.refused((template, member, text), ask(world, home, method, template, raw), status, code)
        await trial.unchanged(before)


async def test_paths_whose_keys_are_no_keys(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=500) as trial:
        for method, template in written(world):
            for parameter in world.contract.document["paths"][template][method.lower()]["parameters"]:
                name = parameter["name"]
                if parameter["in"] != "path" or name.endswith("direction"):
                    continue
                code = "TED000046" if template.startswith("/account/{account_key}/ted") else "QIT000001"
                for text in values.NO_KEYS:
                    path = home.path(template, **{name: text})
                    body = body_of(home, method, template)
                    call = world.call(method, path, body, key=home.credential(template))
                    await trial.refused((method, template, name, text), call, 400, code, text)
        for kind in SINGLES:
            for text in ("sideways", "OUTGOING", "outgoing%00", "%6futgoing"):
                path = home.path(f"/account/{{account_key}}/{kind}/{{{kind}_key}}/{text}")
                await trial.refused(text, world.call("GET", path, key=home.party.api_key), *SCHEMA)
        for path in ("/", "//", "/nothing", "/account", "/account//teds", "/Account/x", "/admin", "/%2e%2e/admin"):
            await trial.refused(path, world.call("GET", path, key=home.party.api_key), 404, "QIT000404")
        await trial.unchanged(before)


async def test_queries(world: World, home: Household) -> None:
    before = await world.snapshot()
    with trial_of(world, at_least=400) as trial:
        for method, template in written(world):
            operation = world.contract.document["paths"][template][method.lower()]
            known = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
            raw = b"" if method in ("GET", "DELETE") else json.dumps(body_of(home, method, template) or {}).encode()
            for query in bodies.BAD_QUERIES:
                name = query.partition("=")[0]
                is_page = name in known and "=" in query and "&" not in query and "%FF" not in query and query.isascii()
                code = "TED000045" if is_page and template.startswith("/account/{account_key}/ted") else "QIT000001"
                call = world.call(method, f"{home.path(template)}?{query}", key=home.credential(template), raw=raw)
                await trial.refused((method, template, query), call, 400, code)
        dated = ("pix_transfers", "pix_transfer_batches", "teds", "ted_batches", "ted_batch/{ted_batch_key}/teds")
        for listed in dated:
            code = "TED000044" if listed.startswith("ted") else "QIT000001"
            for text in values.DATES_WRONG:
                for name in ("date_from", "date_to"):
                    path = home.path(f"/account/{{account_key}}/{listed}?{name}={text}")
                    await trial.refused(
                        (listed, text), world.call("GET", path, key=home.party.api_key), 400, code, text
                    )
        for text in values.TIMES_WRONG:
            path = f"/notification/events?start_datetime={text.replace('+', '%2B')}"
            await trial.refused(text, world.call("GET", path, key=home.party.api_key), *SCHEMA, text)
        await trial.unchanged(before)


async def test_correlation_ids_and_idempotency_keys(world: World, home: Household) -> None:
    key = await world.request(home.party, "ted")
    before = await world.snapshot()
    with trial_of(world, at_least=15) as trial:
        for text in bodies.BAD_CORRELATION_IDS:
            call = world.call("GET", "/webhook_endpoints", key=home.party.api_key, x_correlation_id=text)
            reply = await trial.accepted(text, call, 200)
            trial.expect(text, UUID(reply.headers["x-correlation-id"]).version, 4)
        for text in bodies.BAD_IDEMPOTENCY_KEYS:
            call = world.validate(home.party, "ted", key, "000000", idempotency_key=text)
            await trial.refused(text, call, 400, "QIT000400", text)
        await trial.unchanged(before)
