"""Access tokens: client credentials, discovery, keys, rotation, and every wrong way to ask for or use one."""

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from joserfc import jws, jwt
from joserfc.jwk import KeySet, RSAKey

from aval.domain.keyring import Keyring, Purpose
from aval.http.redemptions.access_tokens import sign_access_token
from aval.operations.create_application import NewApplication
from aval.storage.clock import read_clock
from aval.storage.keys_file import KeysFile
from tests.factories import KeyringHolder, Reply, make_keyring
from tests.oidc_issuer import hmac_signed
from tests.redemption_stage import Headers, RedemptionStage, reason_of

FORM = "application/x-www-form-urlencoded"
ISSUER = "http://127.0.0.1:8321"


def basic(client_id: object, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def client_of(application: NewApplication, **change: str) -> dict[str, str]:
    said = {"client_id": str(application.application.key), "client_secret": application.client_secret}
    return {"grant_type": "client_credentials"} | said | change


async def ask(stage: RedemptionStage, form: dict[str, str] | str, **headers: str) -> Reply:
    raw = (form if isinstance(form, str) else urlencode(form)).encode()
    headers.setdefault("content_type", FORM)
    return await stage.call("POST", "/oauth2/token", raw=raw, **headers)


def bearer(application: NewApplication, token: str, **more: str) -> Headers:
    return {"authorization": f"Bearer {token}", "ocp-apim-subscription-key": application.subscription_key, **more}


async def now_of(stage: RedemptionStage) -> Any:
    async with stage.db.connection() as connection:
        return await read_clock(connection)


async def test_a_client_gets_a_token_that_works_for_an_hour(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign)
    for form, headers in (
        (client_of(application), {}),
        (
            {"grant_type": "client_credentials"},
            {"authorization": basic(application.application.key, application.client_secret)},
        ),
    ):
        reply = await ask(redemptions, form, **headers)
        assert (reply.status, reply.json["token_type"], reply.json["expires_in"]) == (200, "Bearer", 3600)
        assert reply.json["scope"].split() == sorted(application.application.scopes)
        assert reply.headers["cache-control"] == "no-store"
        own = await redemptions.call(
            "GET", f"/campaigns/{campaign.campaign_id}", headers=bearer(application, reply.json["access_token"])
        )
        assert own.status == 200


async def test_anybody_may_check_a_token_with_what_is_published(redemptions: RedemptionStage) -> None:
    application = await redemptions.application(await redemptions.campaign())
    token = (await ask(redemptions, client_of(application))).json["access_token"]
    found = (await redemptions.call("GET", "/.well-known/openid-configuration")).json
    assert (found["issuer"], found["token_endpoint"]) == (ISSUER, f"{ISSUER}/oauth2/token")
    assert found["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    keys = (await redemptions.call("GET", "/.well-known/jwks.json")).json
    assert [sorted(key) for key in keys["keys"]] == [["alg", "e", "kid", "kty", "n", "use"]]  # nothing private
    told = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
    assert told.header == {"alg": "RS256", "kid": "access_token-1", "typ": "at+jwt"}
    assert (told.claims["iss"], told.claims["client_id"]) == (ISSUER, str(application.application.key))
    assert told.claims["exp"] - told.claims["iat"] == 3600


async def test_a_token_has_the_scopes_that_were_asked_for_and_never_more_than_the_application(
    redemptions: RedemptionStage,
) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign, scopes=["redemptions.read", "policy.read"])
    policy = f"/campaigns/{campaign.campaign_id}/two_factor"
    narrow = (await ask(redemptions, client_of(application, scope="redemptions.read"))).json
    assert narrow["scope"] == "redemptions.read"
    refused = await redemptions.call("GET", policy, headers=bearer(application, narrow["access_token"]))
    assert (refused.status, refused.code) == (403, "RDM000918")
    wide = (await ask(redemptions, client_of(application))).json["access_token"]
    assert (await redemptions.call("GET", policy, headers=bearer(application, wide))).status == 200
    await redemptions.execute(
        "update applications set scopes = '{redemptions.read}' where application_id = $1", application.application.key
    )
    assert (await redemptions.call("GET", policy, headers=bearer(application, wide))).status == 403
    for scope in ("policy.read", "policy.write", "everything", "redemptions.read policy.read"):
        reply = await ask(redemptions, client_of(application, scope=scope))
        assert (reply.status, reply.code) == (403, "RDM000918")


async def test_an_access_token_acts_for_a_participant_only_with_the_scope_in_it(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application, person = await redemptions.application(campaign), await redemptions.participant(campaign)
    for scope, expected in (("impersonate participants.read", 200), ("participants.read", 403), ("impersonate", 403)):
        token = (await ask(redemptions, client_of(application, scope=scope))).json["access_token"]
        headers = redemptions.as_impersonator(application, campaign, person) | bearer(application, token)
        assert (await redemptions.call("GET", "/participants/me", headers=headers)).status == expected, scope
    alone = await redemptions.call("GET", "/participants/me", headers=bearer(application, token))
    assert (alone.status, alone.code) == (401, "103")


@pytest.mark.parametrize(
    ("change", "headers", "expected"),
    [
        ({"client_secret": "aval_secret_" + "x" * 43}, {}, (401, "GDF000014", "unauthenticated")),
        ({"client_id": str(uuid4())}, {}, (401, "GDF000014", "unauthenticated")),
        ({"client_id": "loja"}, {}, (401, "GDF000014", "unauthenticated")),
        ({"client_id": ""}, {}, (401, "GDF000014", "unauthenticated")),
        ({"client_secret": ""}, {}, (401, "GDF000014", "unauthenticated")),
        ({}, {"authorization": basic("x", "y")}, (400, "QIT000001", "schema")),
        ({"grant_type": "password"}, {}, (400, "QIT000001", "schema")),
        ({"grant_type": ""}, {}, (400, "QIT000001", "schema")),
        ({"username": "helena"}, {}, (400, "QIT000001", "schema")),
        ({}, {"content_type": "application/json"}, (415, "QIT000942", "media_type")),
        ({}, {"content_type": FORM, "content_encoding": "gzip"}, (415, "QIT000942", "media_type")),
        ({"scope": "x" * 4096}, {}, (413, "RDM000923", "too_large")),
    ],
)
async def test_a_wrong_request_gets_no_token(
    redemptions: RedemptionStage, change: dict[str, str], headers: dict[str, str], expected: tuple[int, str, str]
) -> None:
    application = await redemptions.application(await redemptions.campaign())
    reply = await ask(redemptions, client_of(application, **change), **headers)
    assert (reply.status, reply.code, reason_of(reply)) == expected
    assert "x-correlation-id" in reply.headers


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("grant_type=client_credentials&grant_type=client_credentials", "QIT000001"),
        ("grant_type", "QIT000001"),
        ("grant_type=client_credentials&&&&=", "QIT000001"),
        ("grant_type=%ff", "QIT000001"),
        ("", "GDF000014"),
    ],
)
async def test_a_form_that_is_none_is_refused(redemptions: RedemptionStage, form: str, expected: str) -> None:
    assert (await ask(redemptions, form)).code == expected


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic //79",
        "Bearer x",
        "",
        "Negotiate",
    ],
)
async def test_a_header_that_proves_nothing_is_nobody(redemptions: RedemptionStage, header: str) -> None:
    reply = await ask(redemptions, {"grant_type": "client_credentials"}, authorization=header)
    assert (reply.status, reply.code) == (401, "GDF000014")


