"""Proof of TK11 and AB6 (T3, T31): guess budgets hold across processes and over a year, and stop nothing else.

The year is simulated against the domain; the overshoot is counted in PostgreSQL while API processes with pools and
batches of their own race; the last table says what a lock may not touch.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from aval.domain.budget import BudgetFigures
from aval.operations.expire_window import expire_windows
from aval.operations.fresh import new_cpf, new_phone
from aval.operations.grant_powers import grant_powers
from aval.operations.register_contact import register_contact
from aval.operations.request_transfer import Rules
from aval.operations.seed_sandbox import POWERS
from aval.storage.account_approvers import Grant
from aval.storage.database import Database
from tests.factories import AUTHOR, Party, Reply, make_admin_key, make_approver, make_keyring, make_party
from tests.proof.cases.attacker import DIGITS, SYMBOLS, Attack, risk_of
from tests.world import World, make_world, ted_body

pytestmark = pytest.mark.proof

PROCESSES = 4
IN_FLIGHT = 12
# P/year at the cap, promises.md §7; overflow adds what the 32 symbols allow.
APPROVER, APPROVER_DIGITS, INTEGRATOR, INTEGRATOR_DIGITS, PLATFORM = 1.14e-6, 9.74e-5, 8.2e-5, 8.76e-3, 8.5e-3
# A year holds a thirteenth window of 30 days that has only begun.
BEGUN_WINDOW = 1 + 30 / 365
# The operation that spends an integrator's digits budget keeps its digits, and so the four guesses it has left.
LAST_OPERATION = (24 + 4) / 24
ROUNDING = 1.005


@pytest.mark.parametrize(("operations", "guesses"), [(1, 5), (10, 5), (100, 5), (1_000, 5), (100, 4), (100, 1)])
@pytest.mark.parametrize(
    ("is_digits", "approvers", "cap"),
    [
        (False, 1, APPROVER * BEGUN_WINDOW),
        (True, 1, (APPROVER_DIGITS + APPROVER) * BEGUN_WINDOW),
        (False, 200, INTEGRATOR),
        (True, 200, INTEGRATOR_DIGITS * LAST_OPERATION + INTEGRATOR),
    ],
    ids=["approver", "approver, digits", "integrator", "integrator, digits"],
)
def test_yearly_guess_risk_stays_under_budget(
    is_digits: bool, approvers: int, cap: float, operations: int, guesses: int
) -> None:
    attack = Attack(operations, approvers=approvers, is_digits=is_digits, guesses=guesses)
    risk, _ = risk_of(attack)
    unbounded = operations * 365 * guesses / (DIGITS if is_digits else SYMBOLS)
    assert 0 < risk <= min(cap, unbounded) * ROUNDING


@pytest.mark.parametrize("operations", [1, 10, 100])
def test_yearly_guess_risk_of_a_platform(operations: int) -> None:
    """Under no budget's bound a platform has the table's risk; 1,000 a day are as many times more."""
    risk, registry = risk_of(Attack(operations, approvers=1_000, integrators=50))
    assert registry.wrong[False] == operations * 365 * 5
    assert risk * 1_000 / operations <= PLATFORM * ROUNDING


def test_the_platforms_breaker_bounds_what_many_integrators_allow() -> None:
    """Three days of 2,000 operations over 300 integrators, with the day's breaker at 5,000."""
    figures = replace(BudgetFigures(), platform_wrong_24h_max=5_000)
    _, registry = risk_of(Attack(2_000, approvers=3_000, integrators=300, guesses=4, days=3), figures)
    assert 2 * 5_000 < registry.wrong[False] <= 3 * 5_000


def test_without_budgets_the_simulated_attacker_would_win() -> None:
    """So that the simulation is known to attack: unbounded, every guess is made."""
    loose = BudgetFigures(**{name: 10**9 for name in BudgetFigures.__dataclass_fields__ if name.endswith("_max")})
    risk, registry = risk_of(Attack(50, approvers=50, is_digits=True), loose)
    assert registry.wrong[True] == 91_250
    assert risk > 0.08


