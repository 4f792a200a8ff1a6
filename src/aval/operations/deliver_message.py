"""Bring a promised message to its approver: derive the token, render, hand over, remember how it went."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from aval.domain.calendar import wire_datetime
from aval.domain.challenge import Challenge
from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.message import RenderedMessage, render_notice
from aval.domain.redemption_message import RedemptionMessage
from aval.domain.token_message import TokenMessage
from aval.domain.transfer import Transfer
from aval.operations.coalesce import Postponed
from aval.operations.fail_phone_messages import fail_phone_messages
from aval.operations.new_event import new_event
from aval.operations.settle_transfer import RetryPolicy
from aval.ports import Channel, Delivery, DeliveryOutcome, OutgoingMessage
from aval.storage.challenges import lock_operations
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.messages import MessageResult, PromisedMessage, count_channel, finish_messages
from aval.storage.sequences import advance_sequence
from aval.storage.webhook_events import EventRow, append_events

DELIVERY_FAILED = "aval.token_delivery.failed"
ChannelOf = Callable[[str, bool], Channel]  # channel name, whether the integrator is a sandbox


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a channel closes for everyone: after so many failures in a row, for so long."""

    failures_max: int
    pause: timedelta


@dataclass(frozen=True, slots=True)
class Delivered:
    """How one try at a message ended."""

    message: PromisedMessage = field(repr=False)
    state: str
    due_at: datetime
    error: str | None
    is_channel_failure: bool | None = None  # None: the channel was not asked

    @property
    def result(self) -> MessageResult:
        """The row of the outbox."""
        message = self.message
        return MessageResult(
            message.integrator_key, message.message_key, message.fence, self.state, self.due_at, self.error
        )


async def deliver_message(
    *, message: PromisedMessage, keyring: Keyring, channel_of: ChannelOf, policy: RetryPolicy
) -> Delivered:
    """One try at a leased message; a retry sends the same token.

    A token that is dead or superseded is not sent, nor is one to a contact that was taken away meanwhile.
    """
    if message.token_message is not None and not is_live(message.token_message, message.now):
        return Delivered(message, "void", message.now, "not_live")
    if message.token_message is not None and message.is_contact_removed:
        return Delivered(message, "void", message.now, "contact_removed")
    try:
        rendered = rendered_message(message, keyring)
        destination = keyring.opened(message.destination_sealed, associated=f"contacts/{message.contact_key}")
    except KeyMissing:
        return _try_again(message, policy, "key_missing")
    if not destination:  # a notice to a number that was erased since
        return Delivered(message, "void", message.now, "contact_erased")
    outgoing = OutgoingMessage(
        integrator_key=message.integrator_key,
        message_key=message.message_key,
        destination=destination,
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        correlation_id=message.correlation_id,
        try_number=message.claim_count,
    )
    delivery = await channel_of(message.channel, message.is_sandbox).send(outgoing)
    return _judged(message, delivery, policy)


def is_live(message: TokenMessage | RedemptionMessage, now: datetime) -> bool:
    """Whether the message's token can still approve: its generation is live, unexpired, and approval is awaited."""
    challenge = message.challenge
    is_current = challenge.is_pending and challenge.generation == message.generation
    return is_current and now < min(challenge.expires_at, challenge.approval_deadline)


def rendered_message(message: PromisedMessage, keyring: Keyring) -> RenderedMessage:
    """The text of a message; it may hold the token. Raises KeyMissing."""
    if message.token_message is not None:
        return message.token_message.rendered(keyring)
    return render_notice(
        message.payload["notice"],
        approver_name=message.approver_name,
        integrator_name=message.integrator_name,
        channel=message.channel,
        locale=message.locale,
        device_name=message.payload.get("device_name"),
    )


def failed_delivery(message: PromisedMessage, policy: RetryPolicy, error: str) -> Delivered:
    """A try that came to nothing on our side."""
    return _try_again(message, policy, error)


