"""TED on the wire: the documented bodies of transfers.md §3.4 and what only a TED refuses."""

from typing import Any

import pytest

from tests.factories import make_party
from tests.transfers import Wire, approval_of, compact, later, settle, settled
from tests.world import World, ted_body

SHOWN = ("account_branch", "account_number", "account_digit", "ispb", "owner_document_number", "owner_name")


@pytest.fixture
async def wire(world: World) -> Wire:
    party = await make_party(world.db)
    await world.execute("update accounts set ted_fee_centavos = 1000 where account_id = $1", party.account.key)
    return Wire(world, party, "ted")


@pytest.fixture
async def waiting_wire(world: World, wire: Wire) -> Wire:
    """The same, with answers that wait for the rail."""
    await world.execute(
        "update integrators set settlement_mode = 'sync', version = version + 1 where integrator_id = $1",
        wire.party.key,
    )
    return wire


def short(made: dict[str, Any], status: str, **more: Any) -> dict[str, Any]:
    """What validate, cancel and snapshots show of a request."""
    return {
        "request_control_key": made["request_control_key"],
        **more,
        "ted_key": made["ted_key"],
        "transaction_amount": 202.01,
        "fee_amount": 10,
        "ted_status": status,
        "created_at": made["created_at"],
    }


async def test_a_request_is_answered_as_documented(wire: Wire) -> None:
    body = wire.body(tfa_info=wire.party.tfa_info | {"contact_type": "email"})
    answer = await wire.call("POST", wire.base, body)
    told = answer.json
    made = short(told | {"request_control_key": body["request_control_key"]}, "pending_2fa_approval")
    approval = approval_of(wire.party, told["created_at"], "email")
    assert (answer.status, answer.body) == (202, compact(made | {"approval": approval}))


async def test_approved_then_sent_then_returned(wire: Wire) -> None:
    body = wire.body(transaction_amount=202.95)  # sandbox: sends; comes back later
    made = (await wire.call("POST", wire.base, body)).json
    validated = await wire.approve(made["ted_key"])
    assert (validated.status, validated.body) == (202, compact(short(made, "pending") | {"transaction_amount": 202.95}))
    await settle(wire.world)
    assert (await wire.read(made["ted_key"])).json["ted_status"] == "sent"
    await wire.world.execute(
        "update settlement_jobs set created_at = created_at - interval '5 s', due_at = clock_timestamp()"
        " where operation_id = $1",
        made["ted_key"],
    )
    await settle(wire.world)
    read = await wire.read(made["ted_key"])
    told = read.json
    assert (read.status, read.body) == (
        200,
        compact(
            {
                "request_control_key": body["request_control_key"],
                "ted_key": made["ted_key"],
                "ted_batch_key": None,
                "account_key": str(wire.party.account.key),
                "transaction_key": told["transaction_key"],
                "ted_status": "rejected",
                "transaction_amount": 202.95,
                "fee_amount": 10,
                "created_at": made["created_at"],
                "updated_at": told["updated_at"],
                "target_account": {name: body["target_account"][name] for name in SHOWN},
                "refusal_reason": {
                    "refusal_code": 1,
                    "enumerator": "conta_destinatario_encerrada",
                    "description": "Target account is closed",
                },
            }
        ),
    )


async def test_a_synchronous_one_is_answered_once_it_was_sent(waiting_wire: Wire) -> None:
    wire = waiting_wire
    made = (await wire.create()).json
    answer = await settled(wire.world, wire.approve(made["ted_key"], idempotency_key="order-1207"))
    transaction_key = answer.json["transaction_key"]
    assert (answer.status, answer.body) == (201, compact(short(made, "sent", transaction_key=transaction_key)))
    again = await wire.approve(made["ted_key"], idempotency_key="order-1207")
    assert (again.status, again.body) == (201, answer.body)
    assert (await wire.read(made["ted_key"])).json["transaction_key"] == transaction_key