@dataclass
class Fleet:
    """API processes over one database, each with its own pool, cache and batches."""

    worlds: list[World]

    @property
    def first(self) -> World:
        return self.worlds[0]

    async def guess(self, number: int, party: Party, kind: str, operation_key: UUID, token: str) -> Reply:
        return await self.worlds[number % len(self.worlds)].validate(party, kind, operation_key, token)

    async def wrong(self, party: Party) -> int:
        query = "select count(*) as n from comparisons where integrator_id = $1 and verdict <> 'right'"
        return int((await self.first.fetch(query, party.key))[0]["n"])


async def fleet_of(stack: AsyncExitStack, dsn: str, figures: BudgetFigures) -> Fleet:
    db = await Database.open(dsn)
    stack.push_async_callback(db.close)
    worlds = []
    for _ in range(PROCESSES):
        api_db = await Database.open(dsn, role="aval_app_api")
        stack.push_async_callback(api_db.close)
        worlds.append(await stack.enter_async_context(make_world(db, api_db, rules=Rules(figures=figures))))
    return Fleet(worlds)


async def guarded(world: World, party: Party) -> Party:
    """Operations are made before budgets hold, so that only guessing is judged."""
    await world.execute(
        "update integrators set budgets = true, version = version + 1 where integrator_id = $1", party.key
    )
    return party


LOOSE = BudgetFigures(
    approver_wrong_24h_max=10_000,
    approver_wrong_30d_max=10_000,
    approver_exhausted_24h_max=10_000,
    approver_wrong_in_a_row_max=10_000,
    approver_digits_wrong_30d_max=10_000,
    integrator_digits_wrong_24h_max=10_000,
    integrator_wrong_24h_max=10_000,
)
# What is reached, by which figure, what the refused ones answer, and how often each operation is guessed at.
BUDGETS: dict[str, tuple[dict[str, int], str, str, str, int]] = {
    "approver, 24 h": ({"approver_wrong_24h_max": 20}, "ted", "QIT000943", "approver_locked", 2),
    "approver, 30 d": ({"approver_wrong_30d_max": 25}, "pix_transfer", "QIT000943", "approver_locked", 2),
    "approver, in a row": ({"approver_wrong_in_a_row_max": 20}, "pix_transfer", "QIT000943", "approver_locked", 2),
    "approver, digits": ({"approver_digits_wrong_30d_max": 8}, "ted", "TED000083", "", 2),
    "integrator": ({"integrator_wrong_24h_max": 24}, "pix_transfer", "QIT000943", "integrator_paused", 2),
    "platform": ({"platform_wrong_24h_max": 30}, "pix_transfer", "QIT000943", "platform_paused", 2),
}


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("in_flight", [1, IN_FLIGHT])
async def test_overshoot_is_at_most_what_was_in_flight(
    dsn: str, chance: random.Random, name: str, in_flight: int
) -> None:
    changes, kind, code, reason, each = BUDGETS[name]
    (limit,) = changes.values()
    async with AsyncExitStack() as stack:
        fleet = await fleet_of(stack, dsn, replace(LOOSE, **changes))
        party = await make_party(fleet.first.db)
        operations = [await fleet.first.request(party, kind) for _ in range(limit)]
        await guarded(fleet.first, party)
        lanes, said = asyncio.Semaphore(in_flight), Counter[str | None]()

        async def guess(number: int) -> None:
            async with lanes:
                key = operations[number % len(operations)]
                reply = await fleet.guess(chance.randrange(PROCESSES), party, kind, key, "UUUUUU")
                said[reply.code] += 1
                if reply.code == "QIT000943":
                    assert reply.json["extra_fields"]["reason"] in (reason, "busy")

        await asyncio.gather(*(guess(number) for number in range(limit * each + 10)))
        wrong = await fleet.wrong(party)
        assert limit <= wrong <= limit + in_flight - 1
        assert said[code] >= 1
        reply = await fleet.guess(0, party, kind, operations[-1], "UUUUUU")
        assert reply.code == code
        assert await fleet.wrong(party) == wrong


