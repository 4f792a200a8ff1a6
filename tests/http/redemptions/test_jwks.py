"""Keys of issuers: asked for rarely, kept through an outage, and only those that may sign (redemptions.md §7.3)."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from joserfc.jwk import ECKey, OctKey, RSAKey

from aval.channels.outbound import OutboundHttp
from aval.http.parts import JwksPolicy
from aval.http.redemptions.jwks import ISSUERS_MAX, KEYS_MAX, IssuerKeys
from aval.ports import OutboundAnswer, OutboundCall
from tests.oidc_issuer import Issuer, issuing

POLICY = JwksPolicy(
    timeout=timedelta(seconds=1.5),
    refresh=timedelta(minutes=10),
    retry=timedelta(seconds=10),
    keep=timedelta(hours=24),
    patience=timedelta(seconds=0.5),
)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    async with issuing(tmp_path) as made:
        yield made


@pytest.fixture
async def outbound() -> AsyncIterator[OutboundHttp]:
    made = OutboundHttp([], is_local_allowed=True)
    yield made
    await made.close()


class Reader:
    """Finds keys of one issuer."""

    def __init__(self, issuer: Issuer, outbound: OutboundHttp, policy: JwksPolicy = POLICY) -> None:
        self.clock, self.issuer = Clock(), issuer
        self.keys = IssuerKeys(outbound, policy, monotonic=self.clock)

    async def find(self, kid: str, algorithm: Any = "RS256") -> Any:
        return await self.keys.find(f"{self.issuer.url}/jwks.json", kid, algorithm)

    async def knows(self, kid: str, algorithm: Any = "RS256") -> bool:
        return await self.find(kid, algorithm) is not None


@pytest.fixture
def reader(issuer: Issuer, outbound: OutboundHttp) -> Reader:
    return Reader(issuer, outbound)


async def test_keys_are_asked_for_once_whatever_the_number_of_calls(reader: Reader) -> None:
    found = await asyncio.gather(*(reader.find("rsa-1") for _ in range(50)))
    assert {key.thumbprint() for key in found} == {reader.issuer.keys["rsa-1"].thumbprint()}
    assert await reader.knows("ec-1", "ES256")
    assert reader.issuer.requests == 1


async def test_a_key_belongs_to_its_algorithm(reader: Reader) -> None:
    assert not await reader.knows("rsa-1", "ES256")
    assert not await reader.knows("ec-1", "RS256")


async def test_an_unknown_kid_asks_again_and_at_most_every_few_seconds(reader: Reader) -> None:
    assert await reader.knows("rsa-1")
    for _ in range(5):
        assert not await reader.knows("of-nobody")
    assert reader.issuer.requests == 1  # the first question is too young
    reader.clock.now += 10
    for number in range(5):
        assert not await reader.knows(f"of-nobody-{number}")
    assert reader.issuer.requests == 2


async def test_a_rotated_key_is_found_and_the_former_one_forgotten(reader: Reader) -> None:
    assert await reader.knows("rsa-1")
    reader.issuer.rotate("ec-2")
    assert await reader.knows("rsa-1")  # still kept
    reader.clock.now += 10
    assert await reader.knows("ec-2", "ES256")
    assert not await reader.knows("rsa-1")
    assert reader.issuer.requests == 2


async def test_kept_keys_are_looked_at_again_when_they_are_old(reader: Reader) -> None:
    assert await reader.knows("rsa-1")
    reader.issuer.rotate("ec-2")
    reader.clock.now += 599
    assert await reader.knows("rsa-1")
    reader.clock.now += 1
    assert not await reader.knows("rsa-1")


@pytest.mark.parametrize(("how", "text"), [("status", "500"), ("status", "404"), ("hang", "")])
async def test_the_last_good_keys_last_through_an_outage_but_not_for_ever(reader: Reader, how: str, text: str) -> None:
    assert await reader.knows("rsa-1")
    reader.issuer.fail(how, text)
    reader.clock.now += 3_600
    assert await reader.knows("rsa-1")
    assert await reader.knows("rsa-1")
    assert reader.issuer.requests == 2  # an issuer that is away is not asked at every call
    reader.clock.now = 1_000 + 86_399
    assert await reader.knows("rsa-1")
    reader.clock.now += 11
    assert not await reader.knows("rsa-1")
    reader.issuer.fail(None)
    reader.clock.now += 10
    assert await reader.knows("rsa-1")


async def test_a_known_key_does_not_wait_for_an_issuer_that_hangs(reader: Reader) -> None:
    assert await reader.knows("rsa-1")
    reader.issuer.fail("hang", "")
    reader.clock.now += 3_600
    of_nobody = asyncio.create_task(reader.knows("of-nobody"))
    found = await asyncio.gather(*(reader.find("rsa-1") for _ in range(5)))
    assert all(found) and not of_nobody.done()
    assert not await of_nobody


async def test_an_issuer_that_never_answered_vouches_for_nobody(reader: Reader) -> None:
    reader.issuer.fail("status", "503")
    assert not await reader.knows("rsa-1")
    reader.issuer.fail(None)
    assert not await reader.knows("rsa-1")
    reader.clock.now += 10
    assert await reader.knows("rsa-1")


async def test_a_call_that_goes_away_does_not_stop_the_question(reader: Reader) -> None:
    first = asyncio.create_task(reader.find("rsa-1"))
    await asyncio.sleep(0)
    first.cancel()
    assert await reader.knows("rsa-1")
    assert reader.issuer.requests == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"keys": null}', '{"keys": {}}', '{"keys": []}', '{"keys": [1, null, "x", [], {}]}', "\xff"],
)
async def test_an_answer_without_a_usable_key_takes_none_away(reader: Reader, text: str) -> None:
    assert await reader.knows("rsa-1")
    reader.issuer.serve(text)
    reader.clock.now += 600
    assert await reader.knows("rsa-1")
    assert reader.issuer.requests == 2


async def test_an_answer_that_is_too_long_is_not_read(reader: Reader) -> None:
    reader.issuer.tell({"padding": "x" * 70_000})
    assert not await reader.knows("rsa-1")


@cache
def unusable() -> dict[str, Any]:
    """Keys no token may be signed with, each beside good ones."""
    rsa, weak = RSAKey.generate_key(2_048), generate_private_key(65_537, 1_024).public_key().public_numbers().n
    curve, other = ECKey.generate_key("P-256"), ECKey.generate_key("P-384")
    good, good_curve = rsa.as_dict(private=False), curve.as_dict(private=False)
    return {
        "for encryption": {**good, "use": "enc"},
        "of another algorithm": {**good, "alg": "RS512"},
        "of a curve's algorithm": {**good, "alg": "ES256"},
        "a weak one": {**good, "n": urlsafe_b64encode(weak.to_bytes(128)).rstrip(b"=").decode()},
        "an exponent of one": {**good, "e": "AQ"},
        "an even exponent": {**good, "e": "Ag"},
        "no modulus": {name: value for name, value in good.items() if name != "n"},
        "a modulus that is no number": {**good, "n": 5},
        "another curve": other.as_dict(private=False),
        "a point off the curve": {**good_curve, "y": good_curve["x"]},
        "a shared secret": OctKey.generate_key(256).as_dict(private=True),
        "a number as name": {**good, "kid": 7},
    }


@pytest.mark.parametrize("what", unusable())
async def test_a_key_that_may_not_sign_is_none(reader: Reader, what: str) -> None:
    reader.issuer.tell({"kid": "bad", **unusable()[what]})
    assert await reader.knows("rsa-1")
    reader.clock.now += 10
    assert not await reader.knows("bad")
    assert not await reader.knows("bad", "ES256")


async def test_of_very_many_keys_the_first_ones_count(reader: Reader) -> None:
    told = reader.issuer.keys["rsa-1"].as_dict(private=False)
    reader.issuer.serve(json.dumps({"keys": [{**told, "kid": str(number)} for number in range(KEYS_MAX + 1)]}))
    assert await reader.knows(str(KEYS_MAX - 1))
    assert not await reader.knows(str(KEYS_MAX))


async def test_a_private_member_is_never_read(reader: Reader) -> None:
    reader.issuer.tell({**reader.issuer.keys["rsa-1"].as_dict(private=True), "kid": "leaked"})
    assert not (await reader.find("leaked")).is_private


async def test_an_address_inside_is_never_asked(issuer: Issuer) -> None:
    strict = OutboundHttp([], is_local_allowed=False)
    try:
        reader = Reader(issuer, strict)
        assert not await reader.knows("rsa-1")
        assert issuer.requests == 0
    finally:
        await strict.close()


async def test_a_redirect_is_not_followed(reader: Reader) -> None:
    reader.issuer.fail("status", "302")
    assert not await reader.knows("rsa-1")


async def test_the_issuers_that_are_remembered_have_a_limit() -> None:
    asked: list[str] = []

    class Silent:
        """Answers nobody."""

        async def call(self, call: OutboundCall) -> OutboundAnswer:
            asked.append(call.url)
            return OutboundAnswer(None, error="timeout")

        async def close(self) -> None: ...

    keys = IssuerKeys(Silent(), POLICY, monotonic=Clock())
    for number in [*range(ISSUERS_MAX + 1), 0]:
        await keys.find(f"https://{number}.example", "a", "RS256")
    assert len(asked) == ISSUERS_MAX + 2  # the first was forgotten
    assert keys is not None and len(keys._issuers) == ISSUERS_MAX


async def test_without_a_way_out_there_are_no_keys() -> None:
    assert await IssuerKeys(None, POLICY).find("https://a.example", "a", "RS256") is None
