"""Routes to try the edge with: every one echoes what reached its handler."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from aval.http.app import App
from aval.http.edge import Answer, Call, Handler, QueryParameter, Route, json_answer
from aval.http.server import Listener, ServerSettings, serve

KEY = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
OTHER_KEY = "5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10"
HOT = f"/account/{KEY}/ted/{OTHER_KEY}/validate_token"
COLD = f"/account/{KEY}/pix_transfer/{OTHER_KEY}/validate_token"
QUERY = (
    QueryParameter("page", "page"),
    QueryParameter("page_size", "page_size"),
    QueryParameter("date_from", "date"),
    QueryParameter("request_control_key", "uuid"),
    QueryParameter("status", "choice", choices=("sent", "pending")),
    QueryParameter("text"),
)


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a body of the probe routes is said to be."""

    token: str | None = None


async def echo(call: Call) -> Answer:
    """Tell what the edge handed over."""
    call.is_verified = True
    return json_answer(
        200, {"params": dict(call.params), "query": dict(call.query), "body": call.body.decode("latin-1")}
    )


def validate_route(path: str, family: Any, handler: Handler = echo, **options: Any) -> Route:
    """A route like those of validate_token."""
    given = {
        "scope": "transfers:write",
        "audience": "integrator",
        "success": 200,
        "summary": "Validate",
        "request": TokenBody,
    }
    return Route("PUT", path, handler, family=family, empty_body=True, **given | options)


def probe_routes(handler: Handler = echo, *, audience: Any = "integrator") -> list[Route]:
    """The same kind of route twice, hot and cold, a list in each family, and an admin route."""
    hot, cold = (f"/account/{{account_key}}/{kind}/{{{kind}_key}}/validate_token" for kind in ("ted", "pix_transfer"))
    return [
        validate_route(hot, "ted", handler, audience=audience, is_hot=True),
        validate_route(cold, "pix", handler, audience=audience),
        *(
            Route("GET", f"/account/{{account_key}}/{name}", handler, None, audience, family, 200, "List", query=QUERY)
            for name, family in (("teds", "ted"), ("pix_transfers", "pix"))
        ),
        Route("POST", "/admin/integrators", handler, "transfers.admin", "admin", "qit", 201, "Make", request=TokenBody),
    ]


@asynccontextmanager
async def listening(app: App, settings: ServerSettings | None = None) -> AsyncIterator[int]:
    """Serve an application on a port of its own, as in production."""
    bound = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    running = asyncio.create_task(serve([Listener(app, bound)], settings or ServerSettings(), stop))
    try:
        yield bound.getsockname()[1]
    finally:
        stop.set()
        await running


async def said(port: int, parts: Sequence[bytes]) -> bytes:
    """All the server says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