async def test_two_exhausted_operations_lock_token_approvals(dsn: str) -> None:
    async with AsyncExitStack() as stack:
        fleet = await fleet_of(stack, dsn, BudgetFigures())
        party = await make_party(fleet.first.db)
        operations = [await fleet.first.request(party) for _ in range(3)]
        await guarded(fleet.first, party)
        for key in operations[:2]:
            replies = [await fleet.guess(number, party, "pix_transfer", key, "UUUUUU") for number in range(5)]
            assert [reply.code for reply in replies] == ["PXT000173"] * 4 + ["PXT000171"]
        token = await fleet.first.token(party, operations[2])
        refused = await fleet.guess(1, party, "pix_transfer", operations[2], token)
        assert (refused.code, refused.json["extra_fields"]) == ("QIT000943", {"reason": "approver_locked"})
        assert 86_000 < int(refused.headers["retry-after"]) <= 86_400


async def test_a_budget_set_above_a_hundred_still_holds(dsn: str) -> None:
    """Every figure is a setting: one above the default is reached as well."""
    for name in ("approver_wrong_in_a_row_max", "approver_wrong_30d_max", "approver_wrong_24h_max"):
        async with AsyncExitStack() as stack:
            fleet = await fleet_of(stack, dsn, replace(LOOSE, **{name: 150}))
            party = await make_party(fleet.first.db)
            key = await fleet.first.request(party)
            await guess_before(fleet.first, party, 149)
            await guarded(fleet.first, party)
            codes = [(await fleet.guess(number, party, "pix_transfer", key, "UUUUUU")).code for number in range(2)]
            assert codes == ["PXT000173", "QIT000943"], name


