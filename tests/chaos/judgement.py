"""The end of the storm: what callers were told, what the rails did, what webhooks said and what the rows hold."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

import aiohttp

from aval.storage.database import Database
from tests.chaos.faults import Disturbance, Outage
from tests.chaos.load import Load, Operation, Outcome, Timed
from tests.chaos.parties import Integrator, told
from tests.proof.deployment import AvalProcess

CALL_MAX_S = 3.0  # promises.md OP5
BACK_MAX_S = 10.0
ONSET_S = 0.5  # calls that were on their way when PostgreSQL went may have been answered in earnest
APPROVED = ("pending", "sent")

ROWS = """
select o.operation_id, o.integrator_id, o.batch_id, o.kind like '%_batch' as is_batch, o.request_control_key,
       c.status, c.attempts_used, c.rejection_reason,
       c.transaction_key, c.consumed_at is not null as is_approved, o.amount_centavos, o.fee_centavos,
       coalesce(p.wrong, 0) as wrong, coalesce(p.right_one, 0) as right_one, j.state as job_state, j.last_error
  from aval.operations o join aval.challenges c using (integrator_id, operation_id)
  left join aval.settlement_jobs j using (integrator_id, operation_id)
  left join (select operation_id, count(*) filter (where verdict <> 'right') as wrong,
                    count(*) filter (where verdict = 'right') as right_one
               from aval.comparisons group by 1) p using (operation_id)
"""
UNFINISHED = """
select i.settlement_mode, count(*) filter (where j.state <> 'parked' or j.last_error is null) as open,
       count(*) filter (where j.state = 'parked' and j.last_error is not null) as parked
  from aval.challenges c join aval.integrators i using (integrator_id)
  join aval.settlement_jobs j using (integrator_id, operation_id) where c.status = 'pending' group by 1
"""
UNSENT = """
select (select count(*) from aval.callbacks where status = 'pending')
     + (select count(*) from aval.outbox where state = 'ready')
"""
EVENTS = "select event_id, operation_id, sequence, body from aval.events order by operation_id, sequence"
# What the account holds follows from its entries, and the entries follow from what happened to its operations.
MONEY = """
select a.account_id, a.balance_centavos as balance, coalesce(l.total, 0) as entered, coalesce(o.total, 0) as decided
  from aval.accounts a
  left join (select account_id,
                    sum(case direction when 'credit' then amount_centavos else -amount_centavos end) as total
               from aval.ledger_entries group by 1) l using (account_id)
  left join (select o.account_id,
                    sum(case when c.status in ('pending', 'sent') then o.amount_centavos + o.fee_centavos
                             when c.rejection_reason = 'conta_destinatario_encerrada' then o.fee_centavos
                             else 0 end) as total
               from aval.operations o join aval.challenges c using (integrator_id, operation_id)
              where c.consumed_at is not null group by 1) o using (account_id)
