"""The edge in the words of redemptions: every refusal has its reason, every answer its correlation id (§7.5, §8)."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aval.http.app import App, build_app
from aval.http.edge import Access, Answer, Call, QueryParameter, Route, StateUnknown, json_answer
from aval.http.openapi import openapi_document
from aval.http.redemptions import oauth
from aval.http.redemptions.route import PAGE, page_of, redemption_route
from aval.http.server import ServerSettings
from aval.storage.database import Database, DatabaseUnavailable, LockNotWon, OutcomeUnknown
from tests.factories import Reply, exchange, make_parts
from tests.http.probe import listening, said
from tests.redemption_stage import RedemptionStage, reason_of

UNREACHABLE = "postgresql://127.0.0.1:1/nowhere"
FORM = {"content-type": "application/x-www-form-urlencoded"}
QUERY = (*PAGE, QueryParameter("status", "choice", choices=("open",)), QueryParameter("day", "date"))


def told(reply: Reply) -> tuple[int, str | None, str]:
    return reply.status, reply.code, reason_of(reply)


async def fail(call: Call) -> Answer:
    """Fail in the way the path names."""
    faults: dict[str, Exception] = {
        "away": DatabaseUnavailable(),
        "locked": LockNotWon(),
        "unknown": OutcomeUnknown(),
        "state": StateUnknown(),
        "bug": ZeroDivisionError(),
    }
    raise faults[call.params["how_id"]]


async def echo(call: Call) -> Answer:
    """Tell what the edge handed over."""
    page = page_of(call)
    return json_answer(200, {"query": dict(call.query), "offset": page.offset, "limit": page.limit})


async def collect(call: Call) -> Answer:
    """Read a streamed body and tell its size."""
    assert call.chunks is not None and call.body == b""
    return json_answer(200, {"size": sum([len(chunk) async for chunk in call.chunks])})


def open_route(method: str, path: str, handler: Any, **more: Any) -> Route:
    return Route(method, path, handler, None, "public", "rdm", 200, "A probe", **more)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Routes that need nobody, over a database that is away."""
    db = await Database.open(UNREACHABLE)
    parts = make_parts(db)
    routes = [
        *oauth.routes(parts),
        open_route("POST", "/purchases/{how_id}/fail", fail),
        open_route("GET", "/purchases", echo, query=QUERY),
        open_route("PUT", "/documents/file", collect, is_streamed=True, media="multipart", body_limit=1_000),
        redemption_route("GET", "/campaigns", echo, Access("*"), 200, "Guarded"),
        Route("GET", "/account", echo, None, "public", "qit", 200, "Of transfers"),
    ]
    yield build_app(parts, [routes])
    await db.close()


async def ask(app: App, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    if body:
        sent = {"content-length": str(len(body)), "content-type": "application/json"} | sent
    reply = await exchange(app, method, path, sent, body)
    assert "x-correlation-id" in reply.headers
    return reply


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/purchases/1/nothing", (404, "QIT000404", "unknown_route")),
        ("GET", "/purchases/", (404, "QIT000404", "unknown_route")),
        ("GET", "/campaigns/%2e%2e", (404, "QIT000404", "unknown_route")),
        ("DELETE", "/purchases", (405, "QIT000940", "method")),
        ("TRACE", "/campaigns", (405, "QIT000940", "method")),
        ("GET", "/purchases?token=7K3M9Q", (400, "QIT000400", "bad_request")),
        ("GET", "/purchases?limit=0", (400, "QIT000001", "schema")),
        ("GET", "/purchases?limit=101", (400, "QIT000001", "schema")),
        ("GET", "/purchases?limit=1e1", (400, "QIT000001", "schema")),
        ("GET", "/purchases?offset=-1", (400, "QIT000001", "schema")),
        ("GET", "/purchases?offset=01", (400, "QIT000001", "schema")),
        ("GET", "/purchases?offset=10000000000", (400, "QIT000001", "schema")),
        ("GET", "/purchases?status=shut", (400, "QIT000001", "schema")),
        ("GET", "/purchases?day=2026-02-30", (400, "QIT000001", "schema")),
        ("GET", "/purchases?page=1", (400, "QIT000001", "schema")),
        ("GET", "/purchases?limit=1&limit=1", (400, "QIT000001", "schema")),
        ("GET", "/campaigns", (401, "GDF000014", "unauthenticated")),
        ("POST", "/purchases/away/fail", (503, "120", "unavailable")),
        ("POST", "/purchases/locked/fail", (503, "120", "unavailable")),
        ("POST", "/purchases/unknown/fail", (500, "QIT000500", "internal")),
        ("POST", "/purchases/state/fail", (500, "QIT000500", "internal")),
        ("POST", "/purchases/bug/fail", (500, "QIT000500", "internal")),
    ],
)
async def test_a_refusal_of_the_edge_has_its_reason(
    app: App, method: str, path: str, expected: tuple[int, str, str]
) -> None:
    reply = await ask(app, method, path)
    assert told(reply) == expected
    assert reply.headers.get("retry-after") == ("1" if reply.status == 503 else None)
    assert reply.headers.get("allow") == {"/purchases": "GET", "/campaigns": "GET"}.get(
        path if reply.status == 405 else ""
    )


