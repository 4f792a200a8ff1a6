"""Proof of TK4: a token lives 5:00.000 and an approval window 60:00.000 by the database's clock, lock waits included.

Time is not waited for: the times of a challenge are moved so that its end lies a moment ahead or just behind. A lock
wait is made by a holder that only locks the row – one that updated it would hide a clock read too early. What happened
is judged by the database's clock before and after each call; a trial the machine was too slow for is made again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.http import pix, ted
from aval.http.app import build_app
from aval.operations.expire_window import expire_windows
from aval.storage.database import Connection, Database
from tests.factories import Client, Party, Reply, make_parts, make_party
from tests.proof.deployment import figure, live_tokens

pytestmark = pytest.mark.proof

TRIALS = figure(200, 2_000)  # half of them lock waits
WINDOW_TRIALS = figure(40, 400)
TRIES_MAX = 20
AT_ONCE = 4  # calls that wait for a lock, of one process
CLOSE = timedelta(milliseconds=100)
AHEAD = timedelta(milliseconds=400)  # time enough to be seen waiting before the end
LIFETIME, WINDOW = timedelta(minutes=5), timedelta(minutes=60)
EXPIRED, INVALID_STATUS = {"PXT000172", "TED000083"}, {"PXT000175", "TED000086"}

TOKEN_ENDS = (
    "update aval.challenges set issued_at = s.at - interval '5 minutes', expires_at = s.at"
    " from (select clock_timestamp() + $2 as at) s where operation_id = $1 returning expires_at"
)
WINDOW_ENDS = (
    "update aval.challenges set approval_deadline = clock_timestamp() + $2 where operation_id = $1"
    " returning approval_deadline"
)


class TooSlow(Exception):
    """The machine stalled across the boundary: the trial says nothing."""


@dataclass
class Bench:
    """An application over a database, the superuser's view of that database, and who calls."""

    call: Client
    db: Database
    party: Party

    async def make(self, kind: str) -> tuple[UUID, str]:
        """A new operation: its key, and the path of its calls."""
        body = self.party.pix(transaction_amount=1)
        if kind == "ted":
            del body["pix_transfer_type"]
        path = f"/account/{self.party.account.key}/{kind}"
        answer = await self.call("POST", path, body)
        assert answer.status == 202, answer
        key = UUID(answer.json[f"{kind}_key"])
        return key, f"{path}/{key}"

    async def validate(self, key: UUID, path: str) -> Reply:
        token = (await live_tokens(self.db, [key]))[key]
        return await self.call("PUT", f"{path}/validate_token", {"token": token.text})

    async def clock(self) -> datetime:
        async with self.db.connection() as connection:
            return await read_clock(connection)

    async def move(self, statement: str, key: UUID, ahead: timedelta) -> datetime:
        async with self.db.connection() as connection:
            end: datetime = await connection.fetchval(statement, key, ahead)
            return end

    async def row(self, key: UUID) -> Any:
        async with self.db.connection() as connection:
            return await connection.fetchrow(
                "select c.*, (select judged_at from aval.comparisons k where k.operation_id = c.operation_id),"
                " (select count(*) from aval.events e where e.operation_id = c.operation_id) as events"
                " from aval.challenges c where operation_id = $1",
                key,
            )


async def read_clock(connection: Connection) -> datetime:
    now: datetime = await connection.fetchval("select clock_timestamp()")
    return now


@pytest.fixture
async def bench(db: Database, db_as: Callable[[str], Awaitable[Database]]) -> Bench:
    parts = make_parts(await db_as("aval_app_api"))
    party = await make_party(db)
    return Bench(Client(build_app(parts, [pix.routes(parts), ted.routes(parts)]), party.api_key), db, party)


async def test_the_token_lives_five_minutes_also_across_a_lock_wait(bench: Bench, chance: random.Random) -> None:
    judge = Boundary(bench, chance, TOKEN_ENDS, EXPIRED, "pending_2fa_approval")
    await run_trials(judge, TRIALS)


async def test_the_window_ends_after_sixty_minutes_also_across_a_lock_wait(bench: Bench, chance: random.Random) -> None:
    judge = Boundary(bench, chance, WINDOW_ENDS, INVALID_STATUS, "rejected")
    await run_trials(judge, WINDOW_TRIALS)


async def test_a_window_nobody_comes_back_to_ends_by_the_sweeper(
    bench: Bench, db_as: Callable[[str], Awaitable[Database]]
) -> None:
    worker = await db_as("aval_app_settle")
    made = [await bench.make(kind) for kind in ("pix_transfer", "ted") * 5]
    for key, _ in made[::2]:
        await bench.move(WINDOW_ENDS, key, timedelta(0))
    for place, (_, path) in enumerate(made):
        seen = await bench.call("GET", f"{path}/outgoing")
        is_over = place % 2 == 0
        status = seen.json["ted_status" if "ted_status" in seen.json else "pix_transfer_status"]
        assert status == ("rejected" if is_over else "pending_2fa_approval")
    await expire_windows(worker, most=500)
    await expire_windows(worker, most=500)
    for place, (key, _) in enumerate(made):
        row = await bench.row(key)
        reason, events = ("approval_window_expired", 1) if place % 2 == 0 else (None, 0)
        assert (row["rejection_reason"], row["events"], row["attempts_used"]) == (reason, events, 0)