async def test_a_revoked_application_gets_no_token_and_its_tokens_die(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign)
    token = (await ask(redemptions, client_of(application))).json["access_token"]
    await redemptions.execute(
        "update applications set revoked_at = now() where application_id = $1", application.application.key
    )
    assert (await ask(redemptions, client_of(application))).status == 401
    reply = await redemptions.call("GET", f"/campaigns/{campaign.campaign_id}", headers=bearer(application, token))
    assert (reply.status, reply.code) == (401, "GDF000014")


async def test_a_token_of_another_application_does_not_fit_the_subscription_key(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    one, other = await redemptions.application(campaign), await redemptions.application(campaign)
    token = (await ask(redemptions, client_of(one))).json["access_token"]
    reply = await redemptions.call("GET", f"/campaigns/{campaign.campaign_id}", headers=bearer(other, token))
    assert (reply.status, reply.code) == (401, "GDF000014")


def resigned(token: str, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
    """The token with other words, signed by another key or by nobody."""
    head, payload, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "==")) | claims
    words = json.loads(base64.urlsafe_b64decode(head + "==")) | (header or {})
    if key is None:
        encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in (words, told)]
        return ".".join([*encoded, signature])
    return jws.serialize_compact(words, json.dumps(told), key, algorithms=[words["alg"]])