async def test_paths_of_transfers_keep_their_own_words(app: App) -> None:
    for path in ("/account/nothing", "/nothing"):
        assert (await ask(app, "GET", path)).json["extra_fields"] == {}


async def test_a_page_has_its_defaults(app: App) -> None:
    assert (await ask(app, "GET", "/purchases")).json == {"query": {}, "offset": 0, "limit": 20}
    reply = await ask(app, "GET", "/purchases?offset=40&limit=100")
    assert (reply.json["offset"], reply.json["limit"]) == (40, 100)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"idempotency_key": "a b"}, b"", (400, "QIT000400", "bad_request")),
        ({}, b"{", (400, "QIT000753", "malformed_json")),
        ({}, b'{"a":1,"a":1}', (400, "QIT000753", "malformed_json")),
        ({}, b'{"a":1}', (400, "QIT000001", "schema")),
        ({"content_type": "text/plain"}, b"{}", (415, "QIT000942", "media_type")),
        ({"content_length": "262145"}, b"{}", (413, "RDM000923", "too_large")),
        ({"content_length": "many"}, b"{}", (400, "QIT000400", "bad_request")),
    ],
)
async def test_a_body_that_does_not_fit_has_its_reason(
    app: App, headers: dict[str, str], body: bytes, expected: tuple[int, str, str]
) -> None:
    assert told(await ask(app, "POST", "/purchases/away/fail", body, **headers)) == expected


async def test_a_streamed_body_is_read_by_its_handler_within_the_limit(app: App) -> None:
    async with listening(app) as port:
        for size, expected in ((1_000, b"200"), (1_001, b"413")):
            for framing in (b"content-length: %d" % size, b"transfer-encoding: chunked"):
                body = b"x" * size
                chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
                head = b"PUT /documents/file HTTP/1.1\r\nhost: a\r\nconnection: close\r\n%b\r\n\r\n" % framing
                answer = await said(port, [head, chunked if framing.startswith(b"t") else body])
                assert answer.startswith(b"HTTP/1.1 " + expected), framing
                assert (b"RDM000923" in answer) is (expected == b"413")


async def test_a_slow_body_is_cut_off() -> None:
    db = await Database.open(UNREACHABLE)
    parts = make_parts(db)
    parts.settings = replace(parts.settings, body_timeout=timedelta(seconds=0.2))
    made = build_app(
        parts,
        [
            [
                open_route("PUT", "/documents/file", collect, is_streamed=True, media="multipart"),
                open_route("POST", "/purchases/{how_id}/fail", fail),
            ]
        ],
    )
    async with listening(made, ServerSettings()) as port:
        for line in (b"PUT /documents/file", b"POST /purchases/away/fail"):
            head = b"%b HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\ncontent-type: application/json\r\n\r\n{"
            answer = await said(port, [head % line])
            assert answer.startswith(b"HTTP/1.1 408 ") and b"x-correlation-id" in answer
    await db.close()


