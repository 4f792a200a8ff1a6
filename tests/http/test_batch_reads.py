"""Lists of batches and of their items: filters, pages, order (transfers.md §2.4, §3.1)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from aval.domain.calendar import brasilia_day
from tests.factories import make_account, make_party
from tests.transfers import Wire, settle
from tests.world import ITEMS, World, item_body

STATUSES = ("pending_2fa_approval", "approved", "rejected", "cancelled")


@pytest.fixture(params=ITEMS)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


@pytest.fixture
async def pix(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "pix_transfer_batch")


@pytest.fixture
async def ted(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "ted_batch")


async def keys(wire: Wire, query: str = "") -> list[UUID]:
    answer = await wire.listed(query)
    assert answer.status == 200, answer.body
    return [UUID(row[f"{wire.kind}_key"]) for row in answer.json["data"]]


async def items(wire: Wire, key: UUID, query: str = "") -> list[str]:
    """The request_control_keys of what is listed."""
    answer = await wire.items(key, query)
    assert answer.status == 200, answer.body
    return [row["request_control_key"] for row in answer.json["data"]]


async def made_of(wire: Wire, *amounts: float) -> tuple[UUID, list[str]]:
    """A batch of these amounts, and the keys of its items."""
    asked = [item_body(wire.party, wire.kind, transaction_amount=amount) for amount in amounts]
    made = await wire.create(**{ITEMS[wire.kind]: asked})
    assert made.status == 202, made.body
    return UUID(made.json[f"{wire.kind}_key"]), [item["request_control_key"] for item in asked]


async def test_a_list_is_oldest_first_and_comes_in_pages(wire: Wire) -> None:
    made = [await wire.new() for _ in range(3)]
    assert await keys(wire) == made
    pages = [(await wire.listed(f"?page_size=2&page={number}")).json for number in (1, 2)]
    assert [[UUID(row[f"{wire.kind}_key"]) for row in page["data"]] for page in pages] == [made[:2], made[2:]]
    assert [page["pagination"]["next_page"] for page in pages] == [2, None]


async def test_items_come_in_pages_in_the_order_of_the_request(wire: Wire) -> None:
    key, asked = await made_of(wire, *range(1, 36))
    assert await items(wire, key) == asked[:30]
    assert await items(wire, key, "?page=2") == asked[30:]
    assert await items(wire, key, "?page=3&page_size=15") == asked[30:]
    answer = await wire.items(key, "?page_size=10&page=2")
    assert answer.json["pagination"] == {"current_page": 2, "next_page": 3, "rows_per_page": 10}


async def test_a_list_is_narrowed_to_a_status_as_it_is_seen(wire: Wire) -> None:
    made = {status: await wire.new() for status in STATUSES}
    await wire.approve(made["approved"])
    await wire.cancel(made["cancelled"])
    await wire.world.advance(made["rejected"], 3600)  # waits for the sweeper
    for status, key in made.items():
        assert await keys(wire, f"?{wire.kind}_status={status}") == [key]
        assert (await wire.read(key)).json[f"{wire.kind}_status"] == status
    for other in ("pending", "sent", "lost"):
        assert (await wire.listed(f"?{wire.kind}_status={other}")).code == "QIT000001"
    expired = await wire.items(made["rejected"], f"?{wire.single.kind}_status=rejected")
    assert len(expired.json["data"]) == 2


async def test_items_are_narrowed_to_their_status(wire: Wire) -> None:
    key, asked = await made_of(wire, 10, 10.99, 20)
    name = f"{wire.single.kind}_status"
    assert await items(wire, key, f"?{name}=pending_2fa_approval") == asked
    await wire.approve(key)
    assert await items(wire, key, f"?{name}=pending") == asked
    await settle(wire.world)
    assert await items(wire, key, f"?{name}=sent") == [asked[0], asked[2]]
    assert await items(wire, key, f"?{name}=rejected") == [asked[1]]
    assert await items(wire, key, f"?{name}=cancelled") == []
    assert (await wire.items(key, f"?{name}=approved")).code == "QIT000001"


async def test_the_status_of_pix_items_has_two_names(pix: Wire, ted: Wire) -> None:
    key, asked = await made_of(pix, 10, 10.99)
    await pix.approve(key)
    await settle(pix.world)
    assert await items(pix, key, "?pix_transfer_batch_status=sent") == asked[:1]
    assert await items(pix, key, "?pix_transfer_batch_status=sent&pix_transfer_status=sent") == asked[:1]
    assert await items(pix, key, "?pix_transfer_batch_status=sent&pix_transfer_status=rejected") == []
    assert (await ted.items(await ted.new(), "?ted_batch_status=sent")).code == "QIT000001"


async def test_a_list_is_narrowed_to_a_request_and_to_days(wire: Wire) -> None:
    made = [(await wire.create()).json for _ in range(2)]
    query = f"?request_control_key={made[1]['request_control_key'].upper()}"
    assert await keys(wire, query) == [UUID(made[1][f"{wire.kind}_key"])]
    assert await keys(wire, f"?request_control_key={uuid4()}") == []
    today = brasilia_day(datetime.now(UTC))
    assert len(await keys(wire, f"?date_from={today - timedelta(days=1)}")) == 2
    assert await keys(wire, f"?date_to={today - timedelta(days=2)}") == []


async def test_items_are_narrowed_to_a_request(wire: Wire) -> None:
    key, asked = await made_of(wire, 1, 2)
    assert await items(wire, key, f"?request_control_key={asked[1]}") == asked[1:]
    other, _ = await made_of(wire, 3)
    assert await items(wire, other, f"?request_control_key={asked[1]}") == []


async def test_only_items_of_ted_are_narrowed_to_days(pix: Wire, ted: Wire) -> None:
    today = brasilia_day(datetime.now(UTC))
    assert len(await items(ted, await ted.new(), f"?date_from={today - timedelta(days=1)}")) == 2
    assert await items(ted, await ted.new(), f"?date_to={today - timedelta(days=2)}") == []
    assert (await pix.items(await pix.new(), f"?date_from={today}")).code == "QIT000001"


async def test_a_query_that_does_not_fit_has_a_code_of_its_own_in_ted(pix: Wire, ted: Wire) -> None:
    batches = await pix.new(), await ted.new()
    for query, code in (
        ("page=0", "TED000045"),
        ("page_size=31", "TED000045"),
        ("request_control_key=1", "TED000046"),
        ("order_by=desc", "QIT000001"),
        ("end_to_end_id=E1", "QIT000001"),
        ("page=1&page=2", "QIT000001"),
    ):
        for plain in (await pix.listed(f"?{query}"), await pix.items(batches[0], f"?{query}")):
            assert (plain.status, plain.code) == (400, "QIT000001"), query
        for told in (await ted.listed(f"?{query}"), await ted.items(batches[1], f"?{query}")):
            assert (told.status, told.code) == (400, code), query
    assert (await ted.listed("?date_from=x")).code == "TED000044"


async def test_singles_and_items_are_in_the_list_of_their_kind(wire: Wire) -> None:
    alone, (key, asked) = await wire.single.new(), await made_of(wire, 1, 2)
    listed = (await wire.single.listed()).json["data"]
    assert listed[0][f"{wire.single.kind}_key"] == str(alone)
    assert [row[f"{wire.kind}_key"] for row in listed] == [None, str(key), str(key)]
    assert {row["request_control_key"] for row in listed[1:]} == set(asked)


async def test_each_account_has_its_own_list(wire: Wire) -> None:
    key = await wire.new()
    second = await make_account(wire.world.db, wire.party.key)
    path = f"/account/{second.key}/{wire.kind}"
    assert (await wire.call("GET", f"{path}es")).json["data"] == []
    answers = [await wire.call("GET", f"{path}/{key}"), await wire.call("GET", f"{path}/{key}/{ITEMS[wire.kind]}")]
    assert {(answer.status, answer.code) for answer in answers} == {
        (404, "PXT000178" if wire.kind == "pix_transfer_batch" else "TED000101")
    }
