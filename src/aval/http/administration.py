"""The administration without a network: the same routes, checks and answers, called within this process."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from aval.domain.errors import Refusal
from aval.domain.principal import AdminActor
from aval.http.auth import check_scope
from aval.http.edge import Answer, Call, Route
from aval.http.problems import problem_answer
from aval.http.syntax import check_syntax

_HEADERS = {"content-type": "application/json"}
_PARAMETER = re.compile(r"\{(\w+)\}")


class Administration:
    """Calls routes of the administration as one actor, who is already known."""

    def __init__(self, routes: Iterable[Route], actor: AdminActor, correlation_id: str) -> None:
        found = [route for route in routes if route.audience == "admin"]
        self._routes = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", route.path)), route) for route in found]
        self._actor = actor
        self._correlation_id = correlation_id

    async def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Answer one call as the API would; nothing is raised."""
        call = Call(
            method=method,
            path=path,
            params={},
            query={},
            headers=_HEADERS,
            body=body,
            correlation_id=self._correlation_id,
            admin=self._actor,
        )
        try:
            route, call.params = self._found(method, path)
            check_scope(call, route)
            check_syntax(call, route, urlencode(query).encode())
            return await route.handler(call)
        except Exception as error:  # noqa: BLE001 – the outermost place, as in the pipeline: it becomes an answer
            return problem_answer(error, self._correlation_id, path)

    def _found(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        for pattern, route in self._routes:
            matched = pattern.fullmatch(path)
            if matched and route.method == method:
                return route, matched.groupdict()
        raise Refusal("qit.not_found")
