"""Who may call: applications, impersonators, participants, the back office (redemptions.md §7)."""

import asyncio
import re
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES
from aval.domain.campaign import Campaign
from aval.http.edge import ANY_SCOPE
from aval.operations.change_application import change_application
from aval.operations.create_application import NewApplication
from aval.operations.rotate_application_keys import revoke_application_key
from tests.factories import AUTHOR, Reply, make_admin_key, make_party
from tests.oidc_issuer import Issuer
from tests.redemption_stage import Headers, Person, RedemptionStage, make_redemption_stage, reason_of

UNAUTHENTICATED = (401, "GDF000014", "unauthenticated")


class Cast:
    """A campaign, its application and a participant, and the calls each makes."""

    def __init__(self, stage: RedemptionStage, campaign: Campaign, application: NewApplication, person: Person) -> None:
        self.stage, self.campaign, self.application, self.person = stage, campaign, application, person

    @property
    def as_application(self) -> Headers:
        return self.stage.as_application(self.application)

    @property
    def as_impersonator(self) -> Headers:
        return self.stage.as_impersonator(self.application, self.campaign, self.person)

    def as_participant(self, **token: Any) -> Headers:
        return self.stage.as_participant(self.application, self.campaign, self.person, **token)

    async def read_campaign(self, headers: Headers) -> Reply:
        return await self.stage.call("GET", f"/campaigns/{self.campaign.campaign_id}", headers=headers)

    async def read_me(self, headers: Headers, participant: object = "me") -> Reply:
        return await self.stage.call("GET", f"/participants/{participant}", headers=headers)


@pytest.fixture
async def cast(redemptions: RedemptionStage) -> Cast:
    campaign = await redemptions.campaign()
    return Cast(redemptions, campaign, await redemptions.application(campaign), await redemptions.participant(campaign))


def told(reply: Reply) -> tuple[int, str | None, str]:
    return reply.status, reply.code, reason_of(reply)


async def test_an_application_reads_its_own_campaign(cast: Cast) -> None:
    reply = await cast.read_campaign(cast.as_application)
    assert (reply.status, reply.json["id"]) == (200, cast.campaign.campaign_id)


async def test_a_participant_is_who_the_token_of_the_issuer_names(cast: Cast) -> None:
    for kid in ("rsa-1", "ec-1"):
        for participant in ("me", cast.person.key, str(cast.person.key).upper()):
            reply = await cast.read_me(cast.as_participant(kid=kid), participant)
            assert (reply.status, reply.json["id"]) == (200, str(cast.person.key))


async def test_an_impersonator_is_the_participant_of_its_headers(cast: Cast) -> None:
    for customer in (cast.campaign.campaign_id, cast.campaign.client_id):
        reply = await cast.read_me(cast.as_impersonator | {"customerId": customer})
        assert (reply.status, reply.json["id"]) == (200, str(cast.person.key))


def spoiled(cast: Cast, other: NewApplication) -> dict[str, Headers]:
    """Credentials that prove nothing, each in its way; whoever sends one learns no more than that."""
    good, person = cast.as_application, cast.as_participant()
    key = good["ocp-apim-subscription-key"]
    return {
        "nothing": {},
        "no bearer": {"ocp-apim-subscription-key": key},
        "empty": good | {"authorization": ""},
        "no key": good | {"authorization": "Bearer"},
        "another scheme": good | {"authorization": good["authorization"].replace("Bearer", "Basic")},
        "two": good | {"authorization": f"{good['authorization']}\n{good['authorization']}"},
        "words after it": good | {"authorization": good["authorization"] + " more"},
        "an unknown key": good | {"authorization": "Bearer aval_test_" + "x" * 43},
        "an unknown admin key": {"authorization": "Bearer aval_admin_" + "x" * 43},
        "no subscription key": {"authorization": good["authorization"]},
        "an empty subscription key": good | {"ocp-apim-subscription-key": ""},
        "an unknown subscription key": good | {"ocp-apim-subscription-key": "x" * 43},
        "two subscription keys": good | {"x-subscription-key": other.subscription_key},
        "the subscription key of another": good | {"ocp-apim-subscription-key": other.subscription_key},
        "the API key of another": good | {"authorization": f"Bearer {other.api_key}"},
        "the subscription key alone": {"authorization": f"Bearer {key}", "ocp-apim-subscription-key": key},
        "the client secret": good | {"authorization": f"Bearer {cast.application.client_secret}"},
        "a participant without it": {"authorization": person["authorization"]},
        "a participant of another campaign": person | {"ocp-apim-subscription-key": other.subscription_key},
    }


