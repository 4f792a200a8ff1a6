"""The administration without a network: the same routes, checks and answers, called within this process."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES, Caller, CallerKind
from aval.domain.errors import Refusal
from aval.domain.principal import AdminActor
from aval.http.auth import check_scope
from aval.http.edge import Answer, Call, Route
from aval.http.problems import problem_answer
from aval.http.redemptions.access import check_access
from aval.http.redemptions.impersonation import CUSTOMER
from aval.http.syntax import check_syntax
from aval.storage.campaigns import find_campaign
from aval.storage.database import Database

ENTERS = "participants.admin"  # what an administrator needs to enter and find participants as their campaign does
NOTHING: Mapping[str, str] = {}
_HEADERS = {"content-type": "application/json"}
_PARAMETER = re.compile(r"\{(\w+)\}")


class Administration:
    """Calls routes of the administration, and those of redemptions, as one actor who is already known.

    What only an application may do there – entering a participant, finding one – is done in the name of the campaign
    that the header `customerId` names.
    """

    def __init__(self, db: Database, routes: Iterable[Route], actor: AdminActor, correlation_id: str) -> None:
        found = [route for route in routes if route.audience in ("admin", "redemption")]
        self._db = db
        self._routes = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", route.path)), route) for route in found]
        self._actor = actor
        self._correlation_id = correlation_id

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str] = NOTHING
    ) -> Answer:
        """Answer one call as the API would; nothing is raised. Names of `headers` are in lower case."""
        call = Call(
            method=method,
            path=path,
            params={},
            query={},
            headers={**_HEADERS, **headers},
            body=body,
            correlation_id=self._correlation_id,
            admin=self._actor,
        )
        is_of_redemptions = False
        try:
            route, call.params = self._found(method, path)
            is_of_redemptions = route.is_of_redemptions
            if is_of_redemptions:
                call.caller_of_redemption = await self._redeemer(call, route)
            else:
                check_scope(call, route)
            check_syntax(call, route, urlencode(query).encode())
            return await route.handler(call)
        except Exception as error:  # noqa: BLE001 – the outermost place, as in the pipeline: it becomes an answer
            return problem_answer(error, self._correlation_id, path, is_of_redemptions=is_of_redemptions)

    async def _redeemer(self, call: Call, route: Route) -> Caller:
        access = route.access
        assert access is not None
        scopes = self._actor.scopes & frozenset(BACK_OFFICE_SCOPES)
        operator = Caller(CallerKind.OPERATOR, f"admin:{self._actor.name}", scopes)
        if access.operator is not None or not operator.may(ENTERS):
            check_access(operator, access)
            return operator
        async with self._db.reading() as connection:
            stored = await find_campaign(connection, call.headers.get(CUSTOMER.lower(), ""))
        if stored is None:
            raise Refusal("rdm.resource_not_found", extra_fields={"resource": "campaign"})
        campaign = stored.campaign
        caller = Caller(CallerKind.APPLICATION, operator.actor, frozenset(APPLICATION_SCOPES), campaign=campaign)
        check_access(caller, access)
        return caller

    def _found(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        for pattern, route in self._routes:
            matched = pattern.fullmatch(path)
            if matched and route.method == method:
                return route, matched.groupdict()
        raise Refusal("qit.not_found")