async def test_a_synchronous_one_whose_target_is_unknown_is_rejected_with_its_snapshot(waiting_wire: Wire) -> None:
    wire = waiting_wire
    made = (await wire.create(transaction_amount=202.93)).json
    answer = await settled(wire.world, wire.approve(made["ted_key"], idempotency_key="order-1207"))
    rejected = {
        "title": "Target account Not Found",
        "description": "Target account was not found for given parameters",
        "translation": "Conta destino não encontrada para os parâmetros informados",
        "code": "TED000006",
        "extra_fields": {"ted_data": short(made, "rejected") | {"transaction_amount": 202.93}},
    }
    assert (answer.status, answer.body) == (404, compact(rejected))
    again = await wire.approve(made["ted_key"], idempotency_key="order-1207")
    assert (again.status, again.body) == (404, answer.body)


async def test_a_rejected_one_is_answered_with_its_snapshot(wire: Wire) -> None:
    made = (await wire.create()).json
    *_, last = await wire.exhaust(made["ted_key"])
    rejected = {
        "title": "Number of token validation attempts exceeded",
        "description": "The maximum number of failed token validation attempts has been reached",
        "translation": "Número máximo de tentativas de validação de token atingida",
        "code": "TED000082",
        "extra_fields": {"ted_data": short(made, "rejected")},
    }
    assert (last.status, last.body) == (400, compact(rejected))
    for again in (await wire.approve(made["ted_key"]), await wire.resend(made["ted_key"])):
        assert (again.status, again.body) == (400, last.body)


async def test_resend_answers_like_the_request_and_cancel_without_approval(wire: Wire) -> None:
    made = (await wire.create()).json
    old_token = await wire.world.token(wire.party, made["ted_key"])
    await wire.world.advance(made["ted_key"], 30)
    resent = await wire.resend(made["ted_key"])
    issued_at = later(resent.json["approval"]["expires_at"], seconds=-300)
    deadline = later(made["created_at"], minutes=60, seconds=-30)
    second = approval_of(wire.party, issued_at, generation=2, approval_deadline=deadline)
    assert (resent.status, resent.body) == (202, compact(made | {"approval": second}))
    superseded = await wire.validate(made["ted_key"], old_token)
    error = {
        "title": "Incorrect Token",
        "description": "Token sent does not match expected",
        "translation": "Token enviado não condiz com, o esperado",
        "code": "TED000084",
        "extra_fields": {"reason": "superseded_token"},
    }
    assert (superseded.status, superseded.body) == (400, compact(error))
    cancelled = await wire.cancel(made["ted_key"])
    assert (cancelled.status, cancelled.body) == (200, compact(short(made, "cancelled")))


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"target_account": None}, "target_account", "missing"),
        ({"request_control_key": "{0}"}, "request_control_key", "invalid_value"),
        ({"transaction_amount": 0.001}, "transaction_amount", "invalid_value"),
        ({"pix_message": "Nota 1207"}, "pix_message", "unknown_field"),
        ({"ted_status": "sent"}, "ted_status", "unknown_field"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused(wire: Wire, change: Any, field: str, reason: str) -> None:
    answer = await wire.create(**change)
    assert (answer.status, answer.code) == (400, "QIT000001")
    assert answer.json["extra_fields"] == {"errors": [{"field": field, "reason": reason}]}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"account_branch": "1234"}, True),
        ({"account_branch": "12345"}, False),
        ({"owner_name": "x" * 50}, True),
        ({"owner_name": "x" * 51}, False),
        ({"account_type": "deposit_account"}, True),
        ({"account_type": "guaranteed_account"}, True),
        ({"account_type": "salary_account"}, False),
    ],
)
async def test_the_bank_data_of_a_ted_is_shorter(wire: Wire, change: dict[str, Any], fits: bool) -> None:
    answer = await wire.create(target_account=ted_body(wire.party)["target_account"] | change)
    (name,) = change
    if fits:
        assert answer.status == 202
        return
    assert answer.code == "QIT000001"
    assert answer.json["extra_fields"] == {"errors": [{"field": f"target_account.{name}", "reason": "invalid_value"}]}