@pytest.mark.parametrize(("given", "is_kept"), [("app-7f31", True), ("x" * 128, True), ("a b", False), ("ação", False)])
async def test_every_answer_carries_a_correlation_id(app: App, given: str, is_kept: bool) -> None:
    for method, path in (("GET", "/purchases"), ("GET", "/campaigns"), ("GET", "/x"), ("POST", "/purchases/bug/fail")):
        reply = await ask(app, method, path, x_correlation_id=given)
        assert (reply.headers["x-correlation-id"] == given) is is_kept


async def test_a_database_that_is_away_is_told_by_its_code(app: App) -> None:
    """Identification needs it: who calls cannot be known."""
    operator = {"authorization": "Bearer aval_admin_" + "x" * 43}
    application = {"authorization": "Bearer aval_live_" + "x" * 43, "ocp_apim_subscription_key": "x" * 43}
    for headers in (operator, application):
        reply = await ask(app, "GET", "/campaigns", **headers)
        assert told(reply) == (503, "120", "unavailable")
        assert reply.headers["retry-after"] == "1"
    form = b"grant_type=client_credentials&client_id=6513270e-269e-4d37-b2a7-4de452e6b438&client_secret=x"
    assert told(await ask(app, "POST", "/oauth2/token", form, content_type=FORM["content-type"]))[0] == 503


async def test_one_path_serves_integrators_and_campaigns_by_their_credentials() -> None:
    db = await Database.open(UNREACHABLE)
    parts = make_parts(db)
    ours = Route("GET", "/sandbox/inbox", echo, "sandbox", "integrator", "qit", 200, "Ours")
    theirs = redemption_route("GET", "/sandbox/inbox", echo, Access("*"), 200, "Theirs")
    made = build_app(parts, [[ours], [theirs]])
    assert (await ask(made, "GET", "/sandbox/inbox")).code == "GDF000003"
    for headers in (
        {"ocp_apim_subscription_key": "x"},
        {"x_subscription_key": "x"},
        {"authorization": "Bearer aval_admin_" + "x"},
    ):
        assert told(await ask(made, "GET", "/sandbox/inbox", **headers)) == (401, "GDF000014", "unauthenticated")
    assert (await ask(made, "POST", "/sandbox/inbox")).json["extra_fields"] == {}
    told_of = openapi_document([ours, theirs])["paths"]["/sandbox/inbox"]["get"]
    assert told_of["security"] == [{"apiKey": []}, {"clientKey": [], "requestSignature": []}, {"adminKey": []}]
    assert {"QIT000944", "120"} == set(told_of["responses"]["503"]["content"]["application/json"]["examples"])
    assert len(told_of["responses"]["401"]["content"]["application/json"]["schema"]["anyOf"]) == 2
    await db.close()


async def test_the_document_tells_credentials_scopes_and_headers(redemptions: RedemptionStage) -> None:
    document = json.loads(json.dumps(openapi_document(redemptions.routes), default=str))
    read = document["paths"]["/participants/{participant}"]["get"]
    assert read["security"] == [
        {"adminKey": []},
        {"application": [], "subscriptionKey": []},
        {"participant": [], "subscriptionKey": []},
    ]
    assert "`impersonate` and `participants.read`" in read["description"]
    names = [parameter["name"] for parameter in read["parameters"]]
    assert names == [
        "participant",
        "X-Correlation-Id",
        "participantid",
        "catalogId",
        "customerId",
        "impersonatorUser",
        "username",
    ]
    form = document["paths"]["/oauth2/token"]["post"]
    assert list(form["requestBody"]["content"]) == ["application/x-www-form-urlencoded"] and form["security"] == []
    assert "RDM000923" in form["responses"]["413"]["description"]
    schemes = document["components"]["securitySchemes"]
    assert schemes["subscriptionKey"]["name"] == "Ocp-Apim-Subscription-Key"


async def test_calls_of_a_live_campaign_in_progress_have_a_limit(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign(mode="live")
    headers = redemptions.as_application(await redemptions.application(campaign))
    path = f"/campaigns/{campaign.campaign_id}"
    replies = await asyncio.gather(*(redemptions.call("GET", path, headers=headers) for _ in range(60)))
    assert {told(reply) for reply in replies if reply.status != 200} <= {(429, "RDM000927", "rate_limit")}
    assert sum(reply.status == 200 for reply in replies) >= 32
    assert (await redemptions.call("GET", path, headers=headers)).status == 200
