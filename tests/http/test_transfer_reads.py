"""GET one and lists: filters, pages, directions and what a waiting transfer tells (transfers.md §2.4, §3.1)."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.calendar import brasilia_day
from tests.factories import make_party
from tests.transfers import Wire, settle
from tests.world import World

NOT_FOUND = {"pix_transfer": "PXT000023", "ted": "TED000020"}
STATUSES = ("pending_2fa_approval", "pending", "sent", "rejected", "cancelled")


@pytest.fixture(params=NOT_FOUND)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


@pytest.fixture
async def pix(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "pix_transfer")


@pytest.fixture
async def ted(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "ted")


async def keys(wire: Wire, query: str = "") -> list[UUID]:
    answer = await wire.listed(query)
    assert answer.status == 200, answer.body
    return [UUID(row[f"{wire.kind}_key"]) for row in answer.json["data"]]


async def created_at(wire: Wire, key: UUID, at: datetime) -> None:
    """Say a transfer was requested at another time; nothing in Aval may."""
    async with wire.world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update operations set created_at = $2 where operation_id = $1", key, at)


async def test_a_waiting_transfer_tells_its_approval_in_get_one_and_in_lists(wire: Wire) -> None:
    key = await wire.new()
    wrong = "000000" if await wire.world.token(wire.party, key) != "000000" else "000001"
    await wire.validate(key, wrong)
    read = await wire.read(key)
    assert read.json["approval"]["attempts_remaining"] == 4
    assert (await wire.listed()).body == (
        b'{"data":[' + read.body + b'],"pagination":{"current_page":1,"next_page":null,"rows_per_page":30}}'
    )


async def test_a_transfer_that_waits_no_more_has_no_approval(wire: Wire) -> None:
    key = await wire.new()
    await wire.cancel(key)
    assert "approval" not in (await wire.read(key)).json


async def test_aval_holds_outgoing_transfers_only(wire: Wire) -> None:
    key, direction = await wire.new(), f"{wire.kind}_direction"
    incoming = await wire.read(key, "incoming")
    assert (incoming.status, incoming.code) == (404, NOT_FOUND[wire.kind])
    assert await keys(wire, f"?{direction}=incoming") == []
    assert await keys(wire, f"?{direction}=outgoing") == [key]
    sideways = await wire.read(key, "sideways")
    assert (sideways.status, sideways.code) == (400, "QIT000001")
    assert sideways.json["extra_fields"] == {"errors": [{"field": direction, "reason": "invalid_value"}]}
    assert (await wire.listed(f"?{direction}=sideways")).code == "QIT000001"


async def test_a_list_is_oldest_first_and_comes_in_pages(wire: Wire) -> None:
    made = [await wire.new() for _ in range(5)]
    assert await keys(wire) == made
    pages = [(await wire.listed(f"?page_size=2&page={number}")).json for number in (1, 2, 3, 4)]
    assert [[UUID(row[f"{wire.kind}_key"]) for row in page["data"]] for page in pages] == [
        made[:2],
        made[2:4],
        made[4:],
        [],
    ]
    assert [page["pagination"] for page in pages] == [
        {"current_page": number, "next_page": following, "rows_per_page": 2}
        for number, following in ((1, 2), (2, 3), (3, None), (4, None))
    ]
    assert (await wire.listed("?page=999999999")).json["data"] == []
    full = (await wire.listed("?page_size=5")).json
    assert (len(full["data"]), full["pagination"]["next_page"]) == (5, None)


async def test_only_a_list_of_pix_may_be_turned_round(pix: Wire, ted: Wire) -> None:
    made = [await pix.new() for _ in range(3)]
    assert await keys(pix, "?order_by=asc") == made
    assert await keys(pix, "?order_by=desc") == made[::-1]
    assert (await pix.listed("?order_by=newest")).code == "QIT000001"
    assert (await ted.listed("?order_by=desc")).code == "QIT000001"


async def one_of_each(wire: Wire) -> dict[str, UUID]:
    """A transfer in every state; the rejected one waits for the sweeper."""
    made = {status: await wire.new() for status in STATUSES}
    await wire.approve(made["sent"])
    await settle(wire.world)
    await wire.approve(made["pending"])
    await wire.cancel(made["cancelled"])
    await wire.world.advance(made["rejected"], 3600)
    return made


async def test_a_list_is_narrowed_to_a_status_as_it_is_seen(wire: Wire) -> None:
    made = await one_of_each(wire)
    for status, key in made.items():
        assert await keys(wire, f"?{wire.kind}_status={status}") == [key]
    for other in ("approved", "lost", "", "sent,pending"):
        answer = await wire.listed(f"?{wire.kind}_status={other}")
        assert (answer.status, answer.code) == (400, "QIT000001"), other


async def test_a_list_is_narrowed_to_a_request(wire: Wire) -> None:
    made = [(await wire.create()).json for _ in range(2)]
    query = f"?request_control_key={made[1]['request_control_key'].upper()}"
    assert await keys(wire, query) == [UUID(made[1][f"{wire.kind}_key"])]
    assert await keys(wire, f"{query}&{wire.kind}_status=sent") == []
    assert await keys(wire, f"?request_control_key={uuid4()}") == []


async def test_a_list_of_pix_is_narrowed_to_the_ids_of_the_network(pix: Wire, ted: Wire) -> None:
    made = [(await pix.create()).json for _ in range(2)]
    key, end_to_end_id = UUID(made[0]["pix_transfer_key"]), made[0]["end_to_end_id"]
    await pix.approve(key)
    await settle(pix.world)
    transaction_key = (await pix.read(key)).json["transaction_key"]
    assert await keys(pix, f"?end_to_end_id={end_to_end_id}") == [key]
    assert await keys(pix, f"?end_to_end_id={end_to_end_id.swapcase()}") == []
    assert await keys(pix, f"?transaction_key={transaction_key}") == [key]
    assert await keys(pix, f"?transaction_key={uuid4()}") == []
    for query in (f"?end_to_end_id={end_to_end_id}", f"?transaction_key={transaction_key}"):
        assert (await ted.listed(query)).code == "QIT000001"


async def test_a_list_is_narrowed_to_days_of_brasilia(wire: Wire) -> None:
    midnight = datetime(2026, 3, 5, 3, tzinfo=UTC)  # 5 March begins in Brasília
    made = [await wire.new() for _ in range(3)]
    for key, at in zip(made, (-timedelta(microseconds=1), timedelta(0), timedelta(days=1)), strict=True):
        await created_at(wire, key, midnight + at)
    assert await keys(wire, "?date_from=2026-03-05&date_to=2026-03-05") == [made[1]]
    assert await keys(wire, "?date_to=2026-03-04") == [made[0]]
    assert await keys(wire, "?date_from=2026-03-05") == made[1:]
    assert await keys(wire, "?date_from=2026-03-06&date_to=2026-03-04") == []
    today = brasilia_day(datetime.now(UTC))
    assert await keys(wire, f"?date_from={today - timedelta(days=1)}") == []


BAD_QUERIES = [
    ("page=0", "TED000045"),
    ("page=-1", "TED000045"),
    ("page=x", "TED000045"),
    ("page=", "TED000045"),
    ("page=1.5", "TED000045"),
    ("page_size=0", "TED000045"),
    ("page_size=31", "TED000045"),
    ("date_from=05/03/2026", "TED000044"),
    ("date_to=2026-02-30", "TED000044"),
    ("date_to=0000-01-01", "TED000044"),
    ("date_to=2026-03-05T00:00:00Z", "TED000044"),
    ("request_control_key=1", "TED000046"),
    ("pageSize=1", "QIT000001"),
    ("account_key=1", "QIT000001"),
    ("page=1&page=2", "QIT000001"),
]


async def test_a_query_that_does_not_fit_has_a_code_of_its_own_in_ted(pix: Wire, ted: Wire) -> None:
    for query, code in BAD_QUERIES:
        told, plain = await ted.listed(f"?{query}"), await pix.listed(f"?{query}")
        assert (told.status, told.code) == (400, code), query
        assert (plain.status, plain.code) == (400, "QIT000001"), query


@pytest.mark.parametrize(
    ("query", "description"),
    [
        ("page=0", "Invalid integer value for page or size querystring parameters"),
        ("date_from=x", "Given parameter is not in the correct format YYYY-MM-DD"),
        ("request_control_key=x", "request_control_key was not accepted for not being a valid uuid v4 string"),
    ],
)
async def test_the_codes_of_ted_tell_what_was_expected(ted: Wire, query: str, description: str) -> None:
    answer = await ted.listed(f"?{query}")
    assert (answer.json["description"], answer.json["extra_fields"]) == (description, {})


async def test_a_malformed_key_in_a_path_is_told_by_its_name(wire: Wire) -> None:
    account: Any = wire.party.account.key
    for path, name in ((f"/account/x/{wire.kind}s", "account_key"), (f"{wire.base}/x/outgoing", f"{wire.kind}_key")):
        answer = await wire.call("GET", path)
        assert (answer.status, answer.code) == (400, "TED000046" if wire.kind == "ted" else "QIT000001")
        assert name in answer.body.decode()
    shouted = await wire.call("GET", f"/account/{str(account).upper()}/{wire.kind}s")
    assert shouted.status == 200


async def test_each_kind_and_account_has_its_own_list(pix: Wire) -> None:
    ted = Wire(pix.world, pix.party, "ted")
    made = await pix.new(), await ted.new()
    assert (await keys(pix), await keys(ted)) == ([made[0]], [made[1]])