async def test_credentials_that_prove_nothing_have_one_answer(cast: Cast) -> None:
    other = await cast.stage.application(await cast.stage.campaign())
    answers = {}
    for what, headers in spoiled(cast, other).items():
        reply = await cast.stage.call(
            "GET", f"/campaigns/{cast.campaign.campaign_id}", headers=headers, x_correlation_id="twin"
        )
        assert told(reply) == UNAUTHENTICATED, what
        answers[reply.body, *reply.headers.items()] = what
    assert len(answers) == 1, answers


async def test_the_other_name_of_the_subscription_key_is_as_good(cast: Cast) -> None:
    headers = cast.as_application
    headers["x-subscription-key"] = headers.pop("ocp-apim-subscription-key")
    assert (await cast.read_campaign(headers)).status == 200
    assert (await cast.read_campaign(headers | cast.as_application)).status == 200  # both, and the same


async def test_the_back_office_needs_no_subscription_key_and_a_scope_of_redemptions(cast: Cast) -> None:
    assert (await cast.read_campaign(await cast.stage.operator("documents.review"))).status == 200
    money = {"authorization": f"Bearer {await make_admin_key(cast.stage.db)}"}  # scope transfers.admin
    refused = await cast.read_campaign(money)
    assert (refused.status, refused.code) == (403, "RDM000918")
    assert (await cast.read_me(money, cast.person.key)).status == 403


async def test_a_revoked_admin_key_is_dead(cast: Cast) -> None:
    operator = await cast.stage.operator()
    assert (await cast.read_campaign(operator)).status == 200
    await cast.stage.execute("update admin_keys set revoked_at = now()")
    assert told(await cast.read_campaign(operator)) == UNAUTHENTICATED


async def test_what_is_good_for_transfers_is_nothing_here_and_the_reverse(dsn: str, issuer: Issuer) -> None:
    async with make_redemption_stage(dsn, issuer, more_features=("admin", "pix")) as stage:
        campaign, party = await stage.campaign(), await make_party(stage.db)
        application = await stage.application(campaign)
        own, account = f"/campaigns/{campaign.campaign_id}", f"/account/{party.account.key}/pix_transfer"
        for headers in (
            {"authorization": f"Bearer {party.api_key}"},
            stage.as_application(application) | {"authorization": f"Bearer {party.api_key}"},
        ):
            assert told(await stage.call("GET", own, headers=headers)) == UNAUTHENTICATED
        operator = await stage.operator()
        for headers in (stage.as_application(application), operator):
            reply = await stage.call("POST", account, party.pix(), headers=headers)
            assert (reply.status, reply.code) == (401, "GDF000014")
        for method, path in (("GET", "/admin/integrators"), ("GET", f"/admin/integrators/{party.key}/credentials")):
            assert (await stage.call(method, path, headers=stage.as_application(application))).status == 401
            assert (await stage.call(method, path, headers=operator)).status == 401  # without transfers.admin