async def test_lifetime_and_window_start_where_the_operation_does(bench: Bench) -> None:
    for kind in ("pix_transfer", "ted"):
        key, _ = await bench.make(kind)
        row = await bench.row(key)
        assert (row["expires_at"] - row["issued_at"], row["approval_deadline"] - row["issued_at"]) == (LIFETIME, WINDOW)


@dataclass(frozen=True)
class Boundary:
    """One end under test: how it is moved, and what a right token meets behind it."""

    bench: Bench
    chance: random.Random
    ends: str
    refusals: set[str]
    status_after: str

    async def new(self) -> tuple[UUID, str]:
        return await self.bench.make(self.chance.choice(["pix_transfer", "ted"]))

    async def check_accepted(self, key: UUID, answer: Reply, end: datetime) -> None:
        row = await self.bench.row(key)
        assert answer.status == 202 and row["status"] == "pending" and row["judged_at"] < end, (answer, dict(row))

    async def check_refused(self, key: UUID, answer: Reply) -> None:
        row = await self.bench.row(key)
        assert answer.code in self.refusals, (answer, dict(row))
        assert (row["status"], row["attempts_used"], row["judged_at"]) == (self.status_after, 0, None), dict(row)
        if row["status"] == "rejected":
            assert (row["rejection_reason"], row["events"]) == ("approval_window_expired", 1), dict(row)


async def at_the_end(at: Boundary) -> None:
    """A tenth of a second before the end: accepted."""
    key, path = await at.new()
    end = await at.bench.move(at.ends, key, CLOSE)
    answer = await at.bench.validate(key, path)
    if await at.bench.clock() >= end:
        raise TooSlow
    await at.check_accepted(key, answer, end)


async def just_after_the_end(at: Boundary) -> None:
    """At the end: refused, and nothing is compared."""
    key, path = await at.new()
    await at.bench.move(at.ends, key, timedelta(0))
    await at.check_refused(key, await at.bench.validate(key, path))


async def lock_won_in_time(at: Boundary) -> None:
    """The call waited for the row, and won it before the end: accepted."""
    key, answer, end, released_at = await _call_behind_a_holder(at, timedelta(seconds=1), None)
    if await at.bench.clock() >= end:
        raise TooSlow
    assert released_at < end
    await at.check_accepted(key, answer, end)


async def lock_won_too_late(at: Boundary) -> None:
    """The call began before the end and won the row after it: refused."""
    late_by = timedelta(milliseconds=at.chance.choice([0, 1, 20, 100]))
    key, answer, end, released_at = await _call_behind_a_holder(at, AHEAD, late_by)
    assert released_at >= end
    await at.check_refused(key, answer)


async def _call_behind_a_holder(
    at: Boundary, ahead: timedelta, late_by: timedelta | None
) -> tuple[UUID, Reply, datetime, datetime]:
    """Validate while another transaction holds the row; it lets go once the call waits, or so long after the end."""
    key, path = await at.new()
    async with at.bench.db.transaction() as holder:
        end = await at.bench.move(at.ends, key, ahead)
        await holder.execute("select from aval.challenges where operation_id = $1 for update", key)
        calling = asyncio.create_task(at.bench.validate(key, path))
        try:
            await _wait_for_a_waiter(at.bench, await holder.fetchval("select pg_backend_pid()"), end)
            if late_by is not None:
                while (now := await read_clock(holder)) < end + late_by:  # noqa: ASYNC110 - another machine's clock
                    await asyncio.sleep((end + late_by - now).total_seconds())
            released_at = await read_clock(holder)
        except TooSlow:
            calling.cancel()
            raise
    return key, await calling, end, released_at


async def _wait_for_a_waiter(bench: Bench, holder: int, end: datetime) -> None:
    async with bench.db.connection() as connection:
        blocked = "select count(*) from pg_stat_activity where $1 = any(pg_blocking_pids(pid))"
        for _ in range(400):
            if await connection.fetchval(blocked, holder):
                break
            await asyncio.sleep(0.005)
        if await read_clock(connection) >= end:
            raise TooSlow


Trial = Callable[[Boundary], Awaitable[None]]
KINDS: list[Trial] = [at_the_end, just_after_the_end, lock_won_in_time, lock_won_too_late]


async def run_trials(boundary: Boundary, count: int) -> None:
    trials = KINDS * (count // len(KINDS))
    boundary.chance.shuffle(trials)
    waiting = iter(trials)

    async def lane() -> None:
        for trial in waiting:
            await _decided(trial, boundary)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(lane())


async def _decided(trial: Trial, boundary: Boundary) -> None:
    for _ in range(TRIES_MAX):
        try:
            return await trial(boundary)
        except TooSlow:
            continue
    raise AssertionError(trial, "too slow")
