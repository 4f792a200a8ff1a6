from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from aval.domain.keyring import Keyring
from aval.http.app import App, build_ops_app
from aval.http.parts import Parts
from aval.storage.database import Database
from tests.factories import KeyringHolder, exchange, make_parts
from tests.http.probe import HOT, probe_routes

OpenAs = Callable[[str], Awaitable[Database]]


@pytest.fixture
async def dead() -> AsyncIterator[Parts]:
    db = await Database.open("postgresql://127.0.0.1:1/nowhere")
    yield make_parts(db)
    await db.close()


def samples(body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


async def get(parts: Parts, path: str) -> tuple[int, object]:
    answer = await exchange(build_ops_app(parts, []), "GET", path, {}, b"")
    return answer.status, answer.json


async def test_a_process_is_up_whatever_the_database_does(dead: Parts) -> None:
    assert await get(dead, "/healthz") == (200, {"status": "ok"})


async def test_calls_may_come_when_database_schema_and_keys_are_there(db_as: OpenAs) -> None:
    parts = make_parts(await db_as("aval_app_api"))
    assert await get(parts, "/readyz") == (200, {"status": "ok", "database": "ok", "schema": "ok", "keys": "ok"})


async def test_no_calls_without_a_database(dead: Parts) -> None:
    status, state = await get(dead, "/readyz")
    assert status == 503
    assert state == {"status": "unavailable", "database": "unavailable", "schema": "unknown", "keys": "ok"}


async def test_no_calls_before_the_migrations(empty_dsn: str) -> None:
    db = await Database.open(empty_dsn)
    status, state = await get(make_parts(db), "/readyz")
    await db.close()
    assert (status, state) == (503, {"status": "unavailable", "database": "ok", "schema": "behind", "keys": "ok"})


async def test_no_calls_without_keys(db: Database) -> None:
    parts = make_parts(db)
    parts.keyring = KeyringHolder()
    parts.keyring.keyring = Keyring([])
    status, state = await get(parts, "/readyz")
    assert (status, state) == (503, {"status": "unavailable", "database": "ok", "schema": "ok", "keys": "missing"})


async def test_requests_are_counted_by_template_and_status(dead: Parts) -> None:
    app = App(dead, probe_routes(audience="public"))
    for target in (HOT, HOT, HOT + "?token=1", f"/{uuid4()}"):
        await exchange(app, "PUT", target, {}, b"")
    answer = await exchange(build_ops_app(dead, []), "GET", "/metrics", {}, b"")
    counted = {
        labels: value for (name, labels), value in samples(answer.body).items() if name == "aval_http_requests_total"
    }
    template = "/account/{account_key}/ted/{ted_key}/validate_token"
    assert counted == {
        (("method", "PUT"), ("route", template), ("status", "200")): 2,
        (("method", "PUT"), ("route", template), ("status", "400")): 1,
        (("method", "PUT"), ("route", "(none)"), ("status", "404")): 1,
    }


async def test_metrics_come_without_a_database_too(dead: Parts) -> None:
    answer = await exchange(build_ops_app(dead, []), "GET", "/metrics", {}, b"")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert samples(answer.body)["aval_database_up", ()] == 0


async def test_an_empty_deployment_has_quiet_numbers(db_as: OpenAs) -> None:
    answer = await exchange(build_ops_app(make_parts(await db_as("aval_app_api")), []), "GET", "/metrics", {}, b"")
    read = samples(answer.body)
    assert read["aval_database_up", ()] == 1
    assert read["aval_guess_risk_year", ()] == 0
    for queue in ("messages", "settlements", "webhooks"):
        assert read["aval_queue_age_seconds", (("queue", queue),)] == 0
        assert read["aval_parked", (("queue", queue),)] == 0
