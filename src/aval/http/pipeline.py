"""The one way from a request to its answer, whatever routed it."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from aval.domain.errors import Refusal
from aval.domain.principal import PrincipalStale
from aval.http.answers import send_and_close, send_answer
from aval.http.auth import Authenticator, Signer, check_scope
from aval.http.edge import Answer, Call, Route, StateUnknown
from aval.http.limits import (
    DIRECT,
    KNOWN_METHODS,
    ClientGone,
    Receive,
    Scope,
    Send,
    address_of,
    body_chunks,
    check_declared_size,
    check_head,
    correlation_id_of,
    has_body,
    headers_of,
    read_body,
)
from aval.http.parts import Parts
from aval.http.problems import problem_answer
from aval.http.rates import CallsInProgress, RateLimiter
from aval.http.redemptions.identity import Redeemers
from aval.http.syntax import NOTHING, check_syntax
from aval.storage.database import DatabaseUnavailable, OutcomeUnknown

_log = structlog.get_logger("aval.access")


Work = Callable[[Call, "Exchange"], Awaitable[Answer]]


@dataclass(slots=True)
class Exchange:
    """One request and its answer on a connection."""

    scope: Scope
    receive: Receive
    send: Send
    is_body_pending: bool  # announced, and not read to its end


@dataclass(frozen=True, slots=True)
class Told:
    """How a request is told of: the path's template, and whether in the words of redemptions."""

    template: str
    is_of_redemptions: bool


