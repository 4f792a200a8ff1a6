import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from aval.domain.errors import Refusal
from aval.domain.principal import PrincipalStale
from aval.http.app import App, build_app
from aval.http.edge import Answer, Call, json_answer
from aval.storage.database import Database, LockNotWon, OutcomeUnknown
from tests.factories import Client, Reply, exchange, make_parts, make_party
from tests.http.probe import COLD, HOT, KEY, OTHER_KEY, echo, listening, probe_routes, said, validate_route

UNREACHABLE = "postgresql://127.0.0.1:1/nowhere"
PATHS = [pytest.param(HOT, id="hot"), pytest.param(COLD, id="cold")]
PIX_LIST, TED_LIST = f"/account/{KEY}/pix_transfers", f"/account/{KEY}/teds"


@pytest.fixture
async def dead() -> AsyncIterator[Database]:
    db = await Database.open(UNREACHABLE)
    yield db
    await db.close()


@pytest.fixture
def app(dead: Database) -> App:
    return App(make_parts(dead), probe_routes(audience="public"))


async def ask(app: App, method: str, target: str, **headers: str) -> Reply:
    return await exchange(app, method, target, {name.replace("_", "-"): text for name, text in headers.items()}, b"")


def app_raising(db: Database, error: Exception) -> App:
    async def fail(call: Call) -> Answer:
        call.is_verified = True
        raise error

    return App(make_parts(db), probe_routes(fail, audience="public"))


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_the_same_headers_in_the_same_order(app: App, path: str) -> None:
    fine, refused = await ask(app, "PUT", path), await ask(app, "GET", path)
    assert [name for name in refused.headers if name != "allow"] == list(fine.headers)
    assert fine.headers | {"x-correlation-id": "", "content-length": ""} == {
        "content-type": "application/json; charset=utf-8",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "x-correlation-id": "",
        "content-length": "",
    }


@pytest.mark.parametrize("target", [HOT, COLD, "/nowhere", "/nowhere?token=1", TED_LIST + "?page=0"])
async def test_the_correlation_id_comes_back_on_every_answer(app: App, target: str) -> None:
    for method in ("PUT", "GET"):
        assert (await ask(app, method, target, x_correlation_id="order-1207")).headers[
            "x-correlation-id"
        ] == "order-1207"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "PATCH"])
@pytest.mark.parametrize("path", PATHS)
async def test_another_verb_is_refused_with_the_ones_there_are(app: App, path: str, method: str) -> None:
    answer = await ask(app, method, path)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "QIT000940", "PUT")


async def test_a_verb_nobody_knows_is_refused_and_the_connection_closed(app: App) -> None:
    answer = await ask(app, "BREW", HOT)
    assert (answer.status, answer.code, answer.headers["connection"]) == (400, "QIT000400", "close")


@pytest.mark.parametrize("target", ["/", "/account", HOT + "/", HOT.replace("ted", "%74ed"), "/admin//integrators"])
async def test_an_unknown_path_is_not_found(app: App, target: str) -> None:
    answer = await ask(app, "PUT", target)
    assert (answer.status, answer.code) == (404, "QIT000404")


BAD_UUIDS = [
    KEY[:-1],
    KEY + "0",
    KEY.replace("-", ""),
    f"%7B{KEY[1:]}",
    f"{{{KEY}}}",
    f"urn:uuid:{KEY}",
    KEY.replace("4f0d", "1f0d"),
    KEY.replace("8a7c", "7a7c"),
    KEY.replace("7e2a", "%37e2a"),
    "%2e%2e",
    "%00",
    "%252e",
    KEY.replace("7", "٧"),
]


@pytest.mark.parametrize("bad", BAD_UUIDS)
async def test_a_key_that_is_no_uuid_is_refused_by_the_family_and_never_repeated(app: App, bad: str) -> None:
    ted, pix = await ask(app, "PUT", HOT.replace(OTHER_KEY, bad)), await ask(app, "PUT", COLD.replace(OTHER_KEY, bad))
    assert (ted.status, ted.code) == (400, "TED000046")
    assert ted.json["description"] == "ted_key was not accepted for not being a valid uuid v4 string"
    assert (pix.status, pix.code) == (400, "QIT000001")
    assert pix.json["extra_fields"] == {"errors": [{"field": "pix_transfer_key", "reason": "invalid_value"}]}


@pytest.mark.parametrize("path", PATHS)
async def test_keys_reach_the_handler_in_lower_case_and_an_empty_body_as_an_object(app: App, path: str) -> None:
    answer = await ask(app, "PUT", path.replace(KEY, KEY.upper()).replace(OTHER_KEY, OTHER_KEY.upper()))
    assert list(answer.json["params"].values()) == [KEY, OTHER_KEY]
    assert answer.json["body"] == "{}"