"""


@dataclass(frozen=True, slots=True)
class Quiet:
    """How long it took after the faults until nothing was open any more, by settlement mode; parked jobs aside."""

    sync_s: float
    async_s: float
    sent_s: float  # until webhooks and messages were out as well
    parked: int


async def until_quiet(db: Database, *, sync_max_s: float, async_max_s: float, violations: list[str]) -> Quiet:
    """Wait until every approved operation is final or parked, and every side effect is out (ST4)."""
    started_at = time.monotonic()
    took: dict[str, float] = {"sync": 0.0, "async": 0.0}
    sent_s = 0.0
    while True:
        passed = time.monotonic() - started_at
        async with db.connection() as connection:
            rows = await connection.fetch(UNFINISHED)
            unsent = await connection.fetchval(UNSENT)
        parked = sum(row["parked"] for row in rows)
        took |= {row["settlement_mode"]: passed for row in rows if row["open"]}
        sent_s = passed if unsent else sent_s
        if not unsent and not any(row["open"] for row in rows):
            break
        if passed > max(sync_max_s, async_max_s):
            violations.append(f"ST4: still open after {passed:.0f} s: {[dict(row) for row in rows]}, {unsent} not sent")
            break
        await asyncio.sleep(0.1)
    if took["async"] > async_max_s:
        violations.append(f"ST4: the last asynchronous operation ended {took['async']:.1f} s after the faults")
    return Quiet(took["sync"], took["async"], sent_s, parked)


async def until_told(session: aiohttp.ClientSession, integrators: Sequence[Integrator]) -> None:
    """Wait until the cores have no callback left to tell; they end by themselves."""
    for integrator in integrators:
        while await told(session, f"{integrator.core_url}/tasks"):  # noqa: ASYNC110 – another process
            await asyncio.sleep(0.2)


async def judge_end(
    db: Database, session: aiohttp.ClientSession, load: Load, integrators: Sequence[Integrator], receiver_url: str
) -> list[str]:
    """Every promise broken, a sentence each."""
    async with db.connection() as connection:
        rows = {row["operation_id"]: row for row in await connection.fetch(ROWS)}
        events = await connection.fetch(EVENTS)
        money = await connection.fetch(MONEY)
    found = [fault for operation in load.operations for fault in _told_faults(operation, rows.get(operation.key))]
    found += _request_faults(load.operations, rows)
    for integrator in integrators:
        ledger = await told(session, f"{integrator.core_url}/ledger")
        found += _rail_faults(ledger, [row for row in rows.values() if row["integrator_id"] == integrator.party.key])
    found += _webhook_faults(events, await told(session, f"{receiver_url}/seen"), rows)
    found += _money_faults(money, integrators)
    return found + await _read_faults(load, rows)


def _told_faults(operation: Operation, row: Any) -> Iterator[str]:
    """TK3 and ST1: what callers were told against the rows; a call without an answer may have been evaluated once."""
    if row is None:
        yield f"{operation.key} was answered 202 and is not there"
        return
    rights = [call for call in operation.calls if call.is_right]
    wrongs = [call for call in operation.calls if not call.is_right]
    incorrect = sum(call.outcome is Outcome.INCORRECT for call in wrongs)
    unsure = sum(call.answer is None and call.is_unsure for call in wrongs)
    exceeded = any(call.outcome is Outcome.EXCEEDED for call in operation.calls)
    approvals = sum(call.outcome is Outcome.APPROVED for call in rights)
    faults = {
        "a right token was answered as incorrect": any(call.outcome is Outcome.INCORRECT for call in rights),
        "a wrong token approved": any(call.outcome is Outcome.APPROVED for call in wrongs),
        "an attempt was given back": row["wrong"] < incorrect,
        "an attempt was counted that nobody made": row["wrong"] > incorrect + unsure + exceeded,
        "attempts were told as exceeded too early": exceeded
        and (row["wrong"], row["rejection_reason"]) != (5, "attempts_exceeded"),
        "it was approved twice": approvals > 1 or row["right_one"] > 1,
        "an answered approval is lost": approvals > row["right_one"] or approvals > row["is_approved"],
        "it was approved without a right token": row["is_approved"]
        and not approvals
        and not any(call.is_unsure for call in rights),
        "a cancelled operation went on": operation.cancelled is Outcome.APPROVED and row["status"] != "cancelled",
        "it was cancelled by nobody": row["status"] == "cancelled"
        and operation.cancelled not in (Outcome.APPROVED, Outcome.UNKNOWN),
    }
    for fault in (name for name, is_true in faults.items() if is_true):
        calls = Counter((call.is_right, call.outcome.value, call.is_unsure) for call in operation.calls)
        yield f"TK3 ST1: {fault}: {dict(row)}, calls {dict(calls)}"


def _request_faults(operations: Sequence[Operation], rows: dict[UUID, Any]) -> Iterator[str]:
    """One operation for one request, however often it was repeated."""
    keys = Counter(str(row["request_control_key"]) for row in rows.values())
    known = {operation.request_control_key for operation in operations}
    yield from (f"TN4: {n} operations for one request_control_key" for key, n in keys.items() if n > 1 and key in known)


def _rail_faults(ledger: dict[str, Any], rows: Sequence[Any]) -> Iterator[str]:
    """ST1: the rail's own ledger is the truth; what was approved is in it once, and nothing else."""
    entries = {entry["rail_reference"]: entry for entry in ledger["entries"]}
    approved = {str(row["operation_id"]): row for row in rows if row["is_approved"] and not row["is_batch"]}
    if ledger["blind_posts"] or ledger["bad_signatures"]:
        yield f"ST1: sent again without asking: {ledger['blind_posts']}; bad signatures: {ledger['bad_signatures']}"
    yield from (f"ST1: the rail settled {key}, which nobody approved" for key in entries.keys() - approved.keys())
    for key, row in approved.items():
        entry = entries.get(key)
        if entry is None:
            if row["job_state"] != "parked":
                yield f"ST1: {key} was approved and never reached the rail: {dict(row)}"
            continue
        yield from (f"ST1: {fault}: {dict(row)}, {entry}" for fault in _entry_faults(entry, row))


