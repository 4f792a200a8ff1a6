"""The OpenAPI 3.1 document, made from the route table, the structs and the error catalogue."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from aval import __version__
from aval.domain.errors import CATALOGUE, name_in_redemptions, problem_body
from aval.http.edge import ANY_SCOPE, Access, QueryParameter, Route
from aval.http.openapi_types import REFERENCE, schemas_of
from aval.http.redemptions.access import ONBOARDING
from aval.http.redemptions.impersonation import HEADERS
from aval.http.redemptions.route import LIMIT_DEFAULT
from aval.http.syntax import LIMIT_MAX, PAGE_SIZE_MAX, is_key

Schema = dict[str, Any]

_PARAMETER = re.compile(r"\{(\w+)\}")

# A body is judged on every route, so that one sent where none belongs is refused and not skipped over.
_EVERY_ROUTE = (
    "qit.bad_request",
    "qit.schema_error",
    "qit.syntax_error",
    "qit.payload_too_large",
    "qit.unsupported_media_type",
    "qit.internal_error",
    "qit.service_unavailable",
)
_BY_AUDIENCE = {
    "integrator": (
        "gdf.no_client_key",
        "gdf.unauthenticated",
        "gdf.unknown_client_key",
        "qit.too_many_requests",
    ),
    "admin": ("gdf.no_client_key", "gdf.unauthenticated"),
    "redemption": ("gdf.unauthenticated", "qit.too_many_requests", "rdm.insufficient_scope"),
    "rail": (),
    "public": (),
}
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "integrator": [{"apiKey": []}, {"clientKey": [], "requestSignature": []}],
    "admin": [{"adminKey": []}],
    "redemption": [],  # by its Access
    "rail": [],
    "public": [],
}
_SECURITY_SCHEMES = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "API key: `aval_live_…` or `aval_test_…`."},
    "clientKey": {"type": "apiKey", "in": "header", "name": "API-CLIENT-KEY", "description": "Who signed the request."},
    "requestSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "AUTHORIZATION",
        "description": "ES512 JWT over method, uri, timestamp and the digest of the body; accepted once.",
    },
    "adminKey": {"type": "http", "scheme": "bearer", "description": "Admin key: `aval_admin_…`."},
    "application": {
        "type": "http",
        "scheme": "bearer",
        "description": "API key of an application, or its access token of `POST /oauth2/token`.",
    },
    "participant": {"type": "http", "scheme": "bearer", "description": "Token of the campaign's own OIDC issuer."},
    "subscriptionKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Ocp-Apim-Subscription-Key",
        "description": "Names the application; also `X-Subscription-Key`.",
    },
}
_TAGS = (
    (re.compile(r"/account/\{\w+\}/pix"), "Pix"),
    (re.compile(r"/account/\{\w+\}/ted"), "TED"),
    (re.compile(r"/account/\{\w+\}/device|/device_sessions|/approve"), "Devices"),
    (re.compile(r"/account"), "Accounts"),
    (re.compile(r"/webhook_endpoints|/notification"), "Webhooks and messages"),
    (re.compile(r"/sandbox"), "Sandbox"),
    (re.compile(r"/rail"), "Rail"),
    (re.compile(r"/admin"), "Administration"),
    (re.compile(r"/campaigns"), "Campaigns"),
    (re.compile(r"/participants/\{\w+\}/devices|/devices"), "Security phones"),
    (re.compile(r"/participants/\{\w+\}/documents|/documents"), "Documents"),
    (re.compile(r"/participants"), "Participants"),
    (re.compile(r"/purchases|/orders|/reversal_motives"), "Purchases and orders"),
    (re.compile(r"/oauth2|/.well-known"), "Access tokens"),
)
_MEDIA_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
}
_OTHER_TAG = "Deployment"

UUID_SCHEMA: Schema = {"type": "string", "format": "uuid"}
PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "title": "Problem",
    "description": "An error, told by its `code`.",
    "required": ["title", "description", "translation", "code", "extra_fields"],
    "properties": {
        "title": {"type": "string"},
        "description": {"type": "string", "description": "In English."},
        "translation": {"type": "string", "description": "In Portuguese."},
        "code": {"type": "string"},
        "extra_fields": {"type": "object"},
        "sub_message": {"type": "string", "description": "Of some errors of redemptions: what to do, in Portuguese."},
        "sub": {
            "type": "array",
            "description": "Of some errors of redemptions: what is wrong, one by one.",
            "items": {
                "type": "object",
                "required": ["type", "message", "parameters"],
                "properties": {
                    "type": {"type": "integer"},
                    "message": {"type": "string"},
                    "parameters": {"type": "array"},
                },
            },
        },
    },
}


def openapi_document(routes: Sequence[Route]) -> Schema:
    """Describe the routes; every answer the API gives on them fits this document."""
    paths: defaultdict[str, Schema] = defaultdict(dict)
    for route in routes:
        told, method = paths[route.path], route.method.lower()
        told[method] = _both(told[method], _operation(route)) if method in told else _operation(route)
    codes = {CATALOGUE[name].code: name for route in routes for name in refusals_of(route)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Aval",
            "version": __version__,
            "description": "A second factor in front of money: hold a Pix, a TED or a redemption, confirm it with a "
            "six-character token, settle it exactly once.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(_tag(route) for route in routes)],
        "paths": dict(paths),
        "components": {
            "schemas": _schemas(routes),
            "securitySchemes": _SECURITY_SCHEMES,
            "examples": {
                code: {"summary": CATALOGUE[name].title, "value": _example(name)} for code, name in codes.items()
            },
            "headers": {
                "X-Correlation-Id": {"description": "The request's own, or a new one.", "schema": {"type": "string"}}
            },
        },
    }


def _both(one: Schema, other: Schema) -> Schema:
    """One path for integrators and for campaigns, told apart by their credentials: what either may send and get."""
    parameters = {(each["in"], each["name"]): each for each in [*other["parameters"], *one["parameters"]]}
    statuses = dict.fromkeys([*one["responses"], *other["responses"]])
    responses = {
        status: _either(*(each["responses"][status] for each in (one, other) if status in each["responses"]))
        for status in sorted(statuses)
    }
    told = [each["description"] for each in (one, other) if "description" in each]
    return one | {
        "description": " ".join(told),
        "parameters": list(parameters.values()),
        "responses": responses,
        "security": [*one["security"], *other["security"]],
    }


def _either(first: Schema, *others: Schema) -> Schema:
    """An answer that has one of several forms."""
    contents = [each["content"]["application/json"] for each in (first, *others) if "content" in each]
    if len(contents) < 2:
        return first
    examples = {name: value for content in contents for name, value in content.get("examples", {}).items()}
    content = {
        "schema": {"anyOf": [each["schema"] for each in contents]},
        **({"examples": examples} if examples else {}),
    }
    told = ", ".join(dict.fromkeys(each["description"] for each in (first, *others)))
    return first | {"description": told, "content": {"application/json": content}}


def refusals_of(route: Route) -> Iterator[str]:
    """Names of all errors a route may answer with: its own and the edge's."""
    names = [*_EVERY_ROUTE, *_BY_AUDIENCE[route.audience]]
    has_own = any(CATALOGUE[name].http == 404 for name in route.refusals)  # for what its keys do not name
    if route.family == "qit" and not has_own and any(map(is_key, _PARAMETER.findall(route.path))):
        names.append("qit.not_found")
    if route.family == "ted":
        names.append("ted.invalid_uuid")
        kinds = {parameter.kind for parameter in route.query}
        names += ["ted.invalid_page"] * bool(kinds & {"page", "page_size"}) + ["ted.invalid_timestamp"] * (
            "date" in kinds
        )
    told = [*names, *route.refusals]
    if route.access is not None:
        told += _refusals_of_access(route.access)
    yield from dict.fromkeys(map(name_in_redemptions, told) if route.is_of_redemptions else told)


