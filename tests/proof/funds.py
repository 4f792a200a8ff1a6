"""Proof of ST6: whatever races, money is never negative, lost or created, and nothing is paid or given back twice.

Fifty accounts with little on them; single transfers and batches are requested, approved several times at once,
cancelled, expired, refused and returned by the rail, told twice by callbacks, while an administrator books on and off.
Two API processes' desks and two workers share the database. All along one snapshot after the other has to add up; at
the end the entries of every operation are what its state asks for.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.operations.expire_purchases import expire_authorizations
from aval.operations.expire_window import expire_windows
from aval.operations.post_entry import EntryRequest, post_entry
from aval.operations.settle_transfer import take_callback
from aval.ports import RailAnswer, RailStatus
from aval.storage.database import Database, LockNotWon
from tests.factories import AUTHOR, Party, Reply
from tests.ledger import check_balances, check_ledger
from tests.oidc_issuer import Issuer
from tests.proof.cases.purchase_runs import OPEN_POLICY, Buyer, check_points, live_token
from tests.proof.deployment import figure
from tests.redemption_stage import RedemptionStage, make_redemption_stage
from tests.redemption_stage import issuer as issuer
from tests.stage import RETRY, OpenAs, Stage, until, working
from tests.world import ITEMS, body_of, item_body

pytestmark = pytest.mark.proof

ACCOUNTS = 50
OPERATIONS = figure(1_000, 10_000)
PURCHASES = figure(1_000, 10_000)
AT_ONCE = 24
POOL_SHARE = 6  # callers that do not come through a desk; more would only wait for a connection
KINDS = ["pix_transfer", "ted", "pix_transfer", "ted", *ITEMS]
BALANCE = Brl(25_00)  # three or four transfers drain it
FEE = 37
SCRIPTS = [0, 0, 0, 92, 93, 95, 95, 98, 99]  # transfers.md §10: what the rail does with it
RETURN = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}
# Sooner than any lock_timeout gives up, so that no cycle passes for a long wait.
SEE_DEADLOCKS = "do $$ begin execute format('alter database %I set deadlock_timeout = 100', current_database()); end $$"
WORDS = [
    RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused"),
    RailAnswer(RailStatus.RETURNED, transaction_key=uuid4(), refusal=RETURN),
    RailAnswer(RailStatus.SENT, transaction_key=uuid4()),
]


@dataclass
class Market:
    """What races, over one database, and how often what happened."""

    stage: Stage
    worker: Database
    parties: Sequence[Party]
    chance: random.Random
    happened: Counter[str] = field(default_factory=Counter)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(POOL_SHARE))

    async def run_operation(self) -> None:
        """One operation from request to whatever end its rivals come to."""
        party, kind = self.chance.choice(self.parties), self.chance.choice(KINDS)
        if self.chance.random() < 0.3:
            await self._book(party, "credit")
        answer = await self._request(party, kind)
        if answer.status != 202:
            return self._count("request", answer)
        key = UUID(answer.json[f"{kind}_key"])
        token = await self.stage.token(party, key)
        approve = [self._approve(party, key, kind, token, process) for process in range(self.chance.randint(0, 3))]
        rivals: list[Callable[[], Awaitable[None]]] = [
            lambda: self._cancel(party, key, kind),
            lambda: self._expire(key),
            lambda: self._book(party),
            lambda: self._tell(party, key),
        ]
        acts = approve + [rival() for rival in rivals if self.chance.random() < 0.25]
        self.chance.shuffle(acts)
        if self.chance.random() < 0.1:
            await self._drain(party)
        await asyncio.gather(*acts)
        if self.chance.random() < 0.5:
            await asyncio.gather(*(self._tell(party, key) for _ in range(self.chance.randint(1, 3))))

    async def _request(self, party: Party, kind: str) -> Reply:
        if kind in ITEMS:
            items = [self._scripted(item_body(party, kind), 400) for _ in range(self.chance.randint(1, 4))]
            body = body_of(party, kind, **{ITEMS[kind]: items})
        else:
            body = self._scripted(body_of(party, kind), 1_000)
        return await self.stage.call(party, "POST", kind, body, process=self.chance.randrange(2))

    def _scripted(self, body: dict[str, Any], centavos_max: int) -> dict[str, Any]:
        script = self.chance.choice(SCRIPTS)
        body["target_account"]["ispb"] = f"999999{script:02d}" if script else "87654321"
        body["transaction_amount"] = self.chance.randrange(1, centavos_max) / 100
        return body

    async def _approve(self, party: Party, key: UUID, kind: str, token: str, process: int) -> None:
        self._count("approve", await self.stage.validate(party, key, token, kind, process=process))

    async def _cancel(self, party: Party, key: UUID, kind: str) -> None:
        self._count("cancel", await self.stage.cancel(party, key, kind))

    async def _expire(self, key: UUID) -> None:
        """An hour passes; the sweeper of the running worker comes for it."""
        await self.stage.execute(
            "update challenges set approval_deadline = clock_timestamp() - interval '1 second' where operation_id = $1"
            " and status = 'pending_2fa_approval'",
            key,
        )
        self.happened["expire"] += 1

    async def _drain(self, party: Party) -> None:
        """Take what is there: the next approval meets an empty account."""
        query = "select balance_centavos from accounts where account_id = $1"
        await self._book(party, "debit", await self.stage.value(query, party.account.key))

    async def _book(self, party: Party, entry_type: str | None = None, centavos: int | None = None) -> None:
        amount = Brl(centavos or self.chance.randrange(1, 2_000))
        request = EntryRequest(
            party.account.key, uuid4(), entry_type or self.chance.choice(["credit", "debit"]), amount, None
        )
        try:
            async with self.room:
                await post_entry(self.stage.db, integrator_key=party.key, request=request, author=AUTHOR)
            self.happened[f"book {request.entry_type}"] += 1
        except Refusal:
            self.happened["book refused"] += 1

    async def _tell(self, party: Party, key: UUID) -> None:
        """The core's own word, as a callback brings it: twice, late, or nonsense; of a batch on one of its items."""
        word = self.chance.choice(WORDS)
        items = await self.stage.fetch("select operation_id from operations where batch_id = $1", key)
        reference = self.chance.choice(items)[0] if items else key
        said = [
            take_callback(self.worker, integrator_key=party.key, rail_reference=reference, answer=word, policy=RETRY)
            for _ in range(2)
        ]
        async with self.room:
            answers = await asyncio.gather(*said, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, LockNotWon):  # a core repeats what was not taken
                self.happened["told in vain"] += 1
            elif isinstance(answer, BaseException):
                raise answer
        self.happened[f"told {word.status}"] += True in answers

    def _count(self, act: str, answer: Reply) -> None:
        assert answer.status < 500, answer
        self.happened[f"{act} {answer.status} {answer.code or ''}".strip()] += 1


