import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from rich.pretty import pretty_repr

from aval.client import AnswerNotUnderstood, Approver, ArgumentNotValid, InboxMessage, NoAnswer, Refused, WebhookSecret
from aval.client.answers import TedDetail
from aval.client.errors import CallIds, Ending, Problem
from aval.client.surroundings import advance, change_webhook_endpoint, list_events, read_inbox
from aval.client.transfers import PIX, TED, create_pix, create_ted, list_pix
from tests.client.flows import TARGET

KEY = UUID("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264")
PATH = f"/account/{KEY}"
TED_READ = b"""{"request_control_key": "b2c7e5f8-1d06-4a93-8b4e-c09f7a3d6e15",
  "ted_key": "2f6b9d03-8e4c-47a1-a5f8-d37c10e9b462", "ted_batch_key": null,
  "account_key": "5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10", "transaction_key": "c80d5a6e-42f9-4b17-9d3a-e15f76b0c824",
  "ted_status": "rejected", "transaction_amount": 202.01, "fee_amount": 10, "created_at": "2026-11-23T14:40:23.459Z",
  "updated_at": "2026-11-23T15:12:44.020Z", "target_account": {"account_branch": "0001", "account_number": "7654321",
  "account_digit": "0", "ispb": "87654321", "owner_document_number": "11222333000181", "owner_name": "Padaria"},
  "refusal_reason": {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Closed"},
  "told_by_a_later_release": {"x": [1]}}"""


def test_an_answer_of_the_contract_is_read_and_what_is_new_in_it_is_ignored() -> None:
    ted = msgspec.json.decode(TED_READ, type=TedDetail)
    assert (ted.amount, ted.fee, ted.status) == (Decimal("202.01"), Decimal(10), "rejected")
    assert ted.created_at == datetime(2026, 11, 23, 14, 40, 23, 459_000, UTC)
    assert (ted.refusal_reason.refusal_code, ted.refusal_reason.enumerator) == (1, "conta_destinatario_encerrada")
    assert "11222333000181" not in repr(ted) and "Padaria" in repr(ted)


def test_nothing_that_is_shown_once_or_to_the_approver_alone_is_printed() -> None:
    secret = WebhookSecret(secret="whsec_x")
    message = InboxMessage(
        key=KEY,
        operation="ted",
        operation_key=KEY,
        generation=1,
        channel="sms",
        destination="+5511987651234",
        subject=None,
        text="Codigo 1: 123456",
        delivery_status="delivered",
        created_at=datetime.now(UTC),
    )
    for printed in (repr, str, pretty_repr):
        assert printed(secret) == "WebhookSecret()"
        assert "123456" not in printed(message) and "98765" not in printed(message)
    assert "11144477735" not in repr(Approver("11144477735"))
    assert "11222333000181" not in repr(TARGET)


def test_a_call_prints_neither_its_token_nor_whom_it_asks_about() -> None:
    validate = TED.validate(KEY, KEY, "123456")
    inbox = read_inbox(destination="+5511987651234")
    assert validate.body == b'{"token":"123456"}' and "123456" not in repr(validate)
    assert "98765" in inbox.target and "98765" not in repr(inbox) + inbox.name


def test_what_counts_once_has_its_names_before_it_is_sent() -> None:
    for call in (TED.validate(KEY, KEY, "123456"), PIX.resend(KEY, KEY), TED.cancel(KEY, KEY)):
        assert UUID(call.headers()["Idempotency-Key"]) and call.headers() == call.headers()
    assert "Idempotency-Key" not in TED.get(KEY, KEY).headers()
    pix = create_pix(KEY, amount=Decimal(10), target=TARGET, approver=Approver("11144477735"))
    assert msgspec.json.decode(pix.body)["request_control_key"] == pix.ids.request_control_key
    assert TED.validate(KEY, KEY).ids.idempotency_key != TED.validate(KEY, KEY).ids.idempotency_key
    given = TED.cancel(KEY, KEY, idempotency_key="once", correlation_id="order-1")
    assert (given.headers()["Idempotency-Key"], given.headers()["X-Correlation-Id"]) == ("once", "order-1")


def test_requests_are_written_as_the_contract_has_them() -> None:
    ted = create_ted(
        str(KEY).upper(),
        amount=Decimal("202.01"),
        target=TARGET,
        approver=Approver("11144477735", "device", KEY),
        request_control_key=KEY,
    )
    assert (ted.method, ted.path) == ("POST", f"{PATH}/ted")
    assert msgspec.json.decode(ted.body) == {
        "request_control_key": str(KEY),
        "transaction_amount": 202.01,
        "target_account": {
            "account_branch": "0001",
            "account_number": "7654321",
            "account_digit": "0",
            "owner_document_number": "11222333000181",
            "owner_name": "Padaria Boa Vista Ltda",
            "ispb": "87654321",
            "account_type": "checking_account",
        },
        "tfa_info": {"approver_document_number": "11144477735", "contact_type": "device", "session_id": str(KEY)},
    }
    assert TED.validate(KEY, KEY).body == b"{}"
    assert PIX.resend(KEY, KEY, "email").body == b'{"contact_type":"email"}'
    assert (PIX.cancel(KEY, KEY).target, PIX.cancel(KEY, KEY).body) == (f"{PATH}/pix_transfer/{KEY}/cancel", b"")
    assert change_webhook_endpoint(KEY, enabled=False).body == b'{"enabled":false}'
    assert not advance(KEY, 1).is_repeatable


def test_queries_are_written_as_the_contract_has_them() -> None:
    listed = list_pix(KEY, date_from=date(2026, 11, 23), status="sent", transaction_key=KEY, page=2)
    assert listed.target == (
        f"{PATH}/pix_transfers?transaction_key={KEY}&pix_transfer_status=sent&date_from=2026-11-23&page=2"
    )
    start = datetime(2026, 11, 23, 11, 30, tzinfo=timezone(timedelta(hours=-3)))
    assert list_events(start=start).target == "/notification/events?start_datetime=2026-11-23T14%3A30%3A00Z"


@pytest.mark.parametrize(
    "make",
    [
        lambda: TED.get("nothing", KEY),
        lambda: TED.get(KEY, "../../admin"),
        lambda: TED.get(KEY, 7),
        lambda: list_pix(KEY, transaction_key=""),
        lambda: list_events(start=datetime(2026, 11, 23)),
    ],
)
def test_arguments_no_call_can_be_made_from_are_refused(make) -> None:
    with pytest.raises(ArgumentNotValid):
        make()


def test_failures_can_travel_between_processes() -> None:
    ids = CallIds(correlation_id="order-1", request_control_key=str(KEY))
    ending = Ending(call="POST /x", ids=ids, tries=3, may_have_happened=True)
    problem = Problem(
        status=400,
        code="TED000914",
        title="Limit Exceeded",
        description="D",
        translation="T",
        extra_fields={"reason": "daily_amount_limit"},
        snapshot=None,
        retry_after_s=None,
    )
    told = {
        NoAnswer(ending, "TimeoutError"): "no answer (TimeoutError)",
        AnswerNotUnderstood(ending, 502): "HTTP 502 without a known body",
        Refused(ending, problem): "HTTP 400 TED000914 Limit Exceeded (daily_amount_limit)",
    }
    for failure, what in told.items():
        copy = pickle.loads(pickle.dumps(failure))
        assert str(copy) == str(failure) == f"POST /x: {what}; tries 3, correlation order-1"
        assert (copy.request_control_key, copy.may_have_happened) == (str(KEY), True)
    assert str(pickle.loads(pickle.dumps(ArgumentNotValid("amount", "no_amount")))) == "amount: no_amount"