@pytest.mark.parametrize(
    ("query", "ted_code", "field"),
    [
        ("?page=0", "TED000045", "page"),
        ("?page=1.0", "TED000045", "page"),
        ("?page=%D9%A1", "TED000045", "page"),
        ("?page_size=31", "TED000045", "page_size"),
        ("?page_size=", "TED000045", "page_size"),
        ("?date_from=2026-02-30", "TED000044", "date_from"),
        ("?date_from=20260201", "TED000044", "date_from"),
        ("?request_control_key=1", "TED000046", "request_control_key"),
        ("?status=lost", "QIT000001", "status"),
        ("?page=1&page=1", "QIT000001", "page"),
        ("?unknown=1", "QIT000001", "unknown"),
        ("?52998224725=1", "QIT000001", "?"),
        ("?text=%FF", "QIT000001", "query"),
        ("?text=%00", "QIT000001", "text"),
        ("?page", "QIT000001", "query"),
        ("?" + "&".join(["text=1"] * 51), "QIT000001", "query"),
    ],
)
async def test_a_query_that_does_not_fit_is_refused(app: App, query: str, ted_code: str, field: str) -> None:
    ted, pix = await ask(app, "GET", TED_LIST + query), await ask(app, "GET", PIX_LIST + query)
    assert (ted.status, ted.code) == (400, ted_code)
    assert (pix.status, pix.code) == (400, "QIT000001")
    assert pix.json["extra_fields"]["errors"][0]["field"] == field


async def test_a_query_that_fits_reaches_the_handler(app: App) -> None:
    query = f"?page=2&page_size=30&date_from=2026-02-28&request_control_key={KEY.upper()}&status=sent&text=a%2Bb+c"
    expected = {"page": "2", "page_size": "30", "date_from": "2026-02-28", "request_control_key": KEY}
    assert (await ask(app, "GET", TED_LIST + query)).json["query"] == expected | {"status": "sent", "text": "a+b c"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 129, "é"])
async def test_an_idempotency_key_that_does_not_fit_is_refused(app: App, path: str, key: str) -> None:
    answer = await ask(app, "PUT", path, idempotency_key=key)
    assert (answer.status, answer.code) == (400, "QIT000400")


async def test_a_body_where_none_belongs_is_refused(app: App) -> None:
    headers = {"content-type": "application/json", "content-length": "9"}
    answer = await exchange(app, "GET", TED_LIST, headers, b'{"a":"b"}')
    assert (answer.status, answer.code) == (400, "QIT000001")


@pytest.mark.parametrize("path", PATHS)
async def test_what_nobody_expected_is_answered_and_logged_without_values(dead: Database, path: str) -> None:
    with capture_logs() as logs:
        answer = await ask(app_raising(dead, ValueError("7K3M9Q")), "PUT", path, x_correlation_id="c-1")
    assert (answer.status, answer.code) == (500, "QIT000500")
    assert [(line["error"], line["correlation_id"]) for line in logs] == [("ValueError", "c-1")]
    assert "7K3M9Q" not in json.dumps(logs)


@pytest.mark.parametrize("path", PATHS)
async def test_a_row_that_stays_locked_is_told_as_unavailable(dead: Database, path: str) -> None:
    answer = await ask(app_raising(dead, LockNotWon()), "PUT", path)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "QIT000944", "1")


@pytest.mark.parametrize("path", PATHS)
async def test_a_change_whose_outcome_is_lost_is_not_told_as_nothing_changed(dead: Database, path: str) -> None:
    answer = await ask(app_raising(dead, OutcomeUnknown()), "PUT", path)
    assert (answer.status, answer.code, answer.headers.get("retry-after")) == (500, "QIT000500", None)


async def test_a_read_that_is_lost_changed_nothing(dead: Database) -> None:
    answer = await ask(app_raising(dead, OutcomeUnknown()), "GET", TED_LIST)
    assert (answer.status, answer.code) == (503, "QIT000944")


@pytest.mark.parametrize("path", PATHS)
async def test_a_refusal_keeps_its_headers(dead: Database, path: str) -> None:
    refusal = Refusal("ted.resend_too_soon", headers={"Retry-After": "7"}, seconds=7)
    answer = await ask(app_raising(dead, refusal), "PUT", path)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "TED000903", "7")


@pytest.mark.parametrize("path", PATHS)
async def test_a_database_that_is_away_is_told_at_once(dead: Database, path: str) -> None:
    call = Client(App(make_parts(dead), probe_routes()), "aval_test_" + "a" * 43)
    answer = await call("PUT", path, {})
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "QIT000944", "1")


