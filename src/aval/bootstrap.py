"""Picks the concrete parts and passes them down; the only place that knows settings, channels and rails."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import partial

from aval.channels.closed import ClosedChannel
from aval.channels.inbox import SandboxInbox
from aval.channels.late_outbound import LateOutbound
from aval.channels.purchase_hooks import HttpItemValidator, HttpRiskAdapter
from aval.channels.sms import AppriseSms, GatewaySms, ProviderAddressNotValid
from aval.cli.deployment import Administer, Deployment, Sockets
from aval.cli.gate import WORKER_ROLES
from aval.cli.logs import configure_logs
from aval.cli.refusal import CommandRefused, because
from aval.console.approvals import approval_pages
from aval.decoder.sandbox import SandboxedDecoder
from aval.domain.budget import BudgetFigures
from aval.domain.calendar import DEFAULT_HOLIDAYS
from aval.domain.principal import AdminActor
from aval.domain.target import target_problem
from aval.http import (
    admin,
    approvals,
    batches,
    device_sessions,
    devices,
    notifications,
    pix,
    rail,
    sandbox,
    ted,
    webhooks,
)
from aval.http.administration import NOTHING, Administration
from aval.http.app import build_app, build_ops_app
from aval.http.edge import Answer, Call, Handler, Route
from aval.http.metrics_view import HttpMetrics
from aval.http.parts import HttpSettings, JwksPolicy, Parts
from aval.http.redemptions import features as redemptions
from aval.http.server import Listener, ServerSettings, serve
from aval.operations.create_approver import document_index
from aval.operations.deliver_message import BreakerPolicy, ChannelOf
from aval.operations.deliver_webhook import WebhookPolicy
from aval.operations.redemption_desk import PurchaseHooks, RedemptionDesk
from aval.operations.request_purchase import PurchaseRules
from aval.operations.request_transfer import Rules
from aval.operations.settle_transfer import RetryPolicy
from aval.operations.store_file import FileKeeper
from aval.operations.transfer_desk import DeskSettings, TransferDesk
from aval.ports import Channel, Outbound
from aval.rails.http import RailRegistry, callback_of
from aval.settings import Settings, child_environment, unknown_variables
from aval.settings.kinds import SettingsError
from aval.storage.database import COMMAND_TIMEOUT_S, Database
from aval.storage.document_store import DocumentStore, StoreAddress
from aval.storage.keys_file import KeyringSource, KeysFile
from aval.worker.loop import WorkerParts, run_worker
from aval.worker.pump import Pace

WORKER_POOL_MIN = 2
READ_POOL_MIN = 2
DESK_POOL_MIN = 2
API_COMMAND_TIMEOUT_S = 2.2  # promises.md OP5: no call above 3 s; and longer than lock_timeout


def open_deployment(default_environment: str | None = None) -> Deployment:
    """The deployment the environment describes; raises CommandRefused with a sentence for each wrong setting."""
    try:
        settings = Settings.of_this_process(default_environment)
    except SettingsError as error:
        raise CommandRefused(*map(str, error.problems)) from None
    configure_logs(settings.deployment.log_level, settings.deployment.log_format)
    return deployment_of(settings)


def deployment_of(settings: Settings) -> Deployment:
    """What commands may reach under these settings."""

    def environment_with(dsn: str) -> dict[str, str]:
        return child_environment(AVAL_DATABASE_URL=dsn, AVAL_ENV=settings.deployment.environment)

    return Deployment(
        is_production=settings.is_production,
        data_dir=settings.deployment.data_dir,
        keys=KeysFile(settings.database.keys_file),
        database_url=settings.database.url,
        migrate_url=settings.database.migrate_url,
        is_standby_required=settings.database.standby_required,
        host=settings.http.host,
        port=settings.http.port,
        ops_port=settings.http.ops_port,
        api_processes=settings.http.processes,
        shutdown_grace_s=settings.http.shutdown_grace.total_seconds(),
        strangers=unknown_variables(),
        serve_api=partial(_serve_api, settings),
        run_worker=partial(_work, settings),
        child_environment=environment_with,
        administer=partial(_administer, settings),
        admin_key=settings.deployment.admin_key,
    )


def rules_of(settings: Settings) -> Rules:
    """What the deployment sets for every operation; a channel nobody set up counts as switched off."""
    budgets, channels = settings.budgets, settings.channels
    is_set_up = {"sms": channels.sms_urls or channels.sms_gateway_url, "email": channels.smtp_url}
    return Rules(
        figures=BudgetFigures(**{each.name: getattr(budgets, each.name) for each in fields(BudgetFigures)}),
        holidays=DEFAULT_HOLIDAYS | frozenset(settings.worker.ted_holidays),
        closed_channels=frozenset(channels.channels_off) | {name for name, means in is_set_up.items() if not means},
    )


@dataclass(frozen=True, slots=True)
class Foundation:
    """What API and worker both stand on."""

    keyring: KeyringSource
    outbound: LateOutbound
    rails: RailRegistry


def lay_foundation(settings: Settings, stack: AsyncExitStack) -> Foundation:
    """Make it; the stack gives back its connections."""
    outbound = LateOutbound(settings.channels.target_allow_list, settings.channels.local_targets)
    stack.push_async_callback(outbound.close)
    keyring = KeyringSource(KeysFile(settings.database.keys_file), settles_after=settings.database.keys_settle)
    return Foundation(keyring, outbound, RailRegistry(outbound))


async def open_pool(
    dsn: str,
    role: str,
    size: int,
    stack: AsyncExitStack,
    *,
    is_hot: bool = True,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
) -> Database:
    """A pool whose connections take one role of promises.md D15; a hot one plans look-ups by key only."""
    name = role.replace("aval_app_", "aval ")
    db = await Database.open(
        dsn, role=role, pool_size=size, application_name=name, is_hot=is_hot, command_timeout_s=command_timeout_s
    )
    stack.push_async_callback(db.close)
    return db


async def api_parts(settings: Settings, dsn: str, stack: AsyncExitStack) -> Parts:
    """Everything the handlers of the API may reach."""
    foundation = lay_foundation(settings, stack)
    size = settings.database.pool_size
    reading = max(READ_POOL_MIN, size // 4)
    open_api_pool = partial(open_pool, dsn, "aval_app_api", stack=stack, command_timeout_s=API_COMMAND_TIMEOUT_S)
    db = await open_api_pool(size=reading, is_hot=False)
    desk_db = await open_api_pool(size=max(DESK_POOL_MIN, size - reading))
    return Parts(
        db=db,
        keyring=foundation.keyring,
        rails=foundation.rails,
        settings=HttpSettings(
            is_production=settings.is_production,
            has_ops_routes=settings.http.ops_port == settings.http.port,
            head_timeout=settings.http.headers_timeout,
            body_timeout=settings.http.body_timeout,
            integrator_calls_max=settings.http.integrator_calls_max,
            operation_waiting_max=settings.http.operation_waiting_max,
            callers_recalled_max=settings.http.callers_recalled_max,
            has_access_log=settings.deployment.log_level in ("debug", "info"),
            public_url=settings.http.public_url.rstrip("/"),
            jwks=_jwks_policy(settings),
        ),
        metrics=HttpMetrics(),
        check_target=partial(_target_problem, settings),
        desk=TransferDesk(desk_db, foundation.keyring, rules_of(settings), _desk_settings(settings)),
        redemption_desk=RedemptionDesk(
            desk_db,
            foundation.keyring,
            PurchaseRules(rules_of(settings).figures, _blocked(settings, foundation.keyring)),
            _desk_settings(settings),
            _hooks(settings, foundation.outbound),
        ),
        retry=_retry_policy(settings),
        rail_callback_of=callback_of,
        files=FileKeeper(db, document_store(settings), SandboxedDecoder(), settings.documents.uploads_dir),
        outbound=foundation.outbound,
        hot_db=desk_db,
    )


def _jwks_policy(settings: Settings) -> JwksPolicy:
    http = settings.http
    return JwksPolicy(http.jwks_timeout, http.jwks_refresh, http.jwks_retry, http.jwks_keep)


def document_store(settings: Settings) -> DocumentStore:
    """Where the files of documents lie; nothing is opened yet."""
    documents = settings.documents
    return DocumentStore(
        StoreAddress(documents.url, documents.endpoint, documents.region, documents.key_id, documents.secret)
    )


async def _target_problem(settings: Settings, url: str) -> str | None:
    return target_problem(url, is_local_allowed=settings.channels.local_targets)


def _blocked(settings: Settings, keyring: KeyringSource) -> frozenset[bytes]:
    """What the operator's block list is looked up by: the same keyed hashes that are stored (docs/adr/0037)."""
    return frozenset(
        keyring.current().index_of(entry) if entry.startswith("+") else document_index(keyring.current(), entry)
        for entry in settings.redemptions.block_list
    )


