"""Tokens of participants: what makes one good, and everything that spoils it (redemptions.md §7.3)."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from aval.domain.campaign import ClaimNames, OidcSettings
from aval.http.app import build_app
from aval.http.parts import JwksPolicy
from aval.http.redemptions import features
from tests.factories import Reply
from tests.oidc_issuer import AUDIENCE, Issuer, hmac_signed, issuing
from tests.redemption_stage import Headers, RedemptionStage, reason_of

UNAUTHENTICATED = (401, "GDF000014", "unauthenticated")


class Caller:
    """A participant who sends one token after the other."""

    def __init__(self, stage: RedemptionStage, campaign: Any, application: Any, person: Any) -> None:
        self.stage, self.campaign, self.application, self.person = stage, campaign, application, person

    async def read(self, token: str) -> Reply:
        headers: Headers = {
            "authorization": f"Bearer {token}",
            "ocp-apim-subscription-key": self.application.subscription_key,
        }
        return await self.stage.call("GET", "/participants/me", headers=headers)

    def token(self, issuer: Issuer | None = None, **change: Any) -> str:
        return (issuer or self.stage.issuer).token(self.person.key, self.campaign.campaign_id, **change)


async def made(stage: RedemptionStage, **change: Any) -> Caller:
    campaign = await stage.campaign(**change)
    return Caller(stage, campaign, await stage.application(campaign), await stage.participant(campaign))


@pytest.fixture
async def caller(redemptions: RedemptionStage) -> Caller:
    return await made(redemptions)


def told(reply: Reply) -> tuple[int, str | None, str]:
    return reply.status, reply.code, reason_of(reply)


def at(seconds: float) -> Callable[[], float]:
    """So many seconds from the moment the token is made."""
    return lambda: time.time() + seconds


def said(change: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value() if callable(value) else value for name, value in change.items()}


FITTING: dict[str, Mapping[str, Any]] = {
    "several audiences": {"aud": ["elsewhere", AUDIENCE]},
    "just over, within the leeway": {"exp": at(-30)},
    "not begun, within the leeway": {"nbf": at(30)},
    "a time with a fraction": {"exp": at(100.5)},
    "without what is not needed": {
        "custom__catalog_id": None,
        "custom__client_id": None,
        "username": None,
        "sub": None,
    },
    "another catalogue than now": {"custom__catalog_id": "silver"},
}


@pytest.mark.parametrize("change", FITTING.values(), ids=FITTING)
async def test_a_token_that_fits_is_good(caller: Caller, change: Mapping[str, Any]) -> None:
    assert (await caller.read(caller.token(**said(change)))).status == 200


SPOILED: dict[str, Mapping[str, Any]] = {
    "another issuer": {"iss": "https://elsewhere.example"},
    "the issuer with a slash": {"iss": "{url}/"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "elsewhere"},
    "no audience": {"aud": None},
    "an audience within a longer one": {"aud": f"{AUDIENCE}-admin"},
    "no audience of a list": {"aud": []},
    "an audience as an object": {"aud": {AUDIENCE: True}},
    "over": {"exp": at(-61)},
    "without an end": {"exp": None},
    "an end in words": {"exp": "2999999999"},
    "an end that is true": {"exp": True},
    "an end beyond all times": {"exp": 10**400},
    "not begun": {"nbf": at(65)},
    "a beginning in words": {"nbf": "now"},
    "no participant": {"custom__participant_id": None},
    "a participant that is no id": {"custom__participant_id": "helena"},
    "a participant as a list": {"custom__participant_id": []},
    "no campaign": {"custom__campaign_id": None},
    "another campaign": {"custom__campaign_id": "outra"},
    "another client": {"custom__client_id": "outra"},
}


@pytest.mark.parametrize("change", SPOILED.values(), ids=SPOILED)
async def test_a_token_whose_claims_do_not_fit_is_nobody(caller: Caller, change: Mapping[str, Any]) -> None:
    change = {
        name: value.format(url=caller.stage.issuer.url) if isinstance(value, str) else value
        for name, value in said(change).items()
    }
    assert told(await caller.read(caller.token(**change))) == UNAUTHENTICATED


async def test_a_good_token_of_nobody_is_an_unknown_participant(caller: Caller) -> None:
    stranger = (await made(caller.stage)).person
    for participant in (uuid4(), stranger.key):
        token = caller.stage.issuer.token(participant, caller.campaign.campaign_id)
        assert told(await caller.read(token)) == (404, "113", "participant_not_found")


def segment(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def tampered(caller: Caller) -> dict[str, str]:
    issuer, good = caller.stage.issuer, caller.token()
    head, payload, signature = good.split(".")
    claims = issuer.claims(caller.person.key, caller.campaign.campaign_id)
    rsa, curve = issuer.keys["rsa-1"], issuer.keys["ec-1"]
    stranger, p384 = RSAKey.generate_key(2048), ECKey.generate_key("P-384")
    weak = RSAKey.import_key(generate_private_key(65_537, 2_048))
    last = "B" if signature[0] == "A" else "A"
    return {
        "no algorithm": f"{segment({'alg': 'none', 'kid': 'rsa-1'})}.{payload}.",
        "no algorithm, a signature": f"{segment({'alg': 'none', 'kid': 'rsa-1'})}.{payload}.{signature}",
        "HS256 with the public key": hmac_signed({"alg": "HS256", "kid": "rsa-1"}, claims, rsa.as_pem(private=False)),
        "RS256 in the head, HS256 below": hmac_signed(
            {"alg": "RS256", "kid": "rsa-1"}, claims, rsa.as_pem(private=False)
        ),
        "a key brought along": caller.token(key=stranger, kid="rsa-1", header={"jwk": stranger.as_dict(private=False)}),
        "a place for keys brought along": caller.token(header={"jku": f"{issuer.url}/jwks.json"}),
        "certificates brought along": caller.token(header={"x5c": ["MIIB"]}),
        "a stranger's key under a known name": caller.token(key=stranger, kid="rsa-1"),
        "an unknown name": caller.token(key=rsa, kid="rsa-2"),
        "a name that is a path": caller.token(key=rsa, kid="../../../../dev/null"),
        "a name that is SQL": caller.token(key=rsa, kid="' or 1=1 --"),
        "no name": caller.token(header={"kid": None}),
        "a name that is a number": jws_of({"alg": "RS256", "kid": 1}, claims),
        "the name of the other key": caller.token(key=rsa, kid="ec-1"),
        "another curve": jws.serialize_compact({"alg": "ES384", "kid": "ec-1"}, json.dumps(claims), p384, ["ES384"]),
        "another hash": jws.serialize_compact({"alg": "RS512", "kid": "rsa-1"}, json.dumps(claims), rsa, ["RS512"]),
        "another padding": jws.serialize_compact({"alg": "PS256", "kid": "rsa-1"}, json.dumps(claims), rsa, ["PS256"]),
        "the curve's key as RS256": caller.token(key=weak, kid="ec-1"),
        "the curve's signature as DER": f"{caller.token(kid='ec-1').rpartition('.')[0]}.{segment(b'0' * 70)}",
        "a critical word": f"{segment({'alg': 'RS256', 'kid': 'rsa-1', 'crit': ['x'], 'x': 1})}.{payload}.{signature}",
        "an unencoded payload": f"{segment({'alg': 'RS256', 'kid': 'rsa-1', 'b64': False})}.{payload}.{signature}",
        "another payload": f"{head}.{segment({**claims, 'username': 'ana'})}.{signature}",
        "another signature": f"{head}.{payload}.{last}{signature[1:]}",
        "no signature": f"{head}.{payload}.",
        "two segments": f"{head}.{payload}",
        "four segments": f"{good}.{signature}",
        "a payload that is a list": f"{head}.{segment([])}.{signature}",
        "a payload that is no JSON": f"{head}.{segment(b'helena')}.{signature}",
        "a head that is no JSON": f"{segment(b'{')}.{payload}.{signature}",
        "a head in UTF-16": f"{segment(json.dumps({'alg': 'RS256'}).encode('utf-16'))}.{payload}.{signature}",
        "an encrypted one": ".".join([segment({"alg": "RSA-OAEP", "enc": "A256GCM"}), "a", "b", "c", "d"]),
        "curve": curve.as_dict(private=False)["x"],
    }


def jws_of(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    return f"{segment(dict(header))}.{segment(dict(claims))}.{segment(b'x' * 256)}"


async def test_a_tampered_token_is_nobody(caller: Caller) -> None:
    assert (await caller.read(caller.token())).status == 200
    for what, token in tampered(caller).items():
        assert told(await caller.read(token)) == UNAUTHENTICATED, what


async def test_without_settings_of_an_issuer_no_token_is_good(redemptions: RedemptionStage) -> None:
    caller = await made(redemptions, oidc=None)
    assert told(await caller.read(caller.token())) == UNAUTHENTICATED


async def test_the_campaign_says_under_which_names_claims_stand(redemptions: RedemptionStage) -> None:
    claims = ClaimNames(participant_id="sub", campaign_id="tenant", client_id="azp")
    caller = await made(redemptions, oidc=OidcSettings(**redemptions.issuer.oidc, claims=claims))
    said = {"sub": str(caller.person.key), "tenant": caller.campaign.campaign_id, "azp": caller.campaign.client_id}
    assert (await caller.read(caller.token(**said))).status == 200
    assert told(await caller.read(caller.token())) == UNAUTHENTICATED
    assert told(await caller.read(caller.token(**said | {"azp": "outra"}))) == UNAUTHENTICATED


async def test_a_participant_is_found_among_many_ids_of_a_token(redemptions: RedemptionStage) -> None:
    claims = ClaimNames(participant_id="person", campaign_id="tenant", client_id="azp")
    caller = await made(redemptions, oidc=OidcSettings(**redemptions.issuer.oidc, claims=claims))
    said: dict[str, Any] = {"custom__participant_id": None} | {f"id_{n}": str(uuid4()) for n in range(40)}
    said |= {"person": str(caller.person.key), "tenant": caller.campaign.campaign_id, "azp": caller.campaign.client_id}
    assert (await caller.read(caller.token(**said))).status == 200


async def test_the_same_token_is_nobody_for_a_campaign_of_another_issuer(
    redemptions: RedemptionStage, tmp_path: Path
) -> None:
    async with issuing(tmp_path) as other:
        other.rotate("rsa-1", RSAKey.generate_key(2048))
        caller = await made(redemptions, oidc=OidcSettings(**other.oidc))
        assert (await caller.read(caller.token(other))).status == 200
        assert told(await caller.read(caller.token())) == UNAUTHENTICATED
        forged = caller.token(iss=other.url)  # the other's name under this one's key
        assert told(await caller.read(forged)) == UNAUTHENTICATED


async def test_a_participant_token_takes_no_impersonation_headers(caller: Caller) -> None:
    headers = caller.stage.as_participant(caller.application, caller.campaign, caller.person)
    for name in ("participantid", "catalogId", "customerId", "impersonatorUser", "username"):
        reply = await caller.stage.call("GET", "/participants/me", headers=headers | {name: "x"})
        assert told(reply) == (400, "RDM000916", "impersonation_headers")
        assert reply.json["extra_fields"]["headers"] == [name]


async def test_no_connection_is_held_while_keys_are_fetched(own_redemptions: RedemptionStage, tmp_path: Path) -> None:
    """An issuer that hangs costs its own participants the wait; everybody else finds the whole pool."""
    stage = own_redemptions
    async with issuing(tmp_path) as hanging:
        hanging.fail("hang")
        policy = JwksPolicy(timeout=timedelta(seconds=1.5))
        parts = replace(stage.parts, settings=replace(stage.parts.settings, jwks=policy))
        stage.app = build_app(parts, [features.routes(parts)])
        caller = await made(stage, oidc=OidcSettings(**hanging.oidc))
        waiting = [asyncio.create_task(caller.read(caller.token(hanging))) for _ in range(40)]
        await asyncio.sleep(0.2)
        operator = await stage.operator()
        others = await asyncio.gather(*(stage.call("GET", "/campaigns", headers=operator) for _ in range(20)))
        assert [reply.status for reply in others] == [200] * 20
        assert not any(task.done() for task in waiting)
        assert {told(reply) for reply in await asyncio.gather(*waiting)} == {UNAUTHENTICATED}
        assert hanging.requests == 1
