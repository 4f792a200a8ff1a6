"""Random sequences of calls on purchases, each compared with the reference model after every step."""

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from aval.domain.campaign import Campaign
from aval.domain.token import SYMBOLS
from aval.operations.create_application import NewApplication
from aval.operations.fresh import new_phone
from aval.storage.database import Database
from aval.storage.purchases import find_purchase
from tests.factories import Reply, make_keyring
from tests.proof.cases.purchase_model import PENDING, Account, Reference, Sale
from tests.proof.deployment import token_of
from tests.redemption_stage import Headers, Person, RedemptionStage

CREDIT = 20_000
STEPS_MAX = 12
MARGIN = 20.0  # no call is made within so many seconds of a moment at which its answer changes
REGISTRATIONS_MAX = 4  # spec redemptions.md §3.1: more than five in a day are refused
OPEN_POLICY = {"enabled": True, "document_policy": "none", "device_change_cooldown_hours": 0}
_RISK = {"max_pending_purchases": None}
POLICIES: list[dict[str, Any]] = [
    {**OPEN_POLICY, "authorization_ttl_minutes": 30},
    {**OPEN_POLICY, "max_resends": 2, "resend_interval_seconds": 60, "approval_window_minutes": 10},
    {**OPEN_POLICY, "max_resends": 0, "token_alphabet": "digits", "min_points": 500},
    {"enabled": False, "authorization_ttl_minutes": 5},
]
CODES = {
    "malformed": (400, "QIT000001"),
    "required": (400, "RDM000110"),
    "expired": (400, "RDM000083"),
    "wrong": (400, "RDM000084"),
    "superseded": (400, "RDM000084"),
    "exceeded": (400, "RDM000082"),
    "not pending": (404, "RDM000086"),
    "too soon": (429, "RDM000903"),
    "no resend left": (429, "RDM000904"),
    "wrong status": (409, "RDM000912"),
    "nothing": (422, "RDM000915"),
    "too much": (422, "322"),
    "insufficient": (422, "332"),
    "approved": (201, None),
    "reversed": (201, None),
    "resent": (202, None),
    "done": (200, None),
}
STEPS = {
    "wrong": 26,
    "right": 14,
    "superseded": 12,
    "malformed": 5,
    "missing": 4,
    "resend": 18,
    "advance": 20,
    "cancel": 4,
    "confirm": 12,
    "reverse": 26,
    "read": 6,
    "change_device": 3,
}


@dataclass
class Buyer:
    """A participant with a phone and points, who buys again and again; `account` is what the model says they have."""

    stage: RedemptionStage
    campaign: Campaign
    application: NewApplication
    person: Person
    operator: Headers
    policy: Mapping[str, Any]
    account: Account = field(default_factory=Account)
    open: list["Run"] = field(default_factory=list)  # purchases of earlier sequences that still wait for something
    registrations: int = 0
    device: str = ""
    first_credit: int = CREDIT

    @classmethod
    async def make(
        cls, stage: RedemptionStage, campaign: Campaign, application: NewApplication, **more: Any
    ) -> "Buyer":
        buyer = cls(stage, campaign, application, await stage.participant(campaign), **more)
        await buyer.credit(buyer.first_credit)
        if buyer.policy["enabled"]:
            await buyer.register()
        return buyer

    @property
    def for_person(self) -> Headers:
        return self.stage.as_impersonator(self.application, self.campaign, self.person)

    @property
    def as_person(self) -> Headers:
        return self.stage.as_participant(self.application, self.campaign, self.person)

    async def credit(self, points: int) -> None:
        body = {"type": "credit", "points": points, "description": "Campanha"}
        path = f"/participants/{self.person.key}/credits"
        reply = await self.stage.call("POST", path, body, headers=self.operator, idempotency_key=uuid4().hex)
        assert reply.status == 201, reply
        self.account.book("credit", points)

    async def register(self) -> None:
        """Prove a new number; the former one, if any, is gone."""
        body = {"type": "phone", "number": new_phone()}
        made = await self.stage.call("POST", "/participants/me/devices", body, headers=self.as_person)
        assert made.status == 202, made
        self.device, self.registrations = made.json["id"], self.registrations + 1
        token = {"token": await live_token(self.stage, UUID(self.device))}
        path = f"/participants/me/devices/{self.device}/validate_token"
        proven = await self.stage.call("PUT", path, token, headers=self.as_person)
        assert (proven.status, proven.json["status"]) == (201, "active"), proven

    async def change_device(self) -> None:
        """Every purchase that waits for a token of the former phone is rejected."""
        gone = await self.stage.call("DELETE", f"/participants/me/devices/{self.device}", headers=self.as_person)
        assert gone.status == 204, gone
        for run in self.open:
            run.model.end_device(run.now)
        await self.register()


