"""Items of a batch: each is judged as the single it would be, and one fails all (transfers.md §2.4, §3.1)."""

import asyncio
import json
from itertools import groupby
from typing import Any
from uuid import uuid4

import pytest

from aval.http import batch_calls
from aval.http.batch_calls import SLICE_ITEMS
from aval.http.batches import PixBatches
from aval.http.edge import BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX
from aval.http.transfer_body import Errors
from tests.factories import Reply, make_party
from tests.transfers import Wire, settle
from tests.world import ITEMS, World, item_body

END_TO_END_ID = "E12345678202611231430"
TARGET = {
    "account_branch": "0001",
    "account_number": "1234567",
    "account_digit": "8",
    "owner_document_number": "12abc34501de35",
    "owner_name": "Oficina Serra Azul Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}


@pytest.fixture(params=ITEMS)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


@pytest.fixture
async def pix(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "pix_transfer_batch")


def item(wire: Wire, **change: Any) -> dict[str, Any]:
    return item_body(wire.party, wire.kind, **change)


def by_key(wire: Wire, **change: Any) -> dict[str, Any]:
    """A Pix to the owner of a key."""
    made = {
        "pix_transfer_type": "key",
        "target_account": None,
        "target_pix_key": "maria@example.com",
        "end_to_end_id": END_TO_END_ID + uuid4().hex[:11],
    }
    return item(wire, **made | change)


async def request(wire: Wire, *items: dict[str, Any], **change: Any) -> Reply:
    return await wire.create(**{ITEMS[wire.kind]: list(items)} | change)


async def is_nothing_stored(wire: Wire) -> bool:
    (row,) = await wire.world.fetch("select count(*) from operations where account_id = $1", wire.party.account.key)
    return bool(row["count"] == 0)


FAULTS: list[dict[str, Any]] = [
    {"request_control_key": "1"},
    {"request_control_key": None},
    {"transaction_amount": 0},
    {"transaction_amount": "1"},
    {"transaction_amount": None},
    {"target_account": None},
    {"target_account": TARGET | {"owner_document_number": "52998224724"}},
    {"target_account": TARGET | {"ispb": "1", "account_digit": "12", "account_type": "corrente"}},
    {"target_account": {name: text for name, text in TARGET.items() if name != "ispb"}},
    {"status": "sent"},
    {"fee_amount": 0},
]
PIX_FAULTS: list[dict[str, Any]] = [
    {"pix_transfer_type": "ted"},
    {"pix_message": "ok \u2705"},
    {"pix_message": "x" * 141},
    {"target_pix_key": "maria@example.com"},
    {"receiver_conciliation_id": "REC1"},
    {"pix_transfer_type": "key"},
    {"pix_transfer_type": "static_qr_code", "target_account": None, "target_pix_key": "x" * 101},
]


async def test_an_item_is_refused_for_what_a_single_is_refused_for(wire: Wire) -> None:
    for change in FAULTS + (PIX_FAULTS if wire.kind == "pix_transfer_batch" else []):
        alone = await wire.single.create(**change)
        told = await request(wire, item(wire), item(wire, **change))
        assert (alone.code, told.status, told.code) == ("QIT000001", 400, "QIT000001"), change
        place = f"{ITEMS[wire.kind]}[1]"
        found, expected = (answer.json["extra_fields"]["errors"] for answer in (told, alone))
        assert [error["reason"] for error in found] == [error["reason"] for error in expected]
        if len(found) == 1 and "[1]" not in found[0]["field"]:  # what the decoder finds has the place of the list
            assert found[0]["field"].startswith(ITEMS[wire.kind])
        else:
            assert [error["field"] for error in found] == [f"{place}.{error['field']}" for error in expected]
    assert await is_nothing_stored(wire)


async def test_an_item_has_no_approver_of_its_own(wire: Wire) -> None:
    told = await request(wire, item(wire) | {"tfa_info": wire.party.tfa_info})
    assert (told.status, told.code) == (400, "QIT000001")
    assert told.json["extra_fields"]["errors"][0]["reason"] == "unknown_field"


async def test_no_more_than_twenty_faults_are_told_and_never_a_value(wire: Wire) -> None:
    told = await request(wire, *(item(wire, request_control_key="not-a-key-1207") for _ in range(70)))
    assert told.json["extra_fields"]["errors"] == [
        {"field": f"{ITEMS[wire.kind]}[{index}].request_control_key", "reason": "invalid_value"} for index in range(20)
    ]
    assert "1207" not in told.body.decode()


async def test_a_batch_has_one_to_a_thousand_items(wire: Wire) -> None:
    name = ITEMS[wire.kind]
    largest = [item(wire, transaction_amount=0.01) for _ in range(1001)]
    for items in ([], largest):
        told = await request(wire, *items)
        assert (told.status, told.code) == (400, "QIT000001")
        assert told.json["extra_fields"] == {"errors": [{"field": name, "reason": "invalid_value"}]}
    for items, reason in ((None, "missing"), ({}, "wrong_type"), ("x", "wrong_type")):
        body = {key: value for key, value in wire.body(**{name: items}).items() if value is not None}
        told = await wire.call("POST", wire.base, body)
        assert told.json["extra_fields"] == {"errors": [{"field": name, "reason": reason}]}
    made = await request(wire, *largest[:1000])
    assert (made.status, made.json["item_count"], made.json["total_amount"]) == (202, 1000, 10)


async def test_a_batch_may_be_larger_than_a_single_but_has_its_limit_too(wire: Wire) -> None:
    padding = b" " * (BODY_BYTES_MAX + 1)
    content = json.dumps(wire.body()).encode()
    assert (await wire.call("POST", wire.base, raw=content + padding)).status == 202
    alone = json.dumps(wire.single.body()).encode() + padding
    assert (await wire.call("POST", wire.single.base, raw=alone)).code == "QIT000941"
    full = json.dumps(wire.body()).encode().ljust(BATCH_BODY_BYTES_MAX)
    assert (await wire.call("POST", wire.base, raw=full)).status == 202
    told = await wire.call("POST", wire.base, raw=full + b" ")
    assert (told.status, told.code, told.headers["connection"]) == (413, "QIT000941", "close")
    key = await wire.new()
    token_call = await wire.call("PUT", f"{wire.base}/{key}/validate_token", raw=b"{}" + padding)
    assert token_call.code == "QIT000941"


async def test_what_has_no_one_reading_as_json_is_refused(wire: Wire) -> None:
    content = json.dumps(wire.body())
    doubled = content.replace('"transaction_amount": ', '"transaction_amount": 1, "transaction_amount": ', 1)
    for raw in (content[:-1], doubled, content.replace("[", "[[", 1), content.replace(":", "::", 1), f"[{content}]"):
        told = await wire.call("POST", wire.base, raw=raw.encode())
        assert (told.status, told.code) == (400, "QIT000753"), raw[:80]


def faults_of(told: Reply) -> list[tuple[int, str]]:
    return [(fault["index"], fault["code"]) for fault in told.json["extra_fields"]["items"]]


async def test_items_that_fail_are_told_by_place_key_and_code(pix: Wire) -> None:
    taken = by_key(pix)
    assert (await pix.single.call("POST", pix.single.base, taken | {"tfa_info": pix.party.tfa_info})).status == 202
    repeated = by_key(pix)
    items = [
        by_key(pix),
        by_key(pix, target_pix_key="0"),
        by_key(pix, target_pix_key="nao.existe@example.com"),
        by_key(pix, end_to_end_id="E1"),
        by_key(pix, end_to_end_id=taken["end_to_end_id"]),
        by_key(pix, request_control_key=taken["request_control_key"]),
        repeated,
        by_key(pix, request_control_key=repeated["request_control_key"]),
        by_key(pix, end_to_end_id=repeated["end_to_end_id"]),
        by_key(pix, target_pix_key="sem.resposta@example.com"),
    ]
    told = await request(pix, *items)
    assert (told.status, told.code) == (400, "PXT000917")
    assert faults_of(told) == [
        (1, "PXT000916"),
        (2, "PXT000916"),
        (3, "PXT000915"),
        (4, "PXT000907"),
        (5, "PXT000902"),
        (7, "PXT000902"),
        (8, "PXT000907"),
    ]
    assert told.json["extra_fields"]["items"][0] == {
        "index": 1,
        "request_control_key": items[1]["request_control_key"],
        "code": "PXT000916",
    }
    (row,) = await pix.world.fetch("select count(*) from operations where account_id = $1", pix.party.account.key)
    assert row["count"] == 1  # the single


async def test_an_item_shares_the_keys_of_singles_in_both_directions(wire: Wire) -> None:
    code = "PXT000" if wire.kind == "pix_transfer_batch" else "TED000"
    made, own = item(wire), item(wire)
    assert (await request(wire, made)).status == 202
    alone = await wire.single.create(request_control_key=made["request_control_key"])
    assert (alone.status, alone.code) == (409, f"{code}902")
    assert (await wire.single.create(request_control_key=own["request_control_key"])).status == 202
    told = await request(wire, item(wire), own)
    assert (told.status, told.code, faults_of(told)) == (400, f"{code}917", [(1, f"{code}902")])
    again = await request(wire, made)
    assert faults_of(again) == [(0, f"{code}902")]
    key = str(uuid4())  # the batch's own key is of another kind: an item may have the same
    assert (await request(wire, item(wire, request_control_key=key), request_control_key=key)).status == 202


async def test_no_more_than_twenty_items_that_fail_are_told(wire: Wire) -> None:
    repeated = item(wire)
    told = await request(wire, *[repeated] * 50)
    assert [fault["index"] for fault in told.json["extra_fields"]["items"]] == list(range(1, 21))
    assert await is_nothing_stored(wire)


async def test_a_key_whose_rail_is_silent_is_its_own_payee(pix: Wire) -> None:
    made = await request(pix, by_key(pix, target_pix_key="sem.resposta@example.com"), by_key(pix))
    rows = (await pix.items(made.json["pix_transfer_batch_key"])).json["data"]
    targets = [(await pix.single.read(row["pix_transfer_key"])).json["target_account"] for row in rows]
    assert [target["pix_key"] for target in targets] == ["sem.resposta@example.com", "maria@example.com"]
    assert [target["owner_name"] for target in targets] == [None, "Favorecido Teste"]


async def test_batches_that_come_together_are_looked_at_one_after_another(
    pix: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many slices of many batches in each turn of the loop kept every other call waiting for seconds."""
    looked_at: list[Errors] = []
    check = PixBatches.checked

    def noted(self: PixBatches, errors: Errors, one: Any) -> Any:
        looked_at.append(errors)
        return check(self, errors, one)

    monkeypatch.setattr(PixBatches, "checked", noted)
    count = 4 * SLICE_ITEMS
    asked = [[item(pix) for _ in range(count)] for _ in range(4)]
    await pix.listed()  # who calls is known from here on
    made = await asyncio.gather(*(request(pix, *items) for items in asked))
    assert [answer.status for answer in made] == [202] * 4
    assert [len(list(of_one)) for _, of_one in groupby(looked_at, id)] == [count] * 4


async def test_manual_items_get_an_end_to_end_id_each(pix: Wire) -> None:
    made = await request(pix, *(item(pix) for _ in range(3)))
    rows = (await pix.items(made.json["pix_transfer_batch_key"])).json["data"]
    assert len({row["end_to_end_id"] for row in rows}) == 3
    assert all(row["end_to_end_id"].startswith("E12345678") for row in rows)


async def test_what_is_wrong_with_the_batch_comes_before_its_items_do(pix: Wire) -> None:
    bad = by_key(pix, target_pix_key="0")
    assert (await request(pix, bad, tfa_info=None)).code == "PXT000909"
    status = "update accounts set status = $2 where account_id = $1"
    await pix.world.execute(status, pix.party.account.key, "blocked")
    assert (await request(pix, bad, tfa_info=None)).code == "PXT000918"
    await pix.world.execute(status, pix.party.account.key, "open")
    stranger = pix.party.tfa_info | {"approver_document_number": "52998224725"}
    assert (await request(pix, bad, tfa_info=stranger)).code == "PXT000917"
    assert (await request(pix, by_key(pix), tfa_info=stranger)).code == "PXT000906"


async def test_a_batch_is_read_as_it_is_at_one_moment(world: World, wire: Wire, monkeypatch: pytest.MonkeyPatch):
    """Its last item settled between the two looks: all were counted as sent, at a time when none was."""
    key = await wire.new()
    assert (await wire.validate(key, await world.token(wire.party, key))).status == 201
    counted = batch_calls.read_item_counts

    async def settled_before(*arguments: Any) -> Any:
        await settle(world)
        return await counted(*arguments)

    before = await wire.call("GET", f"{wire.base}/{key}")
    with monkeypatch.context() as patched:
        patched.setattr(batch_calls, "read_item_counts", settled_before)
        meanwhile = await wire.call("GET", f"{wire.base}/{key}")
    after = await wire.call("GET", f"{wire.base}/{key}")
    assert meanwhile.json == before.json
    assert (before.json["items_pending"], after.json["items_pending"]) == (2, 0)
    assert after.json["updated_at"] > before.json["updated_at"]
