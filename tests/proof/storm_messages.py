"""Proof of AB1 and, of AB2, what is built (T11, T14): limits of messages and pending operations hold to the last one.

Four API processes are asked for messages to the same approvers at once; two workers bring them to an SMS gateway, where
they are counted. The limits are counted a second time from the rows: at the moment of each message no more may lie
before it than allowed. AB2 asks the real API to register every kind of number there is.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import phonenumbers
import pytest

from aval.domain.budget import DAY, TEN_MINUTES, BudgetFigures
from aval.domain.contact import normalized_phone
from tests.factories import Party, Reply, make_admin_key, make_party
from tests.proof.deployment import RunningAval, figure, live_tokens, running_deployment
from tests.world import ted_body

pytestmark = pytest.mark.proof

CALLS = figure(10_000, 100_000)
CALLS_OF_A_PARTY = 125
IN_FLIGHT = 96
DELIVERED_WITHIN_S = 120
FIGURES = BudgetFigures()
LIVE: dict[str, Any] = {"mode": "live", "ted_hours": False, "requests_per_second": None, "resend_cooldown_seconds": 5}

MESSAGES, BUSY = ("QIT000943", "message_limit"), ("QIT000943", "busy")
FULL = {("PXT000914", "pending_operations_limit"), ("TED000914", "pending_operations_limit")}
# A resend that is too early, too often or too late; a row that was not won in time.
BESIDE = {f"{family}000{number}" for family in ("PXT", "TED") for number in (903, 904)}
BESIDE |= {"PXT000175", "PXT000180", "TED000086", "QIT000944"}


@dataclass
class Bombed:
    """An approver who is sent messages, and what the caller was told."""

    party: Party
    habit: str
    operations: dict[UUID, str] = field(default_factory=dict)  # by key: its kind
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # that were accepted
    said: Counter[str] = field(default_factory=Counter)

    async def call(self, aval: RunningAval, method: str, path: str, body: Any = None) -> Reply:
        return await aval.call(method, f"/account/{self.party.account.key}/{path}", body, key=self.party.api_key)

    def count(self, name: str, reply: Reply) -> bool:
        """Whether it was done; a refusal has to be one of those that may come."""
        if reply.status in (200, 201, 202):
            self.said["repeated" if "idempotent-replayed" in reply.headers else name] += 1
            return True
        reason = (str(reply.code), reply.json["extra_fields"].get("reason"))
        assert reason in FULL | {MESSAGES, BUSY} or reply.code in BESIDE, reply
        self.said[reason[1] or "beside"] += 1
        return False


def batch_body(party: Party) -> dict[str, Any]:
    """Two transfers that one message asks for."""
    items = [party.pix(transaction_amount=1) for _ in range(2)]
    for item in items:
        del item["tfa_info"]
    return {"request_control_key": str(uuid4()), "tfa_info": party.tfa_info, "pix_transfers": items}


BODIES: dict[str, Callable[[Party], dict[str, Any]]] = {
    "pix_transfer": lambda party: party.pix(transaction_amount=1),
    "ted": ted_body,
    "pix_transfer_batch": batch_body,
}


async def create(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    kind = chance.choice(list(BODIES))
    body = BODIES[kind](bombed.party)
    reply = await bombed.call(aval, "POST", kind, body)
    if bombed.count("created", reply):
        bombed.operations[UUID(reply.json[f"{kind}_key"])] = kind
        bombed.bodies.append((kind, body))


async def repeat(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    if not bombed.bodies:
        return await create(aval, bombed, chance)
    reply = await bombed.call(aval, "POST", *chance.choice(bombed.bodies))
    assert (
        bombed.count("repeated", reply) or reply.code == "QIT000944" or reply.json["extra_fields"] == {"reason": "busy"}
    ), reply


async def create_thrice(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    """The same request three times at once, over three processes."""
    body = bombed.party.pix(transaction_amount=2)
    replies = await asyncio.gather(*(bombed.call(aval, "POST", "pix_transfer", body) for _ in range(3)))
    done = [bombed.count("created", reply) for reply in replies]
    if any(done):
        bombed.operations[UUID(replies[done.index(True)].json["pix_transfer_key"])] = "pix_transfer"


async def resend(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    if not bombed.operations:
        return await create(aval, bombed, chance)
    key = chance.choice(list(bombed.operations))
    bombed.count("resent", await bombed.call(aval, "PATCH", f"{bombed.operations[key]}/{key}/resend_token"))


async def cancel(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    if not bombed.operations:
        return await create(aval, bombed, chance)
    key = chance.choice(list(bombed.operations))
    bombed.count("cancelled", await bombed.call(aval, "PATCH", f"{bombed.operations[key]}/{key}/cancel"))


async def create_and_approve(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    await _create_and_answer(aval, bombed, "right")


async def create_and_miss(aval: RunningAval, bombed: Bombed, chance: random.Random) -> None:
    await _create_and_answer(aval, bombed, "wrong")


async def _create_and_answer(aval: RunningAval, bombed: Bombed, answer: str) -> None:
    reply = await bombed.call(aval, "POST", "pix_transfer", bombed.party.pix(transaction_amount=1))
    if not bombed.count("created", reply):
        return
    key = UUID(reply.json["pix_transfer_key"])
    token = (await live_tokens(aval.db, [key]))[key].text if answer == "right" else "UUUUUU"
    reply = await bombed.call(aval, "PUT", f"pix_transfer/{key}/validate_token", {"token": token})
    assert reply.status in (201, 202) or reply.code in ("PXT000173", "QIT000944") or reply.status == 429, reply


Act = Callable[[RunningAval, Bombed, random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Habit:
    """How a caller goes about it, what the approver was sent before, and where the storm has to end."""

    acts: dict[Act, int]  # with their weights
    unanswered_before: int = 0
    answered_before: int = 0
    most: int | None = None  # messages that the storm makes, exactly; None: no more than the rows allow
    reason: str = "message_limit"


HABITS = {
    "creates": Habit({create: 6, create_thrice: 1, repeat: 2}, most=6),
    "everything": Habit({create: 6, repeat: 2, resend: 5, cancel: 1}, most=6),
    "twenty a day": Habit({create: 5, resend: 4}, unanswered_before=16, most=4),
    "two hundred a day": Habit({create: 5, resend: 4}, answered_before=197, most=3),
    "all approved": Habit({create_and_approve: 1}),
    "all wrong": Habit({create_and_miss: 1}, most=10, reason="pending_operations_limit"),
}


@pytest.fixture(scope="module")
async def aval() -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=4, workers=2) as running:
        yield running


async def test_approver_is_not_bombed(aval: RunningAval, chance: random.Random) -> None:
    habits = list(HABITS)
    count = CALLS // CALLS_OF_A_PARTY
    parties = await run_all((make_party(aval.db, **LIVE) for _ in range(count)), 8)
    everybody = [Bombed(party, habits[number % len(habits)]) for number, party in enumerate(parties)]
    for bombed in everybody:
        await remember(aval, bombed)
    await delivered(aval)
    before = {bombed.party.phone: len(await messages_of(aval, bombed)) for bombed in everybody}
    aval.sms.clear()
    calls = [call for bombed in everybody for call in calls_of(aval, bombed, chance)]
    chance.shuffle(calls)
    cooling = asyncio.create_task(forget_cooldowns(aval))
    try:
        await run_all((call() for call in calls), IN_FLIGHT)
    finally:
        cooling.cancel()
    await delivered(aval)
    told = sum((bombed.said for bombed in everybody), Counter())
    assert told["message_limit"] and told["pending_operations_limit"] and told["repeated"] and told["resent"], told
    sent = Counter(message["destination"] for message in aval.sms)
    assert len({message["message_key"] for message in aval.sms}) == len(aval.sms), "a message went out twice"
    for bombed in everybody:
        await check(aval, bombed, before[bombed.party.phone], sent[bombed.party.phone])
    assert sum(sent[bombed.party.phone] for bombed in everybody) == len(aval.sms), "a message to nobody of ours"


def calls_of(aval: RunningAval, bombed: Bombed, chance: random.Random) -> list[Callable[[], Awaitable[None]]]:
    acts = HABITS[bombed.habit].acts
    return [
        lambda act=act: act(aval, bombed, chance)  # type: ignore[misc]
        for act in chance.choices(list(acts), weights=list(acts.values()), k=CALLS_OF_A_PARTY)
    ]


async def remember(aval: RunningAval, bombed: Bombed) -> None:
    """Messages of the last hours, of an operation that is over: as the API makes them, but not at once."""
    habit = HABITS[bombed.habit]
    count = habit.unanswered_before + habit.answered_before
    if not count:
        return
    reply = await bombed.call(aval, "POST", "pix_transfer", bombed.party.pix(transaction_amount=1))
    assert reply.status == 202, reply
    key = UUID(reply.json["pix_transfer_key"])
    if habit.answered_before:
        reply = await bombed.call(aval, "PUT", f"pix_transfer/{key}/validate_token", {"token": "UUUUUU"})
        assert reply.code == "PXT000173", reply
    assert (await bombed.call(aval, "PATCH", f"pix_transfer/{key}/cancel")).status == 200
    async with aval.db.connection() as connection:
        await connection.execute(
            "update aval.outbox set state = 'void', finished_at = due_at, fence = fence + 1,"
            " created_at = created_at - interval '2 hours' where operation_id = $1",
            key,
        )
        await connection.execute(
            "insert into aval.outbox (integrator_id, message_id, topic, operation_id, generation, approver_id,"
            " contact_id, channel, correlation_id, state, due_at, created_at, finished_at)"
            " select integrator_id, gen_random_uuid(), topic, operation_id, generation, approver_id, contact_id,"
            " channel, correlation_id, 'void', due_at, created_at - n * interval '1 minute', finished_at"
            " from aval.outbox, generate_series(1, $2) n where operation_id = $1",
            key,
            count - 1,
        )


async def forget_cooldowns(aval: RunningAval) -> None:
    """Let every operation be resent at once: the wait between resends is no limit that is proven here."""
    while True:
        async with aval.db.connection() as connection:
            await connection.execute(
                "update aval.challenges set can_resend_at = issued_at where status = 'pending_2fa_approval'"
                " and can_resend_at > issued_at and operation_id in (select operation_id from aval.challenges"
                " where can_resend_at > issued_at for no key update skip locked)"
            )
        await asyncio.sleep(0.5)


async def delivered(aval: RunningAval) -> None:
    """Wait until no message is under way."""
    async with aval.db.connection() as connection:
        for _ in range(DELIVERED_WITHIN_S * 10):
            if not await connection.fetchval("select count(*) from aval.outbox where state = 'ready'"):
                return
            await asyncio.sleep(0.1)
    raise AssertionError("messages stayed under way")


async def check(aval: RunningAval, bombed: Bombed, before: int, sent: int) -> None:
    """What was told, what is stored and what the provider got: none of them beyond a limit."""
    habit, said = HABITS[bombed.habit], (bombed.habit, bombed.said)
    messages = await messages_of(aval, bombed)
    made = len(messages) - before
    assert made == bombed.said["created"] + bombed.said["resent"], said
    assert sent <= made, said
    assert habit.most is None or made == habit.most, (*said, made)
    assert bombed.said[habit.reason] or habit.most is None, said
    if "cancelled" not in bombed.said and "resent" not in bombed.said and habit.most is not None:
        assert sent == made, said  # nothing was void before it left
    check_windows(bombed, messages)
    await check_pending(aval, bombed)


def check_windows(bombed: Bombed, messages: list[Any]) -> None:
    """At the moment each message was made, there was room for it."""
    for place, message in enumerate(messages):
        at = message["created_at"]
        earlier = messages[:place]
        unanswered = [m["created_at"] for m in earlier if not any(m["created_at"] < j <= at for j in m["judged"])]
        counts = (
            within(unanswered, at, TEN_MINUTES),
            within(unanswered, at, DAY),
            within((m["created_at"] for m in earlier), at, DAY),
        )
        limits = (
            FIGURES.approver_unanswered_10min_max,
            FIGURES.approver_unanswered_24h_max,
            FIGURES.approver_messages_24h_max,
        )
        assert message["is_remembered"] or all(c < most for c, most in zip(counts, limits, strict=True)), (
            bombed.habit,
            counts,
        )


def within(times: Iterable[Any], at: Any, window: timedelta) -> int:
    return sum(time > at - window for time in times)


async def messages_of(aval: RunningAval, bombed: Bombed) -> list[Any]:
    async with aval.db.connection() as connection:
        return await connection.fetch(
            "select m.created_at, m.created_at < o.created_at as is_remembered,"
            " array(select judged_at from aval.comparisons k where k.operation_id = m.operation_id) as judged"
            " from aval.outbox m join aval.operations o using (integrator_id, operation_id)"
            " where m.integrator_id = $1 and m.topic = 'token' order by m.created_at",
            bombed.party.key,
        )


async def check_pending(aval: RunningAval, bombed: Bombed) -> None:
    """At the moment each operation was requested, there was a place for it."""
    async with aval.db.connection() as connection:
        rows = await connection.fetch(
            "select o.created_at, case when c.status <> 'pending_2fa_approval' then"
            " coalesce(c.consumed_at, c.updated_at) end as ended_at"
            " from aval.operations o join aval.challenges c using (integrator_id, operation_id)"
            " where o.integrator_id = $1 and o.batch_id is null order by o.created_at",
            bombed.party.key,
        )
    for place, row in enumerate(rows):
        open_then = [r for r in rows[:place] if r["ended_at"] is None or r["ended_at"] > row["created_at"]]
        assert len(open_then) < FIGURES.approver_pending_max, bombed.habit


async def run_all(calls: Iterable[Awaitable[Any]], at_once: int) -> list[Any]:
    """Await everything, so many at once, in order of its start."""
    waiting = iter(enumerate(calls))
    results: dict[int, Any] = {}

    async def lane() -> None:
        for place, call in waiting:
            results[place] = await call

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(lane())
    return [results[place] for place in sorted(results)]


# AB2


def numbers_of_the_world() -> Iterable[tuple[str, str]]:
    """What a number is, and an example of it, for every region and type that has one; and what is not E.164."""
    kinds = {v: k for k, v in vars(phonenumbers.PhoneNumberType).items() if isinstance(v, int)}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in sorted(kinds):
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
                yield f"{region} {kinds[kind]}", text
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        number = phonenumbers.example_number_for_non_geo_entity(code)
        yield f"satellite or shared +{code}", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


ODD = {
    "no plus": "5511987654321",
    "spaces": "+55 11 98765-4321",
    "trunk zero": "+55011987654321",
    "landline": "+551133334444",
    "8-digit mobile": "+551187654321",
    "no such area": "+5520987654321",
    "short code": "+5527123",
    "0800": "+558001234567",
    "0300": "+553001234567",
    "0500": "+555001234567",
    "0900": "+559001234567",
    "full-width digits": "+551198765432１",
    "arabic digits": "+55119876543٢١",
    "extension": "+5511987654321;ext=9",
    "phone-context": "11987654321;phone-context=+55",
    "a link": "tel:+5511987654321",
    "two numbers": "+5511987654321,+12025550123",
    "line end": "+5511987654321\n",
    "premium abroad": "+882991234567",
}


async def test_pumping_is_cut_off(aval: RunningAval, chance: random.Random) -> None:
    """No number but a Brazilian mobile is ever registered, and a message goes nowhere but to a registered contact."""
    world = dict(numbers_of_the_world())
    assert len(world) > 1_000
    mobiles = {name for name, text in world.items() if normalized_phone(text)}
    assert mobiles == {"BR MOBILE"}, mobiles
    party, admin_key = await make_party(aval.db, **LIVE), await make_admin_key(aval.db)
    path = f"/admin/integrators/{party.key}/approvers/{party.approver.key}/contacts"
    asked = ODD | {name: world[name] for name in world if name.startswith("BR ") and name not in mobiles}
    asked |= {name: world[name] for name in chance.sample(sorted(world.keys() - mobiles), 150)}
    for name, text in asked.items():
        reply = await aval.call("POST", path, {"contact_type": "sms", "destination": text}, key=admin_key)
        assert (reply.status, reply.code) == (400, "QIT000001"), (name, reply)
    reply = await aval.call("POST", f"/account/{party.account.key}/pix_transfer", party.pix(), key=party.api_key)
    assert reply.status == 202, reply
    for change in ({"destination": "+12025550123"}, {"contact": {"destination": "+12025550123"}}):
        body = party.pix(request_control_key=str(uuid4()), tfa_info={**party.tfa_info, **change})
        refused = await aval.call("POST", f"/account/{party.account.key}/pix_transfer", body, key=party.api_key)
        assert refused.code == "QIT000001", refused
    await delivered(aval)
    assert all(normalized_phone(message["destination"]) for message in aval.sms)
    assert [m["destination"] for m in aval.sms].count(party.phone) == 1
    assert not {message["destination"] for message in aval.sms} & set(asked.values())