def _hooks(settings: Settings, outbound: Outbound) -> PurchaseHooks:
    asked = settings.redemptions
    return PurchaseHooks(
        HttpItemValidator(outbound, asked.item_validator_url, asked.item_validator_key)
        if asked.item_validator_url
        else None,
        HttpRiskAdapter(outbound, asked.risk_url, asked.risk_key) if asked.risk_url else None,
    )


def features_of(parts: Parts) -> list[list[Route]]:
    """The routes of every feature file."""
    features = (pix, ted, batches, devices, device_sessions, approvals, admin, webhooks, notifications, sandbox, rail)
    return [feature.routes(parts) for feature in (*features, redemptions)]


def page_routes() -> list[Route]:
    """The pages of the console as routes, which no API document lists."""

    def serving(answer: Answer) -> Handler:
        async def serve_page(_call: Call) -> Answer:
            """Answer with the page."""
            return answer

        return serve_page

    return [
        Route(
            *("GET", page.path, serving(Answer(200, page.body, page.headers)), None, "public", "qit", 200, "A page"),
            is_page=True,
        )
        for page in approval_pages()
    ]


@asynccontextmanager
async def _administer(
    settings: Settings, dsn: str, actor: AdminActor, correlation_id: str
) -> AsyncIterator[Administer]:
    """Lend the administration as the API would answer it, for a command that comes and goes."""
    async with AsyncExitStack() as stack:
        parts = await api_parts(settings, dsn, stack)
        routes = [*admin.routes(parts), *redemptions.routes(parts)]
        administration = Administration(parts.db, routes, actor, correlation_id)

        async def administer(
            method: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str] = NOTHING
        ) -> tuple[int, bytes]:
            answer = await administration.answer(method, path, query, body, headers)
            return answer.status, answer.body

        yield administer


