"""A JWT before and after its signature: its form, its header, and when its claims count."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from aval.domain.jwt import KID_CHARACTERS_MAX, BadJwt, check_claims, parse_jwt

NOW = datetime(2026, 3, 4, 18, 15, tzinfo=UTC)
SECONDS = NOW.timestamp()
HEADER = {"alg": "ES256", "kid": "ec-1"}
CLAIMS = {"iss": "https://id.example", "aud": "loyalty-app", "exp": SECONDS + 300}


def segment(content: object) -> str:
    kept = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(kept).rstrip(b"=").decode()


def jwt(header: object = HEADER, claims: object = CLAIMS, signature: str = "c2lnbmVk") -> str:
    return f"{segment(header)}.{segment(claims)}.{signature}"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_jwt_tells_by_which_key_it_claims_to_be_signed(algorithm: str) -> None:
    kid = "k" * KID_CHARACTERS_MAX
    told = parse_jwt(jwt({"alg": algorithm, "kid": kid, "typ": "JWT"}))
    assert (told.algorithm, told.kid, told.claims) == (algorithm, kid, CLAIMS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        jwt().rpartition(".")[0],
        f"{jwt()}.{segment(b'more')}",
        jwt(signature=""),
        jwt(signature="c2ln bmVk"),
        jwt(signature="c2lnbmVkx"),
        jwt(signature="c2lnbmVk="),
        jwt(header=b"{"),
        jwt(header=b"\xff"),
        jwt(header=b'{"alg": "\xff"}'),
        jwt(header=[]),
        jwt(claims="claims"),
        jwt(claims=b""),
        jwt(claims=b'{"exp": NaN}'),
        jwt(claims=b'{"exp": 1e999}'),
    ],
)
def test_what_has_not_the_form_is_nothing(text: str) -> None:
    with pytest.raises(BadJwt):
        parse_jwt(text)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "es256"},
        {"alg": ["ES256"]},
        {"kid": None},
        {"kid": ""},
        {"kid": 1},
        {"kid": "k" * (KID_CHARACTERS_MAX + 1)},
        {"b64": False},
        {"crit": []},
        {"jku": "https://elsewhere.example"},
        {"jwk": {}},
        {"x5c": None},
        {"x5u": ""},
    ],
)
def test_a_header_that_names_no_key_or_brings_its_own_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadJwt):
        parse_jwt(jwt(HEADER | change))


def fits(**change: Any) -> bool:
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not ...}
    try:
        check_claims(claims, issuer="https://id.example", audience="loyalty-app", now=NOW)
    except BadJwt:
        return False
    return True


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"aud": ["elsewhere", "loyalty-app"]}, True),
        ({"aud": []}, False),
        ({"aud": {"loyalty-app": True}}, False),
        ({"aud": ...}, False),
        ({"iss": "https://id.example/"}, False),
        ({"iss": ...}, False),
        ({"exp": SECONDS - 59.999}, True),
        ({"exp": SECONDS - 60}, False),
        ({"exp": ...}, False),
        ({"exp": None}, False),
        ({"exp": True}, False),
        ({"exp": str(SECONDS + 300)}, False),
        ({"exp": 10**400}, False),
        ({"nbf": SECONDS + 60}, True),
        ({"nbf": SECONDS + 60.001}, False),
        ({"nbf": None}, False),
        ({"nbf": -(10**400)}, False),
    ],
)
def test_a_jwt_counts_for_whom_and_as_long_as_it_says(change: dict[str, Any], is_good: bool) -> None:
    assert fits(**change) is is_good
