"""The ASGI application: a thin front for the hot routes, Starlette's router for all others, one pipeline for both.

Routing, Request and Response of the framework cost 60–75 µs a call (docs/adr/0007), which the hot routes save.
Matching is done on the path as sent: what is percent-encoded is no literal and no uuid.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from aval.domain.errors import Refusal
from aval.http.docs_page import docs_routes
from aval.http.edge import Route
from aval.http.health import health_routes
from aval.http.limits import Receive, Scope, Send
from aval.http.parts import Parts
from aval.http.pipeline import Pipeline, Told

_PARAMETER = re.compile(r"\{(\w+)\}")
_SUBSCRIPTION = (b"ocp-apim-subscription-key", b"x-subscription-key")
_ADMIN = re.compile(rb"bearer +aval_admin_", re.IGNORECASE)


def build_app(parts: Parts, features: Sequence[Sequence[Route]], pages: Sequence[Route] = ()) -> "App":
    """Build the API and the pages beside it; in development health, metrics and documentation are on it as well."""
    routes = [route for feature in features for route in feature]
    if parts.settings.has_ops_routes:
        return App(parts, [*routes, *pages, *_ops_routes(parts, routes)])
    return App(parts, [*routes, *pages])


def build_ops_app(parts: Parts, features: Sequence[Sequence[Route]]) -> "App":
    """Build what listens on AVAL_OPS_PORT: health, metrics, and the documentation of the API's routes."""
    return App(parts, _ops_routes(parts, [route for feature in features for route in feature]))


def _ops_routes(parts: Parts, routes: Sequence[Route]) -> list[Route]:
    return [*health_routes(parts), *docs_routes(routes)]


class App:
    """An ASGI application over routes."""

    def __init__(self, parts: Parts, routes: Sequence[Route]) -> None:
        self._pipeline = Pipeline(parts)
        self._hot = _HotRoutes(route for route in routes if route.is_hot)
        by_path: dict[str, list[Route]] = defaultdict(list)
        for route in routes:
            by_path[route.path].append(route)
        # Under which first segments all is of redemptions: there an unknown path is told of in their words.
        self._redeemed: dict[str, bool] = {}
        for route in routes:
            beginning = _beginning(route.path)
            self._redeemed[beginning] = route.is_of_redemptions and self._redeemed.get(beginning, True)
        paths = sorted(by_path, key=lambda path: path.replace("{", "\x7f"))  # a literal comes before a parameter
        assert len({_PARAMETER.sub("{}", path) for path in paths}) == len(paths)
        self._router = Router(
            [StarletteRoute(path, _PathApp(self._pipeline, path, by_path[path])) for path in paths],
            redirect_slashes=False,
            default=self._not_found,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._router(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["raw_path"].decode("latin-1")
        hot = self._hot.find(scope["method"], path)
        if hot is not None:
            await self._pipeline.serve(*hot, scope, receive, send)
        else:
            await self._router({**scope, "path": path, "root_path": ""}, receive, send)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = Told("(none)", self._redeemed.get(_beginning(scope["path"]), False))
        await self._pipeline.refuse(told, lambda: Refusal("qit.not_found"), scope, receive, send)


class _HotRoutes:
    """Finds a hot route by method, number of segments and last segment, then by pattern."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._patterns: dict[tuple[str, int, str], list[tuple[re.Pattern[str], Route]]] = defaultdict(list)
        for route in routes:
            pattern = re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", route.path))
            self._patterns[_signature(route.method, route.path)].append((pattern, route))

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        for pattern, route in self._patterns.get(_signature(method, path), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                return route, match.groupdict()
        return None


def _beginning(path: str) -> str:
    return path[1:].partition("/")[0]


def _signature(method: str, path: str) -> tuple[str, int, str]:
    return method, path.count("/"), path[path.rfind("/") + 1 :]


def is_redeemer(scope: Scope) -> bool:
    """Whether the credentials sent are those of redemptions: an admin key, or whatever has a subscription key."""
    for name, value in scope["headers"]:
        if name in _SUBSCRIPTION or (name == b"authorization" and _ADMIN.match(value)):
            return True
    return False


class _PathApp:
    """All methods of one path, as the ASGI application Starlette routes to."""

    def __init__(self, pipeline: Pipeline, path: str, routes: Sequence[Route]) -> None:
        self._pipeline = pipeline
        self._path = path
        # One path and method may be two routes: one of integrators, and one of redemptions (`/sandbox/inbox`).
        self._routes = {(route.method, route.is_of_redemptions): route for route in routes}
        assert len(self._routes) == len(routes)
        self._allowed = ", ".join(sorted({route.method for route in routes}))
        self._is_redeemed = all(route.is_of_redemptions for route in routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._found(scope)
        if route is None:
            await self._pipeline.refuse(Told(self._path, self._is_redeemed), self._wrong_method, scope, receive, send)
        else:
            await self._pipeline.serve(route, scope["path_params"], scope, receive, send)

    def _found(self, scope: Scope) -> Route | None:
        ours, theirs = (self._routes.get((scope["method"], of_redemptions)) for of_redemptions in (False, True))
        if ours is None or theirs is None:
            return ours or theirs
        return theirs if is_redeemer(scope) else ours

    def _wrong_method(self) -> Refusal:
        return Refusal("qit.method_not_allowed", headers={"allow": self._allowed})