async def _serve_api(settings: Settings, dsn: str, sockets: Sockets, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        parts = await api_parts(settings, dsn, stack)
        features = features_of(parts)
        listeners = [Listener(build_app(parts, features, page_routes()), sockets.api)]
        if sockets.ops is not None:
            listeners.append(Listener(build_ops_app(parts, features), sockets.ops))
        await serve(listeners, _server_settings(settings), stop)


def _server_settings(settings: Settings) -> ServerSettings:
    return ServerSettings(
        trusted_proxies=[str(network) for network in settings.http.trusted_proxies],
        headers_timeout_s=settings.http.headers_timeout.total_seconds(),
        shutdown_grace_s=settings.http.shutdown_grace.total_seconds(),
    )


def _desk_settings(settings: Settings) -> DeskSettings:
    http = settings.http
    return DeskSettings(http.coalesce_rows_max, http.coalesce_lanes, http.operation_waiting_max)


def _retry_policy(settings: Settings) -> RetryPolicy:
    worker = settings.worker
    return RetryPolicy(worker.retry_gaps, worker.tries_max, worker.lease)


async def _work(settings: Settings, dsn: str, stop: asyncio.Event) -> None:
    async with AsyncExitStack() as stack:
        await run_worker(await worker_parts(settings, dsn, stack), stop)


async def worker_parts(settings: Settings, dsn: str, stack: AsyncExitStack) -> WorkerParts:
    """Everything a worker needs, each kind of work under its own role."""
    foundation, worker, channels = lay_foundation(settings, stack), settings.worker, settings.channels
    sharing = len(WORKER_ROLES) - 1  # the sealer works alone, one look after the other
    size = max(WORKER_POOL_MIN, (settings.database.pool_size - WORKER_POOL_MIN) // sharing)
    return WorkerParts(
        settle_db=await open_pool(dsn, "aval_app_settle", size, stack),
        notify_db=await open_pool(dsn, "aval_app_notify", size, stack),
        webhook_db=await open_pool(dsn, "aval_app_webhook", size, stack),
        seal_db=await open_pool(dsn, "aval_sealer", WORKER_POOL_MIN, stack),
        keyring=foundation.keyring,
        rails=foundation.rails,
        outbound=foundation.outbound,
        channel_of=open_channels(settings, stack),
        pace=Pace(worker.batch_size, worker.jobs_max, worker.poll),
        items_percent=worker.items_percent,
        retry=_retry_policy(settings),
        webhooks=WebhookPolicy(worker.webhook_retry_gaps, worker.webhook_timeout),
        breaker=BreakerPolicy(channels.breaker_failures_max, channels.breaker_pause),
        sweep_interval=worker.sweep_interval,
        figures=rules_of(settings).figures,
        documents=document_store(settings),
    )


def open_channels(settings: Settings, stack: AsyncExitStack) -> ChannelOf:
    """Find the channel of a message: the inbox for sandbox integrators, whose messages never leave."""
    closed, inbox = rules_of(settings).closed_channels, SandboxInbox()
    live: dict[str, Channel] = {"sms": ClosedChannel(), "email": ClosedChannel()}
    if "sms" not in closed:
        live["sms"] = _sms(settings, stack)
    if "email" not in closed:
        live["email"] = _email(settings)
    for channel in live.values():
        stack.push_async_callback(channel.close)
    return lambda name, is_sandbox: inbox if is_sandbox else live[name]


def _sms(settings: Settings, stack: AsyncExitStack) -> Channel:
    channels = settings.channels
    if not channels.sms_urls:
        # The operator chose this address, and it may well be on the inside; target rules are for those others choose.
        gateway = LateOutbound((), is_local_allowed=True)
        stack.push_async_callback(gateway.close)
        return GatewaySms(gateway, channels.sms_gateway_url, channels.sms_gateway_key, channels.send_timeout)
    try:
        return AppriseSms(channels.sms_urls, channels.send_timeout)
    except ProviderAddressNotValid:
        raise because("sms_provider_unknown") from None


def _email(settings: Settings) -> Channel:
    from aval.channels.email import SmtpEmail, SmtpSettings  # an API process sends none

    smtp = SmtpSettings.from_url(settings.channels.smtp_url, settings.channels.email_from)
    return SmtpEmail(replace(smtp, timeout=settings.channels.send_timeout))
