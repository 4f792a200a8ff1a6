"""Answers, snapshots, reads and webhooks member by member, in the documented order (transfers.md §3.2, §3.4, §7.1)."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from aval.domain.batch import ItemCounts
from aval.domain.challenge import Challenge
from aval.domain.money import Brl
from aval.domain.transfer import Kind, Method, Payee, Status, Transfer
from aval.domain.view import (
    amount_json,
    approval_view,
    batch_detail,
    batch_resend_view,
    batch_short,
    batch_view,
    detail_view,
    event_body,
    event_data,
    item_row,
    refusal_view,
    rejection_entry,
    rejection_name,
    snapshot_view,
    transfer_view,
)
from tests.changed import replace
from tests.domain.examples import ACCOUNT, NOW, OPERATION, REQUEST, TARGET, challenge, payee, transfer

TRANSACTION = UUID("c41f8b7d-9a20-4e65-b3d7-08f2a6c95e13")
CREATED = "2026-11-23T14:30:23.459Z"
APPROVAL = (
    '"approval":{"method":"sms","masked_destination":"+55 11 *****-1234","generation":1,"attempts_remaining":5,'
    '"expires_at":"2026-11-23T14:35:23.459Z","can_resend_at":"2026-11-23T14:30:53.459Z",'
    '"approval_deadline":"2026-11-23T15:30:23.459Z"}'
)
PIX = f'"request_control_key":"{REQUEST}","pix_transfer_key":"{OPERATION}"'
END_TO_END_ID = '"end_to_end_id":"E12345678202611231430aB3dE5fG7h9"'
TED = f'"ted_key":"{OPERATION}","transaction_amount":202.01,"fee_amount":10'


def text(view: Any) -> str:
    """The exact JSON of a view, member order included."""
    return msgspec.json.encode(view).decode()


def pix(**change: Any) -> Transfer:
    return transfer(Kind.PIX_TRANSFER, **change)


def sent(**change: Any) -> Challenge:
    return challenge(status=Status.SENT, transaction_key=TRANSACTION, updated_at=NOW + timedelta(seconds=39), **change)


def rejected(reason: str, **change: Any) -> Challenge:
    return challenge(status=Status.REJECTED, rejection_reason=reason, **change)


@pytest.mark.parametrize(
    ("centavos", "shown"), [(1000, "10"), (1050, "10.5"), (20201, "202.01"), (0, "0"), (999_999_999, "9999999.99")]
)
def test_an_amount_has_no_trailing_zeros(centavos: int, shown: str) -> None:
    assert text(amount_json(Brl(centavos))) == shown


def test_a_pix_that_waits() -> None:
    assert text(transfer_view(pix(), challenge())) == (
        f'{{{PIX},{END_TO_END_ID},"pix_transfer_status":"pending_2fa_approval","created_at":"{CREATED}",{APPROVAL}}}'
    )


def test_a_ted_that_waits() -> None:
    assert text(transfer_view(transfer(), challenge())) == (
        f'{{"request_control_key":"{REQUEST}",{TED},"ted_status":"pending_2fa_approval","created_at":"{CREATED}",'
        f"{APPROVAL}}}"
    )


def test_a_transfer_that_was_sent() -> None:
    assert text(transfer_view(pix(), sent(), has_transaction_key=True)) == (
        f'{{"request_control_key":"{REQUEST}","transaction_key":"{TRANSACTION}","pix_transfer_key":"{OPERATION}",'
        f'{END_TO_END_ID},"pix_transfer_status":"sent","created_at":"{CREATED}"}}'
    )
    assert text(transfer_view(transfer(), sent(), has_transaction_key=True)) == (
        f'{{"request_control_key":"{REQUEST}","transaction_key":"{TRANSACTION}",{TED},"ted_status":"sent",'
        f'"created_at":"{CREATED}"}}'
    )


def test_until_it_is_sent_there_is_no_transaction_key() -> None:
    approved = challenge(status=Status.PENDING)
    view = transfer_view(pix(), approved, has_transaction_key=True)
    assert list(view) == [
        "request_control_key",
        "pix_transfer_key",
        "end_to_end_id",
        "pix_transfer_status",
        "created_at",
    ]
    assert view["pix_transfer_status"] == "pending"


def test_snapshots_show_the_operation_under_its_name() -> None:
    ended = rejected("attempts_exceeded")
    shown = f'"pix_transfer_status":"rejected","created_at":"{CREATED}"'
    assert text(snapshot_view(pix(), ended)) == f'{{"pix_transfer_data":{{{PIX},{END_TO_END_ID},{shown}}}}}'
    assert text(snapshot_view(pix(), ended, is_resend=True)) == f'{{"pix_transfer_data":{{{PIX},{shown}}}}}'
    for is_resend in (False, True):
        assert text(snapshot_view(transfer(), ended, is_resend=is_resend)) == (
            f'{{"ted_data":{{"request_control_key":"{REQUEST}",{TED},"ted_status":"rejected",'
            f'"created_at":"{CREATED}"}}}}'
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, {}),
        ({"attempts_used": 4}, {"attempts_remaining": 1}),
        ({"resends_left": 0}, {"can_resend_at": None}),
        ({"generation": 2, "alphabets": "dd"}, {"generation": 2}),
        ({"method": Method.EMAIL}, {"method": "email"}),
        (
            {"method": Method.DEVICE, "masked_destination": None},
            {
                "method": "device",
                "masked_destination": None,
                "attempts_remaining": None,
                "expires_at": "2026-11-23T15:30:23.459Z",
                "can_resend_at": None,
            },
        ),
    ],
)
def test_the_approval_tells_where_the_second_factor_stands(change: dict[str, Any], told: dict[str, Any]) -> None:
    waiting = json.loads(f"{{{APPROVAL}}}")["approval"]
    assert list(approval_view(challenge(**change)).items()) == list((waiting | told).items())


def test_one_pix() -> None:
    asked = pix(pix_message="Nota 1207", receiver_conciliation_id="REC1")
    assert text(detail_view(asked, sent())) == (
        f'{{{PIX},"pix_transfer_batch_key":null,"account_key":"{ACCOUNT}","transaction_key":"{TRANSACTION}",'
        '"pix_transfer_type":"manual","pix_message":"Nota 1207","transfer_amount":202.01,"fee_amount":10,'
        f'{END_TO_END_ID},"receiver_conciliation_id":"REC1","pix_transfer_status":"sent","rejection_reason":null,'
        f'"reversals":[],"created_at":"{CREATED}","updated_at":"2026-11-23T14:31:02.459Z","target_account":{{'
        '"account_branch":"0001","account_number":"7654321","account_digit":"0","account_type":"checking_account",'
        '"ispb":"87654321","financial_institution_name":null,"owner_name":"Padaria Boa Vista Ltda",'
        '"owner_document_number":"***22333000***","owner_person_type":"legal","pix_key":null}}'
    )


def test_the_owner_of_a_pix_key_is_masked() -> None:
    found = payee(
        name="Maria Souza", document="52998224725", target_pix_key="52998224725", institution_name="Banco Exemplo"
    )
    target = detail_view(pix(payee=found), sent())["target_account"]
    assert (target["owner_document_number"], target["owner_person_type"]) == ("***982247**", "natural")
    assert (target["financial_institution_name"], target["pix_key"]) == ("Banco Exemplo", "52998224725")


def test_what_the_rail_did_not_say_is_null() -> None:
    asked = pix(payee=Payee("+5511987651234", target_pix_key="+5511987651234"))
    target = detail_view(asked, sent())["target_account"]
    assert target == dict.fromkeys(target) | {"pix_key": "+5511987651234"}


def test_one_ted() -> None:
    assert text(detail_view(transfer(), sent())) == (
        f'{{"request_control_key":"{REQUEST}","ted_key":"{OPERATION}","ted_batch_key":null,"account_key":"{ACCOUNT}",'
        f'"transaction_key":"{TRANSACTION}","ted_status":"sent","transaction_amount":202.01,"fee_amount":10,'
        f'"created_at":"{CREATED}","updated_at":"2026-11-23T14:31:02.459Z","target_account":{{'
        '"account_branch":"0001","account_number":"7654321","account_digit":"0","ispb":"87654321",'
        '"owner_document_number":"11222333000181","owner_name":"Padaria Boa Vista Ltda"},"refusal_reason":{}}'
    )


@pytest.mark.parametrize("kind", [Kind.PIX_TRANSFER, Kind.TED])
def test_a_read_tells_the_approval_while_it_waits(kind: Kind) -> None:
    waiting = detail_view(transfer(kind), challenge())
    assert list(waiting)[-1] == "approval"
    assert waiting["approval"] == approval_view(challenge())
    assert "transaction_key" not in waiting


@pytest.mark.parametrize(
    ("reason", "refusal", "told"),
    [
        (
            "attempts_exceeded",
            None,
            (82, "The maximum number of failed token validation attempts has been reached"),
        ),
        ("approver_not_allowed", None, (79, "The approver has no permission for this operation on the account")),
        ("account_unavailable", None, (918, "Account is blocked or closed")),
        ("outside_ted_hours", None, (11, "Wrong day/time for TED")),
        (
            "limit_exceeded",
            {"reason": "daily_amount_limit"},
            (914, "The operation exceeds a configured limit: daily_amount_limit"),
        ),
        ("insufficient_funds", None, (901, "Account balance does not cover the amount plus the fee")),
        ("approval_window_expired", None, (922, "The operation was not approved in time")),
        ("denied_by_approver", None, (923, "The approver denied the operation")),
        ("target_account_not_found", None, (6, "Target account was not found for given parameters")),
        ("rail_refused", None, (919, "The transfer was refused by the receiving institution")),
    ],
)
def test_a_rejected_ted_tells_number_reason_and_text(
    reason: str, refusal: dict[str, Any] | None, told: tuple[int, str]
) -> None:
    view = detail_view(transfer(), rejected(reason, refusal=refusal))["refusal_reason"]
    assert list(view.items()) == [("refusal_code", told[0]), ("enumerator", reason), ("description", told[1])]


def test_a_returned_ted_tells_the_rails_own_words() -> None:
    own = {
        "refusal_code": 1,
        "enumerator": "conta_destinatario_encerrada",
        "description": "Target account is closed",
    }
    stored = dict(sorted(own.items()))  # PostgreSQL keeps no order of members
    returned = rejected("conta_destinatario_encerrada", refusal=stored, transaction_key=TRANSACTION)
    assert list(refusal_view(transfer(), returned).items()) == list(own.items())
    assert rejection_name(transfer(), "conta_destinatario_encerrada") == "ted.rail_refused"
    assert rejection_entry(transfer(), returned).code == "TED000919"


def test_nothing_was_refused() -> None:
    assert refusal_view(transfer(), sent()) == {}


def test_the_webhook_of_a_pix() -> None:
    told = f'{{{PIX},"pix_transfer_status":"sent","created_at":"{CREATED}"}}'
    assert text(event_data(pix(), sent())) == told
    assert text(event_data(pix(), challenge(status=Status.CANCELLED))) == told.replace("sent", "cancelled")


def test_the_webhook_of_a_rejected_pix_tells_the_error() -> None:
    assert text(event_data(pix(), rejected("target_account_not_found"))) == (
        f'{{{PIX},"pix_transfer_status":"rejected","created_at":"{CREATED}","error_code":"PXT000132",'
        '"error_description":"Target account number is invalid.",'
        '"error_translation":"Número da conta de destino é inexistente ou inválido.","error_short_description":null}'
    )


def test_the_webhook_of_a_ted_is_get_one_without_three_members() -> None:
    for state in (sent(), rejected("insufficient_funds"), challenge(status=Status.CANCELLED)):
        data, whole = event_data(transfer(), state), detail_view(transfer(), state)
        assert data == {name: whole[name] for name in data}
        assert set(whole) - set(data) <= {"ted_batch_key", "transaction_key", "updated_at"}
        assert not {"ted_batch_key", "transaction_key", "updated_at", "approval"} & set(data)
        assert data["target_account"] == {name: TARGET[name] for name in data["target_account"]}


def test_the_webhook_of_a_ted_has_its_members_in_the_documented_order() -> None:
    assert list(event_data(transfer(), sent())) == [
        "request_control_key",
        "ted_key",
        "account_key",
        "created_at",
        "ted_status",
        "transaction_amount",
        "fee_amount",
        "target_account",
        "refusal_reason",
    ]


def batch(kind: Kind = Kind.PIX_TRANSFER_BATCH, **change: Any) -> Transfer:
    items = {"item_count": 3, "items_digest": "00", "largest": Brl(20000), "end_to_end_id": None}
    return transfer(kind, **items | change)


BATCHES = [(Kind.PIX_TRANSFER_BATCH, "pix_transfer"), (Kind.TED_BATCH, "ted")]


@pytest.mark.parametrize(("kind", "single"), BATCHES)
def test_a_batch_that_waits(kind: Kind, single: str) -> None:
    brief = f'{{"request_control_key":"{REQUEST}","{single}_batch_key":"{OPERATION}"'
    waits = '"pending_2fa_approval"'
    assert text(batch_view(batch(kind), challenge())) == (
        f'{brief},"{single}_batch_status":{waits},"created_at":"{CREATED}","item_count":3,"total_amount":202.01,'
        f'"fee_amount":10,{APPROVAL}}}'
    )
    assert text(batch_resend_view(batch(kind), challenge())) == (
        f'{brief},"{single}_status":{waits},"{single}_batch_status":{waits},{APPROVAL}}}'
    )
    assert text(batch_short(batch(kind), challenge())) == f'{brief},"{single}_batch_status":{waits}}}'
    detail = batch_detail(batch(kind), challenge(), None)
    assert text(detail["approval"]) == APPROVAL.removeprefix('"approval":')


@pytest.mark.parametrize(("kind", "single"), BATCHES)
def test_the_snapshot_of_a_batch_is_told_twice_on_a_resend(kind: Kind, single: str) -> None:
    ended = rejected("attempts_exceeded")
    brief = f'{{"request_control_key":"{REQUEST}","{single}_batch_key":"{OPERATION}"'
    own = f'"{single}_batch_data":{brief},"{single}_batch_status":"rejected"}}'
    assert text(snapshot_view(batch(kind), ended)) == f"{{{own}}}"
    assert text(snapshot_view(batch(kind), ended, is_resend=True)) == (
        f'{{"{single}_data":{brief},"{single}_status":"rejected"}},{own}}}'
    )


def test_get_one_of_a_batch_counts_its_items_and_so_does_its_webhook() -> None:
    approved = challenge(status=Status.APPROVED, updated_at=NOW + timedelta(seconds=39))
    settled = ItemCounts(pending=1, sent=1, rejected=1)
    told = text(batch_detail(batch(), approved, settled))
    assert told == (
        f'{{"request_control_key":"{REQUEST}","pix_transfer_batch_key":"{OPERATION}",'
        f'"pix_transfer_batch_status":"approved","created_at":"{CREATED}","updated_at":"2026-11-23T14:31:02.459Z",'
        '"item_count":3,"total_amount":202.01,"fee_amount":10,"items_pending":1,"items_sent":1,"items_rejected":1,'
        '"rejection_reason":null}'
    )
    assert text(event_data(batch(), approved, settled)) == told
    ended = text(event_data(batch(Kind.TED_BATCH), rejected("insufficient_funds")))
    assert ended.endswith(
        '"items_pending":0,"items_sent":0,"items_rejected":3,"rejection_reason":"insufficient_funds"}'
    )


def test_an_item_names_its_batch_and_waits_with_it() -> None:
    item = pix(batch_key=TRANSACTION, item_no=2)
    assert text(item_row(item, challenge())) == (
        f'{{{PIX},{END_TO_END_ID},"pix_transfer_status":"pending_2fa_approval","created_at":"{CREATED}"}}'
    )
    assert detail_view(item, challenge())["pix_transfer_batch_key"] == TRANSACTION
    assert detail_view(transfer(batch_key=TRANSACTION), challenge())["ted_batch_key"] == TRANSACTION
    with pytest.raises(AssertionError):
        item_row(transfer(), challenge())


def test_the_envelope_has_its_members_in_order() -> None:
    body = event_body(
        "baas.ted.outgoing_ted", {"a": 1}, at=NOW, event_id=TRANSACTION, sequence=1, correlation_id="order-1208"
    )
    assert body == (
        f'{{"webhook_type":"baas.ted.outgoing_ted","webhook_datetime":"{CREATED}","event_id":"{TRANSACTION}",'
        '"sequence":1,"correlation_id":"order-1208","data":{"a":1}}'
    )


def test_a_view_of_what_was_never_stored_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        transfer_view(replace(pix(), created_at=None), challenge())
    with pytest.raises(AssertionError):
        detail_view(pix(), challenge(updated_at=None))
