"""Tell what was settled: a single transfer for itself, an item in its batch, and a batch that has none left."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from aval.domain.challenge import Challenge
from aval.domain.transfer import Status, Transfer
from aval.operations.confirm_transfer import status_event
from aval.storage.batches import read_item_counts
from aval.storage.database import Connection
from aval.storage.sequences import BatchSequence, count_in_batches
from aval.storage.settlements import LockedBatches, LockedJob
from aval.storage.webhook_events import EventRow, append_events

Move = tuple[LockedJob, Challenge]  # a job with its challenge as it is now


async def tell_settled(connection: Connection, moves: Sequence[Move], *, batches: LockedBatches, now: datetime) -> None:
    """Promise the webhooks of moves that are written already, in the running transaction.

    `batches` are those of the items among them, locked. A batch tells once that it is finished: in the transaction
    that takes its last item out of `pending`.
    """
    events = [status_event(job.transfer, after) for job, after in moves if job.transfer.batch_key is None]
    items: dict[UUID, list[Move]] = defaultdict(list)
    for job, after in moves:
        if job.transfer.batch_key is not None:
            items[job.transfer.batch_key].append((job, after))
    if items:
        locked = {transfer.key: (transfer, challenge) for transfer, challenge in batches.values()}
        events += await _of_batches(connection, items, locked, now)
    await append_events(connection, events)


async def _of_batches(
    connection: Connection,
    items: Mapping[UUID, Sequence[Move]],
    batches: Mapping[UUID, tuple[Transfer, Challenge]],
    now: datetime,
) -> list[EventRow]:
    events, counted, open_to_question = [], {}, []
    for key, moves in items.items():
        transfer, challenge = batches[key]
        for job, after in moves:
            challenge = replace(challenge, event_sequence=challenge.event_sequence + 1, updated_at=now)
            events.append(status_event(job.transfer, replace(after, event_sequence=challenge.event_sequence)))
        counted[key] = transfer, challenge
        if _may_be_finished(transfer, challenge, moves):
            open_to_question.append((transfer.integrator_key, key))
    for key, counts in (await read_item_counts(connection, open_to_question)).items():
        if not counts.pending:
            transfer, challenge = counted[key]
            challenge = replace(challenge, event_sequence=challenge.event_sequence + 1)
            counted[key] = transfer, challenge
            events.append(status_event(transfer, challenge, counts))
    await count_in_batches(
        connection, [BatchSequence(t.integrator_key, t.key, c.event_sequence, now) for t, c in counted.values()]
    )
    return events


def _may_be_finished(batch: Transfer, challenge: Challenge, moves: Sequence[Move]) -> bool:
    """Every item has told something once none is pending, so that most of the time nobody needs to look."""
    has_left_pending = any(job.challenge.status is Status.PENDING for job, _ in moves)
    return has_left_pending and challenge.event_sequence >= batch.item_count
