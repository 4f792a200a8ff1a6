import json
import re
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from aval.domain.errors import CATALOGUE
from aval.domain.money import Brl
from aval.http.app import build_ops_app
from aval.http.docs_page import docs_routes
from aval.http.edge import Answer, Call, QueryParameter, Route
from aval.http.openapi import openapi_document, refusals_of
from aval.http.parts import Parts
from aval.http.strict_json import ABSENT
from aval.storage.database import Database
from tests.factories import exchange, make_parts
from tests.http.probe import probe_routes

FEATURES = ("pix", "ted", "admin", "webhooks", "notifications", "sandbox", "rail")
REFERENCE = re.compile(r'"\$ref":"#/([^"]+)"')


class Target(msgspec.Struct, forbid_unknown_fields=True):
    amount: msgspec.Raw
    note: str | None = None


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    items: list[Target]
    limit: msgspec.Raw = ABSENT


class Told(msgspec.Struct):
    total: Brl
    key: str | msgspec.UnsetType = msgspec.UNSET


async def nothing(_call: Call) -> Answer:
    return Answer(204)


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    db = await Database.open("postgresql://127.0.0.1:1/nowhere")
    yield make_parts(db)
    await db.close()


def all_routes(parts: Parts) -> list[Route]:
    """Every route of every feature file there is."""
    modules = [import_module(f"aval.http.{name}") for name in FEATURES if find_spec(f"aval.http.{name}")]
    return [route for module in modules for route in module.routes(parts)]


def batch_route(**options: Any) -> Route:
    given = {"scope": "transfers:write", "audience": "integrator", "family": "ted", "success": 202, "summary": "Make"}
    return Route("POST", "/account/{account_key}/ted_batch", nothing, **given | options)


def document(routes: Sequence[Route]) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(msgspec.json.encode(openapi_document(routes)))
    return decoded


def test_the_document_of_all_routes_is_valid_openapi(parts: Parts) -> None:
    routes = all_routes(parts)
    described = document(routes)
    OpenAPIV31SpecValidator(described).validate()
    assert sum(len(item) for item in described["paths"].values()) == len(routes)


def test_every_reference_leads_somewhere(parts: Parts) -> None:
    described = document(all_routes(parts))
    for path in set(REFERENCE.findall(msgspec.json.encode(described).decode())):
        place: Any = described
        for part in path.split("/"):
            place = place[part]


def test_operations_have_names_of_their_own(parts: Parts) -> None:
    names = [each["operationId"] for item in document(all_routes(parts))["paths"].values() for each in item.values()]
    assert len(set(names)) == len(names)


def test_every_code_a_route_may_answer_is_in_the_catalogue_and_in_the_document(parts: Parts) -> None:
    routes = all_routes(parts)
    described = document(routes)
    for route in routes:
        responses = described["paths"][route.path][route.method.lower()]["responses"]
        for name in refusals_of(route):
            entry = CATALOGUE[name]
            examples = responses[str(entry.http)]["content"]["application/json"]["examples"]
            assert examples[entry.code] == {"$ref": f"#/components/examples/{entry.code}"}
            assert described["components"]["examples"][entry.code]["value"]["code"] == entry.code


def test_amounts_are_numbers_in_both_directions() -> None:
    described = document([batch_route(request=Batch, response=Told)])
    schemas = described["components"]["schemas"]
    for struct, field in (("Target", "amount"), ("Told", "total")):
        assert schemas[struct]["properties"][field]["type"] == "number"
    assert {"type": "null"} in schemas["Batch"]["properties"]["limit"]["anyOf"]
    assert (schemas["Batch"]["required"], schemas["Told"]["required"]) == (["items"], ["total"])
    assert schemas["Batch"]["additionalProperties"] is False


def test_parameters_tell_what_they_may_be() -> None:
    query = (
        QueryParameter("status", "choice", choices=("sent",), description="Which."),
        QueryParameter("page", "page"),
    )
    route = Route(
        "GET", "/account/{account_key}/teds/{direction}", nothing, None, "integrator", "ted", 200, "List", query=query
    )
    operation = document([route])["paths"][route.path]["get"]
    told = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert told["account_key"]["schema"] == {"type": "string", "format": "uuid"}
    assert told["direction"]["schema"] == {"type": "string"}
    assert told["status"]["schema"]["enum"] == ["sent"]
    assert told["status"]["description"] == "Which."
    assert {"TED000045", "TED000046"} <= set(operation["responses"]["400"]["description"].split(", "))


@pytest.mark.parametrize(
    ("audience", "security"),
    [
        ("integrator", [{"apiKey": []}, {"clientKey": [], "requestSignature": []}]),
        ("admin", [{"adminKey": []}]),
        ("rail", []),
    ],
)
def test_who_may_call_is_told(audience: Any, security: list[Any]) -> None:
    assert (
        document([batch_route(audience=audience)])["paths"]["/account/{account_key}/ted_batch"]["post"]["security"]
        == security
    )


@pytest.mark.parametrize("empty_body", [True, False])
def test_a_body_is_required_unless_none_reads_as_an_empty_object(empty_body: bool) -> None:
    described = document([batch_route(request=Target, empty_body=empty_body)])
    body = described["paths"]["/account/{account_key}/ted_batch"]["post"]["requestBody"]
    assert body["required"] is not empty_body


async def test_the_page_and_its_parts_come_from_here_alone(parts: Parts) -> None:
    app = build_ops_app(parts, [probe_routes()])
    page = await exchange(app, "GET", "/docs", {}, b"")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.body.decode())
    assert set(links) == {"/docs/docs.css", "/docs/docs.js", "/openapi.json"}
    for link in links:
        found = await exchange(app, "GET", link, {}, b"")
        assert found.status == 200
        assert b"//" not in re.sub(rb"(?m)^\s*//.*$", b"", found.body) or link == "/openapi.json"
    assert not re.search(
        rb"innerHTML|outerHTML|insertAdjacent|eval\(|document\.write",
        (await exchange(app, "GET", "/docs/docs.js", {}, b"")).body,
    )


def test_the_document_is_made_once() -> None:
    assert [route.path for route in docs_routes([])] == ["/openapi.json", "/docs", "/docs/docs.css", "/docs/docs.js"]