def _entry_faults(entry: dict[str, Any], row: Any) -> Iterator[str]:
    statuses: list[str] = entry["statuses"]
    whole, _, cents = entry["body"]["transaction_amount"].partition(".")
    amount = int(whole) * 100 + int(cents.ljust(2, "0") or 0)
    if statuses.count("sent") > 1 or amount != row["amount_centavos"] or entry["conflicting_posts"]:
        yield "the rail was told different things"
    expected = "rejected" if "returned" in statuses else entry["settlement_status"]
    if row["status"] != expected and row["job_state"] != "parked":
        yield f"the rail says {expected}"
    is_overtaken = row["transaction_key"] is None and "returned" in statuses  # a return came before its confirmation
    if entry["transaction_key"] and str(row["transaction_key"]) != entry["transaction_key"] and not is_overtaken:
        yield "another transaction_key"


def _webhook_faults(events: Sequence[Any], seen: dict[str, Any], rows: dict[UUID, Any]) -> Iterator[str]:
    """WH1, WH2, WH5: every event came, signed, and the sequence of each operation has no gap and no repeat."""
    stored = {str(event["event_id"]): event for event in events}
    if seen["bad_signatures"] or seen["changed_bodies"]:
        yield f"WH5: {seen['bad_signatures']} bad signatures, {seen['changed_bodies']} changed bodies"
    yield from (
        f"WH1: event {key} of {stored[key]['operation_id']} never came" for key in stored.keys() - seen["events"]
    )
    yield from (f"WH2: event {key} is not in the database" for key in seen["events"].keys() - stored.keys())
    received = sorted(seen["events"].values(), key=lambda event: (event["operation_key"], event["sequence"]))
    yield from _number_faults([(stored[key], event) for key, event in seen["events"].items() if key in stored])
    for key, group in groupby(received, key=lambda event: event["operation_key"]):
        last, status = list(group)[-1]["status"], rows[UUID(key)]["status"]
        if last != status:
            yield f"ST1: the last webhook of {key} says {last}, the row {status}"
    for key in _ended(rows) - {event["operation_key"] for event in received}:
        yield f"WH1: {key} ended without a webhook"


def _number_faults(told_events: Sequence[tuple[Any, dict[str, Any]]]) -> Iterator[str]:
    """Webhooks of items count in their batch."""
    numbers: dict[UUID, list[int]] = defaultdict(list)
    for row, event in told_events:
        numbers[row["operation_id"]].append(event["sequence"])
    for key, sequence in numbers.items():
        if sorted(sequence) != list(range(1, len(sequence) + 1)):
            yield f"WH2: {key} has sequence {sorted(sequence)}"


def _ended(rows: dict[UUID, Any]) -> set[str]:
    """What has to have told its end: an approved batch once none of its items is pending."""
    going_on = {row["batch_id"] for row in rows.values() if row["status"] == "pending"}
    ends = ("sent", "rejected", "cancelled", "approved")
    return {str(key) for key, row in rows.items() if row["status"] in ends and key not in going_on}


