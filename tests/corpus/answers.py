"""TN9 and TN10: successes are as documented too, and the correlation id travels."""

import json
from uuid import UUID

import pytest

from aval.storage.database import Database
from tests.corpus.asking import (
    PREFIX,
    SINGLES,
    written,
)
from tests.factories import make_party
from tests.proof.cases.household import SESSIONS, Household, body_of, make_household
from tests.proof.cases.trial import trial_of
from tests.stage import Stage, working
from tests.world import CORRELATION_ID, World, ted_body


async def test_every_route_succeeds_as_documented(world: World) -> None:
    """So that the document was held against each answer there is, and not only against refusals."""
    home = await make_household(world)
    last = {"DELETE": 1, "PATCH /account": 2}
    routes = sorted(written(world), key=lambda route: (last.get(route[0], 0), "cancel" in route[1], route[1]))
    with trial_of(world, at_least=45) as trial:
        for method, template in routes:
            if (
                template.endswith("/validate")
                or template.startswith(SESSIONS)
                or "validate_token" in template
                or "resend_token" in template
                or template.endswith("/credentials/{x}")
            ):
                continue
            document = world.contract.document["paths"][template][method.lower()]
            status = min(int(each) for each in document["responses"])
            body = body_of(home, method, template)
            path = home.path(template)
            await trial.accepted(
                (method, template), world.call(method, path, body, key=home.credential(template)), status
            )


@pytest.mark.parametrize("kind", SINGLES)
async def test_what_the_rail_says_reaches_the_caller_as_documented(world: World, module_dsn: str, kind: str) -> None:
    """Synchronous singles, by the centavos of transfers.md §10; a worker settles meanwhile."""
    party, prefix = await make_party(world.db, settlement_mode="sync", sync_wait_seconds=1), PREFIX[kind]
    expected = {".01": (201, None), ".91": (202, None), ".98": (201, None), ".99": (400, f"{prefix}000919")}
    expected[".93"] = (400, "PXT000132") if prefix == "PXT" else (404, "TED000006")

    async def open_as(role: str) -> Database:
        return await Database.open(module_dsn, role=role)

    worker = await Stage(world.db, open_as, world.parts, [world.app]).worker()
    async with working(worker):
        for cents, said in expected.items():
            key = await world.request(party, kind, transaction_amount=float(f"10{cents}"))
            reply = await world.validate(party, kind, key, await world.token(party, key), idempotency_key="one")
            assert (reply.status, reply.code) == said, cents
            again = await world.validate(party, kind, key, await world.token(party, key), idempotency_key="one")
            assert (again.status, again.body) == (reply.status, reply.body), cents
    for db in (worker.settle_db, worker.notify_db, worker.webhook_db, worker.seal_db):
        await db.close()


async def test_the_correlation_id_travels(world: World, home: Household) -> None:
    """The creating request's id is in its jobs, audit rows, event and log line; a later call's own in its audit row."""
    party = await make_party(world.db)
    endpoint = {"url": "https://hooks.example.com/"}
    assert (await world.call("POST", "/webhook_endpoints", endpoint, key=party.api_key)).status == 201
    path = f"/account/{party.account.key}/ted"
    with trial_of(world, at_least=0) as trial:
        made = await world.call("POST", path, ted_body(party), key=party.api_key, x_correlation_id="order-1207")
        key = made.json["ted_key"]
        path = f"{path}/{key}/validate_token"
        for number in range(5):
            told = f"guess-{number}"
            reply = await world.call("PUT", path, {"token": "UUUUUU"}, key=party.api_key, x_correlation_id=told)
            trial.expect(number, reply.headers["x-correlation-id"], told)
    trial.expect(
        "log",
        {line.get("correlation_id") for line in trial.logs if line.get("event") == "request"} >= {"order-1207"},
        True,
    )
    queries = {
        "outbox": "select correlation_id from outbox where operation_id = $1",
        "events": "select correlation_id from events where operation_id = $1",
        "events body": "select body::jsonb->>'correlation_id' as correlation_id from events where operation_id = $1",
        "operations": "select correlation_id from operations where operation_id = $1",
    }
    for name, query in queries.items():
        trial.expect(name, {row["correlation_id"] for row in await world.fetch(query, UUID(key))}, {"order-1207"})
    audited = await world.fetch("select correlation_id from audit where operation_id = $1", UUID(key))
    trial.expect("audit", {row["correlation_id"] for row in audited}, {f"guess-{number}" for number in range(5)})
    assert trial.faults == []


async def test_too_many_requests_and_too_large_ones_carry_it_too(world: World, home: Household) -> None:
    party = await make_party(world.db, mode="live", budgets=False, ted_hours=False, requests_per_second=1)
    account = f"/account/{party.account.key}"
    with trial_of(world, at_least=3) as trial:
        await trial.accepted("first", world.call("GET", account, key=party.api_key), 200)
        reply = await trial.refused("second", world.call("GET", account, key=party.api_key), 429, "QIT000943")
        trial.expect("second", reply.headers["x-correlation-id"], CORRELATION_ID)
        large = json.dumps({"token": "x" * 300_000}).encode()
        path = f"/account/{home.keys['account_key']}/ted/{home.keys['ted_key']}/validate_token"
        reply = await trial.refused(
            "large", world.call("PUT", path, key=home.party.api_key, raw=large), 413, "QIT000941"
        )
        trial.expect("large", reply.headers["x-correlation-id"], CORRELATION_ID)
