"""Batches on the wire: every answer byte by byte (transfers.md §3.3, §3.5), and what an item's own key is good for."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.operations.seed_sandbox import BALANCE
from tests.factories import Reply, make_party
from tests.transfers import Wire, approval_of, compact, later, settle
from tests.world import ITEMS, World, item_body

CODES = {
    "pix_transfer_batch": {
        "account": "PXT000004",
        "unknown": "PXT000178",
        "unknown_on_resend": "PXT000178",
        "item": "PXT000023",
        "attempts": "PXT000171",
        "status": (400, "PXT000180"),
        "conflict": "PXT000902",
        "funds": "PXT000901",
    },
    "ted_batch": {
        "account": "TED000009",
        "unknown": "TED000101",
        "unknown_on_resend": "TED000020",
        "item": "TED000020",
        "attempts": "TED000082",
        "status": (400, "TED000102"),
        "conflict": "TED000902",
        "funds": "TED000901",
    },
}

BALANCE_OF = "select balance_centavos from accounts where account_id = $1"


@pytest.fixture(params=ITEMS)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    party = await make_party(world.db)
    await world.execute("update accounts set ted_fee_centavos = 1000 where account_id = $1", party.account.key)
    return Wire(world, party, request.param)


def fee(wire: Wire, count: int) -> int:
    return 0 if wire.kind == "pix_transfer_batch" else 10 * count


def body(wire: Wire, *amounts: float, **change: Any) -> dict[str, Any]:
    items = [item_body(wire.party, wire.kind, transaction_amount=amount) for amount in amounts]
    return wire.body(**{ITEMS[wire.kind]: items} | change)


def state(wire: Wire, made: dict[str, Any], status: str) -> dict[str, Any]:
    """The validate keys."""
    return {
        "request_control_key": made["request_control_key"],
        f"{wire.kind}_key": made[f"{wire.kind}_key"],
        f"{wire.kind}_status": status,
    }


async def created(wire: Wire, *amounts: float) -> dict[str, Any]:
    answer = await wire.call("POST", wire.base, body(wire, *amounts or (1500, 80.5)))
    assert answer.status == 202, answer.body
    made: dict[str, Any] = answer.json
    return made


def key_of(wire: Wire, made: dict[str, Any]) -> UUID:
    return UUID(made[f"{wire.kind}_key"])


async def rows(wire: Wire, key: UUID, query: str = "") -> list[dict[str, Any]]:
    answer = await wire.items(key, query)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["data"]
    return found


async def test_a_request_is_answered_as_documented(wire: Wire) -> None:
    sent = body(wire, 1500, 80.50)
    answer = await wire.call("POST", wire.base, sent)
    told = answer.json
    expected = {
        "request_control_key": sent["request_control_key"],
        f"{wire.kind}_key": told[f"{wire.kind}_key"],
        f"{wire.kind}_status": "pending_2fa_approval",
        "created_at": told["created_at"],
        "item_count": 2,
        "total_amount": 1580.5,
        "fee_amount": fee(wire, 2),
        "approval": approval_of(wire.party, told["created_at"]),
    }
    assert (answer.status, answer.body) == (202, compact(expected))
    again = await wire.call("POST", wire.base, sent)
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (202, answer.body, "true")


def detail(wire: Wire, made: dict[str, Any], status: str, **change: Any) -> dict[str, Any]:
    told = {
        **state(wire, made, status),
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "item_count": 2,
        "total_amount": 1580.5,
        "fee_amount": fee(wire, 2),
        "items_pending": 0,
        "items_sent": 0,
        "items_rejected": 0,
        "rejection_reason": None,
    }
    return told | change


async def test_it_is_read_the_same_alone_and_in_the_list(wire: Wire) -> None:
    made = await created(wire)
    key = key_of(wire, made)
    waiting = detail(wire, made, "pending_2fa_approval", items_pending=2, approval=made["approval"])
    assert (await wire.read(key)).body == compact(waiting)
    validated = await wire.approve(key)
    assert (validated.status, validated.body) == (201, compact(state(wire, made, "approved")))
    read = await wire.read(key)
    assert read.body == compact(detail(wire, made, "approved", items_pending=2, updated_at=read.json["updated_at"]))
    await settle(wire.world)
    read = await wire.read(key)
    assert read.json["updated_at"] > made["created_at"]
    settled = detail(wire, made, "approved", items_sent=2, updated_at=read.json["updated_at"])
    assert (read.status, read.body) == (200, compact(settled))
    assert (await wire.listed()).body == (
        b'{"data":[' + read.body + b'],"pagination":{"current_page":1,"next_page":null,"rows_per_page":30}}'
    )


async def test_items_are_told_in_the_order_of_the_request(wire: Wire) -> None:
    sent = body(wire, 1500, 80.5, 1, 2, 3)
    made = (await wire.call("POST", wire.base, sent)).json
    key = key_of(wire, made)
    listed = await wire.items(key)
    found = listed.json["data"]
    asked = [item["request_control_key"] for item in sent[ITEMS[wire.kind]]]
    assert [row["request_control_key"] for row in found] == asked
    if wire.kind == "pix_transfer_batch":
        assert list(found[0]) == [
            "request_control_key",
            "pix_transfer_key",
            "end_to_end_id",
            "pix_transfer_status",
            "created_at",
        ]
    else:
        singles = [await wire.single.read(row["ted_key"]) for row in found]
        assert b",".join(single.body for single in singles) in listed.body
    single = await wire.single.read(found[0][f"{wire.single.kind}_key"])
    assert single.json[f"{wire.kind}_key"] == str(key)
    assert single.json[f"{wire.single.kind}_status"] == found[0][f"{wire.single.kind}_status"]


async def statuses(wire: Wire, key: UUID) -> set[str]:
    return {row[f"{wire.single.kind}_status"] for row in await rows(wire, key)}


async def test_items_follow_their_batch_until_it_is_approved(wire: Wire) -> None:
    made = [await wire.new() for _ in range(3)]
    assert await statuses(wire, made[0]) == {"pending_2fa_approval"}
    await wire.approve(made[0])
    assert await statuses(wire, made[0]) == {"pending"}
    await settle(wire.world)
    assert await statuses(wire, made[0]) == {"sent"}
    await wire.cancel(made[1])
    assert await statuses(wire, made[1]) == {"cancelled"}
    await wire.exhaust(made[2])
    assert await statuses(wire, made[2]) == {"rejected"}
    counts = [(await wire.read(key)).json for key in made]
    assert [[told[f"items_{name}"] for name in ("pending", "sent", "rejected")] for told in counts] == [
        [0, 2, 0],
        [0, 0, 0],
        [0, 0, 2],
    ]


async def test_an_item_the_rail_refuses_is_given_back_alone(wire: Wire) -> None:
    made = await created(wire, 10, 10.99)
    await wire.approve(key_of(wire, made))
    await settle(wire.world)
    told = (await wire.read(key_of(wire, made))).json
    assert (told["items_sent"], told["items_rejected"]) == (1, 1)
    (row,) = await wire.world.fetch(BALANCE_OF, wire.party.account.key)
    assert row["balance_centavos"] == BALANCE.centavos - 1000 - fee(wire, 1) * 100


async def test_a_rejected_one_is_answered_with_its_snapshot(wire: Wire) -> None:
    made = await created(wire)
    key = key_of(wire, made)
    *_, last = await wire.exhaust(key)
    rejected = state(wire, made, "rejected")
    assert (last.status, last.code) == (400, CODES[wire.kind]["attempts"])
    assert compact({f"{wire.kind}_data": rejected}) in last.body
    single = wire.single.kind
    older = {f"{single}_status" if name == f"{wire.kind}_status" else name: text for name, text in rejected.items()}
    resent = await wire.resend(key)
    assert (resent.status, resent.code) == (400, CODES[wire.kind]["attempts"])
    assert compact({f"{single}_data": older, f"{wire.kind}_data": rejected}) in resent.body


async def test_resend_tells_the_status_under_both_names(wire: Wire) -> None:
    made = await created(wire)
    key = key_of(wire, made)
    await wire.world.advance(key, 30)
    resent = await wire.resend(key)
    issued_at = later(resent.json["approval"]["expires_at"], seconds=-300)
    deadline = later(made["created_at"], minutes=60, seconds=-30)
    expected = {
        "request_control_key": made["request_control_key"],
        f"{wire.kind}_key": str(key),
        f"{wire.single.kind}_status": "pending_2fa_approval",
        f"{wire.kind}_status": "pending_2fa_approval",
        "approval": approval_of(wire.party, issued_at, generation=2, approval_deadline=deadline),
    }
    assert (resent.status, resent.body) == (202, compact(expected))


async def test_a_cancelled_one_is_told_in_brief(wire: Wire) -> None:
    made = await created(wire)
    key = key_of(wire, made)
    cancelled = await wire.cancel(key)
    assert (cancelled.status, cancelled.body) == (200, compact(state(wire, made, "cancelled")))
    for answer in (await wire.approve(key), await wire.resend(key), await wire.cancel(key)):
        assert (answer.status, answer.code) == CODES[wire.kind]["status"]
    replayed = await wire.listed()
    assert replayed.json["data"][0]["items_pending"] == 0


async def test_funds_that_went_short_reject_all_of_it(wire: Wire) -> None:
    made = await created(wire)
    key = key_of(wire, made)
    short = "update accounts set balance_centavos = $2 where account_id = $1"
    await wire.world.execute(short, wire.party.account.key, 1580_49 + fee(wire, 2) * 100)
    answer = await wire.approve(key)
    assert (answer.status, answer.code) == (400, CODES[wire.kind]["funds"])
    assert answer.body.endswith(compact({f"{wire.kind}_data": state(wire, made, "rejected")}) + b"}")
    told = (await wire.read(key)).json
    assert (told["rejection_reason"], told["items_rejected"]) == ("insufficient_funds", 2)
    jobs = "select count(*) from settlement_jobs j join operations o using (operation_id) where o.batch_id = $1"
    assert (await wire.world.fetch(jobs, key))[0]["count"] == 0


async def test_a_batch_nobody_has_is_told_by_its_own_code(wire: Wire) -> None:
    codes, key = CODES[wire.kind], uuid4()
    for answer, name in (
        (await wire.validate(key, "000000"), "unknown"),
        (await wire.cancel(key), "unknown"),
        (await wire.read(key), "unknown"),
        (await wire.items(key), "unknown"),
        (await wire.resend(key), "unknown_on_resend"),
    ):
        assert (answer.status, answer.code) == (404, codes[name])
    single = await wire.single.new()
    assert (await wire.read(single)).code == codes["unknown"]
    assert (await wire.items(single)).code == codes["unknown"]
    unknown = await wire.call("GET", f"/account/{uuid4()}/{wire.kind}/{key}/{ITEMS[wire.kind]}")
    assert (unknown.status, unknown.code) == (404, codes["account"])


async def test_an_items_own_key_is_for_reading_only(wire: Wire) -> None:
    key = await wire.new()
    token = await wire.world.token(wire.party, key)
    item = UUID((await rows(wire, key))[0][f"{wire.single.kind}_key"])

    async def calls() -> list[Reply]:
        single = wire.single
        return [await single.validate(item, token), await single.resend(item), await single.cancel(item)]

    for answer in await calls():
        assert (answer.status, answer.code) == (404, CODES[wire.kind]["item"])
    assert (await wire.read(key)).json["approval"]["attempts_remaining"] == 5
    await wire.approve(key)
    for answer in await calls():
        assert (answer.status, answer.code) == (404, CODES[wire.kind]["item"])
    assert (await wire.single.read(item)).json[f"{wire.single.kind}_status"] == "pending"


async def test_another_body_under_its_key_is_a_conflict(wire: Wire) -> None:
    sent = body(wire, 10, 20)
    assert (await wire.call("POST", wire.base, sent)).status == 202
    items = sent[ITEMS[wire.kind]]
    others = [
        {ITEMS[wire.kind]: items[::-1]},
        {ITEMS[wire.kind]: items[:1]},
        {ITEMS[wire.kind]: [items[0] | {"transaction_amount": 10.01}, items[1]]},
        {"tfa_info": None},
    ]
    for change in others:
        changed = {name: value for name, value in (sent | change).items() if value is not None}
        answer = await wire.call("POST", wire.base, changed)
        assert (answer.status, answer.code) == (409, CODES[wire.kind]["conflict"]), change
    spelled = [{name: item[name] for name in reversed(item)} for item in items]
    spelled[0] |= {"transaction_amount": 10.0, "request_control_key": items[0]["request_control_key"].upper()}
    again = await wire.call("POST", wire.base, sent | {ITEMS[wire.kind]: spelled})
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")


async def test_a_synchronous_integrator_does_not_wait_for_a_batch(world: World) -> None:
    party = await make_party(world.db, settlement_mode="sync")
    wire = Wire(world, party, "pix_transfer_batch")
    key = await wire.new()
    answer = await wire.approve(key)
    assert (answer.status, answer.json["pix_transfer_batch_status"]) == (201, "approved")
    assert await statuses(wire, key) == {"pending"}
