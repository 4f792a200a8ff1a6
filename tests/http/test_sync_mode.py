"""The outcomes of transfers.md §10 in asynchronous and synchronous mode, through a real worker and the sandbox rail."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from tests.factories import Party, Reply
from tests.stage import Stage, until, working

FEES = {"pix_transfer": 150, "ted": 1_000}  # centavos
SYNC_WAIT_S = 1
SENT, PENDING, REFUSED = ("sent", None), ("pending", None), ("rejected", "rail_refused")
TARGET_UNKNOWN, RETURNED = ("rejected", "target_account_not_found"), ("rejected", "conta_destinatario_encerrada")


@dataclass(frozen=True)
class Row:
    """A row: what a synchronous call is answered, what becomes of the transfer, and whether that takes "later"."""

    number: int
    answer: int | str  # status, or the number of the error code
    end: tuple[str, str | None]
    is_later: bool = False
    events: int = 1


ROWS = (
    Row(0, 201, SENT),
    Row(91, 202, SENT, is_later=True),
    Row(92, 202, REFUSED, is_later=True),
    Row(93, "target", TARGET_UNKNOWN),
    Row(94, 202, SENT, is_later=True),
    Row(95, 201, RETURNED, is_later=True, events=2),
    Row(96, 202, SENT, is_later=True),
    Row(97, 202, PENDING, events=0),
    Row(98, 201, SENT),
    Row(99, "refused", REFUSED),
)
WAITING = {94, 96, 97}  # rows whose rail says nothing while a synchronous call waits
CODES = {
    ("target", "pix_transfer"): (400, "PXT000132"),
    ("target", "ted"): (404, "TED000006"),
    ("refused", "pix_transfer"): (400, "PXT000919"),
    ("refused", "ted"): (400, "TED000919"),
}
ENTRIES = {
    SENT: ["transfer", "fee"],
    PENDING: ["transfer", "fee"],
    REFUSED: ["transfer", "fee", "transfer_refund", "fee_refund"],
    TARGET_UNKNOWN: ["transfer", "fee", "transfer_refund", "fee_refund"],
    RETURNED: ["transfer", "fee", "transfer_return"],
}


@dataclass
class Played:
    row: Row
    kind: str
    key: UUID
    reply: Reply

    @property
    def end(self) -> tuple[str, str | None]:
        return SENT if self.row.number == 95 and self.kind == "pix_transfer" else self.row.end

    @property
    def events(self) -> int:
        return 1 if self.row.number == 95 and self.kind == "pix_transfer" else self.row.events


def by_centavos(party: Party, row: Row, _kind: str) -> dict[str, Any]:
    return {"transaction_amount": round(100 + row.number / 100, 2)}


def by_ispb(party: Party, row: Row, kind: str) -> dict[str, Any]:
    """The ISPB wins over centavos that say something else."""
    ispb = f"999999{row.number}" if row.number else "87654321"
    target = dict(party.pix()["target_account"], ispb=ispb)
    return {"transaction_amount": 100.93 if row.number else 100, "target_account": target}


async def play(stage: Stage, party: Party, row: Row, kind: str, given: Any) -> Played:
    key = await stage.request(party, kind, **given(party, row, kind))
    return Played(row, kind, key, await stage.approve(party, key, kind, process=row.number))


async def make_payer(stage: Stage, **settings: Any) -> Party:
    party = await stage.party(**settings)
    await stage.execute(
        "update integrators set pix_fee_centavos = $2, ted_fee_centavos = $3 where integrator_id = $1",
        party.key,
        *FEES.values(),
    )
    return party


async def check_end(stage: Stage, played: Played, *, wait_s: int) -> None:
    row, key = played.row, played.key
    assert await stage.status(key) == played.end, row

    entries = await stage.fetch(
        "select entry_type, amount_centavos from ledger_entries where source_id = $1 order by created_at,"
        " array_position('{transfer,fee,transfer_refund,fee_refund,transfer_return}', entry_type)",
        key,
    )
    amount = await stage.value("select amount_centavos from operations where operation_id = $1", key)
    assert entries == [(e, FEES[played.kind] if "fee" in e else amount) for e in ENTRIES[played.end]], row
    assert [sequence for sequence, _ in await stage.events(key)] == list(range(1, played.events + 1)), row
    if row.is_later and played.events == row.events:
        took = await stage.value(
            "select extract(epoch from updated_at - consumed_at)::float from challenges where operation_id = $1", key
        )
        assert took >= 2 + (wait_s if row.number in WAITING else 0), (row, took)
    ((state, rail_reference, sends),) = await stage.fetch(
        "select state, rail_reference, send_count from settlement_jobs where operation_id = $1", key
    )
    assert (rail_reference, sends) == (key, 2 if row.number == 96 else 1), row
    assert state == ("parked" if row.number == 97 else "done"), row


async def check_all(stage: Stage, party: Party, played: list[Played], *, wait_s: int) -> None:
    async def are_jobs_over() -> bool:
        open_jobs = "select count(*) from settlement_jobs where integrator_id = $1 and state = 'ready'"
        return await stage.value(open_jobs, party.key) == 0

    await until(are_jobs_over)
    for each in played:
        await check_end(stage, each, wait_s=wait_s)
    await stage.balance(party)


@pytest.mark.parametrize("given", [by_centavos, by_ispb])
async def test_every_outcome_in_asynchronous_mode(own_stage: Stage, given: Any):
    party = await make_payer(own_stage)
    async with working(await own_stage.worker()):
        played = await asyncio.gather(
            *(play(own_stage, party, row, kind, given) for row in ROWS for kind in ("pix_transfer", "ted"))
        )
        assert {each.reply.status for each in played} == {202}
        assert all("transaction_key" not in each.reply.json for each in played)
        await check_all(own_stage, party, played, wait_s=0)


async def test_every_outcome_in_synchronous_mode(own_stage: Stage):
    party = await make_payer(own_stage, settlement_mode="sync", sync_wait_seconds=SYNC_WAIT_S)
    async with working(await own_stage.worker()):
        played = await asyncio.gather(
            *(play(own_stage, party, row, kind, by_centavos) for row in ROWS for kind in ("pix_transfer", "ted"))
        )
        for each in played:
            check_answer(each)
        await check_all(own_stage, party, played, wait_s=SYNC_WAIT_S)


def check_answer(played: Played) -> None:
    row, reply, kind = played.row, played.reply, played.kind
    status_name, key_name = ("ted_status", "ted_key") if kind == "ted" else ("pix_transfer_status", "pix_transfer_key")
    if isinstance(row.answer, int):
        assert reply.status == row.answer, row
        told = reply.json
        assert told[status_name] == ("sent" if row.answer == 201 else "pending")
        assert ("transaction_key" in told) == (row.answer == 201)
    else:
        assert (reply.status, reply.code) == CODES[row.answer, kind]
        told = reply.json["extra_fields"]["ted_data" if kind == "ted" else "pix_transfer_data"]
        assert told[status_name] == "rejected"
    assert told[key_name] == str(played.key)


async def test_a_synchronous_answer_is_kept_when_the_wait_ends(own_stage: Stage):
    party = await make_payer(own_stage, settlement_mode="sync", sync_wait_seconds=SYNC_WAIT_S)
    async with working(await own_stage.worker()):
        keys = [await own_stage.request(party, transaction_amount=100 + cents) for cents in (0, 0.93, 0.91)]
        first = [await own_stage.approve(party, key, idempotency_key="s") for key in keys]
        assert [answer.status for answer in first] == [201, 400, 202]

        async def is_confirmed() -> bool:
            return (await own_stage.status(keys[2]))[0] == "sent"

        await until(is_confirmed)
        again = [await own_stage.approve(party, key, idempotency_key="s", process=1) for key in keys]
        assert [(a.status, a.body) for a in again] == [(a.status, a.body) for a in first]


async def test_a_replay_during_the_wait_answers_the_state_and_both_keep_that(own_stage: Stage):
    party = await make_payer(own_stage, settlement_mode="sync", sync_wait_seconds=SYNC_WAIT_S)
    key = await own_stage.request(party)
    token = await own_stage.token(party, key)
    first = asyncio.create_task(own_stage.validate(party, key, token, idempotency_key="s"))

    async def is_approved() -> bool:
        return (await own_stage.status(key))[0] == "pending"

    await until(is_approved)
    replay = await own_stage.validate(party, key, token, idempotency_key="s", process=1)
    assert not first.done() and replay.status == 202
    async with working(await own_stage.worker()):
        answer = await first
    assert (answer.status, answer.body) == (replay.status, replay.body)
    again = await own_stage.validate(party, key, token, idempotency_key="s")
    assert (again.status, again.body) == (replay.status, replay.body)


async def test_without_a_worker_the_wait_ends_in_time(own_stage: Stage):
    party = await make_payer(own_stage, settlement_mode="sync", sync_wait_seconds=SYNC_WAIT_S)
    key = await own_stage.request(party)
    answer = await own_stage.approve(party, key)
    assert (answer.status, answer.json["pix_transfer_status"]) == (202, "pending")


async def test_calls_that_wait_for_the_rail_do_not_count_as_in_progress(own_stage: Stage):
    party = await own_stage.party(budgets=False, settlement_mode="sync", sync_wait_seconds=3)
    keys = await own_stage.requests(party, 20) + await own_stage.requests(party, 20)
    budgets = "update integrators set budgets = true, version = version + 1 where integrator_id = $1"
    await own_stage.execute(budgets, party.key)  # from here on calls in progress are counted
    waiting: list[asyncio.Task[Reply]] = []

    async def are_approved() -> bool:
        approved = "select count(*) from challenges where integrator_id = $1 and status = 'pending'"
        return await own_stage.value(approved, party.key) == len(waiting)

    for wave in (keys[:20], keys[20:]):  # 32 may be in progress
        waiting += [asyncio.create_task(own_stage.approve(party, key)) for key in wave]
        await until(are_approved)
    assert not any(call.done() for call in waiting)
    assert (await own_stage.create(party)).status == 202
    async with working(await own_stage.worker()):
        assert {answer.status for answer in await asyncio.gather(*waiting)} == {201}