async def test_funds_are_never_negative_lost_or_created(
    db: Database, db_as: OpenAs, chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    async with db.connection() as connection:
        await connection.execute(SEE_DEADLOCKS)
    stage = await Stage.make(db, db_as, processes=2)
    parties = await run_all([stage.party(balance=BALANCE) for _ in range(ACCOUNTS)], 8)
    await stage.execute(f"update integrators set pix_fee_centavos = {FEE}, ted_fee_centavos = {FEE * 3}")
    market = Market(stage, await db_as("aval_app_settle"), parties, chance)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(working(await stage.worker()))
        watching = asyncio.create_task(watch(stage))
        await run_all([market.run_operation() for _ in range(OPERATIONS)], AT_ONCE)
        await until(lambda: is_settled(stage))
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
    await check_ledger(db)
    stuck = "select j.* from settlement_jobs j join challenges c using (integrator_id, operation_id)"
    assert await stage.fetch(f"{stuck} where c.status = 'pending' and j.state <> 'parked'") == []
    assert await stage.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    ends = await stage.fetch(
        "select c.status || coalesce(' ' || c.rejection_reason, '') as ended, count(*) from challenges c group by 1"
    )
    with capsys.disabled():
        print(f"funds: {dict(ends)}\n       {dict(sorted(market.happened.items()))}")
    wanted = {"sent", "cancelled", "rejected rail_refused", "rejected approval_window_expired"}
    wanted |= {"rejected insufficient_funds", "rejected target_account_not_found", f"rejected {RETURN['enumerator']}"}
    assert wanted <= {ended for ended, _ in ends}


async def watch(stage: Stage) -> None:
    """All along every snapshot adds up; and "later" of the sandbox rail comes soon."""
    while True:
        await check_balances(stage.db)
        await stage.execute(
            "update settlement_jobs set created_at = created_at - $1::interval, due_at = due_at - $1::interval"
            " where ctid = any(array(select ctid from settlement_jobs where state = 'ready' and rail_status is not null"
            " for update skip locked))",
            timedelta(seconds=1),
        )
        await asyncio.sleep(0.05)


async def is_settled(stage: Stage) -> bool:
    return not await stage.value(
        "select (select count(*) from settlement_jobs where state = 'ready') + (select count(*) from challenges"
        " where status = 'pending_2fa_approval' and approval_deadline < clock_timestamp())"
    )


async def run_all(calls: Sequence[Awaitable[object]], at_once: int) -> list[object]:
    """Await everything, so many at once; the first failure ends it."""
    room = asyncio.Semaphore(at_once)

    async def run(call: Awaitable[object]) -> object:
        async with room:
            return await call

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(call)) for call in calls]
    return [task.result() for task in tasks]