def _refusals_of_access(access: Access) -> Iterator[str]:
    if access.impersonator is not None or access.participant is not None:
        yield from ("rdm.impersonation_headers", "rdm.participant_not_found")
    if access.impersonator == ONBOARDING:
        yield "rdm.impersonation_forbidden"
    if access != Access(operator=access.operator):
        yield "rdm.wrong_token_type"


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": _name(route),
        "tags": [_tag(route)],
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *map(_query_parameter, route.query), *_header_parameters(route)],
        "responses": _responses(route),
        "security": _security_of(route.access) if route.access is not None else _SECURITY[route.audience],
    }
    if route.scope is not None:
        operation["description"] = f"Scope: `{route.scope}`."
    if route.access is not None:
        operation["description"] = _scopes_of(route.access)
    if route.request is not None:
        content = {_MEDIA_TYPES[route.media]: {"schema": _schema_of(route.request)}}
        operation["requestBody"] = {"required": not route.empty_body, "content": content}
    return operation


def _security_of(access: Access) -> list[dict[str, list[str]]]:
    """Any one of these; an application and a participant always name the application by its subscription key."""
    ways: list[dict[str, list[str]]] = []
    if access.operator is not None:
        ways.append({"adminKey": []})
    if access.application is not None or access.impersonator is not None:
        ways.append({"application": [], "subscriptionKey": []})
    if access.participant is not None:
        ways.append({"participant": [], "subscriptionKey": []})
    return ways


