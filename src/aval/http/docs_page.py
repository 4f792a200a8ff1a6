"""The documentation page: it reads /openapi.json and needs no other host."""

from collections.abc import Sequence
from importlib.resources import files

from aval.http.edge import Answer, Call, Handler, Route, encoded
from aval.http.openapi import openapi_document

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}


def docs_routes(documented: Sequence[Route]) -> list[Route]:
    """Make the routes of the OpenAPI document and of the page that shows it."""
    document = encoded(openapi_document(documented))

    async def openapi(_call: Call) -> Answer:
        """GET /openapi.json."""
        return Answer(200, document)

    pages = [
        Route("GET", path, _file(name, media_type), None, "public", "qit", 200, "Documentation to read")
        for path, (name, media_type) in _FILES.items()
    ]
    return [Route("GET", "/openapi.json", openapi, None, "public", "qit", 200, "OpenAPI 3.1"), *pages]


def _file(name: str, media_type: str) -> Handler:
    body = files("aval.http").joinpath("static", name).read_bytes()
    headers = {"content-type": media_type, "content-security-policy": CONTENT_SECURITY_POLICY}

    async def serve(_call: Call) -> Answer:
        return Answer(200, body, headers)

    return serve
