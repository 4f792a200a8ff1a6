"""A worker process: four kinds of work side by side under three roles, none of which ends the others."""

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from aval.domain.money import Brl
from aval.operations.expire_window import Sweep
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.seal_audit import ChainOutOfReach
from aval.operations.settle_transfer import take_callback
from aval.ports import Rail, RailAnswer, RailStatus, RailTarget, SettlementOrder
from aval.rails.sandbox import SandboxRail
from aval.worker import loop
from aval.worker.loop import run_worker
from aval.worker.pump import Pace
from tests.batches import approve, batch_request, items
from tests.factories import AUTHOR, KeyringHolder, Party
from tests.stage import RETRY, Stage, until, working, wrong


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await own_stage.party()


async def statuses(stage: Stage) -> dict[str, int]:
    return dict(await stage.fetch("select status, count(*) from challenges group by status"))


async def test_one_worker_does_it_all(own_stage: Stage, own_party: Party):
    sent, overdue = await own_stage.request(own_party), await own_stage.request(own_party)
    await own_stage.shift(overdue, 3_601)
    assert (await own_stage.approve(own_party, sent)).status == 202
    async with working(await own_stage.worker()):

        async def is_done() -> bool:
            told = await own_stage.value("select count(*) from outbox where state = 'ready'") == 0
            return told and await statuses(own_stage) == {"sent": 1, "rejected": 1}

        await until(is_done)
    assert await own_stage.status(overdue) == ("rejected", "approval_window_expired")


async def test_several_workers_share_the_work(own_stage: Stage, own_party: Party):
    keys = await own_stage.requests(own_party, 40, transaction_amount=1)
    await asyncio.gather(*(own_stage.approve(own_party, key, process=n) for n, key in enumerate(keys)))
    workers = [await own_stage.worker() for _ in range(3)]
    async with working(workers[0]), working(workers[1]), working(workers[2]):

        async def are_sent() -> bool:
            return await statuses(own_stage) == {"sent": 40}

        await until(are_sent)
    assert {(await own_stage.counts(key))[1:] for key in keys} == {(1, 1, 1)}
    assert await own_stage.value("select max(send_count) from settlement_jobs") == 1
    assert await own_stage.balance(own_party) == 1_000_000_00 - 40_00


class StuckOnItems(SandboxRail):
    """A rail that answers a transfer of 7.00 and leaves everything else waiting."""

    def __init__(self) -> None:
        self.waiting = 0
        self.goes_on = asyncio.Event()

    def rail_of(self, _: RailTarget) -> Rail:
        return self

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        if order.amount.centavos != 7_00:
            self.waiting += 1
            await self.goes_on.wait()
        return await super().settle(order)


async def test_a_batch_on_a_slow_rail_leaves_places_for_single_transfers(own_stage: Stage, own_party: Party):
    request = await batch_request(own_stage, own_party, items=items(*[1_00] * 30))
    await own_stage.desk.request_batch(request)
    await approve(own_stage, own_party, request.key)
    single = await own_stage.request(own_party, transaction_amount=7)
    rail = StuckOnItems()
    pace = Pace(batch_size=4, jobs_max=8, poll=timedelta(milliseconds=5))
    async with working(await own_stage.worker(rails=rail, pace=pace)):

        async def is_full() -> bool:
            return rail.waiting >= 6

        async def is_sent() -> bool:
            return await own_stage.status(single) == ("sent", None)

        async def are_sent() -> bool:
            return await statuses(own_stage) == {"approved": 1, "sent": 31}

        await until(is_full)
        assert (await own_stage.approve(own_party, single)).status == 202
        await until(is_sent)
        assert rail.waiting == 6
        rail.goes_on.set()
        await until(are_sent)


async def test_a_worker_that_is_stopped_returns_soon(own_stage: Stage):
    parts = await own_stage.worker()
    stopping = asyncio.Event()
    worker = asyncio.create_task(run_worker(parts, stopping))
    await asyncio.sleep(0.05)
    stopping.set()
    async with asyncio.timeout(2):
        await worker
    await parts.outbound.close()