def _judged(message: PromisedMessage, delivery: Delivery, policy: RetryPolicy) -> Delivered:
    match delivery.outcome:
        case DeliveryOutcome.DELIVERED:
            return Delivered(message, "delivered", message.now, None, is_channel_failure=False)
        case DeliveryOutcome.REFUSED:
            return Delivered(message, "failed", message.now, delivery.detail or "refused", is_channel_failure=False)
        case DeliveryOutcome.FAILED:
            return replace(_try_again(message, policy, delivery.detail or "failed"), is_channel_failure=True)
        case _:
            assert_never(delivery.outcome)


def _try_again(message: PromisedMessage, policy: RetryPolicy, error: str) -> Delivered:
    is_parked = message.claim_count >= policy.tries_max
    due_at = message.now + policy.gap(message.claim_count)
    return Delivered(message, "parked" if is_parked else "ready", due_at, error)


async def record_deliveries(
    db: Database, *, deliveries: Sequence[Delivered], breaker: BreakerPolicy
) -> list[bool | Exception | Postponed]:
    """Write how tries ended, set-wise; a message refused for good tells the integrator in the same transaction."""
    async with db.transaction() as connection:
        refused = [(d, d.message.token_message) for d in deliveries if d.state == "failed" and d.message.token_message]
        keys = sorted({(told.transfer.integrator_key, told.transfer.key) for _, told in refused})
        locked = await lock_operations(connection, keys, may_wait=True) if keys else {}
        ours = await finish_messages(connection, [d.result for d in deliveries])
        told = [told for d, told in refused if d.message.message_key in ours]
        await _tell(connection, [message for message in told if isinstance(message, TokenMessage)], locked)
        failed = [message for message in told if isinstance(message, RedemptionMessage)]
        if failed:
            await fail_phone_messages(connection, messages=failed, locked=locked)
    await _count_channels(db, deliveries, breaker)
    return [delivery.message.message_key in ours for delivery in deliveries]


async def _tell(
    connection: Connection,
    refused: Sequence[TokenMessage],
    locked: dict[tuple[UUID, UUID], tuple[Transfer, Challenge]],
) -> None:
    if not refused:
        return
    now = await read_clock(connection)
    events = []
    for message in refused:
        transfer, challenge = locked[message.transfer.integrator_key, message.transfer.key]
        if challenge.is_pending and challenge.generation == message.generation:
            sequence = await advance_sequence(connection, transfer.integrator_key, transfer.key)
            events.append(_failure_event(transfer, challenge, sequence, now))
    await append_events(connection, events)


def _failure_event(transfer: Transfer, challenge: Challenge, sequence: int, now: datetime) -> EventRow:
    data = {
        "operation": transfer.kind.value,
        "operation_key": transfer.key,
        "method": challenge.method.value,
        "generation": challenge.generation,
        "masked_destination": challenge.masked_destination,
        "failed_at": wire_datetime(now),
    }
    return new_event(
        DELIVERY_FAILED,
        data,
        integrator_key=transfer.integrator_key,
        subject_key=transfer.key,
        kind=transfer.kind.value,
        sequence=sequence,
        at=now,
        correlation_id=transfer.correlation_id,
    )


async def _count_channels(db: Database, deliveries: Sequence[Delivered], breaker: BreakerPolicy) -> None:
    """Feed the breaker: a channel that only failed counts up, one success clears it; the sandbox has no channels."""
    tries: dict[str, list[bool]] = {}
    for delivery in deliveries:
        if delivery.is_channel_failure is not None and not delivery.message.is_sandbox:
            tries.setdefault(delivery.message.channel, []).append(delivery.is_channel_failure)
    async with db.connection() as connection:
        for channel, failed in tries.items():
            failures = sum(failed) if all(failed) else 0
            await count_channel(connection, channel, failures=failures, most=breaker.failures_max, pause=breaker.pause)