@dataclass
class PointsMarket:
    """What races over points: two API processes over one database, and how often what happened."""

    stages: Sequence[RedemptionStage]
    buyers: Sequence[Buyer]
    chance: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    async def run_purchase(self) -> None:
        """One purchase from request to whatever end its rivals come to; now and then two are asked for at once."""
        buyer, kind = self.chance.choice(self.buyers), self.chance.choice(["purchases", "purchases/authorize"])
        if self.chance.random() < 0.4:
            await self._book(buyer)
        asked = [self._call(buyer, "request", "POST", f"/{kind}", self._basket()) for _ in range(self._few(2))]
        made = [reply for reply in await asyncio.gather(*asked) if reply.status in (201, 202)]
        if not made:
            return
        purchase = self.chance.choice(made).json
        key, orders = UUID(purchase["id"]), [order["id"] for order in purchase["orders"]]
        token = await live_token(self.stages[0], key) if "approval" in purchase else "000000"
        acts = self._rivals(buyer, key, orders, token)
        self.chance.shuffle(acts)
        await asyncio.gather(*acts)
        if self.chance.random() < 0.6:
            await asyncio.gather(*(self._reverse(self.chance.choice(orders)) for _ in range(self._few(4))))

    def _few(self, most: int) -> int:
        return self.chance.randint(1, most)

    def _rivals(self, buyer: Buyer, key: UUID, orders: list[str], token: str) -> list[Awaitable[object]]:
        path, by_application = f"/purchases/{key}", buyer.stage.as_application(buyer.application)
        validate = {"token": token}
        acts: list[Awaitable[object]] = [
            self._call(buyer, "validate", "PUT", f"{path}/validate_token", validate)
            for _ in range(self.chance.randint(0, 3))
        ]
        rivals: list[tuple[float, Callable[[], Awaitable[object]]]] = [
            (0.2, lambda: self._call(buyer, "guess", "PUT", f"{path}/validate_token", {"token": "ZZZZZZ"})),
            (0.2, lambda: self._call(buyer, "cancel", "POST", f"{path}/cancel", headers=by_application)),
            (0.4, lambda: self._call(buyer, "confirm", "POST", f"{path}/confirm", headers=by_application)),
            (0.4, lambda: self._call(buyer, "confirm", "POST", f"{path}/confirm", headers=by_application)),
            (0.2, lambda: self._expire(key)),
            (0.3, lambda: self._reverse(self.chance.choice(orders))),
            (0.3, lambda: self._book(buyer)),
            (0.05, lambda: self._suspend(buyer)),
            (0.03, lambda: self._leave_device(buyer)),
        ]
        return acts + [rival() for likely, rival in rivals if self.chance.random() < likely]

    def _basket(self) -> dict[str, Any]:
        vendors = ["loja-sol", "viagens"][: self._few(2)]
        items = [
            {
                "name": "Fone",
                "quantity": self._few(2),
                "price": {"for": self.chance.randrange(1, 900)},
                "vendor": {"id": vendor},
            }
            for vendor in vendors
        ]
        return {
            "channel_type": "ONLINE",
            "items": items,
            "shipping_values": [{"vendor_id": vendors[0], "value_points": 20}],
        }

    async def _call(
        self, buyer: Buyer, act: str, method: str, path: str, body: Any = None, headers: Any = None
    ) -> Reply:
        stage = self.chance.choice(self.stages)
        reply = await stage.call(method, path, body, headers=headers or buyer.for_person)
        while reply.status == 503:  # a lock that was not won: nothing was evaluated
            self.happened["lock not won"] += 1
            reply = await stage.call(method, path, body, headers=headers or buyer.for_person)
        assert reply.status < 500, reply
        self.happened[f"{act} {reply.status} {reply.code if reply.status >= 400 else ''}".strip()] += 1
        return reply

    async def _reverse(self, order: str) -> None:
        is_total = self.chance.random() < 0.3
        body = {
            "executeTotalRefund": is_total,
            "refundType": 2,
            "currentRefundValue": 0 if is_total else self.chance.randrange(1, 600),
            "refundShippingValue": self.chance.choice([0, 20]),
            "refundMotiveId": 16,
        }
        await self._call(self.buyers[0], "reverse", "POST", f"/orders/{order}/reversals", body, self.buyers[0].operator)

    async def _book(self, buyer: Buyer) -> None:
        """The operator credits, takes back or lets points expire – down to nothing, where the ledger must say no."""
        kind = self.chance.choice(["credit", "credit", "adjustment", "expiration"])
        points = self.chance.randrange(1, 1_500) * (-1 if kind == "adjustment" and self.chance.random() < 0.5 else 1)
        body = {"type": kind, "points": points, "description": "Prova"}
        path = f"/participants/{buyer.person.key}/credits"
        headers = buyer.operator | {"idempotency-key": uuid4().hex}
        await self._call(buyer, kind, "POST", path, body, headers)

    async def _expire(self, key: UUID) -> None:
        """Its time is over; the sweeper that runs all along comes for it, unless a call does."""
        for statement in (
            "update aval.challenges set approval_deadline = clock_timestamp() - interval '1 second'"
            " where operation_id = $1 and status = 'pending_2fa_approval'",
            "update aval.purchases set authorized_until = clock_timestamp() - interval '1 second'"
            " where purchase_id = $1 and status = 'authorized'",
        ):
            await self.stages[0].execute(statement, key)
        self.happened["expire"] += 1

    async def _suspend(self, buyer: Buyer) -> None:
        """The operator suspends the participant, whose pending purchases end, and lets them in again."""
        for status in ("INACTIVE", "ACTIVE"):
            path = f"/participants/{buyer.person.key}"
            await self._call(buyer, "suspend", "PUT", path, {"status": status}, buyer.operator)

    async def _leave_device(self, buyer: Buyer) -> None:
        """The phone is reset by the operator; what waits for its token ends, and nothing more is asked for."""
        if buyer.device:
            path = f"/devices/{buyer.device}/reset"
            await self._call(buyer, "reset", "POST", path, {"reason": "perdido"}, buyer.operator)


