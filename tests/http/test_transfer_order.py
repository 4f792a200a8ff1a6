"""The order of checks: every fault at once, then one less from the front – the first that is left answers.

Create is transfers.md §3.1, validate_token §4.1, resend_token §4.2, cancel §4.3.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.factories import Party, make_party
from tests.transfers import Wire
from tests.world import ITEMS, World

KINDS = ("pix_transfer", "ted", "pix_transfer_batch", "ted_batch")
UNKNOWN_KEY = "aval_live_" + "x" * 43

# Where the two kinds have other numbers.
CODES = {
    "pix_transfer": {
        "account": "PXT000004",
        "operation": "PXT000023",
        "conflict": "PXT000902",
        "account_unavailable": "PXT000918",
        "tfa_info": "PXT000909",
        "approver": "PXT000906",
        "contact": "PXT000913",
        "device": "PXT000912",
        "closed_on_create": "PXT000910",
        "limit": "PXT000914",
        "funds": "PXT000901",
        "token_required": "PXT000908",
        "expired": "PXT000172",
        "validating": "PXT000174",
        "incorrect": "PXT000173",
        "no_resend": "PXT000911",
        "no_resend_left": "PXT000904",
        "too_soon": "PXT000903",
        "closed_on_resend": "PXT000176",
        "attempts": "PXT000171",
        "status": "PXT000175",
    },
    "ted": {
        "account": "TED000009",
        "operation": "TED000020",
        "conflict": "TED000902",
        "account_unavailable": "TED000918",
        "tfa_info": "TED000080",
        "approver": "TED000079",
        "contact": "TED000913",
        "device": "TED000912",
        "closed_on_create": "TED000081",
        "limit": "TED000914",
        "funds": "TED000901",
        "token_required": "TED000110",
        "expired": "TED000083",
        "validating": "TED000085",
        "incorrect": "TED000084",
        "no_resend": "TED000911",
        "no_resend_left": "TED000904",
        "too_soon": "TED000903",
        "closed_on_resend": "TED000087",
        "attempts": "TED000082",
        "status": "TED000086",
    },
}

CODES["pix_transfer_batch"] = CODES["pix_transfer"] | {"operation": "PXT000178", "status": "PXT000180"}
CODES["ted_batch"] = CODES["ted"] | {"operation": "TED000101", "status": "TED000102"}
UNKNOWN_ON_RESEND = {"ted_batch": "TED000020"}  # as published

Mend = str | dict[str, Any] | None


@dataclass
class Call:
    """One call that is repeated while its faults are taken away."""

    world: World
    party: Party
    method: str
    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = b"{"
    api_key: str = UNKNOWN_KEY
    account_key: UUID = field(default_factory=uuid4)
    rest: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(self) -> str:
        """The code it answers, or its status if it is done."""
        body = {name: value for name, value in self.body.items() if value is not None}
        path = f"/account/{self.account_key}/{self.kind}{self.rest}"
        answer = await self.world.call(self.method, path, body, key=self.api_key, raw=self.raw, **self.headers)
        return answer.code or str(answer.status)

    async def mend(self, change: Mend) -> None:
        """Take a fault away: a statement (`$1` is the integrator), members of the body, or parts of the call."""
        if isinstance(change, str):
            await self.world.execute(change, self.party.key)
        elif change:
            self.body |= change.pop("body", {})
            for name, value in change.items():
                setattr(self, name, value)

    async def climb(self, *rungs: tuple[str, Mend]) -> None:
        """Answer code by code, each time with one fault less."""
        for code, change in rungs:
            assert await self() == code
            await self.mend(change)


# The approver, the account, the hours and the limits, each broken and mended (`$1` is the integrator).
BROKEN = {
    "account": "update accounts set status = 'blocked' where integrator_id = $1",
    "hours": "update integrators set ted_hours = true, version = version + 1 where integrator_id = $1",
    "approver": "update approvers set active = false where integrator_id = $1",
    "contact": "update contacts set usable_at = clock_timestamp() + interval '1 h' where integrator_id = $1",
    "limits": """update accounts set limits = '{"pix": {"sms_amount_limit": 1}, "ted": {"sms_amount_limit": 1}}'
                  where integrator_id = $1""",
    "funds": "update accounts set balance_centavos = 0 where integrator_id = $1",
}
MENDED = {
    "account": "update accounts set status = 'open' where integrator_id = $1",
    "hours": "update integrators set ted_hours = false, version = version + 1 where integrator_id = $1",
    "approver": "update approvers set active = true where integrator_id = $1",
    "contact": "update contacts set usable_at = created_at where integrator_id = $1",
    "budgets": "update integrators set budgets = false, version = version + 1 where integrator_id = $1",
    "limits": "update accounts set limits = '{}' where integrator_id = $1",
    "funds": "update accounts set balance_centavos = 100000000 where integrator_id = $1",
}
LATER = """issued_at = issued_at + interval '{seconds} s', expires_at = expires_at + interval '{seconds} s',
           can_resend_at = can_resend_at + interval '{seconds} s'"""
# For all of the deployment; the parameter is only there to have one.
CLOSED = """update channel_states set closed_until = clock_timestamp() + interval '1 h'
             where channel = 'sms' and $1::uuid is not null"""
OPENED = "update channel_states set closed_until = null where $1::uuid is not null"


@pytest.fixture
async def all_channels_open_again(world: World) -> AsyncIterator[None]:
    yield
    await world.execute(OPENED, uuid4())


async def live_party(world: World) -> Party:
    """A live integrator under budgets; TED hours wait to be broken."""
    settings = {"contact_cooldown_hours": 0, "ted_hours": False, "requests_per_second": None}
    return await make_party(world.db, mode="live", **settings)


async def spend_budget(wire: Wire) -> None:
    """Two operations rejected for attempts within a day."""
    for _ in range(2):
        await wire.exhaust(await wire.new())


def pix_rungs(taken: str) -> list[tuple[str, Mend]]:
    """What only a Pix is refused for."""
    return [
        ("PXT000916", {"body": {"target_pix_key": "nao.existe@example.com"}}),
        ("PXT000916", {"body": {"target_pix_key": "52998224725", "end_to_end_id": "E1"}}),
        ("PXT000915", {"body": {"end_to_end_id": taken}}),
        ("PXT000907", {"body": {"end_to_end_id": fresh_end_to_end_id()}}),
    ]


def fresh_end_to_end_id() -> str:
    return "E12345678202611231430" + uuid4().hex[:11]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("all_channels_open_again")
async def test_create_answers_the_first_of_many_faults(world: World, kind: str) -> None:
    wire, codes = Wire(world, await live_party(world), kind), CODES[kind]
    party, taken = wire.party, fresh_end_to_end_id()
    by_key = {
        "pix_transfer_type": "key",
        "target_account": None,
        "target_pix_key": "52998224725",
        "end_to_end_id": taken,
    }
    is_pix, is_ted = kind == "pix_transfer", kind.startswith("ted")
    first = wire.body(**by_key if is_pix else {})
    assert (await wire.call("POST", wire.base, first)).status == 202
    await spend_budget(Wire(world, party, "pix_transfer"))
    bad_key = {"target_pix_key": "0"} if is_pix else {}
    if wire.is_batch:
        bad_key = {ITEMS[kind]: [*first[ITEMS[kind]], *first[ITEMS[kind]]]}
    good_items = {"body": {ITEMS[kind]: wire.body()[ITEMS[kind]]}} if wire.is_batch else {}
    call = Call(world, party, "POST", kind, first | bad_key | {"tfa_info": None, "status": "sent"})
    for statement in (*BROKEN.values(), CLOSED):
        await call.mend(statement)
    on_device = party.tfa_info | {"contact_type": "device", "session_id": str(uuid4())}
    await call.climb(
        ("GDF000014", {"api_key": party.api_key}),
        ("QIT000753", {"raw": None}),
        ("QIT000001", {"body": {"status": None}}),
        (codes["account"], {"account_key": party.account.key}),
        (codes["conflict"], {"body": {"request_control_key": str(uuid4())}}),
        (codes["account_unavailable"], MENDED["account"]),
        (codes["tfa_info"], {"body": {"tfa_info": party.tfa_info}}),
        *(pix_rungs(taken) if is_pix else []),
        *([(f"{'TED' if is_ted else 'PXT'}000917", good_items)] if wire.is_batch else []),
        *([("TED000011", MENDED["hours"])] if is_ted else []),
        (codes["approver"], MENDED["approver"]),
        (codes["contact"], {"body": {"tfa_info": on_device}}),
        (codes["device"], {"body": {"tfa_info": party.tfa_info}}),
        (codes["contact"], MENDED["contact"]),
        ("QIT000943", MENDED["budgets"]),
        (codes["closed_on_create"], OPENED),
        (codes["limit"], MENDED["limits"]),
        (codes["funds"], MENDED["funds"]),
        ("202", None),
    )


async def second_factor_call(wire: Wire, method: str, name: str, key: UUID) -> Call:
    """A call that has come as far as its operation; its Idempotency-Key is `name-1207`."""
    call = Call(wire.world, wire.party, method, wire.kind, {"status": "sent"}, rest=f"/{uuid4()}/{name}")
    call.headers = {"idempotency_key": "order 1207"}
    codes = CODES[wire.kind]
    unknown = UNKNOWN_ON_RESEND.get(wire.kind, codes["operation"]) if name == "resend_token" else codes["operation"]
    await call.climb(
        ("GDF000014", {"api_key": wire.party.api_key}),
        ("QIT000400", {"headers": {"idempotency_key": f"{name}-1207"}}),
        ("QIT000753", {"raw": None}),
        ("QIT000001", {"body": {"status": None}}),
        (codes["account"], {"account_key": wire.party.account.key}),
        (unknown, {"rest": f"/{key}/{name}"}),
    )
    return call


def of_operation(key: UUID, change: str) -> str:
    """A change of one operation's challenge."""
    return f"update challenges set {change} where integrator_id = $1 and operation_id = '{key}'"


