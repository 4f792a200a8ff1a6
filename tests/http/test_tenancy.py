"""What belongs to another integrator, account or kind is answered byte for byte like what does not exist."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.factories import Reply, make_account, make_party
from tests.transfers import Wire
from tests.world import ITEMS, World

CODES = {
    "pix_transfer": ("PXT000004", "PXT000023"),
    "ted": ("TED000009", "TED000020"),
    "pix_transfer_batch": ("PXT000004", "PXT000178"),
    "ted_batch": ("TED000009", "TED000101"),
}
TOKEN_CALLS = [
    ("PUT", "/validate_token", {"token": "000000"}),
    ("PATCH", "/resend_token", None),
    ("PATCH", "/cancel", None),
]
SINGLE_READS = [("GET", "/outgoing", None), ("GET", "/incoming", None)]


def calls_of(wire: Wire) -> list[tuple[str, str, Any]]:
    """The calls that name one operation."""
    reads = [("GET", "", None), ("GET", f"/{ITEMS[wire.kind]}", None)] if wire.is_batch else SINGLE_READS
    return [*TOKEN_CALLS, *reads]


def unknown_code(wire: Wire, name: str) -> str:
    """What an unknown operation answers."""
    is_published_oddity = wire.kind == "ted_batch" and name == "/resend_token"
    return "TED000020" if is_published_oddity else CODES[wire.kind][1]


@pytest.fixture(params=CODES)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


@pytest.fixture
async def other(wire: Wire) -> Wire:
    """Another integrator."""
    return Wire(wire.world, await make_party(wire.world.db), wire.kind)


def without(answer: Reply, key: UUID | str) -> tuple[int, bytes]:
    return answer.status, answer.body.replace(str(key).encode(), b"KEY")


async def test_foreign_operations_are_unknown(wire: Wire, other: Wire) -> None:
    unknown, foreign = uuid4(), await other.new()
    of_other_kinds = [await Wire(wire.world, wire.party, kind).new() for kind in CODES if kind != wire.kind]
    own = await wire.new()
    second = await make_account(wire.world.db, wire.party.key)
    for method, name, body in calls_of(wire):
        answers = [
            without(await wire.call(method, f"{wire.base}/{key}{name}", body), key)
            for key in (unknown, foreign, *of_other_kinds)
        ]
        path = f"/account/{second.key}/{wire.kind}/{own}{name}"
        answers.append(without(await wire.call(method, path, body), own))
        assert len(set(answers)) == 1
        assert answers[0][0] == 404 and unknown_code(wire, name).encode() in answers[0][1]
    assert (await wire.read(own)).json["approval"]["attempts_remaining"] == 5


async def test_foreign_accounts_are_unknown(wire: Wire, other: Wire) -> None:
    own, foreign = await wire.new(), other.party.account.key
    lists = [("GET", "es" if wire.is_batch else "s", None), ("POST", "", wire.body())]
    for method, name, body in [*((method, f"/{own}{name}", body) for method, name, body in calls_of(wire)), *lists]:
        answers = [
            without(await wire.call(method, f"/account/{key}/{wire.kind}{name}", body), key)
            for key in (uuid4(), foreign)
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404 and CODES[wire.kind][0].encode() in answers[0][1]
    assert (await other.cancel(own)).code == CODES[wire.kind][1]
    assert (await wire.read(own)).json["approval"]["attempts_remaining"] == 5


async def test_foreign_values_in_a_filter_find_nothing(wire: Wire, other: Wire) -> None:
    made = (await other.create()).json
    query = f"?request_control_key={made['request_control_key']}"
    assert len((await other.listed(query)).json["data"]) == 1
    assert (await wire.listed(query)).json["data"] == []


async def test_a_foreign_approver_may_not_approve(wire: Wire, other: Wire) -> None:
    own, foreign = [await wire.create(tfa_info=one.party.tfa_info) for one in (wire, other)]
    unknown = await wire.create(tfa_info=wire.party.tfa_info | {"approver_document_number": "52998224725"})
    assert own.status == 202
    assert (foreign.status, foreign.body) == (403, unknown.body)


async def test_only_the_title_of_an_unknown_account_differs_on_a_resend(wire: Wire) -> None:
    path = f"/account/{uuid4()}/{wire.kind}/{uuid4()}"
    title = "Account not found" if wire.kind.startswith("pix") else "Not Found"
    assert (await wire.call("PATCH", f"{path}/cancel")).json["title"] == title
    assert (await wire.call("PATCH", f"{path}/resend_token")).json["title"] == "Account not found"


@pytest.mark.parametrize("kind", ITEMS)
async def test_keys_another_integrator_gave_its_items_are_free(world: World, kind: str) -> None:
    wires = [Wire(world, await make_party(world.db), kind) for _ in range(2)]
    items = wires[0].body()[ITEMS[kind]]
    assert [(await wire.create(**{ITEMS[kind]: items})).status for wire in wires] == [202, 202]