async def test_points_are_never_negative_lost_or_created(
    db: Database,
    db_as: OpenAs,
    dsn: str,
    issuer: Issuer,
    chance: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """ST6 over points: reserved is what waits, nothing is debited and released, no order gives back too much."""
    async with db.connection() as connection:
        await connection.execute(SEE_DEADLOCKS)
    sweeper = await db_as("aval_app_settle")
    async with make_redemption_stage(dsn, issuer) as first, make_redemption_stage(dsn, issuer) as second:
        operator = await first.operator()
        buyers: list[Buyer] = []
        for policy in ({**OPEN_POLICY, "authorization_ttl_minutes": 30}, {**OPEN_POLICY, "min_points": 300}):
            campaign = await first.campaign()
            await first.policy(campaign, **policy, risk={"max_pending_purchases": 4})
            application = await first.application(campaign)
            more = {"operator": operator, "policy": policy, "first_credit": 6_000}
            made = [Buyer.make(first, campaign, application, **more) for _ in range(ACCOUNTS // 2)]
            buyers += await run_all(made, 8)  # type: ignore[arg-type]
        market = PointsMarket([first, second], buyers, chance)
        watching = asyncio.create_task(watch_points(db, sweeper))
        await run_all([market.run_purchase() for _ in range(PURCHASES)], AT_ONCE)
        await until(lambda: is_swept(first))
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        await check_points(db)
        ends = dict(
            await first.fetch(
                "select status || coalesce(' ' || rejection_reason, ''), count(*) from aval.purchases group by 1"
            )
        )
        assert await first.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    with capsys.disabled():
        print(f"funds: {ends}\n       {dict(sorted(market.happened.items()))}")
    wanted = {"confirmed", "canceled", "expired", "reversed", "partially_reversed"}
    wanted |= {"rejected approval_window_expired", "rejected device_changed", "rejected participant_suspended"}
    assert wanted <= set(ends)
    assert "request 422 332" in market.happened


async def watch_points(db: Database, sweeper: Database) -> None:
    """All along every snapshot adds up, and what is overdue is swept."""
    while True:
        await check_points(db)
        await expire_windows(sweeper, most=100)
        await expire_authorizations(sweeper, most=100)
        await asyncio.sleep(0.05)


async def is_swept(stage: RedemptionStage) -> bool:
    return not await stage.value(
        "select (select count(*) from aval.challenges where status = 'pending_2fa_approval'"
        " and approval_deadline < clock_timestamp()) + (select count(*) from aval.purchases"
        " where status = 'authorized' and authorized_until < clock_timestamp())"
    )
