"""What belongs to another integrator, account or kind is answered byte for byte like what does not exist."""

from uuid import UUID, uuid4

import pytest

from tests.factories import Reply, make_account, make_party
from tests.transfers import Wire
from tests.world import World

CODES = {"pix_transfer": ("PXT000004", "PXT000023"), "ted": ("TED000009", "TED000020")}
CALLS = [
    ("PUT", "/validate_token", {"token": "000000"}),
    ("PATCH", "/resend_token", None),
    ("PATCH", "/cancel", None),
    ("GET", "/outgoing", None),
    ("GET", "/incoming", None),
]


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
    other_kind = "ted" if wire.kind == "pix_transfer" else "pix_transfer"
    of_other_kind = await Wire(wire.world, wire.party, other_kind).new()
    own = await wire.new()
    second = await make_account(wire.world.db, wire.party.key)
    for method, name, body in CALLS:
        answers = [
            without(await wire.call(method, f"{wire.base}/{key}{name}", body), key)
            for key in (unknown, foreign, of_other_kind)
        ]
        path = f"/account/{second.key}/{wire.kind}/{own}{name}"
        answers.append(without(await wire.call(method, path, body), own))
        assert len(set(answers)) == 1
        assert answers[0][0] == 404 and CODES[wire.kind][1].encode() in answers[0][1]
    assert (await wire.read(own)).json["approval"]["attempts_remaining"] == 5


async def test_foreign_accounts_are_unknown(wire: Wire, other: Wire) -> None:
    own, foreign = await wire.new(), other.party.account.key
    lists = [("GET", "s", None), ("POST", "", wire.body())]
    for method, name, body in [*((method, f"/{own}{name}", body) for method, name, body in CALLS), *lists]:
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
    title = "Account not found" if wire.kind == "pix_transfer" else "Not Found"
    assert (await wire.call("PATCH", f"{path}/cancel")).json["title"] == title
    assert (await wire.call("PATCH", f"{path}/resend_token")).json["title"] == "Account not found"