async def guess_before(world: World, party: Party, count: int, *, alphabet: str = "crockford32") -> None:
    """Wrong comparisons of this moment, on operations of their own; none of them was a fifth."""
    operations = [await world.request(party) for _ in range(-(-count // 4))]
    for number in range(count):
        await world.execute(
            "insert into comparisons values ($1, $2, $3, 1, 'wrong', $4, $5, true, clock_timestamp())",
            party.key,
            operations[number // 4],
            number % 4 + 1,
            alphabet,
            party.approver.key,
        )


async def test_a_spent_digits_budget_moves_to_the_32_symbols_and_ends_live_digits(dsn: str) -> None:
    async with AsyncExitStack() as stack:
        fleet = await fleet_of(stack, dsn, BudgetFigures())
        world, party = fleet.first, await make_party(fleet.first.db)
        operations = [await world.request(party, "ted") for _ in range(3)]
        await guess_before(world, party, 8, alphabet="digits")
        await guarded(world, party)
        live = operations[2]
        right = await world.token(party, live)
        assert right.isdigit()
        replies = [
            await fleet.guess(number, party, "ted", live, guess) for number, guess in enumerate((right, "0" * 6))
        ]
        assert {reply.code for reply in replies} == {"TED000083"}
        assert await fleet.wrong(party) == 8
        await world.advance(live, 31)
        path = f"/account/{party.account.key}/ted/{live}/resend_token"
        assert (await world.call("PATCH", path, key=party.api_key)).status == 202
        (row,) = await world.fetch("select alphabets from challenges where operation_id = $1", live)
        assert row["alphabets"] == "dc"
        assert (await fleet.guess(2, party, "ted", live, await world.token(party, live))).status == 202
        fresh = await world.request(party, "ted")
        (row,) = await world.fetch("select alphabets from challenges where operation_id = $1", fresh)
        assert row["alphabets"] == "c"


async def test_where_overflow_is_refused_a_spent_digits_budget_refuses_digits_alone(dsn: str) -> None:
    """`digits_overflow = refuse`, the other choice of promises.md §7: no token of a TED, every token of a Pix."""
    figures = {
        "approver_digits_wrong_30d_max": "approver_locked",
        "integrator_digits_wrong_24h_max": "integrator_paused",
    }
    for name, reason in figures.items():
        async with AsyncExitStack() as stack:
            fleet = await fleet_of(stack, dsn, replace(LOOSE, digits_overflow="refuse", **{name: 8}))
            world, party = fleet.first, await make_party(fleet.first.db)
            live = await world.request(party, "ted")
            await guess_before(world, party, 8, alphabet="digits")
            await guarded(world, party)
            await world.advance(live, 31)
            ted = f"/account/{party.account.key}/ted"
            calls = [("POST", ted, ted_body(party)), ("PATCH", f"{ted}/{live}/resend_token", None)]
            for method, path, body in calls:
                reply = await world.call(method, path, body, key=party.api_key)
                assert (reply.code, reply.json["extra_fields"]) == ("QIT000943", {"reason": reason})
                assert int(reply.headers["retry-after"]) > 86_000
            pix = await world.request(party)
            assert (await fleet.guess(1, party, "pix_transfer", pix, await world.token(party, pix))).status == 202


# AB6


@dataclass
class Scene:
    """A locked approver, the people beside them, and the same person at another integrator."""

    world: World
    locked: Party
    colleague: Party  # another approver of the same integrator and account
    elsewhere: Party  # the same CPF at another integrator
    admin_key: str
    keys: dict[str, UUID]

    async def made(self, party: Party, kind: str = "pix_transfer", **change: Any) -> Reply:
        body = party.pix(**change) if kind == "pix_transfer" else ted_body(party, **change)
        return await self.world.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)

    async def judged(self, name: str, token: Any = "right", **headers: str) -> Reply:
        party = self.colleague if name.startswith("colleague") else self.locked
        party = self.elsewhere if name.startswith("elsewhere") else party
        kind = "ted" if name in ("ted", "elsewhere ted") else "pix_transfer"
        said = await self.world.token(party, self.keys[name]) if token == "right" else token
        return await self.world.validate(party, kind, self.keys[name], said, **headers)

    async def called(
        self, method: str, path: str, body: Any = None, *, party: Party | None = None, **headers: str
    ) -> Reply:
        caller = party or self.locked
        key = self.admin_key if path.startswith("/admin") else caller.api_key
        return await self.world.call(method, path.format(**self.places(caller)), body, key=key, **headers)

    def places(self, party: Party) -> dict[str, object]:
        base = f"/account/{party.account.key}"
        admin = f"/admin/integrators/{party.key}"
        return {"a": base, "i": admin, "p": f"{base}/pix_transfer", "approver": party.approver.key, **self.keys}


Row = Callable[[Scene], Any]
LOCKED, DONE, MADE, FINE = (429, "QIT000943"), (202, None), (201, None), (200, None)
# What is asked, and what is answered while the approver is locked.
TABLE: dict[str, tuple[Row, tuple[int, str | None]]] = {
    # what the lock is for
    "create over SMS": (lambda s: s.made(s.locked), LOCKED),
    "create over e-mail": (lambda s: s.made(s.locked, tfa_info=s.locked.tfa_info | {"contact_type": "email"}), LOCKED),
    "create a TED": (lambda s: s.made(s.locked, "ted"), LOCKED),
    "the right token": (lambda s: s.judged("live"), LOCKED),
    "a wrong token": (lambda s: s.judged("live", "UUUUUU"), LOCKED),
    "the right token of a TED": (lambda s: s.judged("ted"), LOCKED),
    "resend": (lambda s: s.called("PATCH", "{p}/{live}/resend_token"), LOCKED),
    # the operation stays as it is, and answers everything that is no guess
    "no token": (lambda s: s.judged("live", {}), (400, "PXT000908")),
    "no well-formed token": (lambda s: s.judged("live", "x"), (400, "QIT000001")),
    "an expired token": (lambda s: s.judged("expired"), (400, "PXT000172")),
    "an exhausted operation": (lambda s: s.judged("exhausted"), (400, "PXT000171")),
    "a cancelled operation": (lambda s: s.judged("cancelled"), (400, "PXT000175")),
    "a call repeated": (lambda s: s.judged("live", "UUUUUU", idempotency_key="before"), (400, "PXT000173")),
    "a create repeated": (lambda s: s.made(s.locked, request_control_key=str(s.keys["request"])), DONE),
    "read one": (lambda s: s.called("GET", "{p}/{live}/outgoing"), FINE),
    "read all": (lambda s: s.called("GET", "{p}s"), FINE),
    "cancel": (lambda s: s.called("PATCH", "{p}/{other}/cancel"), FINE),
    "let time pass": (lambda s: s.called("POST", "/sandbox/operations/{live}/advance", {"seconds": 1}), FINE),
    "the inbox": (lambda s: s.called("GET", "/sandbox/inbox"), FINE),
    # the device path stays: it is refused for the device nobody registered, and not for the lock
    "create on a device": (
        lambda s: s.made(s.locked, tfa_info=s.locked.tfa_info | {"contact_type": "device", "session_id": SESSION}),
        (400, "PXT000912"),
    ),
    # the integrator and its other people
    "a colleague creates": (lambda s: s.made(s.colleague), DONE),
    "a colleague creates a TED": (lambda s: s.made(s.colleague, "ted"), DONE),
    "a colleague approves": (lambda s: s.judged("colleague"), DONE),
    "a colleague guesses wrong": (lambda s: s.judged("colleague other", "UUUUUU"), (400, "PXT000173")),
    "a colleague resends": (
        lambda s: s.called("PATCH", f"{{p}}/{s.keys['colleague third']}/resend_token", party=s.colleague),
        DONE,
    ),
    "read the account": (lambda s: s.called("GET", "{a}"), FINE),
    "read events": (lambda s: s.called("GET", "/notification/events"), FINE),
    "a webhook target": (lambda s: s.called("POST", "/webhook_endpoints", {"url": "https://hooks.example.com/"}), MADE),
    # administration
    "read the approver": (lambda s: s.called("GET", f"/admin/integrators/{s.locked.key}/approvers/{{approver}}"), FINE),
    "rename the approver": (
        lambda s: s.called("PATCH", f"/admin/integrators/{s.locked.key}/approvers/{{approver}}", {"name": "Ana"}),
        FINE,
    ),
    "grant powers": (
        lambda s: s.called(
            "PUT",
            f"/admin/integrators/{s.locked.key}/accounts/{s.locked.account.key}/approvers/{{approver}}",
            {"powers": list(POWERS)},
        ),
        FINE,
    ),
    # the same person at another integrator
    "elsewhere: create": (lambda s: s.made(s.elsewhere), DONE),
    "elsewhere: approve": (lambda s: s.judged("elsewhere"), DONE),
    "elsewhere: a TED": (lambda s: s.judged("elsewhere ted"), DONE),
    "elsewhere: a wrong token": (lambda s: s.judged("elsewhere other", "UUUUUU"), (400, "PXT000173")),
    "elsewhere: resend": (
        lambda s: s.called("PATCH", f"{{p}}/{s.keys['elsewhere third']}/resend_token", party=s.elsewhere),
        DONE,
    ),
}
SESSION = "1b7d42f6-c093-4e58-a6d1-8f20e9c5b374"


async def add_approver(world: World, party: Party, document_number: str | None = None) -> Party:
    """The party with another approver, linked to the same account."""
    document_number, phone = document_number or new_cpf(), new_phone()
    approver = await make_approver(world.db, party.key, document_number=document_number, phone=phone)
    grant = Grant(approver.key, POWERS, None)
    await grant_powers(world.db, integrator_key=party.key, account_key=party.account.key, grant=grant, author=AUTHOR)
    return replace(party, approver=approver, document_number=document_number, phone=phone)


@pytest.fixture(scope="module")
async def scene(module_world: World) -> AsyncIterator[Scene]:
    world = module_world
    locked, other = await make_party(world.db), await make_party(world.db)
    colleague, elsewhere = await add_approver(world, locked), await add_approver(world, other, locked.document_number)
    keys = {name: await world.request(locked) for name in ("live", "other", "expired", "exhausted", "cancelled", "due")}
    keys |= {name: await world.request(colleague) for name in ("colleague", "colleague other", "colleague third")}
    keys |= {name: await world.request(elsewhere) for name in ("elsewhere", "elsewhere other", "elsewhere third")}
    keys |= {"ted": await world.request(locked, "ted"), "elsewhere ted": await world.request(elsewhere, "ted")}
    approved = await world.request(locked)
    assert (await world.validate(locked, "pix_transfer", approved, await world.token(locked, approved))).status == 202
    for name in ("live", "colleague third", "elsewhere third"):
        await world.advance(keys[name], 31)
    await world.advance(keys["expired"], 301)
    made = Scene(world, locked, colleague, elsewhere, await make_admin_key(world.db), keys | {"approved": approved})
    for _ in range(5):
        await made.judged("exhausted", "UUUUUU")
    await made.called("PATCH", "{p}/{cancelled}/cancel")
    await made.judged("live", "UUUUUU", idempotency_key="before")
    reply = await made.made(locked)
    keys_of = "select request_control_key, operation_id from operations where operation_id = $1"
    (row,) = await world.fetch(keys_of, UUID(reply.json["pix_transfer_key"]))
    made.keys["request"] = row["request_control_key"]
    await guess_before(world, locked, 20)
    for party in (locked, elsewhere):
        await guarded(world, party)
    yield made


@pytest.mark.parametrize("name", TABLE)
async def test_lock_is_not_a_weapon(world: World, scene: Scene, name: str) -> None:
    call, expected = TABLE[name]
    reply = await call(scene)
    assert (reply.status, reply.code) == expected
    if expected == LOCKED:
        assert reply.json["extra_fields"] == {"reason": "approver_locked"}


async def test_a_lock_stops_no_deadline_and_no_settlement(world: World, scene: Scene) -> None:
    await world.advance(scene.keys["due"], 3_601)
    assert (await expire_windows(world.db, most=100)).expired == 1
    query = (
        "select c.status, c.rejection_reason, j.state from challenges c"
        " left join settlement_jobs j using (operation_id) where operation_id = $1"
    )
    rows = {name: await world.fetch(query, scene.keys[name]) for name in ("due", "approved")}
    assert tuple(rows["due"][0]) == ("rejected", "approval_window_expired", None)
    assert tuple(rows["approved"][0]) == ("pending", None, "ready")


async def test_a_new_contact_ends_only_the_lock_of_a_hundred_in_a_row(world: World) -> None:
    party = await make_party(world.db)
    key = await world.request(party)
    await guess_before(world, party, 100)
    await world.execute("alter table comparisons disable trigger comparisons_are_fixed")
    await world.execute(
        "update comparisons set judged_at = judged_at - interval '40 days' where integrator_id = $1", party.key
    )
    await world.execute("alter table comparisons enable trigger comparisons_are_fixed")
    backdated = "update contacts set created_at = created_at - interval '50 days' where integrator_id = $1"
    await world.execute(backdated, party.key)
    await guarded(world, party)
    refused = await world.validate(party, "pix_transfer", key, "UUUUUU")
    assert refused.json["extra_fields"] == {"reason": "approver_locked"}
    await register_contact(
        world.db,
        integrator_key=party.key,
        approver_key=party.approver.key,
        contact_type="email",
        destination="nova@example.com",
        keyring=make_keyring(),
        author=AUTHOR,
    )
    assert (await world.validate(party, "pix_transfer", key, "UUUUUU")).code == "PXT000173"