async def test_a_worker_behind_with_its_housekeeping_is_stopped_all_the_same(
    own_stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A backlog that never ends: each look finds as much as it may take."""

    async def always_more(*_: object, **__: object) -> bool:
        await asyncio.sleep(0)
        return True

    async def always_full(*_: object, most: int, **__: object) -> int:
        await asyncio.sleep(0)  # as every statement does
        return most

    monkeypatch.setattr(loop, "seal_evidence", always_more)
    monkeypatch.setattr(loop, "seal_audit", always_more)
    monkeypatch.setattr(loop, "forget_old_answers", always_full)
    monkeypatch.setattr(loop, "forget_old_signatures", always_full)
    monkeypatch.setattr(loop, "expire_windows", lambda *_, most: asyncio.sleep(0, Sweep(most, 0)))
    parts = await own_stage.worker()
    stopping = asyncio.Event()
    worker = asyncio.create_task(run_worker(parts, stopping))
    await asyncio.sleep(0.1)
    stopping.set()
    async with asyncio.timeout(2):
        await worker
    await parts.outbound.close()


async def test_a_worker_seals_the_audit(own_stage: Stage, own_party: Party):
    key = await own_stage.request(own_party)
    assert (await own_stage.approve(own_party, key)).status == 202
    async with working(await own_stage.worker()):

        async def is_sealed() -> bool:
            return bool(
                await own_stage.value(
                    "select exists (select from audit where operation_id = $1 and action = 'operation.judged')"
                    "   and (select last_xact from audit_links order by link_no desc limit 1)"
                    "       >= (select max(xact::text::bigint)::text::xid8 from audit where operation_id = $1)",
                    key,
                )
            )

        await until(is_sealed)


async def test_an_audit_out_of_reach_is_told_and_nothing_else_stops(
    own_stage: Stage, own_party: Party, monkeypatch: pytest.MonkeyPatch
):
    async def out_of_reach(*_: object, **__: object) -> bool:
        raise ChainOutOfReach

    monkeypatch.setattr(loop, "seal_audit", out_of_reach)
    key = await own_stage.request(own_party)
    assert (await own_stage.approve(own_party, key)).status == 202
    with capture_logs() as told:
        async with working(await own_stage.worker()):

            async def is_sent() -> bool:
                return await own_stage.status(key) == ("sent", None)

            await until(is_sent)
    assert "audit_not_sealed" in {line["event"] for line in told}


async def test_work_goes_on_when_a_kind_of_it_cannot(own_stage: Stage, own_party: Party):
    """Tables a kind of work needs are gone for a while; the others go on, and it comes back by itself."""
    key = await own_stage.request(own_party)
    await own_stage.approve(own_party, key)
    await own_stage.execute("alter table outbox rename to outbox_away")
    await own_stage.execute("alter table sweeps rename to sweeps_away")
    await own_stage.execute("alter table request_signatures rename to request_signatures_away")
    async with working(await own_stage.worker()) as worker:

        async def is_sent() -> bool:
            return await statuses(own_stage) == {"sent": 1}

        await until(is_sent)
        for table in ("outbox", "sweeps", "request_signatures"):
            await own_stage.execute(f"alter table {table}_away rename to {table}")

        async def is_over() -> bool:
            return await own_stage.value("select count(*) from outbox where state = 'ready'") == 0

        await until(is_over)
        assert not worker.done()


async def test_approvals_are_sealed_meanwhile_however_many(
    own_stage: Stage, own_party: Party, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "SEAL_ROWS_MAX", 2)
    keys = [await own_stage.request(own_party) for _ in range(7)]
    for key in keys[:6]:
        await own_stage.approve(own_party, key)
    async with working(await own_stage.worker()):

        async def are_sealed() -> bool:
            return await own_stage.value("select count(*) from evidence") == 6

        await until(are_sealed)
    assert await own_stage.value("select count(*) from evidence where operation_id = $1", keys[6]) == 0


async def test_keys_are_looked_at_anew_for_every_job(own_stage: Stage, own_party: Party):
    holder = KeyringHolder()
    whole, holder.keyring = holder.keyring, type(holder.keyring)(())
    await own_stage.request(own_party)
    async with working(await own_stage.worker(keyring=holder)):

        async def is_missing() -> bool:
            return await own_stage.value("select last_error from outbox") == "key_missing"

        await until(is_missing)
        holder.keyring = whole

        async def is_delivered() -> bool:
            return await own_stage.value("select state from outbox") == "delivered"

        await until(is_delivered)


async def test_old_answers_and_signatures_are_forgotten_however_many(
    own_stage: Stage, own_party: Party, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "FORGET_ROWS_MAX", 10)
    await own_stage.execute(
        "insert into idempotency_keys select $1, '/p', n::text, decode(repeat('00', 32), 'hex'), 200, '',"
        " clock_timestamp() - make_interval(hours => case when n <= 35 then 25 else 23 end)"
        " from generate_series(1, 40) n",
        own_party.key,
    )
    await own_stage.execute(
        "insert into request_signatures select $1, sha256(n::text::bytea),"
        " clock_timestamp() + make_interval(mins => case when n <= 35 then -1 else 1 end)"
        " from generate_series(1, 40) n",
        own_party.key,
    )
    parts: Any = await own_stage.worker()
    async with working(parts):

        async def are_forgotten() -> bool:
            rest = await own_stage.fetch(
                "select (select count(*) from idempotency_keys), (select count(*) from request_signatures)"
            )
            return rest == [(5, 5)]

        await until(are_forgotten)


async def test_windows_close_though_the_sweep_comes_late(own_stage: Stage, own_party: Party):
    key = await own_stage.request(own_party)
    await own_stage.shift(key, 3_598)
    async with working(await own_stage.worker(sweep_interval=timedelta(milliseconds=200))):
        assert (await own_stage.status(key))[0] == "pending_2fa_approval"

        async def is_over() -> bool:
            return (await own_stage.status(key))[0] == "rejected"

        await until(is_over)
    assert [sequence for sequence, _ in await own_stage.events(key)] == [1]


async def test_everything_at_once_never_deadlocks_and_the_books_balance(own_stage: Stage):
    """Approvals, resends, cancels, callbacks, sweeps, settlements and administration on the same few accounts."""
    stage = own_stage
    parties = [await stage.party(balance=Brl(3_000_00)) for _ in range(3)]
    chance = random.Random(1207)
    async with working(await stage.worker()), working(await stage.worker()):
        for _ in range(4):
            keys = [(p, await stage.request(p, "ted", transaction_amount=chance.randint(1, 99))) for p in parties * 6]
            calls = [act(stage, party, key, chance) for party, key in keys for _ in range(3)]
            calls += [enter(stage, party) for party in parties * 3]
            chance.shuffle(calls)
            answers = await asyncio.gather(*calls)
            assert {answer for answer in answers if answer is not None and answer >= 500} == set()

        async def is_quiet() -> bool:
            return await stage.value("select count(*) from settlement_jobs where state = 'ready'") == 0

        await until(is_quiet)
    assert await stage.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    for party in parties:
        assert await stage.balance(party) >= 0
    numbered = await stage.fetch(
        "select max(sequence) = count(*) and min(sequence) = 1 from events group by integrator_id, operation_id"
    )
    assert set(numbered) == {(True,)}
    debits = await stage.value("select count(*) from ledger_entries where entry_type = 'transfer'")
    assert debits == await stage.value("select count(*) from settlement_jobs") > 0


async def act(stage: Stage, party: Party, key: UUID, chance: random.Random) -> int | None:
    """One call on an operation, whatever it is worth; the HTTP status."""
    process, kind = chance.randrange(2), chance.choice(["right", "right", "wrong", "resend", "cancel", "over", "told"])
    if kind == "over":
        await stage.shift(key, 3_601)
    elif kind == "told":
        answer = RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused")
        await take_callback(stage.parts.db, integrator_key=party.key, rail_reference=key, answer=answer, policy=RETRY)
    elif kind == "resend":
        await stage.shift(key, 30)
        return (await stage.resend(party, key, "ted", process=process)).status
    elif kind == "cancel":
        return (await stage.cancel(party, key, "ted", process=process)).status
    else:
        token = await stage.token(party, key)
        given = token if kind == "right" else wrong(token)
        return (await stage.validate(party, key, given, "ted", process=process)).status
    return None


async def enter(stage: Stage, party: Party) -> None:
    request = EntryRequest(party.account.key, uuid4(), "credit", Brl(1_00), None)
    await post_entry(stage.db, integrator_key=party.key, request=request, author=AUTHOR)
