"""What a worker process runs: three kinds of work side by side, and the housekeeping."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import structlog

from aval.domain.budget import BudgetFigures
from aval.domain.keyring import Keyring
from aval.operations.deliver_message import (
    BreakerPolicy,
    ChannelOf,
    Delivered,
    deliver_message,
    failed_delivery,
    record_deliveries,
)
from aval.operations.deliver_webhook import Posted, WebhookPolicy, deliver_webhook, failed_post, record_callbacks
from aval.operations.expire_purchases import expire_authorizations
from aval.operations.expire_window import expire_windows
from aval.operations.seal_audit import ChainOutOfReach, seal_audit
from aval.operations.seal_evidence import seal_evidence
from aval.operations.settle_transfer import Answered, RetryPolicy, ask_rail, failed_settlement, record_answers
from aval.operations.watch_guesses import watch_guesses
from aval.ports import Outbound, Rails
from aval.storage.callbacks import PromisedCallback, claim_callbacks
from aval.storage.challenges import OperationId
from aval.storage.database import Database, DatabaseUnavailable, LockNotWon
from aval.storage.document_store import DocumentStore
from aval.storage.idempotency import forget_old_answers
from aval.storage.messages import PromisedMessage, claim_messages
from aval.storage.request_signatures import forget_old_signatures
from aval.storage.settlements import SettlementJob, claim_settlements
from aval.worker.documents import EXPIRY_INTERVAL, PURGE_INTERVAL, expire_and_collect, purge_and_renew
from aval.worker.pump import Pace, Pump, Work
from aval.worker.share import ProcessorShare

SWEEP_ROWS_MAX = 500
FORGET_ROWS_MAX = 5_000
FORGET_INTERVAL = timedelta(seconds=60)
WATCH_INTERVAL = timedelta(seconds=30)
SEAL_INTERVAL = timedelta(seconds=2)  # promises.md §5: sealed within 5 s
SEAL_AUDIT_INTERVAL = timedelta(seconds=1)  # AU3 as well; a row waits for transactions that were there before, too
SEAL_ROWS_MAX = 50
PER_ENDPOINT_MAX = 16
ITEMS_SHARE = 0.75  # of the settlements in progress: a slow rail never lets a batch take every place

_log = structlog.get_logger("aval.worker")


class KeyringSource(Protocol):
    """Gives the keys as they are now."""

    def current(self) -> Keyring:
        """The keyring; cheap."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """Everything a worker needs; each database takes the role of its work (promises.md D15)."""

    settle_db: Database
    notify_db: Database
    webhook_db: Database
    seal_db: Database
    keyring: KeyringSource
    rails: Rails
    outbound: Outbound
    channel_of: ChannelOf
    pace: Pace
    items_percent: int  # of one processor, see ProcessorShare
    retry: RetryPolicy
    webhooks: WebhookPolicy
    breaker: BreakerPolicy
    sweep_interval: timedelta
    figures: BudgetFigures = BudgetFigures()
    documents: DocumentStore | None = None  # None only where no file of a document is ever stored


async def run_worker(parts: WorkerParts, stopping: asyncio.Event) -> None:
    """Work until `stopping` is set; then finish what is in progress and return."""
    async with asyncio.TaskGroup() as group:
        group.create_task(Pump(_settlements(parts), parts.pace).run(stopping))
        group.create_task(Pump(_messages(parts), parts.pace).run(stopping))
        group.create_task(Pump(_webhooks(parts), parts.pace).run(stopping))
        group.create_task(_every(parts.sweep_interval, lambda: _sweep(parts, stopping), stopping))
        group.create_task(_every(SEAL_INTERVAL, lambda: _seal(parts, stopping), stopping))
        group.create_task(_every(SEAL_AUDIT_INTERVAL, lambda: _seal_audit(parts, stopping), stopping))
        group.create_task(_every(FORGET_INTERVAL, lambda: _forget(parts, stopping), stopping))
        group.create_task(_every(EXPIRY_INTERVAL, lambda: _collect(parts, stopping), stopping))
        group.create_task(_every(PURGE_INTERVAL, lambda: _purge(parts, stopping), stopping))
        told: set[tuple[str, str | None]] = set()
        group.create_task(_every(WATCH_INTERVAL, lambda: _watch(parts, told), stopping))


def _settlements(parts: WorkerParts) -> Work[SettlementJob, Answered]:
    items_max = max(int(parts.pace.jobs_max * ITEMS_SHARE), 1)
    items_share = ProcessorShare(parts.items_percent)
    items_in_progress = 0

    async def claim(most: int) -> Sequence[SettlementJob]:
        items_most = max(items_max - items_in_progress, 0) if items_share.takes_turn() else 0
        async with parts.settle_db.connection() as connection:
            return await claim_settlements(connection, most=most, items_most=items_most, lease=parts.retry.lease)

    async def do(job: SettlementJob) -> Answered | None:
        nonlocal items_in_progress
        items_in_progress += job.transfer.batch_key is not None
        try:
            return await ask_rail(
                parts.settle_db, job=job, rails=parts.rails, keyring=parts.keyring.current(), policy=parts.retry
            )
        finally:
            items_in_progress -= job.transfer.batch_key is not None

    async def record(done: Sequence[Answered], may_wait: bool) -> Any:
        return await record_answers(parts.settle_db, answers=done, policy=parts.retry, may_wait=may_wait)

    return Work("settlement", parts.retry.lease, claim, do, failed_settlement, record)


def _messages(parts: WorkerParts) -> Work[PromisedMessage, Delivered]:
    async def claim(most: int) -> Sequence[PromisedMessage]:
        async with parts.notify_db.connection() as connection:
            return await claim_messages(connection, most=most, lease=parts.retry.lease)

    async def do(message: PromisedMessage) -> Delivered:
        return await deliver_message(
            message=message, keyring=parts.keyring.current(), channel_of=parts.channel_of, policy=parts.retry
        )

    async def record(done: Sequence[Delivered], _may_wait: bool) -> Any:
        return await record_deliveries(parts.notify_db, deliveries=done, breaker=parts.breaker)

    def failed(message: PromisedMessage, error: str) -> Delivered:
        return failed_delivery(message, parts.retry, error)

    return Work("message", parts.retry.lease, claim, do, failed, record)


def _webhooks(parts: WorkerParts) -> Work[PromisedCallback, Posted]:
    in_progress: Counter[UUID] = Counter()  # by endpoint, so that a slow one never takes every place

    async def claim(most: int) -> Sequence[PromisedCallback]:
        async with parts.webhook_db.connection() as connection:
            return await claim_callbacks(
                connection, most=most, lease=parts.retry.lease, per_endpoint=PER_ENDPOINT_MAX, in_progress=in_progress
            )

    async def do(callback: PromisedCallback) -> Posted:
        in_progress[callback.endpoint_key] += 1
        try:
            return await deliver_webhook(
                callback=callback, keyring=parts.keyring.current(), outbound=parts.outbound, policy=parts.webhooks
            )
        finally:
            in_progress[callback.endpoint_key] -= 1
            if not in_progress[callback.endpoint_key]:
                del in_progress[callback.endpoint_key]

    def failed(callback: PromisedCallback, error: str) -> Posted:
        return failed_post(callback, parts.webhooks, error)

    async def record(done: Sequence[Posted], _may_wait: bool) -> Any:
        return await record_callbacks(parts.webhook_db, posted=done)

    return Work("webhook", parts.retry.lease, claim, do, failed, record)


async def _sweep(parts: WorkerParts, stopping: asyncio.Event) -> None:
    for expire, trouble in ((expire_windows, "windows_not_closed"), (expire_authorizations, "purchases_not_expired")):
        sweep = await expire(parts.settle_db, most=SWEEP_ROWS_MAX)
        while sweep.expired == SWEEP_ROWS_MAX and not stopping.is_set():
            sweep = await expire(parts.settle_db, most=SWEEP_ROWS_MAX)
        if sweep.failed:
            _log.error(trouble, count=sweep.failed)


async def _seal(parts: WorkerParts, stopping: asyncio.Event) -> None:
    def tell_broken(operation: OperationId) -> None:
        _log.error("approval_not_sealed", integrator_key=operation[0], operation_key=operation[1])

    has_more = True
    while has_more and not stopping.is_set():
        keyring = parts.keyring.current()
        has_more = await seal_evidence(parts.seal_db, keyring=keyring, most=SEAL_ROWS_MAX, tell_broken=tell_broken)


async def _seal_audit(parts: WorkerParts, stopping: asyncio.Event) -> None:
    has_more = True
    while has_more and not stopping.is_set():
        try:
            has_more = await seal_audit(parts.seal_db, keyring=parts.keyring.current())
        except ChainOutOfReach:
            has_more = False
            _log.error("audit_not_sealed", what_to_do="run `aval migrate`: this database was restored")


async def _forget(parts: WorkerParts, stopping: asyncio.Event) -> None:
    for forget in (forget_old_answers, forget_old_signatures):
        forgotten = FORGET_ROWS_MAX
        while forgotten == FORGET_ROWS_MAX and not stopping.is_set():
            async with parts.settle_db.connection() as connection:
                forgotten = await forget(connection, most=FORGET_ROWS_MAX)


async def _collect(parts: WorkerParts, stopping: asyncio.Event) -> None:
    if parts.documents is not None:
        await expire_and_collect(parts.settle_db, parts.documents, stopping)


async def _purge(parts: WorkerParts, stopping: asyncio.Event) -> None:
    await purge_and_renew(parts.settle_db, parts.keyring.current(), stopping)


async def _watch(parts: WorkerParts, told: set[tuple[str, str | None]]) -> None:
    """Log each alarm once while it lasts."""
    alarms = {(a.name, a.integrator): a for a in await watch_guesses(parts.settle_db, figures=parts.figures)}
    for (name, integrator), alarm in alarms.items():
        if (name, integrator) not in told:
            log = _log.warning if integrator else _log.error
            log(name, integrator_key=integrator, count=alarm.wrong)
    told.clear()
    told.update(alarms)


async def _every(interval: timedelta, act: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
    """Do something now and then until told to stop; a database that is away is waited for."""
    while not stopping.is_set():
        try:
            await act()
        except (DatabaseUnavailable, LockNotWon):
            _log.warning("database_unavailable", work="housekeeping")
        except Exception as failure:  # noqa: BLE001 – nobody else stops working for it
            _log.error("housekeeping_failed", failure=type(failure).__name__)
        try:
            await asyncio.wait_for(stopping.wait(), interval.total_seconds())
        except TimeoutError:
            continue