async def live_token(stage: RedemptionStage, key: UUID, generation: int | None = None) -> str:
    """The token of an operation, as its message has it."""
    row = await row_of(stage, key)
    return token_of(make_keyring(), row, generation or row["generation"]).text


async def row_of(stage: RedemptionStage, key: UUID) -> Any:
    async with stage.db.connection() as connection:
        return await connection.fetchrow(
            "select o.*, c.generation, c.kid, c.alphabets from aval.operations o"
            " join aval.challenges c using (integrator_id, operation_id) where o.operation_id = $1",
            key,
        )


@dataclass
class Run:
    """One sequence on one purchase: what the model says beside what Aval does."""

    chance: random.Random
    buyer: Buyer
    log: list[tuple[str, str]] = field(default_factory=list)
    advanced: float = 0.0

    async def play(self) -> None:
        if not await self._create():
            return
        self.buyer.open.append(self)
        for _ in range(self.chance.randint(3, STEPS_MAX)):
            await self._leave_the_margins()
            (step,) = self.chance.choices(list(STEPS), list(STEPS.values()))
            if step == "superseded" and self.model.generation == 1:
                step = "wrong"
            if self.model.status == "authorized" and step not in _OF_AUTHORIZED:
                step = "confirm"  # whether a token, which it has not, notices that its time is over is nobody's matter
            await getattr(self, f"_{step}", self._guess)(step)
            await self._compare()
        await self._check_rows()
        self.buyer.open = [run for run in self.buyer.open if run.model.status == PENDING]

    @property
    def stage(self) -> RedemptionStage:
        return self.buyer.stage

    @property
    def now(self) -> float:
        return self.advanced + time.monotonic() - self.started

    async def _create(self) -> bool:
        kind, vendors = self.chance.choice(["internal", "external"]), self.chance.sample(["loja-sol", "viagens"], 2)
        vendors = vendors[: self.chance.randint(1, 2)]
        items = [self._item(vendor) for vendor in vendors for _ in range(self.chance.randint(1, 2))]
        shipping = {vendor: self.chance.choice([0, 0, 50]) for vendor in vendors}
        values = {
            vendor: sum(i["quantity"] * i["price"]["for"] for i in items if i["vendor"]["id"] == vendor)
            for vendor in vendors
        }
        total = sum(values.values()) + sum(shipping.values())
        card = (
            self.chance.randint(1, total)
            if kind == "external" and len(vendors) == 1 and total and self._one_in(3)
            else 0
        )
        if not total:
            return False
        body: dict[str, Any] = {"channel_type": "ONLINE", "items": items}
        body["shipping_values"] = [{"vendor_id": vendor, "value_points": shipping[vendor]} for vendor in vendors]
        if card:
            body["payments"] = [{"type": "ExternalCreditCard", "value_points": card}]
            body["payments"] += [{"type": "Points", "value_points": total - card}] if total > card else []
        sales = [Sale(values[vendor], shipping[vendor], values[vendor] + shipping[vendor]) for vendor in vendors]
        sales[0].paid -= card
        return await self._created(kind, body, sales)

    def _one_in(self, number: int) -> bool:
        return self.chance.randrange(number) == 0

    def _item(self, vendor: str) -> dict[str, Any]:
        price = {"for": self.chance.choice([0, 10, 100, 700, 700, 2_500])}
        return {"name": "Fone", "quantity": self.chance.randint(1, 3), "price": price, "vendor": {"id": vendor}}

    async def _created(self, kind: str, body: dict[str, Any], sales: list[Sale]) -> bool:
        policy, account = self.buyer.policy, self.buyer.account
        debited = sum(sale.paid for sale in sales)
        is_two_factor = policy["enabled"] and debited >= max(1, policy.get("min_points", 0))
        headers = self.chance.choice([self.buyer.for_person, self.buyer.as_person])
        path = "/purchases" if kind == "internal" else "/purchases/authorize"
        self.started = time.monotonic()
        reply = await self.stage.call("POST", path, body, headers=headers)
        if debited > account.available:
            self._check("create", reply, "insufficient")
            await self.buyer.credit(CREDIT)
            return False
        assert reply.status == (202 if is_two_factor else 201), reply
        self.model = Reference(account, kind, is_two_factor, sales, dict(policy))
        self.key = UUID(reply.json["id"])
        self.path = f"/purchases/{self.key}"
        self.orders = [order["id"] for order in reply.json["orders"]]
        self.log.append(("create", f"{kind} {self.model.status} {debited}"))
        self._check_purchase(reply)
        await self._compare()
        return True

    async def _leave_the_margins(self) -> None:
        while any(abs(self.now - moment) < MARGIN for moment in self.model.moments):
            await self._pass(MARGIN)

    async def _advance(self, step: str) -> None:
        seconds = self.chance.choice([25, 45, 100, 250, 290, 310, 550, 900, 3_000])
        await self._pass(seconds)
        self.log.append((step, str(seconds)))

    async def _pass(self, seconds: float) -> None:
        """Let time pass for this purchase without anybody noticing."""
        self.advanced += seconds
        for statement in _SHIFTS:
            await self.stage.execute(statement, self.key, timedelta(seconds=seconds))

    async def _guess(self, step: str) -> None:
        body, says = await self._body(step)
        expected = self.model.validate(says, self.now)
        reply = await self.stage.call("PUT", f"{self.path}/validate_token", body, headers=self._somebody())
        self._check(step, reply, expected)
        if expected in ("wrong", "superseded"):
            reason = "incorrect_token" if expected == "wrong" else "superseded_token"
            extra = {"reason": reason, "attempts_remaining": 5 - self.model.attempts}
            assert reply.json["extra_fields"] == extra, reply
        if expected == "exceeded":
            told = reply.json["extra_fields"]["purchase_data"]
            assert (told["id"], told["status"]) == (str(self.key), "rejected"), reply
            assert told["debited_points"] == self.model.debited

    def _somebody(self) -> Headers:
        return self.chance.choice([self.buyer.for_person, self.buyer.as_person])

    async def _body(self, step: str) -> tuple[Any, str]:
        row = await row_of(self.stage, self.key)
        tokens = [] if row is None else self._tokens(row)
        match step:
            case "missing":
                return self.chance.choice([{}, {"token": None}, {"token": ""}]), "missing"
            case "malformed":
                spoilt = [329123, True, ["329123"], "12345", "1234567", "12345é", "１23456", "329-ad", "\u017f23456"]
                return {"token": self.chance.choice(spoilt)}, "malformed"
            case "right" if tokens:
                return {"token": self._disguised(tokens[-1])}, "right"
            case "superseded" if len(tokens) > 1:
                former = self.chance.choice(tokens[:-1])
                return {"token": former}, "right" if former == tokens[-1] else "superseded"
            case _:
                return {"token": next(text for text in iter(self._any_token, "") if text not in tokens)}, "wrong"

    def _tokens(self, row: Any) -> list[str]:
        return [token_of(make_keyring(), row, number + 1).text for number in range(row["generation"])]

    def _any_token(self) -> str:
        return "".join(self.chance.choices(SYMBOLS + "U", k=6))

    def _disguised(self, token: str) -> str:
        return self.chance.choice([token, f" {token}\n", token.lower()])

    async def _resend(self, step: str) -> None:
        expected = self.model.resend(self.now)
        body = self.chance.choice([None, {}, {"contact_type": "sms"}])
        method = self.chance.choice(["PUT", "PATCH"])
        reply = await self.stage.call(method, f"{self.path}/resend_token", body, headers=self._somebody())
        self._check(step, reply, expected)

    async def _cancel(self, step: str) -> None:
        by_participant = self._one_in(2)
        headers = self.buyer.as_person if by_participant else self.stage.as_application(self.buyer.application)
        expected = self.model.cancel(self.now, by_participant=by_participant)
        reply = await self.stage.call("POST", f"{self.path}/cancel", headers=headers)
        self._check(step, reply, expected)

    async def _confirm(self, step: str) -> None:
        expected = self.model.confirm(self.now)
        headers = self.stage.as_application(self.buyer.application)
        self._check(step, await self.stage.call("POST", f"{self.path}/confirm", headers=headers), expected)

    async def _reverse(self, step: str) -> None:
        number = self.chance.randrange(len(self.orders))
        sale, is_total = self.model.sales[number], self._one_in(4)
        value = 0 if is_total else self.chance.choice([0, 1, 50, sale.products, sale.products + 1])
        shipping = self.chance.choice([0, 0, sale.shipping, sale.shipping + 1])
        body = {
            "executeTotalRefund": is_total,
            "refundType": self.chance.choice([1, 2]),
            "currentRefundValue": value,
            "refundShippingValue": shipping,
            "refundMotiveId": self.chance.randint(1, 50),
        }
        expected, points = self.model.reverse(number, value, shipping, is_total=is_total)
        path = f"/orders/{self.orders[number]}/reversals"
        reply = await self.stage.call("POST", path, body, headers=self.buyer.operator)
        self._check(f"{step} {number}", reply, expected, is_purchase=False)
        if expected == "reversed":
            assert reply.json["total"] == points, reply

    async def _change_device(self, step: str) -> None:
        if self.buyer.device and self.buyer.registrations < REGISTRATIONS_MAX:
            self.log.append((step, "done"))
            await self.buyer.change_device()

    async def _read(self, step: str) -> None:
        self.model.end_if_due(self.now)
        reply = await self.stage.call("GET", self.path, headers=self.buyer.operator)
        self.log.append((step, self.model.status))
        assert reply.status == 200, reply
        self._check_purchase(reply)
        balance = await self.stage.call(
            "GET", f"/participants/{self.buyer.person.key}/balance", headers=self.buyer.operator
        )
        account = self.buyer.account
        assert balance.json == {
            "points_value": account.available,
            "points_value_onhold": account.reserved,
            "total_points_value": account.available + account.reserved,
            "total_credit_points_value": account.credited,
            "total_debit_points_value": account.debited,
        }

    def _check(self, step: str, reply: Reply, expected: str, *, is_purchase: bool = True) -> None:
        self.log.append((step, expected))
        status, code = CODES[expected]
        assert (reply.status, reply.code if reply.status >= 400 else None) == (status, code), (reply, expected)
        if status < 400 and is_purchase:
            self._check_purchase(reply)

    def _check_purchase(self, reply: Reply) -> None:
        told, model = reply.json, self.model
        assert (told["status"], told.get("rejection_reason")) == (model.status, model.reason), reply
        assert told["debited_points"] == model.debited
        assert [line["status"] for line in told["status_history"]] == model.history, reply
        assert [order["status"] for order in told["orders"]] == [sale.status(model.status) for sale in model.sales]
        assert ("approval" in told) == (model.status == PENDING), reply
        if model.status == PENDING:
            approval = told["approval"]
            assert (approval["generation"], approval["attempts_remaining"]) == (model.generation, 5 - model.attempts)
            assert (approval["can_resend_at"] is None) == (model.resends_left == 0), reply

    async def _compare(self) -> None:
        """The rows of purchase, orders and account say what the model says."""
        async with self.stage.db.connection() as connection:
            row = await connection.fetchrow(_STATE, self.key)
            read = await find_purchase(connection, self.key, None)
        model = self.model
        seen = (row["status"], row["rejection_reason"], row["refunded_points"], row["event_sequence"])
        assert seen == (model.status, model.reason, model.refunded, model.events), (seen, self.log)
        assert tuple(row["sums"]) == self.buyer.account.sums, (tuple(row["sums"]), self.buyer.account, self.log)
        assert read is not None
        orders = read.purchase.orders
        assert [order.status for order in orders] == [sale.status(model.status) for sale in model.sales], self.log
        refunds = [points for sale in model.sales for points in (sale.refunded, sale.refunded_shipping)]
        assert list(row["refunds"]) == refunds, self.log

    async def _check_rows(self) -> None:
        """Ledger, comparisons, events and audit: each thing that happened, once."""
        model = self.model
        async with self.stage.db.connection() as connection:
            row = await connection.fetchrow(_ROWS, self.key)
        wanted = Counter[str]()
        if model.debited:
            wanted["reserve"] = 1
            wanted["debit"] = 1 if {"confirmed"} & set(model.history) else 0
            wanted["release"] = 1 if model.status in ("rejected", "canceled", "expired") else 0
        reversals = row["reversals"]
        lines = Counter(row["lines"])
        assert lines.pop("reversal", 0) == reversals
        assert lines == +wanted, (lines, wanted, self.log)
        judged = ["right" if guess == "right" else guess for guess in model.judged]
        assert list(row["comparisons"]) == judged, (row["comparisons"], self.log)
        assert list(row["sequences"]) == list(range(1, model.events + 1)), self.log
        told = Counter(row["told"])
        assert told.pop("order.reversed", 0) == reversals
        assert told == Counter(f"purchase.{status}" for status in model.history), self.log
        audited = Counter(action for action in row["acts"] if action.startswith("purchase."))
        moved = Counter(f"purchase.{status}" for status in model.history[1:])
        assert Counter({name: count for name, count in audited.items() if name in moved}) == moved, (audited, self.log)


