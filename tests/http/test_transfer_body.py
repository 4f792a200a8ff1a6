"""What both kinds of request share: bank data, tfa_info, amounts, and when two bodies are the same request."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.factories import make_account, make_party
from tests.transfers import Wire
from tests.world import World

KINDS = ("pix_transfer", "ted")
CONFLICT = {"pix_transfer": "PXT000902", "ted": "TED000902"}
TARGET = {
    "account_branch": "0001",
    "account_number": "1234567",
    "account_digit": "8",
    "owner_document_number": "12abc34501de35",
    "owner_name": "Oficina Serra Azul Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}


@pytest.fixture(params=KINDS)
async def wire(world: World, request: pytest.FixtureRequest) -> Wire:
    return Wire(world, await make_party(world.db), request.param)


BANK_DATA = [
    ({}, True),
    ({"account_branch": "1234"}, True),
    ({"account_branch": "1234567"}, False),
    ({"account_branch": ""}, False),
    ({"account_branch": "000a"}, False),
    ({"account_branch": 1}, False),
    ({"account_number": "0" * 20}, True),
    ({"account_number": "9" * 21}, False),
    ({"account_number": "00١"}, False),
    ({"account_digit": "X"}, True),
    ({"account_digit": "12"}, False),
    ({"account_digit": "-"}, False),
    ({"owner_document_number": "52998224724"}, False),
    ({"owner_document_number": "529.982.247-25"}, False),
    ({"owner_document_number": "12ABC34501DE05"}, False),
    ({"owner_name": "x" * 50}, True),
    ({"owner_name": "x" * 151}, False),
    ({"owner_name": "  "}, False),
    ({"owner_name": "a\u200bb"}, False),
    ({"owner_name": "a\u0000b"}, False),
    ({"ispb": "00000000"}, True),
    ({"ispb": "1234567"}, False),
    ({"account_type": "payment_account"}, True),
    ({"account_type": "corrente"}, False),
    ({"account_type": None}, False),
    ({"bank": "341"}, False),
]


async def test_bank_data_is_judged_member_by_member(wire: Wire) -> None:
    for change, fits in BANK_DATA:
        target = {name: value for name, value in (TARGET | change).items() if value is not None}
        answer = await wire.create(target_account=target)
        if not fits:
            assert (answer.status, answer.code) == (400, "QIT000001"), change
            assert answer.json["extra_fields"]["errors"][0]["field"] == f"target_account.{next(iter(change))}", change
            continue
        shown = (await wire.read(answer.json[f"{wire.kind}_key"])).json["target_account"]
        document = "***BC34501D***" if wire.kind == "pix_transfer" else "12ABC34501DE35"
        assert shown["owner_document_number"] == document
        assert {name: shown[name] for name in change if name in shown} == {
            n: v for n, v in change.items() if n in shown
        }


SESSION = "e8d1c7b4-6f25-4a90-9b3c-57a0f41d2e86"
TFA_INFOS = [
    ({"approver_document_number": "11144477734"}, "approver_document_number", "invalid_value"),
    ({"approver_document_number": "111.444.777-35"}, "approver_document_number", "invalid_value"),
    ({"approver_document_number": "11222333000181"}, "approver_document_number", "invalid_value"),
    ({"approver_document_number": None}, "approver_document_number", "missing"),
    ({"approver_document_number": 11144477735}, "approver_document_number", "wrong_type"),
    ({"contact_type": "SMS"}, "contact_type", "invalid_value"),
    ({"contact_type": None}, "contact_type", "missing"),
    ({"session_id": SESSION}, "session_id", "not_allowed"),
    ({"contact_type": "device"}, "session_id", "missing"),
    ({"contact_type": "device", "session_id": "1"}, "session_id", "invalid_value"),
    ({"destination": "+5511987651234"}, "destination", "unknown_field"),
]


async def test_tfa_info_is_judged_member_by_member(wire: Wire) -> None:
    for change, field, reason in TFA_INFOS:
        info = {name: value for name, value in (wire.party.tfa_info | change).items() if value is not None}
        answer = await wire.create(tfa_info=info)
        assert (answer.status, answer.code) == (400, "QIT000001"), change
        assert answer.json["extra_fields"] == {"errors": [{"field": f"tfa_info.{field}", "reason": reason}]}


async def test_everything_that_is_wrong_with_a_body_is_told_at_once(wire: Wire) -> None:
    info = {"approver_document_number": "11144477734", "contact_type": "device"}
    change = {"request_control_key": "1", "transaction_amount": 0, "target_account": TARGET | {"ispb": "1"}}
    answer = await wire.create(tfa_info=info, **change)
    assert [error["field"] for error in answer.json["extra_fields"]["errors"]] == [
        "request_control_key",
        "transaction_amount",
        "target_account.ispb",
        "tfa_info.approver_document_number",
        "tfa_info.session_id",
    ]
    assert "11144477734" not in answer.body.decode()


def with_amount(wire: Wire, text: str, **change: Any) -> bytes:
    return json.dumps(wire.body(transaction_amount="AMOUNT", **change)).replace('"AMOUNT"', text).encode()


AMOUNTS = [
    ("10", "10"),
    ("10.0", "10"),
    ("10.50", "10.5"),
    ("0.01", "0.01"),
    ("9999999.99", None),  # more than the account holds, but an amount
    ("10000000", False),
    ("0", False),
    ("-0", False),
    ("-5", False),
    ("0.001", False),
    ("10.010", False),
    ("1e3", False),
    ("1e400", False),
    ("9" * 5000, False),
    ('"10.01"', False),
    ("[10]", False),
    ("null", False),
]


async def test_an_amount_is_read_from_its_text(wire: Wire) -> None:
    name = "transfer_amount" if wire.kind == "pix_transfer" else "transaction_amount"
    for text, shown in AMOUNTS:
        answer = await wire.call("POST", wire.base, raw=with_amount(wire, text))
        if shown is False:
            assert (answer.status, answer.code) == (400, "QIT000001"), text
            assert answer.json["extra_fields"]["errors"][0]["field"] == "transaction_amount"
        elif shown is None:
            assert answer.code in ("PXT000901", "TED000901")
        else:
            read = await wire.read(answer.json[f"{wire.kind}_key"])
            assert f'"{name}":{shown},' in read.body.decode()


NOT_JSON = (
    b"",
    b"{",
    b"[]",
    b"1",
    b"null",
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": NaN}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
)


async def test_what_has_no_one_reading_as_json_is_refused(wire: Wire) -> None:
    doubled = json.dumps(wire.body()).encode()[:-1] + b', "transaction_amount": 1}'
    deep = b'{"target_account": ' + b'{"a": ' * 20 + b"1" + b"}" * 21
    for raw in (*NOT_JSON, doubled, deep):
        headers = {"content_type": "application/json"}
        answer = await wire.call("POST", wire.base, raw=raw, **headers)
        assert (answer.status, answer.code) == (400, "QIT000753"), raw


Rewrite = Callable[[dict[str, Any]], bytes]
SAME: list[Rewrite] = [
    lambda body: json.dumps(body).encode(),
    lambda body: json.dumps(dict(reversed(body.items()))).encode(),
    lambda body: json.dumps(body, indent=3).encode(),
    lambda body: json.dumps(body).replace("10.5,", "10.50,").encode(),
    lambda body: json.dumps(body | {"request_control_key": body["request_control_key"].upper()}).encode(),
    lambda body: json.dumps(body | {"tfa_info": body["tfa_info"] | {"session_id": None}}).encode(),
]
OTHER: list[dict[str, Any]] = [
    {"transaction_amount": 10.51},
    {"target_account": TARGET | {"account_digit": "9"}},
    {"tfa_info": None},
    {"tfa_info": {"approver_document_number": "11144477735", "contact_type": "sms"}},
]


async def test_the_same_request_is_answered_with_its_current_state(wire: Wire) -> None:
    body = wire.body(transaction_amount=10.5)
    first = await wire.call("POST", wire.base, body)
    assert "idempotent-replayed" not in first.headers
    for rewrite in SAME:
        again = await wire.call("POST", wire.base, raw=rewrite(body))
        assert (again.status, again.body) == (202, first.body)
        assert again.headers["idempotent-replayed"] == "true"
    key = first.json[f"{wire.kind}_key"]
    await wire.cancel(key)
    again = await wire.call("POST", wire.base, body)
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json[f"{wire.kind}_status"] == "cancelled" and "approval" not in again.json
    assert len(await wire.world.fetch("select from operations where account_id = $1", wire.party.account.key)) == 1
    assert len(await wire.world.fetch("select from outbox where operation_id = $1", key)) == 1


async def test_absent_and_null_are_the_same(world: World) -> None:
    wire = Wire(world, await make_party(world.db), "pix_transfer")
    body = wire.body()
    first = await wire.call("POST", wire.base, body)
    nulls = {"pix_message": None, "target_pix_key": None, "end_to_end_id": None, "receiver_conciliation_id": None}
    again = await wire.call("POST", wire.base, body | nulls)
    assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")


async def test_the_same_key_with_another_request_is_a_conflict(wire: Wire) -> None:
    body = wire.body(transaction_amount=10.5)
    assert (await wire.call("POST", wire.base, body)).status == 202
    for change in OTHER:
        answer = await wire.call("POST", wire.base, {n: v for n, v in (body | change).items() if v is not None})
        assert (answer.status, answer.code) == (409, CONFLICT[wire.kind]), change
    account = await make_account(wire.world.db, wire.party.key)
    elsewhere = await wire.call("POST", wire.base.replace(str(wire.party.account.key), str(account.key)), body)
    assert elsewhere.code == CONFLICT[wire.kind]


async def test_a_refused_request_leaves_its_key_free(wire: Wire) -> None:
    key = str(uuid4())
    assert (await wire.create(request_control_key=key, transaction_amount=9_999_999)).status == 400
    assert (await wire.create(request_control_key=key)).status == 202


async def test_each_kind_and_each_integrator_has_keys_of_its_own(world: World) -> None:
    key = str(uuid4())
    party, other = await make_party(world.db), await make_party(world.db)
    made = [
        (await Wire(world, one, kind).create(request_control_key=key)).json[f"{kind}_key"]
        for one in (party, other)
        for kind in KINDS
    ]
    assert len(set(made)) == 4
