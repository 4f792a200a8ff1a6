"""What tests of settlements start from: a rail that follows a script, and single steps of a worker."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from aval.domain.keyring import Keyring
from aval.operations.settle_transfer import Answered, RetryPolicy, ask_rail, record_answers
from aval.ports import PayeeFound, Rail, RailAnswer, RailStatus, RailTarget, SettlementOrder
from aval.storage.database import Database
from aval.storage.settlements import SettlementJob, claim_settlements
from tests.factories import Party, make_keyring
from tests.stage import Stage

POLICY = RetryPolicy(gaps=(timedelta(0), timedelta(seconds=1)), tries_max=3, lease=timedelta(seconds=30))
TRANSACTION = UUID("c41f8b7d-9a20-4e65-b3d7-08f2a6c95e13")
SENT = RailAnswer(RailStatus.SENT, transaction_key=TRANSACTION)
REFUSED = RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused")
RETURN = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}
RETURNED = RailAnswer(RailStatus.RETURNED, refusal=RETURN)
ACCEPTED, SILENT, UNSEEN = map(RailAnswer, (RailStatus.PENDING, RailStatus.UNKNOWN, RailStatus.NOT_FOUND))


@dataclass
class Script:
    """A rail that says what it is told to say, and keeps what it was asked; the registry of itself too."""

    answers: list[RailAnswer]
    asked: list[tuple[str, SettlementOrder]] = field(default_factory=list)

    def rail_of(self, target: RailTarget) -> Rail:
        return self

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        self.asked.append(("settle", order))
        return self.answers.pop(0)

    async def query(self, order: SettlementOrder) -> RailAnswer:
        self.asked.append(("query", order))
        return self.answers.pop(0)

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        raise AssertionError

    @property
    def calls(self) -> list[str]:
        return [call for call, _ in self.asked]


async def worker_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


async def payer(stage: Stage) -> Party:
    """A party that pays fees."""
    party = await stage.party()
    await stage.execute(
        "update integrators set pix_fee_centavos = 150, ted_fee_centavos = 1000 where integrator_id = $1", party.key
    )
    return party


async def own_party(own_stage: Stage) -> Party:
    return await payer(own_stage)


async def party(stage: Stage) -> Party:
    return await payer(stage)


async def approved(stage: Stage, party: Party, kind: str = "pix_transfer") -> UUID:
    key = await stage.request(party, kind)
    assert (await stage.approve(party, key, kind)).status == 202
    return key


async def claim(db: Database) -> SettlementJob:
    """The one job that is due."""
    async with db.connection() as connection:
        (job,) = await claim_settlements(connection, most=10, lease=POLICY.lease)
    return job


async def claim_again(stage: Stage, db: Database) -> SettlementJob:
    """The job, as if the lease before were over."""
    await make_due(stage)
    return await claim(db)


async def ask(db: Database, job: SettlementJob, rail: Script, keyring: Keyring | None = None) -> Answered | None:
    return await ask_rail(db, job=job, rails=rail, keyring=keyring or make_keyring(), policy=POLICY)


async def work(db: Database, rail: Script) -> None:
    """Claim, ask, record."""
    answered = await ask(db, await claim(db), rail)
    assert answered is not None
    assert await record_answers(db, answers=[answered], policy=POLICY) == [True]


async def job_of(stage: Stage, key: UUID) -> tuple[Any, ...]:
    (row,) = await stage.fetch(
        "select state, rail_status, send_count, claim_count, last_error from settlement_jobs where operation_id = $1",
        key,
    )
    return row


async def make_due(stage: Stage) -> None:
    await stage.execute("update settlement_jobs set due_at = clock_timestamp() where state = 'ready'")


async def entries(stage: Stage, key: UUID) -> list[str]:
    rows = await stage.fetch("select entry_type from ledger_entries where source_id = $1 order by entry_type", key)
    return [entry for (entry,) in rows]
