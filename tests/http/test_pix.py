"""Pix on the wire: the documented bodies of transfers.md §3.2, and every check of a request in its order (§3.1)."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.factories import make_party
from tests.transfers import Wire, approval_of, compact, later, settle
from tests.world import World

END_TO_END_ID = "E12345678202611231430"
WIRE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TARGET = {
    "account_branch": "0001",
    "account_number": "1234567",
    "account_digit": "8",
    "owner_document_number": "12abc34501de35",
    "owner_name": "Oficina Serra Azul Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}


@pytest.fixture
async def wire(world: World) -> Wire:
    return Wire(world, await make_party(world.db), "pix_transfer")


def fresh_end_to_end_id() -> str:
    return END_TO_END_ID + uuid4().hex[:11]


def key_request(**change: Any) -> dict[str, Any]:
    """What a request by key changes in one by bank data."""
    made = {
        "pix_transfer_type": "key",
        "target_account": None,
        "target_pix_key": "maria@example.com",
        "end_to_end_id": fresh_end_to_end_id(),
    }
    return made | change


async def test_a_request_is_answered_as_documented(wire: Wire) -> None:
    body = wire.body(**key_request(pix_message=" Nota 1207 ", transaction_amount=202.01))
    answer = await wire.call("POST", wire.base, body)
    told = answer.json
    assert (answer.status, "idempotent-replayed" in answer.headers) == (202, False)
    assert UUID(told["pix_transfer_key"]).version == 4
    assert WIRE_TIME.fullmatch(told["created_at"])
    assert answer.body == compact(
        {
            "request_control_key": body["request_control_key"],
            "pix_transfer_key": told["pix_transfer_key"],
            "end_to_end_id": body["end_to_end_id"],
            "pix_transfer_status": "pending_2fa_approval",
            "created_at": told["created_at"],
            "approval": approval_of(wire.party, told["created_at"]),
        }
    )


async def test_a_manual_one_gets_its_end_to_end_id_from_the_integrators_ispb(wire: Wire) -> None:
    made = (await wire.create()).json["end_to_end_id"]
    assert re.fullmatch(r"E12345678\d{12}[0-9A-Za-z]{11}", made)


async def test_approved_then_sent_then_read(wire: Wire) -> None:
    body = wire.body(**key_request(target_pix_key="52998224725", pix_message="Nota 1207", transaction_amount=10.50))
    made = (await wire.call("POST", wire.base, body)).json
    key = made["pix_transfer_key"]
    short = {
        "request_control_key": body["request_control_key"],
        "pix_transfer_key": key,
        "end_to_end_id": body["end_to_end_id"],
        "pix_transfer_status": "pending",
        "created_at": made["created_at"],
    }
    validated = await wire.approve(key)
    assert (validated.status, validated.body) == (202, compact(short))
    await settle(wire.world)
    read = await wire.read(key)
    told = read.json
    assert WIRE_TIME.fullmatch(told["updated_at"]) and told["updated_at"] > told["created_at"]
    assert UUID(told["transaction_key"]).version == 4
    assert (read.status, read.body) == (
        200,
        compact(
            {
                "request_control_key": body["request_control_key"],
                "pix_transfer_key": key,
                "pix_transfer_batch_key": None,
                "account_key": str(wire.party.account.key),
                "transaction_key": told["transaction_key"],
                "pix_transfer_type": "key",
                "pix_message": "Nota 1207",
                "transfer_amount": 10.5,
                "fee_amount": 0,
                "end_to_end_id": body["end_to_end_id"],
                "receiver_conciliation_id": None,
                "pix_transfer_status": "sent",
                "rejection_reason": None,
                "reversals": [],
                "created_at": made["created_at"],
                "updated_at": told["updated_at"],
                "target_account": {
                    "account_branch": "0001",
                    "account_number": "1234567",
                    "account_digit": "8",
                    "account_type": "checking_account",
                    "ispb": "87654321",
                    "financial_institution_name": "Banco Teste",
                    "owner_name": "Favorecido Teste",
                    "owner_document_number": "***982247**",
                    "owner_person_type": "natural",
                    "pix_key": "52998224725",
                },
            }
        ),
    )
    replayed = await wire.call("POST", wire.base, body)
    assert replayed.body == compact(
        {"request_control_key": body["request_control_key"], "transaction_key": told["transaction_key"]}
        | {name: value for name, value in short.items() if name != "request_control_key"}
        | {"pix_transfer_status": "sent"}
    )


async def test_a_rejected_one_is_answered_with_its_snapshot(wire: Wire) -> None:
    made = (await wire.create()).json
    key = made["pix_transfer_key"]
    *wrong, last = await wire.exhaust(key)
    error = {
        "title": "Incorrect Token",
        "description": "Token sent does not match expected",
        "translation": "Token enviado não condiz com o esperado",
        "code": "PXT000173",
        "extra_fields": {},
    }
    assert [(answer.status, answer.body) for answer in wrong] == [(400, compact(error))] * 4
    snapshot = {
        "request_control_key": made["request_control_key"],
        "pix_transfer_key": key,
        "end_to_end_id": made["end_to_end_id"],
        "pix_transfer_status": "rejected",
        "created_at": made["created_at"],
    }
    rejected = {
        "title": "Number of token validation attempts exceeded",
        "description": "The maximum number of failed token validation attempts has been reached",
        "translation": "Número máximo de tentativas de validação de token atingida",
        "code": "PXT000171",
        "extra_fields": {"pix_transfer_data": snapshot},
    }
    assert (last.status, last.body) == (400, compact(rejected))
    assert (await wire.approve(key)).body == last.body
    del snapshot["end_to_end_id"]
    resent = await wire.resend(key)
    assert (resent.status, resent.body) == (400, compact(rejected))


async def test_resend_answers_like_the_request_and_cancel_without_approval(wire: Wire) -> None:
    made = (await wire.create()).json
    key = made["pix_transfer_key"]
    await wire.validate(key, "ZZZZZZ")
    await wire.world.advance(key, 30)
    resent = await wire.resend(key)
    issued_at = later(resent.json["approval"]["expires_at"], seconds=-300)
    deadline = later(made["created_at"], minutes=60, seconds=-30)
    second = approval_of(wire.party, issued_at, generation=2, attempts_remaining=4, approval_deadline=deadline)
    assert (resent.status, resent.body) == (202, compact(made | {"approval": second}))
    cancelled = await wire.cancel(key)
    del made["approval"]
    assert (cancelled.status, cancelled.body) == (200, compact(made | {"pix_transfer_status": "cancelled"}))


async def test_a_key_whose_rail_is_silent_is_its_own_payee(wire: Wire) -> None:
    key = await wire.new(**key_request(target_pix_key="sem.resposta@example.com", target_account=None))
    target = (await wire.read(key)).json["target_account"]
    assert target == dict.fromkeys(target) | {"pix_key": "sem.resposta@example.com"}
    (facts,) = await wire.world.fetch("select facts from operations where operation_id = $1", key)
    assert facts["facts"]["payee_name"] == "sem.resposta@example.com"


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"request_control_key": "1"}, "request_control_key", "invalid_value"),
        ({"request_control_key": None}, "request_control_key", "missing"),
        ({"pix_transfer_type": "ted"}, "pix_transfer_type", "invalid_value"),
        ({"transaction_amount": "202.01"}, "transaction_amount", "wrong_type"),
        ({"transaction_amount": 0}, "transaction_amount", "invalid_value"),
        ({"transaction_amount": None}, "transaction_amount", "missing"),
        ({"pix_message": "x" * 141}, "pix_message", "invalid_value"),
        ({"pix_message": "ok \u2705"}, "pix_message", "invalid_value"),
        ({"pix_message": "a\u202eb"}, "pix_message", "invalid_value"),
        ({"pix_message": "a\nb"}, "pix_message", "invalid_value"),
        ({"target_pix_key": "maria@example.com"}, "target_pix_key", "not_allowed"),
        ({"end_to_end_id": END_TO_END_ID + "aB3dE5fG7h9"}, "end_to_end_id", "not_allowed"),
        ({"receiver_conciliation_id": "REC1"}, "receiver_conciliation_id", "not_allowed"),
        ({"target_account": None}, "target_account", "missing"),
        ({"status": "sent"}, "status", "unknown_field"),
        ({"fee_amount": 0}, "fee_amount", "unknown_field"),
        ({"__proto__": {}}, "__proto__", "unknown_field"),
        (key_request(target_account=TARGET), "target_account", "not_allowed"),
        (key_request(target_pix_key=None), "target_pix_key", "missing"),
        (key_request(end_to_end_id=None), "end_to_end_id", "missing"),
        (key_request(end_to_end_id="E\u0000"), "end_to_end_id", "invalid_value"),
        (key_request(target_pix_key="x" * 101), "target_pix_key", "invalid_value"),
        (key_request(receiver_conciliation_id="REC1"), "receiver_conciliation_id", "not_allowed"),
        (key_request(pix_transfer_type="static_qr_code"), "receiver_conciliation_id", "missing"),
        (
            key_request(pix_transfer_type="dynamic_qr_code", receiver_conciliation_id="x" * 36),
            "receiver_conciliation_id",
            "invalid_value",
        ),
        (
            key_request(pix_transfer_type="static_qr_code", receiver_conciliation_id="A-1"),
            "receiver_conciliation_id",
            "invalid_value",
        ),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(wire: Wire, change: Any, field: str, reason: str) -> None:
    answer = await wire.create(**change)
    assert (answer.status, answer.code) == (400, "QIT000001")
    assert answer.json["extra_fields"] == {"errors": [{"field": field, "reason": reason}]}


@pytest.mark.parametrize("qr_code", ["static_qr_code", "dynamic_qr_code"])
async def test_a_qr_code_brings_its_conciliation_id(wire: Wire, qr_code: str) -> None:
    change = key_request(pix_transfer_type=qr_code, receiver_conciliation_id=f" {'9' * 35} ")
    shown = (await wire.read(await wire.new(**change))).json
    assert (shown["pix_transfer_type"], shown["receiver_conciliation_id"]) == (qr_code, "9" * 35)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("11144477734", "format"),
        ("+5511987651234x", "format"),
        ("0", "format"),
        ("", "format"),
        (f"{'m' * 66}@example.com", "format"),
        ("nao.existe@example.com", "not_found"),
    ],
)
async def test_a_pix_key_nobody_has_is_told_apart_from_one_nobody_can_have(wire: Wire, key: str, reason: str) -> None:
    # The end_to_end_id is wrong as well: the key comes first.
    answer = await wire.create(**key_request(target_pix_key=key, end_to_end_id="E1"))
    assert (answer.status, answer.code) == (400, "PXT000916")
    assert answer.json["extra_fields"] == {"reason": reason}


@pytest.mark.parametrize(
    "end_to_end_id",
    [
        "",
        "E1",
        END_TO_END_ID.lower() + "aB3dE5fG7h9",
        END_TO_END_ID + "aB3dE5fG7h",
        END_TO_END_ID + "aB3dE5fG7h-",
        "E12345678202602301430aB3dE5fG7h9",
        "E12345678202611232460aB3dE5fG7h9",
    ],
)
async def test_an_end_to_end_id_of_another_form_has_its_own_code(wire: Wire, end_to_end_id: str) -> None:
    answer = await wire.create(**key_request(end_to_end_id=end_to_end_id))
    assert (answer.status, answer.code, answer.json["extra_fields"]) == (400, "PXT000915", {})


RANDOM_KEY = "3f0c9a54-7b1e-4d2a-9c68-5e8b7d1f2a40"


@pytest.mark.parametrize("key", ["+5511987651234", "Maria@Example.com", "11222333000181", "52998224725", RANDOM_KEY])
async def test_every_kind_of_pix_key_is_taken_in_its_one_spelling(wire: Wire, key: str) -> None:
    made = await wire.new(**key_request(target_pix_key=f" {key.upper()} "))
    assert (await wire.read(made)).json["target_account"]["pix_key"] == key.lower()


async def test_one_end_to_end_id_serves_one_transfer_whatever_its_outcome(wire: Wire) -> None:
    change = key_request()
    key = await wire.new(**change)
    assert (await wire.create(**change)).code == "PXT000907"
    await wire.cancel(key)
    assert ((again := await wire.create(**change)).status, again.code) == (409, "PXT000907")
    other = Wire(wire.world, await make_party(wire.world.db), "pix_transfer")
    assert (await other.create(**change)).status == 202
