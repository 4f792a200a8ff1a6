"""Where transfer calls of one API process come together: requests and confirmations wait here for their batch."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from aval.domain.batch import BatchRequest
from aval.domain.challenge import Challenge
from aval.domain.device import SessionStatus
from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.request import TransferRequest
from aval.operations.await_settlement import SettlementWatch
from aval.operations.cancel_transfer import CancelCall, cancel_transfer
from aval.operations.coalesce import Coalescer, Postponed
from aval.operations.confirm_transfer import ConfirmCall, Confirmed, Outcome, Replay, confirm_transfers
from aval.operations.open_device_session import OpenedSession, open_device_session
from aval.operations.register_device import DeviceRequest, register_device
from aval.operations.request_batch import request_batch
from aval.operations.request_transfer import Requested, Rules, request_transfers
from aval.operations.resend_token import ResendCall, resend_token
from aval.operations.sign_operation import SignCall, sign_operation
from aval.storage.challenges import OperationId, Question
from aval.storage.database import Database
from aval.storage.device_sessions import SessionOwner
from aval.storage.idempotency import complete_answer

BUSY_RETRY_SECONDS = 1


class KeyringSource(Protocol):
    """Gives the keys as they are now."""

    def current(self) -> Keyring:
        """The keyring; cheap."""
        ...


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """How calls are gathered, and how many may wait for one operation."""

    rows_max: int = 64
    lanes: int = 2
    operation_waiting_max: int = 4  # spec transfers.md §8.3
    batches_max: int = 2  # created at once; each may have a thousand items
    batch_rows_max: int = 4
    batch_lanes: int = 1


class TransferDesk:
    """Gathers calls and hands them to the operations."""

    def __init__(self, db: Database, keyring: KeyringSource, rules: Rules, settings: DeskSettings) -> None:
        self._db = db
        self._keyring = keyring
        self._rules = rules
        self._waiting_max = settings.operation_waiting_max
        self._watch = SettlementWatch(db)
        self._alone: Counter[OperationId] = Counter()  # resends and cancels under way
        self._requests: Coalescer[TransferRequest, Requested] = Coalescer(
            self._run_requests,
            key_of=lambda request: request.identity,
            batch_max=settings.rows_max,
            lanes=settings.lanes,
        )
        self._confirmations: Coalescer[ConfirmCall, Outcome] = Coalescer(
            self._run_confirmations,
            key_of=lambda call: call.operation,
            batch_max=settings.rows_max,
            lanes=settings.lanes,
        )
        # Approving a batch promises up to a thousand items, for which no single transfer waits (docs/adr/0022).
        self._batch_confirmations: Coalescer[ConfirmCall, Outcome] = Coalescer(
            self._run_confirmations,
            key_of=lambda call: call.operation,
            batch_max=settings.batch_rows_max,
            lanes=settings.batch_lanes,
        )
        self._batch_requests = asyncio.Semaphore(settings.batches_max)

    @property
    def rules(self) -> Rules:
        """What the deployment sets for every operation."""
        return self._rules

    async def request(self, request: TransferRequest) -> Requested:
        """Request a transfer; raises Refusal, PrincipalStale."""
        return await self._requests.submit(request)

    async def request_batch(self, request: BatchRequest) -> Requested:
        """Request a batch; raises Refusal, PrincipalStale, LockNotWon."""
        async with self._batch_requests:
            return await request_batch(self._db, request=request, keyring=self._keyring.current(), rules=self._rules)

    async def register_device(self, request: DeviceRequest) -> Requested:
        """Register a device; raises Refusal, PrincipalStale, LockNotWon."""
        return await register_device(self._db, request=request, keyring=self._keyring.current(), rules=self._rules)

    async def confirm(self, call: ConfirmCall) -> Outcome:
        """Judge a token; raises Refusal, PrincipalStale, LockNotWon."""
        self._refuse_busy(*_limited(call.question))
        confirmations = self._batch_confirmations if call.kind.is_batch else self._confirmations
        return await confirmations.submit(call)

    async def resend(self, call: ResendCall) -> Confirmed | Replay:
        """Issue the next token; raises Refusal, LockNotWon."""
        with self._counted(*_limited(call.question)):
            return await resend_token(self._db, call=call, rules=self._rules)

    async def cancel(self, call: CancelCall) -> Confirmed | Replay:
        """Cancel what waits for approval; raises Refusal, LockNotWon."""
        with self._counted(*_limited(call.question)):
            return await cancel_transfer(self._db, call=call)

    async def open_session(self, owner: SessionOwner, session_id: UUID) -> OpenedSession:
        """Show a device what it is to sign; raises Refusal, LockNotWon."""
        with self._counted((owner.integrator_key, owner.operation_key), owner.has_budgets):
            return await open_device_session(self._db, owner=owner, session_id=session_id)

    async def sign(self, owner: SessionOwner, call: SignCall) -> SessionStatus:
        """Take a device's signature; raises Refusal, LockNotWon."""
        with self._counted((owner.integrator_key, owner.operation_key), owner.has_budgets):
            return await sign_operation(self._db, owner=owner, call=call)

    @contextmanager
    def _counted(self, operation: OperationId, is_limited: bool) -> Iterator[None]:
        """A call outside of the batches holds a connection while it waits for its operation."""
        self._refuse_busy(operation, is_limited)
        self._alone[operation] += 1
        try:
            yield
        finally:
            self._alone[operation] -= 1
            if not self._alone[operation]:
                del self._alone[operation]

    def _refuse_busy(self, operation: OperationId, is_limited: bool) -> None:
        waiting = self._alone.get(operation, 0) + sum(
            confirmations.waiting_on(operation) for confirmations in (self._confirmations, self._batch_confirmations)
        )
        if is_limited and waiting >= self._waiting_max:
            raise busy_refusal()

    async def settled(self, integrator_key: UUID, operation_key: UUID, *, at_most: timedelta) -> Challenge | None:
        """Wait until the rail has answered; None if it takes longer."""
        return await self._watch.wait((integrator_key, operation_key), at_most=at_most)

    async def complete(
        self, integrator_key: UUID, path: str, idempotency_key: str, *, status: int, body: bytes
    ) -> tuple[int, bytes]:
        """Keep what a synchronous call answers when its wait ends; what was kept before is answered instead."""
        async with self._db.connection() as connection:
            return await complete_answer(connection, integrator_key, path, idempotency_key, status=status, body=body)

    async def _run_requests(
        self, requests: Sequence[TransferRequest], may_wait: bool
    ) -> Sequence[Requested | Exception | Postponed]:
        return await request_transfers(
            self._db, requests=requests, keyring=self._keyring.current(), rules=self._rules, may_wait=may_wait
        )

    async def _run_confirmations(
        self, calls: Sequence[ConfirmCall], may_wait: bool
    ) -> Sequence[Outcome | Exception | Postponed]:
        return await confirm_transfers(
            self._db, calls=calls, keyring=self._keyring.current(), rules=self._rules, may_wait=may_wait
        )


def _limited(question: Question) -> tuple[OperationId, bool]:
    """The operation a call waits for, and whether its integrator has budgets."""
    integrator = question.principal.integrator
    return (integrator.key, question.operation_key), integrator.budgets


def busy_refusal() -> Refusal:
    """Too many calls at once (§8.3)."""
    return Refusal(
        "qit.too_many_requests",
        extra_fields={"reason": "busy"},
        headers={"Retry-After": str(BUSY_RETRY_SECONDS)},
        seconds=BUSY_RETRY_SECONDS,
    )