def _money_faults(money: Sequence[Any], integrators: Sequence[Integrator]) -> Iterator[str]:
    """ST6: nothing lost or created: balance = entries = what was there less what was approved and not given back."""
    accounts = {row["account_id"]: row for row in money}
    for integrator in integrators:
        row = accounts[integrator.party.account.key]
        if not row["balance"] == row["entered"] == integrator.balance - row["decided"]:
            yield f"ST6: money of {integrator.name}: {dict(row)}, at the start {integrator.balance}"


async def _read_faults(load: Load, rows: dict[UUID, Any]) -> list[str]:
    """GET answers what the rows hold."""
    places = asyncio.Semaphore(16)
    return [
        fault
        for found in await asyncio.gather(*(_read(load, op, rows, places) for op in load.operations))
        for fault in found
    ]


async def _read(load: Load, operation: Operation, rows: dict[UUID, Any], places: asyncio.Semaphore) -> list[str]:
    async with places:
        reply = await load.read(operation)
    status = rows[operation.key]["status"] if operation.key in rows else None
    if reply is None or reply.status != 200 or reply.json[f"{operation.kind}_status"] != status:
        return [f"ST1: GET {operation.key} is not {status}: {reply}"]
    return []


def outage_faults(
    answers: Sequence[Timed], outages: Sequence[Outage], disturbed: Sequence[Disturbance]
) -> Iterator[str]:
    """OP5: while PostgreSQL is away calls end soon with 503, and soon after it is back they succeed."""
    for answer in answers:
        if _is_disturbed(answer, disturbed):
            continue
        yield from _unsure_fault(answer, outages)
        for outage in outages:
            overlap = _overlap(answer, outage)
            if overlap > CALL_MAX_S:
                at = f"{answer.started_at - outage.started_at:+.2f} s"
                yield f"OP5: {answer.what} at {at} took {overlap:.2f} s of an outage ({outage.how}): {answer.status}"
            is_inside = answer.started_at > outage.started_at + ONSET_S and answer.ended_at < outage.mended_at
            if is_inside and answer.status != 503:
                yield f"OP5: {outage.how}, and {answer.what} was answered {answer.status} {answer.code}"


def longest_call(answers: Sequence[Timed], outages: Sequence[Outage], disturbed: Sequence[Disturbance]) -> float:
    """Seconds that the slowest call spent in an outage, disturbed processes aside."""
    return max((_overlap(a, o) for a in answers for o in outages if not _is_disturbed(a, disturbed)), default=0.0)


def _overlap(answer: Timed, outage: Outage) -> float:
    return min(answer.ended_at, outage.ended_at) - max(answer.started_at, outage.started_at)


def _unsure_fault(answer: Timed, outages: Sequence[Outage]) -> Iterator[str]:
    """A 500 says that the state may have changed: only a call that was under way at the onset may say so."""
    excused = any(
        o.started_at - ONSET_S < answer.ended_at and answer.started_at < o.started_at + ONSET_S for o in outages
    )
    if answer.status == 500 and not excused:
        times = [(round(answer.started_at - o.started_at, 2), round(answer.ended_at - o.ended_at, 2)) for o in outages]
        yield f"{answer.what} was answered 500 and no outage began meanwhile: {times} s from their beginnings and ends"


def _is_disturbed(answer: Timed, disturbed: Sequence[Disturbance]) -> bool:
    return answer.status is None or any(
        d.process is answer.api and d.started_at < answer.ended_at and answer.started_at < d.ended_at for d in disturbed
    )


def slowest_return(
    answers: Sequence[Timed], outages: Sequence[Outage], disturbed: Sequence[Disturbance], apis: Sequence[AvalProcess]
) -> float:
    """Seconds from PostgreSQL's return to the first call that succeeded, of the slowest undisturbed API process."""
    slowest = 0.0
    for outage in outages:
        for api in apis:
            until = outage.ended_at + BACK_MAX_S
            if any(d.process is api and d.started_at < until and d.ended_at > outage.started_at for d in disturbed):
                continue
            later = [a for a in answers if a.api is api and outage.ended_at < a.ended_at and a.started_at < until]
            succeeded = [a.ended_at for a in later if a.status is not None and a.status < 500]
            if later:
                slowest = max(slowest, min(succeeded, default=until) - outage.ended_at)
    return slowest