def _scopes_of(access: Access) -> str:
    """Say which scope each kind of caller needs."""
    operator = "any of the back office" if access.operator == ANY_SCOPE else access.operator and f"`{access.operator}`"
    told = {
        "operator": operator,
        "application": access.application and f"`{access.application}`",
        "application for a participant": access.impersonator and f"`impersonate` and `{access.impersonator}`",
        "participant": access.participant and f"`{access.participant}` of the application",
    }
    return "Scopes – " + "; ".join(f"{kind}: {scope}" for kind, scope in told.items() if scope) + "."


def _name(route: Route) -> str:
    """`GET /a/{b_key}/c/{d_key}` is `get_a_c_by_d_key`."""
    segments = route.path.strip("/").split("/")
    last = _PARAMETER.fullmatch(segments[-1])
    words = [segment for segment in segments if not segment.startswith("{")]
    return "_".join([route.method.lower(), *words, *(("by", last[1]) if last else ())])


def _tag(route: Route) -> str:
    return next((tag for pattern, tag in _TAGS if pattern.match(route.path)), _OTHER_TAG)


def _path_parameters(route: Route) -> Iterator[Schema]:
    for name in _PARAMETER.findall(route.path):
        schema = UUID_SCHEMA if is_key(name) and not route.is_of_redemptions else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(parameter: QueryParameter) -> Schema:
    schemas: dict[str, Schema] = {
        "text": {"type": "string"},
        "uuid": UUID_SCHEMA,
        "page": {"type": "integer", "minimum": 1, "default": 1},
        "offset": {"type": "integer", "minimum": 0, "default": 0},
        "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "page_size": {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE_MAX},
        "date": {"type": "string", "format": "date", "description": "A day in Brasília."},
        "choice": {"type": "string", "enum": list(parameter.choices)},
    }
    told: Schema = {"name": parameter.name, "in": "query", "required": False, "schema": schemas[parameter.kind]}
    return told | ({"description": parameter.description} if parameter.description else {})


def _header_parameters(route: Route) -> Iterator[Schema]:
    key: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
    yield {"name": "X-Correlation-Id", "in": "header", "required": False, "schema": key}
    if route.audience == "integrator" and route.method in {"PUT", "PATCH"}:
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "schema": key}
    if route.access is not None and route.method != "GET":
        yield {"name": "Idempotency-Key", "in": "header", "required": False, "schema": key}
    if route.access is not None and route.access.impersonator is not None:
        for name in HEADERS:
            told = {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
            yield told | {"description": "Of an application that acts for a participant."}


def _responses(route: Route) -> Schema:
    success: Schema = {"description": route.summary, "headers": _headers()}
    if route.response is not None:
        success["content"] = {"application/json": {"schema": _schema_of(route.response)}}
    if route.files:
        success["content"] = {each: {"schema": {"type": "string", "format": "binary"}} for each in route.files}
    responses = {str(status): success for status in (route.success, route.also) if status is not None}
    if (
        route.path.endswith("/validate_token") and route.success == 202 and route.access is None
    ):  # a single that was settled at once: 201
        responses |= {"201": success, "202": success}
    if route.other_success is not None:
        responses[str(route.other_success)] = success
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for name in refusals_of(route):
        status, code = CATALOGUE[name].http, CATALOGUE[name].code
        assert status is not None
        if code not in by_status[status]:
            by_status[status].append(code)
    return responses | {str(status): _problem_response(codes) for status, codes in sorted(by_status.items())}


def _problem_response(codes: list[str]) -> Schema:
    schema = {"allOf": [{"$ref": REFERENCE.format(name="Problem")}, {"properties": {"code": {"enum": codes}}}]}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {
        "description": ", ".join(codes),
        "headers": _headers(),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _headers() -> Schema:
    return {"X-Correlation-Id": {"$ref": "#/components/headers/X-Correlation-Id"}}


def _example(name: str) -> Schema:
    entry = CATALOGUE[name]
    values = dict.fromkeys(_PARAMETER.findall(entry.description), "…") | {"sku": "…"}
    return problem_body(name, values | {"account_key": "…", "operation_key": "…"})


def _schema_of(kind: Any) -> Schema:
    (schema,), _ = schemas_of([kind])
    return schema


def _schemas(routes: Sequence[Route]) -> Schema:
    _, components = schemas_of(
        [kind for route in routes for kind in (route.request, route.response) if kind is not None]
    )
    return {**components, "Problem": PROBLEM_SCHEMA}