@pytest.mark.parametrize(
    ("method", "path", "callers", "expected"),
    [
        ("GET", "/participants/me", "application", (401, "103", "wrong_token_type")),
        ("GET", "/participants/me/balance", "application", (401, "103", "wrong_token_type")),
        ("POST", "/purchases", "application", (401, "103", "wrong_token_type")),
        ("POST", "/purchases", "operator", (401, "103", "wrong_token_type")),
        ("POST", "/participants", "participant", (401, "103", "wrong_token_type")),
        ("POST", "/purchases/{}/confirm", "participant", (401, "103", "wrong_token_type")),
        ("DELETE", "/participants/me/devices/{}", "application", (401, "103", "wrong_token_type")),
        ("DELETE", "/participants/me/devices/{}", "impersonator", (403, "RDM000917", "impersonation_forbidden")),
        ("PUT", "/campaigns/{}/two_factor", "application", (403, "RDM000918", "insufficient_scope")),
        ("PUT", "/campaigns/{}/two_factor", "impersonator", (403, "RDM000918", "insufficient_scope")),
        ("PUT", "/campaigns/{}/two_factor", "participant", (403, "RDM000918", "insufficient_scope")),
        ("POST", "/participants/{}/credits", "application", (403, "RDM000918", "insufficient_scope")),
        ("POST", "/participants/{}/credits", "participant", (403, "RDM000918", "insufficient_scope")),
        ("POST", "/devices/{}/reset", "participant", (403, "RDM000918", "insufficient_scope")),
        ("POST", "/orders/{}/reversals", "impersonator", (403, "RDM000918", "insufficient_scope")),
        ("GET", "/campaigns", "application", (403, "RDM000918", "insufficient_scope")),
    ],
)
async def test_a_call_that_is_not_this_callers_is_refused_before_its_body_is_looked_at(
    cast: Cast, method: str, path: str, callers: str, expected: tuple[int, str, str]
) -> None:
    headers = {
        "application": cast.as_application,
        "impersonator": cast.as_impersonator,
        "participant": cast.as_participant(),
        "operator": await cast.stage.operator(),
    }[callers]
    reply = await cast.stage.call(method, path.format(uuid4()), raw=b"not json", headers=headers)
    assert told(reply) == expected


async def test_every_scope_is_asked_for(cast: Cast) -> None:
    """Each route, each kind of caller: without its scope 403 that names it, with all others at hand."""
    stage = cast.stage
    for route in stage.routes:
        if route.access is None:
            continue
        path = re.sub(r"\{\w+\}", str(uuid4()), route.path)
        for kind in ("application", "impersonator", "participant", "operator"):
            scope = getattr(route.access, kind)
            if scope in (None, ANY_SCOPE):
                continue
            reply = await stage.call(route.method, path, headers=await without(cast, kind, scope))
            forbidden = kind == "impersonator" and scope == "onboarding.write"
            assert (reply.status, reply.code) == (403, "RDM000917" if forbidden else "RDM000918"), (route, kind)
            if not forbidden:
                assert reply.json["extra_fields"]["scope"] == scope


async def without(cast: Cast, kind: str, scope: str) -> Headers:
    if kind == "operator":
        return await cast.stage.operator(*(set(BACK_OFFICE_SCOPES) - {scope}))
    poor = await cast.stage.application(cast.campaign, scopes=sorted(set(APPLICATION_SCOPES) - {scope}))
    if kind == "application":
        return cast.stage.as_application(poor)
    made = cast.stage.as_impersonator if kind == "impersonator" else cast.stage.as_participant
    return made(poor, cast.campaign, cast.person)


async def test_whatever_is_revoked_is_dead_at_the_next_request_also_in_a_race(cast: Cast) -> None:
    """Calls run without a break while key and application end; none that begins after the end gets through."""
    stage, key, ended = cast.stage, cast.application.key, asyncio.Event()
    late: list[int] = []

    async def keep_calling() -> None:
        while not ended.is_set() or len(late) < 12:
            began_after = ended.is_set()
            reply = await cast.read_campaign(cast.as_application)
            if began_after:
                late.append(reply.status)

    callers = [asyncio.create_task(keep_calling()) for _ in range(4)]
    await asyncio.sleep(0.05)
    await revoke_application_key(
        stage.db, integrator_key=cast.campaign.key, application_key=key.application_key, key=key.key, author=AUTHOR
    )
    ended.set()
    await asyncio.gather(*callers)
    assert set(late) == {401}
    assert (await cast.read_me(cast.as_participant())).status == 200  # the application itself lives on
    await change_application(
        stage.db,
        integrator_key=cast.campaign.key,
        application_key=key.application_key,
        changes={"is_revoked": True},
        author=AUTHOR,
    )
    assert told(await cast.read_me(cast.as_participant())) == UNAUTHENTICATED


