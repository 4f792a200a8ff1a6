"""Signatures, held to the independent Standard Webhooks library."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from aval.domain.signature import is_signed, new_secret, signed_headers

NOW = datetime(2026, 11, 23, 14, 30, 23, 600_000, tzinfo=UTC)
OLD, NEW, FOREIGN = (new_secret(bytes([n]) * 32) for n in (1, 2, 3))
BODY = b'{"data": "cora\xc3\xa7\xc3\xa3o"}'


def test_a_secret_is_the_prefix_and_base64_of_32_bytes() -> None:
    secret = new_secret(bytes(range(32)))
    assert secret.startswith("whsec_")
    assert base64.b64decode(secret.removeprefix("whsec_")) == bytes(range(32))


def test_headers_are_those_of_the_specification() -> None:
    headers = signed_headers([NEW], "evt-1", NOW, BODY)
    assert list(headers) == ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert headers["webhook-id"] == "evt-1"
    assert headers["webhook-timestamp"] == "1795444223"
    assert headers["webhook-signature"] == Webhook(NEW).sign("evt-1", NOW, BODY.decode())


@given(st.dictionaries(st.text(), st.text()), st.binary(min_size=32, max_size=32), st.uuids())
def test_the_library_verifies_every_signature(content: dict[str, str], entropy: bytes, message_id: object) -> None:
    body = json.dumps(content).encode()
    secret = new_secret(entropy)
    headers = signed_headers([secret], str(message_id), datetime.now(UTC), body)
    assert Webhook(secret).verify(body, headers) == content


def test_during_a_rotation_both_secrets_verify_and_no_third() -> None:
    headers = signed_headers([NEW, OLD], "evt-1", datetime.now(UTC), BODY)
    for secret in (NEW, OLD):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(FOREIGN).verify(BODY, headers)


def test_what_the_library_signs_is_signed() -> None:
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(NEW).sign("msg_1", NOW, BODY.decode()),
    }
    assert is_signed([NEW], headers, BODY, NOW)
    assert is_signed([OLD, NEW], headers, BODY, NOW)
    assert not is_signed([OLD], headers, BODY, NOW)
    assert not is_signed([], headers, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300, -299.4, 0, 299, 300])
def test_a_timestamp_within_five_minutes_is_taken(seconds: float) -> None:
    sent_at = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    assert is_signed([NEW], signed_headers([NEW], "m", sent_at, BODY), BODY, sent_at + timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", [-301, -300.01, 300.01, 301, 86_400])
def test_a_timestamp_outside_five_minutes_is_refused(seconds: float) -> None:
    sent_at = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    assert not is_signed([NEW], signed_headers([NEW], "m", sent_at, BODY), BODY, sent_at + timedelta(seconds=seconds))


GOOD = signed_headers([NEW], "msg_1", NOW, BODY)
SIGNATURE = GOOD["webhook-signature"]


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-id": "mês"},
        {"webhook-id": "m" * 129},
        {"webhook-timestamp": "1795444224"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1795444223.0"},
        {"webhook-timestamp": " 1795444223"},
        {"webhook-timestamp": "-1795444223"},
        {"webhook-timestamp": "١٧٩٥٤٤٤٢٢٣"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-signature": ""},
        {"webhook-signature": SIGNATURE.removeprefix("v1,")},
        {"webhook-signature": "v1a" + SIGNATURE.removeprefix("v1")},
        {"webhook-signature": SIGNATURE[:-4]},
        {"webhook-signature": SIGNATURE + "="},
        {"webhook-signature": "v1,ação\ud800"},
        {"webhook-signature": " ".join(["v1,AAAA"] * 8 + [SIGNATURE])},
    ],
)
def test_a_changed_header_is_not_signed(change: dict[str, str]) -> None:
    assert is_signed([NEW], GOOD, BODY, NOW)
    assert not is_signed([NEW], {**GOOD, **change}, BODY, NOW)


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_missing_header_is_not_signed(missing: str) -> None:
    assert not is_signed([NEW], {name: text for name, text in GOOD.items() if name != missing}, BODY, NOW)


def test_a_changed_body_is_not_signed() -> None:
    assert not is_signed([NEW], GOOD, BODY + b" ", NOW)


def test_another_signature_beside_the_right_one_does_no_harm() -> None:
    assert is_signed([NEW], {**GOOD, "webhook-signature": "v1a,abcd v1,AAAA " + SIGNATURE}, BODY, NOW)


def test_a_damaged_stored_secret_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        signed_headers(["whsec_***"], "m", NOW, BODY)
