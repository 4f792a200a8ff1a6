import hashlib
import json
import random
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from aval.http.signed_request import BadSignature, Proof, RequestFacts, load_public_key, verify_request
from tests.request_mutations import Sent, Signer, all_mutations, mirrored, with_signature
from tests.signing import new_signing_key, pem_of

KEY = new_signing_key()
PUBLIC_KEY = load_public_key(pem_of(KEY))
SIGNER = Signer(KEY, str(uuid4()))
BODY = json.dumps({"owner_name": "Padaria", "transaction_amount": 1}).encode()
# What only the database can judge: its clock, and whose key it is.
JUDGED_ELSEWHERE = {
    "time: 61 s old",
    "time: 61 s ahead",
    "time: yesterday",
    "time: local, 3 h behind",
    "key: the stranger's",
}


def post() -> Sent:
    return SIGNER.request("POST", f"/account/{uuid4()}/ted", BODY)


def get() -> Sent:
    return SIGNER.request("GET", f"/account/{uuid4()}/teds?page=1&page_size=30")


def judged(sent: Sent, *, is_sha256_required: bool = False) -> Proof:
    request = RequestFacts(sent.method, sent.target, sent.body)
    return verify_request(sent.jwt, PUBLIC_KEY, request, is_sha256_required=is_sha256_required)


MUTATIONS = all_mutations(SIGNER, post, get, str(uuid4()), random.Random(1))


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - JUDGED_ELSEWHERE))
def test_no_altered_or_wrongly_signed_request_is_believed(name: str) -> None:
    with pytest.raises(BadSignature):
        judged(MUTATIONS[name])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T14:30:23.459001Z", datetime(2026, 11, 23, 14, 30, 23, 459001, UTC)),
        ("2026-11-23T14:30:23.459Z", datetime(2026, 11, 23, 14, 30, 23, 459000, UTC)),
        ("2026-11-23T14:30:23", datetime(2026, 11, 23, 14, 30, 23, 0, UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, 0, 0, 0, 0, UTC)),
    ],
)
def test_the_time_of_a_signature_is_utc(text: str, moment: datetime) -> None:
    assert judged(SIGNER.request("POST", "/x", BODY, timestamp=text)).signed_at == moment


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00Z",
        "2026-11-23 14:30:23Z",
        "2026-11-23T14:30Z",
        "2026-11-23T24:00:00Z",
        "٢026-11-23T14:30:23Z",
    ],
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        judged(SIGNER.request("POST", "/x", BODY, timestamp=text))


def test_every_signature_has_a_hash_of_its_own_but_for_its_mirror_image() -> None:
    sent = post()
    assert judged(with_signature(sent, mirrored)).signature_hash == judged(sent).signature_hash
    again = SIGNER.request(sent.method, sent.target, sent.body, timestamp=sent.claims["timestamp"])
    assert again.claims == sent.claims
    assert judged(again).signature_hash != judged(sent).signature_hash


@pytest.mark.parametrize("empty", [b"", b"{}"])
@pytest.mark.parametrize("name", ["payload_md5", "payload_sha256"])
def test_a_request_without_a_body_may_sign_the_digest_of_nothing(name: str, empty: bytes) -> None:
    digest = hashlib.new(name.removeprefix("payload_"), empty).hexdigest()
    judged(SIGNER.request("GET", "/x", **{name: digest}), is_sha256_required=True)


def test_md5_alone_does_unless_sha256_is_asked_for() -> None:
    sent = SIGNER.request("POST", "/x", BODY, payload_sha256=None, payload_md5=hashlib.md5(BODY).hexdigest())
    judged(sent)
    with pytest.raises(BadSignature):
        judged(sent, is_sha256_required=True)