async def test_callers_that_come_at_the_same_moment_are_each_who_they_are(cast: Cast) -> None:
    """Two campaigns, good and bad keys, impersonators and participants: the answers are those of calls one by one."""
    stage, campaign = cast.stage, await cast.stage.campaign()
    other = Cast(stage, campaign, await stage.application(campaign), await stage.participant(campaign))
    neighbour = Cast(stage, cast.campaign, cast.application, await stage.participant(cast.campaign))
    callers = [each.as_impersonator for each in (cast, neighbour, other)]
    callers += [each.as_participant() for each in (cast, neighbour, other)]
    callers += [cast.as_impersonator | {"authorization": f"Bearer {other.application.api_key}"}]
    callers += [cast.as_impersonator | {"participantid": str(other.person.key)}]
    callers += [cast.as_impersonator | {"ocp-apim-subscription-key": "x" * 43}]
    alone = [(reply.status, reply.json.get("id")) for reply in [await cast.read_me(each) for each in callers]]
    people = [str(each.person.key) for each in (cast, neighbour, other)]
    assert alone == [*((200, key) for key in people * 2), (401, None), (404, None), (401, None)]
    for _ in range(3):
        replies = await asyncio.gather(*(cast.read_me(each) for each in callers * 3))
        assert [(reply.status, reply.json.get("id")) for reply in replies] == alone * 3


async def test_a_subscription_key_has_so_many_calls_a_minute(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign(mode="live")
    cast = Cast(
        redemptions,
        campaign,
        await redemptions.application(campaign, calls_per_minute=3),
        await redemptions.participant(campaign),
    )
    other = await redemptions.application(campaign, calls_per_minute=1)
    assert [(await cast.read_campaign(cast.as_application)).status for _ in range(2)] == [200, 200]
    assert (await cast.read_me(cast.as_participant())).status == 200  # one limit for whoever calls through it
    for headers in (cast.as_application, cast.as_participant(), cast.as_impersonator):
        refused = await cast.read_campaign(headers)
        assert told(refused) == (429, "RDM000927", "rate_limit")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    spoiled_key = cast.as_application | {"authorization": "Bearer aval_live_" + "x" * 43}
    assert told(await cast.read_campaign(spoiled_key)) == UNAUTHENTICATED  # who proves nothing learns of no limit
    assert (await cast.read_campaign(redemptions.as_application(other))).status == 200


async def test_who_proves_nothing_uses_up_nobodys_calls(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign(mode="live")
    application = await redemptions.application(campaign, calls_per_minute=1)
    good = redemptions.as_application(application)
    path = f"/campaigns/{campaign.campaign_id}"
    for _ in range(3):
        bad = await redemptions.call("GET", path, headers=good | {"authorization": "Bearer aval_live_" + "x" * 43})
        assert bad.status == 401
    assert (await redemptions.call("GET", path, headers=good)).status == 200


async def test_a_foreign_id_is_an_unknown_one_in_status_body_and_headers(cast: Cast) -> None:
    """On every route that takes an id, for every caller that is bound to a campaign (redemptions.md §11.20)."""
    stage, other = cast.stage, await cast.stage.campaign()
    stranger, neighbour = await stage.participant(other), await stage.participant(cast.campaign)
    ids = {
        "campaign_id": [other.campaign_id, "no-such-campaign", "%00"],
        "participant": [stranger.key, neighbour.key, uuid4(), "not-an-id", f"%7B{uuid4()}%7D"],
    }
    for route in stage.routes:
        name = next((name for name in ids if f"{{{name}}}" in route.path), None)
        if route.access is None or name is None:
            continue
        for headers in (cast.as_application, cast.as_impersonator, cast.as_participant()):
            seen = set()
            for each in ids[name]:
                path = re.sub(r"\{\w+\}", str(uuid4()), route.path.replace(f"{{{name}}}", str(each)))
                reply = await stage.call(route.method, path, headers=headers, x_correlation_id="twin")
                seen.add((reply.status, reply.body, *reply.headers.items()))
            assert len(seen) == 1, (route.method, route.path, seen)