async def check_points(db: Database) -> None:
    """Balances equal a replay of their ledgers, what is reserved is what waits, and no order gave too much back.

    Whatever names an account, a purchase, a phone, an application or a policy names one that is there (0048).
    """
    async with db.connection() as connection:
        for query in (_REPLAYED, _RESERVED, _REVERSED, _NAMED):
            assert await connection.fetch(query) == [], query


_REPLAYED = """
select a.* from aval.points_accounts a
  left join lateral (
       select coalesce(sum(case when e.entry_type in ('credit', 'adjustment', 'release', 'reversal') then e.points
                                when e.entry_type in ('reserve', 'expiration') then -e.points end), 0) as available,
              coalesce(sum(case e.entry_type when 'reserve' then e.points when 'release' then -e.points
                                when 'debit' then -e.points else 0 end), 0) as reserved
         from aval.points_entries e
        where e.participant_id = a.participant_id and e.integrator_id = a.integrator_id) e on true
 where a.available <> e.available or a.reserved <> e.reserved or a.available + a.reserved <> a.credited - a.debited
"""
_RESERVED = """
select a.* from aval.points_accounts a
 where a.reserved <> (select coalesce(sum(p.debited_points), 0) from aval.purchases p
                       where p.participant_id = a.participant_id and p.integrator_id = a.integrator_id
                         and p.status in ('pending_2fa_approval', 'authorized'))
"""
_REVERSED = """
select o.order_id from aval.order_refunds o
 where o.refunded_points > o.points_paid
    or o.refunded_points <> (select sum(r.products_points + r.shipping_points) from aval.reversals r
                              where r.order_id = o.order_id and r.integrator_id = o.integrator_id)
union all
select p.purchase_id from aval.purchases p
 where p.refunded_points <> (select coalesce(sum(o.refunded_points), 0) from aval.order_refunds o
                              where o.purchase_id = p.purchase_id and o.integrator_id = p.integrator_id)
"""
_NAMED = """
select e.entry_id from aval.points_entries e
  left join aval.points_accounts a using (integrator_id, participant_id)
  left join aval.purchases p using (integrator_id, purchase_id)
 where a.integrator_id is null or (e.purchase_id is not null and p.participant_id is distinct from e.participant_id)
union all
select p.purchase_id from aval.purchases p
  left join aval.points_accounts a using (integrator_id, participant_id)
  left join aval.phone_devices d using (integrator_id, device_id)
  left join aval.applications l using (integrator_id, application_id)
  left join aval.two_factor_policies y on y.integrator_id = p.integrator_id and y.version = p.policy_version
 where a.integrator_id is null or l.integrator_id is null or y.integrator_id is null
    or (p.device_id is not null and d.participant_id is distinct from p.participant_id)
"""
_OF_AUTHORIZED = {"advance", "cancel", "confirm", "reverse", "read", "change_device"}
_SHIFTS = (
    "update aval.challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
    " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
    " where operation_id = $1",
    "update aval.purchases set authorized_until = authorized_until - $2::interval where purchase_id = $1",
)
_STATE = """
select p.status, p.rejection_reason, p.refunded_points, p.event_sequence,
       array[a.available, a.reserved, a.credited, a.debited] as sums,
       (select array_agg(x.points order by o.place, x.nth)
          from json_array_elements(p.orders) with ordinality as o (ordered, place)
          left join aval.order_refunds d on d.order_id = (o.ordered ->> 0)::uuid and d.integrator_id = p.integrator_id
         cross join lateral (values (1, coalesce(d.refunded_points, 0)),
                                    (2, coalesce(d.refunded_shipping_points, 0))) as x (nth, points)) as refunds
  from aval.purchases p join aval.points_accounts a using (integrator_id, participant_id)
 where p.purchase_id = $1
"""
_ROWS = """
select array(select entry_type from aval.points_entries where purchase_id = $1) as lines,
       array(select verdict from aval.comparisons where operation_id = $1 order by comparison_no) as comparisons,
       array(select sequence from aval.events where operation_id = $1 order by sequence) as sequences,
       array(select event_type from aval.events where operation_id = $1) as told,
       array(select action from aval.audit where operation_id = $1) as acts,
       (select count(*) from aval.reversals r join aval.order_refunds o using (integrator_id, order_id)
         where o.purchase_id = $1) as reversals
"""