class Pipeline:
    """Runs the checks in their order – head, credentials, rate, syntax – then the handler, and writes the answer.

    Nothing here cancels a handler: when the client goes away its transaction still ends one way or the other, and
    the answer is dropped.
    """

    def __init__(self, parts: Parts) -> None:
        settings = parts.settings
        self._authenticator = Authenticator(parts.db, parts.keyring, recalled_max=settings.callers_recalled_max)
        self._redeemers = Redeemers(parts)
        self._rates = RateLimiter()
        self._in_progress = CallsInProgress(settings.integrator_calls_max)
        self._body_timeout = settings.body_timeout
        self._metrics = parts.metrics
        self._has_access_log = settings.has_access_log

    async def serve(self, route: Route, params: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a route."""

        async def work(call: Call, exchange: Exchange) -> Answer:
            """Check the call and let its route answer."""
            call.params = params
            return await self._answered(call, route, exchange)

        await self._exchange(Told(route.path, route.is_of_redemptions), work, scope, receive, send)

    async def refuse(
        self, told: Told, refusal: Callable[[], Refusal], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request that no route takes."""

        async def work(_call: Call, exchange: Exchange) -> Answer:
            """Refuse whatever it is."""
            check_head(exchange.scope)
            raise refusal()

        await self._exchange(told, work, scope, receive, send)

    async def _exchange(self, told: Told, work: Work, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = headers_of(scope)
        call = Call(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            params=NOTHING,
            query=NOTHING,
            headers=headers,
            body=b"",
            correlation_id=correlation_id_of(headers),
            client_address=address_of(scope),
        )
        exchange = Exchange(scope, receive, send, is_body_pending=has_body(headers))
        try:
            answer = await work(call, exchange)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 – the outermost place: whatever it is becomes an answer
            answer = problem_answer(error, call.correlation_id, told.template, is_of_redemptions=told.is_of_redemptions)
        if exchange.is_body_pending:
            await send_and_close(send, receive, answer, call.correlation_id)
        else:
            await send_answer(send, scope.get(DIRECT), answer, call.correlation_id)
        self._account(call, told.template, answer.status, time.perf_counter() - started)

    def _account(self, call: Call, template: str, status: int, seconds: float) -> None:
        method = call.method if call.method in KNOWN_METHODS else "(unknown)"
        self._metrics.count_request(method, template, status, seconds)
        if self._has_access_log:
            _log.info(
                "request",
                method=method,
                route=template,
                status=status,
                ms=round(seconds * 1000, 2),
                correlation_id=call.correlation_id,
                integrator=_tenant(call),
            )

    async def _answered(self, call: Call, route: Route, exchange: Exchange) -> Answer:
        check_head(exchange.scope)
        if exchange.is_body_pending:
            check_declared_size(call.headers, route.body_limit)
        signer = await self._authenticator.identify(call, route)
        if route.audience != "redemption":
            return await self._admitted(call, route, exchange, signer)
        await self._redeemers.admit(call, route)
        try:
            return await self._admitted(call, route, exchange, signer)
        except Refusal:
            if call.caller_of_redemption and not call.is_verified:  # not handled, and so not counted yet
                await self._redeemers.look_up(call, route)
            raise

    async def _admitted(self, call: Call, route: Route, exchange: Exchange, signer: Signer | None) -> Answer:
        if exchange.is_body_pending and route.is_streamed:
            call.chunks = self._chunks(exchange, route)
        elif exchange.is_body_pending:
            line = exchange.scope.get(DIRECT)
            call.body = await read_body(
                exchange.receive, line, call.headers, limit=route.body_limit, timeout=self._body_timeout
            )
            exchange.is_body_pending = False
        query = exchange.scope["query_string"]
        if signer is not None:  # before anything counts for the caller: a client key is no secret
            target = f"{call.path}?{query.decode('latin-1')}" if query else call.path
            await self._authenticator.verify(signer, call, target)
        try:
            self._enter(call)
            return await self._handled(call, route, query)
        finally:
            call.release()

    def _chunks(self, exchange: Exchange, route: Route) -> AsyncIterator[bytes]:
        def read() -> None:
            exchange.is_body_pending = False

        return body_chunks(exchange.receive, limit=route.body_limit, timeout=self._body_timeout, at_end=read)

    def _enter(self, call: Call) -> None:
        if call.caller_of_redemption is not None:
            campaign = call.caller_of_redemption.campaign
            if campaign is not None and not campaign.is_sandbox:
                call.leave = self._in_progress.enter(campaign.key)
            self._redeemers.count(call)
        if call.principal is None:
            return
        integrator = call.principal.integrator
        self._rates.check(call.principal.credential_key, integrator.requests_per_second, time.monotonic())
        if integrator.budgets:  # spec transfers.md §8.3
            call.leave = self._in_progress.enter(integrator.key)

    async def _handled(self, call: Call, route: Route, query: bytes) -> Answer:
        try:
            check_scope(call, route)
            check_syntax(call, route, query)
            return await self._run(call, route)
        except Refusal:
            is_recalled = (call.principal or call.caller_of_redemption) and not call.is_verified
            if route.is_hot and is_recalled:  # a revoked caller learns nothing but that
                await self._refresh(call, route)
            raise

    async def _run(self, call: Call, route: Route) -> Answer:
        try:
            return await _handle(call, route)
        except PrincipalStale:
            await self._refresh(call, route)
        try:
            return await _handle(call, route)
        except PrincipalStale as error:
            raise DatabaseUnavailable from error

    async def _refresh(self, call: Call, route: Route) -> None:
        """Read who calls from PostgreSQL, past what is kept of earlier calls."""
        if route.audience == "redemption":
            await self._redeemers.look_up(call, route, is_counted=False)
        else:
            await self._authenticator.refresh(call)


async def _handle(call: Call, route: Route) -> Answer:
    try:
        return await route.handler(call)
    except OutcomeUnknown as error:
        if route.method == "GET":
            raise
        raise StateUnknown from error  # 503 would say that nothing changed (spec transfers.md §6.1)


def _tenant(call: Call) -> str | None:
    """Whose call it is: of an integrator, or of a campaign."""
    if call.principal is not None:
        return str(call.principal.integrator.key)
    campaign = call.caller_of_redemption.campaign if call.caller_of_redemption else None
    return str(campaign.key) if campaign else None