def claims_of(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def own_key() -> RSAKey:
    secret = make_keyring().current(Purpose.ACCESS_TOKEN).secret
    return RSAKey.import_key(load_der_private_key(secret, None))


def forged(token: str) -> dict[str, str]:
    public_pem = own_key().as_pem(private=False)
    stranger = RSAKey.generate_key(2048)
    return {
        "another subject": resigned(token, sub=str(uuid4())),
        "more scopes": resigned(token, scope="redemptions.external"),
        "no algorithm": resigned(token, header={"alg": "none"}),
        "no signature": token.rpartition(".")[0] + ".",
        "HS256 with the public key": hmac_signed(
            {"alg": "HS256", "kid": "access_token-1"}, claims_of(token), public_pem
        ),
        "a stranger's key": resigned(token, header={}, key=stranger),
        "a stranger's key brought along": resigned(
            token, header={"jwk": stranger.as_dict(private=False)}, key=stranger
        ),
        "another issuer": resigned(token, iss="https://elsewhere.example", key=own_key()),
        "another audience": resigned(token, aud="https://elsewhere.example", key=own_key()),
        "expired": resigned(token, exp=1_700_000_000, key=own_key()),
        "without an end": resigned(token, exp=None, key=own_key()),
        "an end in words": resigned(token, exp="2999999999", key=own_key()),
        "no scope": resigned(token, scope=None, key=own_key()),
        "a subject that is no id": resigned(token, sub="admin", key=own_key()),
    }


async def test_a_forged_token_is_nobody(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign)
    token = (await ask(redemptions, client_of(application))).json["access_token"]
    own = f"/campaigns/{campaign.campaign_id}"
    again = resigned(token, header={}, key=own_key())
    assert (await redemptions.call("GET", own, headers=bearer(application, again))).status == 200
    for what, text in forged(token).items():
        reply = await redemptions.call("GET", own, headers=bearer(application, text))
        assert (reply.status, reply.code) == (401, "GDF000014"), what


@pytest.mark.parametrize(("age", "expected"), [(3_655, 200), (3_665, 401)])
async def test_a_token_ends_after_an_hour_and_the_leeway_by_the_clock_of_the_database(
    redemptions: RedemptionStage, age: int, expected: int
) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign)
    token = sign_access_token(
        make_keyring().current(Purpose.ACCESS_TOKEN),
        issuer=ISSUER,
        application_key=application.application.key,
        scopes=["redemptions.read"],
        now=await now_of(redemptions) - timedelta(seconds=age),
    )
    reply = await redemptions.call("GET", f"/campaigns/{campaign.campaign_id}", headers=bearer(application, token))
    assert reply.status == expected


async def test_the_former_key_is_good_until_its_tokens_have_ended(
    own_redemptions: RedemptionStage, tmp_path: Any
) -> None:
    stage, file = own_redemptions, KeysFile(tmp_path / "keys.json")
    holder = stage.parts.keyring
    assert isinstance(holder, KeyringHolder)
    file.create()
    of_tests = [key for purpose in Purpose for key in make_keyring().all_of(purpose)]

    def taken_over() -> Keyring:
        kept = [key for key in of_tests if key.purpose is not Purpose.ACCESS_TOKEN]
        holder.keyring = Keyring([*kept, *file.load().all_of(Purpose.ACCESS_TOKEN)])
        return holder.keyring

    former = taken_over().current(Purpose.ACCESS_TOKEN).kid
    campaign = await stage.campaign()
    application = await stage.application(campaign)
    token = (await ask(stage, client_of(application))).json["access_token"]
    newer = file.rotate(Purpose.ACCESS_TOKEN)
    taken_over()
    told = (await stage.call("GET", "/.well-known/jwks.json")).json["keys"]
    assert [key["kid"] for key in told] == [newer, former]
    own = f"/campaigns/{campaign.campaign_id}"
    assert (await stage.call("GET", own, headers=bearer(application, token))).status == 200
    fresh = (await ask(stage, client_of(application))).json["access_token"]
    file.prune(set())
    taken_over()
    assert (await stage.call("GET", own, headers=bearer(application, token))).status == 401
    assert (await stage.call("GET", own, headers=bearer(application, fresh))).status == 200


async def test_without_a_key_there_are_no_access_tokens_and_all_else_works(own_redemptions: RedemptionStage) -> None:
    stage = own_redemptions
    holder = stage.parts.keyring
    assert isinstance(holder, KeyringHolder)
    keys = [key for purpose in Purpose for key in make_keyring().all_of(purpose)]
    holder.keyring = Keyring(key for key in keys if key.purpose is not Purpose.ACCESS_TOKEN)
    campaign = await stage.campaign()
    application = await stage.application(campaign)
    reply = await ask(stage, client_of(application))
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "120", "1")
    assert (await stage.call("GET", "/.well-known/jwks.json")).json == {"keys": []}
    own = await stage.call("GET", f"/campaigns/{campaign.campaign_id}", headers=stage.as_application(application))
    assert own.status == 200
    stage.faults.clear()  # the 503 above is what was to be shown