async def test_the_access_log_holds_the_template_and_never_the_path(db: Database) -> None:
    party = await make_party(db)
    parts = make_parts(db)
    parts.settings = type(parts.settings)(False, False, has_access_log=True)
    call = Client(App(parts, probe_routes()), party.api_key)
    with capture_logs() as logs:
        await call("PUT", HOT, {}, x_correlation_id="c-1")
        await call("PUT", HOT + "?token=7K3M9Q", {"token": "7K3M9Q"})
    first, second = (line for line in logs if line["event"] == "request")
    assert first | {"ms": 0, "log_level": ""} == {
        "event": "request",
        "method": "PUT",
        "route": "/account/{account_key}/ted/{ted_key}/validate_token",
        "status": 200,
        "ms": 0,
        "correlation_id": "c-1",
        "integrator": str(party.key),
        "log_level": "",
    }
    assert second["status"] == 400
    assert not {"7K3M9Q", KEY} & set(json.dumps(logs).replace('"', " ").split())


async def test_a_stale_caller_is_read_anew_and_the_handler_called_once_more(db: Database) -> None:
    party = await make_party(db)
    versions: list[int] = []

    async def work(call: Call) -> Answer:
        versions.append(call.caller.integrator.version)
        if len(versions) == 2:
            async with db.connection() as connection:
                await connection.execute("update integrators set version = version + 1")
            raise PrincipalStale
        return json_answer(200, {})

    call = Client(App(make_parts(db), probe_routes(work)), party.api_key)
    assert [(await call("PUT", HOT, {})).status for _ in range(3)] == [200, 200, 200]
    assert versions == [1, 1, 2, 2]


async def test_a_caller_that_stays_stale_is_told_to_come_back(db: Database) -> None:
    async def work(_call: Call) -> Answer:
        raise PrincipalStale

    party = await make_party(db)
    answer = await Client(App(make_parts(db), probe_routes(work)), party.api_key)("PUT", HOT, {})
    assert (answer.status, answer.code) == (503, "QIT000944")


@pytest.mark.parametrize("path", PATHS)
async def test_more_requests_a_second_than_agreed_are_refused(db: Database, path: str) -> None:
    party = await make_party(db, requests_per_second=2)
    call = Client(App(make_parts(db), probe_routes()), party.api_key)
    answers = [await call("PUT", path, {}) for _ in range(12)]
    refused = [answer for answer in answers if answer.status == 429]
    assert [answer.status for answer in answers[:2]] == [200, 200]
    assert refused
    assert refused[0].code == "QIT000943"
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json["description"] == "Too many requests. Try again in 1 seconds"


async def test_too_many_calls_at_once_are_refused_until_one_leaves(db: Database) -> None:
    outcomes: list[Reply] = []

    async def work(_call: Call) -> Answer:
        if len(outcomes) < 2:
            outcomes.append(await ask_again("PUT", HOT, {}))
        return json_answer(200, {})

    party = await make_party(db, budgets=True)
    parts = make_parts(db)
    parts.settings = type(parts.settings)(False, False, integrator_calls_max=2)
    app = App(parts, probe_routes(work))
    ask_again = Client(app, party.api_key)
    assert (await ask_again("PUT", HOT, {})).status == 200
    assert [(reply.status, reply.code) for reply in outcomes] == [(429, "QIT000943"), (200, None)]
    assert outcomes[0].json["extra_fields"] == {"reason": "busy"}
    assert (await ask_again("PUT", HOT, {})).status == 200


async def test_a_call_that_left_early_makes_room(db: Database) -> None:
    inner: list[Reply] = []
    depth = iter(range(2))

    async def work(call: Call) -> Answer:
        call.release()
        if next(depth) == 0:
            inner.append(await again("PUT", HOT, {}))
        return json_answer(200, {})

    party = await make_party(db, budgets=True)
    parts = make_parts(db)
    parts.settings = type(parts.settings)(False, False, integrator_calls_max=1)
    again = Client(App(parts, probe_routes(work)), party.api_key)
    assert (await again("PUT", HOT, {})).status == 200
    assert inner[0].status == 200


async def test_a_request_without_credentials_is_answered_before_its_body_is_read(dead: Database) -> None:
    head = f"PUT {HOT} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n".encode()
    async with listening(App(make_parts(dead), probe_routes())) as port:
        answer = await said(port, [head])
    assert b"GDF000003" in answer
    assert b"connection: close" in answer


async def test_health_and_documents_are_on_the_main_listener_in_development_only(dead: Database) -> None:
    parts = make_parts(dead)
    assert (await ask(build_app(parts, []), "GET", "/healthz")).status == 404
    parts.settings = type(parts.settings)(False, has_ops_routes=True)
    assert (await ask(build_app(parts, []), "GET", "/healthz")).status == 200


def test_two_routes_may_not_share_a_place(dead: Database) -> None:
    routes = [validate_route("/a/{b_key}", "pix", echo), validate_route("/a/{c_key}", "pix", echo)]
    with pytest.raises(AssertionError):
        App(make_parts(dead), routes)


async def test_other_protocols_are_turned_away(app: App) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket"}, lambda: None, send)  # type: ignore[arg-type,return-value]
    assert sent == [{"type": "websocket.close"}]
