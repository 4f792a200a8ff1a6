import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from aval.client import ArgumentNotValid, WebhookNotValid, verify_webhook
from aval.domain.signature import new_secret, signed_headers

SECRET, OTHER = new_secret(b"a" * 32), new_secret(b"b" * 32)
EVENT = {
    "webhook_type": "baas.ted.outgoing_ted",
    "webhook_datetime": "2026-11-23T14:41:10.500Z",
    "event_id": "b7f4093e-58cd-4a16-82e7-d1a05c9f3b68",
    "sequence": 1,
    "correlation_id": "order-1208",
    "data": {"ted_status": "sent", "transaction_amount": 202.01, "fee_amount": 10, "owner_name": "João"},
}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()


def headers_of(body: bytes = BODY, *secrets: str, age: timedelta = timedelta(0)) -> dict[str, str]:
    return signed_headers(secrets or (SECRET,), EVENT["event_id"], datetime.now(UTC) - age, body)


def test_what_aval_signed_is_read() -> None:
    webhook = verify_webhook(SECRET, headers_of(), BODY)
    assert (webhook.event_id, webhook.sequence) == (UUID(EVENT["event_id"]), 1)
    assert webhook.webhook_datetime == datetime(2026, 11, 23, 14, 41, 10, 500_000, UTC)
    assert webhook.data["transaction_amount"] == Decimal("202.01")


def test_header_names_have_any_case_and_a_rotation_two_signatures() -> None:
    headers = {name.title(): text for name, text in headers_of(BODY, OTHER, SECRET).items()}
    assert verify_webhook(SECRET, headers, BODY) == verify_webhook(OTHER, headers, BODY)


WRONG = {
    "another secret": (headers_of(BODY, OTHER), BODY),
    "another body": (headers_of(), BODY + b" "),
    "too old": (headers_of(age=timedelta(hours=6)), BODY),
    "too new": (headers_of(age=timedelta(hours=-6)), BODY),
    "no headers": ({}, BODY),
    "another id": (headers_of() | {"webhook-id": "x"}, BODY),
    "no version": (headers_of() | {"webhook-signature": "v1"}, BODY),
    "no base64": (headers_of() | {"webhook-signature": "v1,€"}, BODY),
    "too many commas": (headers_of() | {"webhook-signature": "v1,a,b"}, BODY),
    "no time": (headers_of() | {"webhook-timestamp": "now"}, BODY),
    "no number": (headers_of() | {"webhook-timestamp": "nan"}, BODY),
    "no UTF-8": (headers_of(b"\xff"), b"\xff"),
    "signed, but no event": (headers_of(b"{}"), b"{}"),
    "signed, but no JSON": (headers_of(b"x"), b"x"),
}


@pytest.mark.parametrize("name", WRONG)
def test_everything_else_is_refused(name) -> None:
    headers, body = WRONG[name]
    with pytest.raises(WebhookNotValid) as refused:
        verify_webhook(SECRET, headers, body)
    assert SECRET not in f"{refused.value!r} {refused.value}"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_a", "whsec_ä"])
def test_a_secret_that_is_none_is_the_callers_mistake(secret) -> None:
    with pytest.raises(ArgumentNotValid):
        verify_webhook(secret, headers_of(), BODY)