@pytest.mark.parametrize("kind", KINDS)
async def test_validate_answers_the_first_of_many_faults(world: World, kind: str) -> None:
    wire, codes = Wire(world, await live_party(world), kind), CODES[kind]
    key = await wire.new()
    right = await world.token(wire.party, key)
    wrong = "000000" if right != "000000" else "000001"
    await wire.validate(key, wrong, idempotency_key="validate_token-1207")
    await spend_budget(Wire(world, wire.party, "pix_transfer"))
    call = await second_factor_call(wire, "PUT", "validate_token", key)
    for statement in (*BROKEN.values(), of_operation(key, "kid = 'gone'")):
        await call.mend(statement)
    await world.advance(key, 300)
    await call.climb(
        (codes["conflict"], {"headers": {}}),
        (codes["token_required"], {"body": {"token": wrong + "0"}}),
        ("QIT000001", {"body": {"token": wrong}}),
        (codes["expired"], of_operation(key, LATER.format(seconds=300))),
        ("QIT000943", MENDED["budgets"]),
        (codes["validating"], of_operation(key, "kid = 'token-1'")),
        (codes["incorrect"], {"body": {"token": right}}),
        (codes["approver"], None),
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_at_approval_the_first_fault_in_the_documented_order_rejects(world: World, kind: str) -> None:
    wire, codes = Wire(world, await live_party(world), kind), CODES[kind]
    is_pix = kind.startswith("pix")
    hours = [] if is_pix else [("hours", 400, "TED000011", "outside_ted_hours")]
    faults = [
        ("approver", 403, codes["approver"], "approver_not_allowed"),
        ("account", 400, codes["account_unavailable"], "account_unavailable"),
        *hours,
        ("limits", 400, codes["limit"], "limit_exceeded"),
        ("funds", 400, codes["funds"], "insufficient_funds"),
    ]
    keys = [await wire.new() for _ in range(len(faults) + 1)]
    for name in ("approver", "account", "hours", "limits", "funds"):
        await world.execute(BROKEN[name], wire.party.key)
    for (name, status, code, reason), key in zip(faults, keys, strict=False):
        answer = await wire.approve(key)
        assert (answer.status, answer.code) == (status, code)
        snapshot, *more = answer.json["extra_fields"].items()
        assert snapshot[0] == f"{kind}_data"
        assert snapshot[1][f"{kind}_status"] == "rejected"
        assert more == ([("reason", "sms_amount_limit")] if reason == "limit_exceeded" else [])
        read = (await wire.read(key)).json
        assert (read["refusal_reason"]["enumerator"] if kind == "ted" else read["rejection_reason"]) == reason
        assert (await wire.approve(key)).code == codes["status"]
        await world.execute(MENDED[name], wire.party.key)
    assert (await wire.approve(keys[-1])).status == (201 if wire.is_batch else 202)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("all_channels_open_again")
async def test_resend_answers_the_first_of_many_faults(world: World, kind: str) -> None:
    wire, codes = Wire(world, await live_party(world), kind), CODES[kind]
    key = await wire.new()
    await world.advance(key, 30)
    assert (await wire.resend(key, idempotency_key="resend_token-1207")).status == 202
    await spend_budget(Wire(world, wire.party, "pix_transfer"))
    (row,) = await world.fetch("select contact_id from challenges where operation_id = $1", key)
    call = await second_factor_call(wire, "PATCH", "resend_token", key)
    device = of_operation(key, "method = 'device', contact_id = null, resends_left = 0")
    for statement in (*BROKEN.values(), CLOSED, device):
        await call.mend(statement)
    await call.mend({"body": {"contact_type": "sms"}})
    await call.climb(
        (codes["conflict"], {"headers": {}}),
        (codes["no_resend"], of_operation(key, f"method = 'sms', contact_id = '{row['contact_id']}'")),
        (codes["no_resend_left"], of_operation(key, "resends_left = 1")),
        (codes["too_soon"], of_operation(key, LATER.format(seconds=-30))),
        (codes["contact"], MENDED["contact"]),
        ("QIT000943", MENDED["budgets"]),
        (codes["limit"], MENDED["limits"]),
        (codes["closed_on_resend"], OPENED),
        ("202", None),
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_cancel_answers_the_first_of_many_faults(world: World, kind: str) -> None:
    wire = Wire(world, await live_party(world), kind)
    key = await wire.new()
    call = await second_factor_call(wire, "PATCH", "cancel", key)
    for statement in BROKEN.values():
        await call.mend(statement)
    await call.climb(("200", {"headers": {}}), (CODES[kind]["status"], None))
