"""Acting for a participant: the headers and the five rules (redemptions.md §7.4)."""

from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import Campaign
from aval.operations.create_application import NewApplication
from tests.factories import Reply
from tests.redemption_stage import Headers, Person, RedemptionStage, reason_of

HEADERS = ["participantid", "catalogId", "customerId", "impersonatorUser", "username"]


class Cast:
    """An application and the participant it acts for."""

    def __init__(self, stage: RedemptionStage, campaign: Campaign, application: NewApplication, person: Person) -> None:
        self.stage, self.campaign, self.application, self.person = stage, campaign, application, person

    def headers(self, **change: str | None) -> Headers:
        """All headers; a change to None takes one out."""
        sent: dict[str, Any] = self.stage.as_impersonator(self.application, self.campaign, self.person) | change
        return {name: text for name, text in sent.items() if text is not None}

    async def read(self, path: str = "/participants/me", **change: str | None) -> Reply:
        return await self.stage.call("GET", path, headers=self.headers(**change))


@pytest.fixture
async def cast(redemptions: RedemptionStage) -> Cast:
    campaign = await redemptions.campaign()
    person = await redemptions.participant(campaign, username="Conceição")
    return Cast(redemptions, campaign, await redemptions.application(campaign), person)


def told(reply: Reply) -> tuple[int, str | None, str]:
    return reply.status, reply.code, reason_of(reply)


async def test_with_all_headers_that_fit_the_call_is_the_participants(cast: Cast) -> None:
    wire = "Conceição".encode().decode("latin-1")
    assert (await cast.read(username=wire)).json["username"] == "Conceição"
    assert (await cast.read(username=None)).status == 200  # needed for purchases, balance and statement alone
    assert (await cast.read("/participants/me/balance", username=wire)).status == 200
    assert (await cast.read(f"/participants/{cast.person.key}", username=wire)).status == 200
    assert (await cast.read(username=wire, participantid=str(cast.person.key).upper())).status == 200


@pytest.mark.parametrize("name", HEADERS[:4])
@pytest.mark.parametrize("text", [None, ""])
async def test_a_missing_header_is_named(cast: Cast, name: str, text: str | None) -> None:
    reply = await cast.read(**{"username": None, name: text})
    assert told(reply) == (400, "RDM000916", "impersonation_headers")
    assert reply.json["extra_fields"]["headers"] == [name]


@pytest.mark.parametrize("path", ["/participants/me/balance", "/participants/me/statement", "/participants/me/extract"])
async def test_what_concerns_points_needs_the_log_in(cast: Cast, path: str) -> None:
    reply = await cast.read(path, username=None)
    assert reply.json["extra_fields"] == {"reason": "impersonation_headers", "headers": ["username"]}


async def test_every_missing_header_is_named_at_once(cast: Cast) -> None:
    reply = await cast.read(**dict.fromkeys(HEADERS[1:]))
    assert reply.json["extra_fields"]["headers"] == HEADERS[1:4]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("catalogId", "silver"),
        ("catalogId", "gold\ngold"),
        ("customerId", "campanha"),
        ("customerId", "GOLD"),
        ("impersonatorUser", "x" * 129),
        ("impersonatorUser", "atendente\x7f"),
        ("impersonatorUser", "é"),
        ("impersonatorUser", "a\nb"),
        ("username", "ana"),
        ("username", "conceição"),
    ],
)
async def test_a_header_that_does_not_fit_the_participant_is_named(cast: Cast, name: str, text: str) -> None:
    reply = await cast.read(**{"username": None, name: text})
    assert told(reply) == (400, "RDM000916", "impersonation_headers")
    assert reply.json["extra_fields"]["headers"] == [name]


async def test_an_unknown_participant_is_told_as_such_whoever_they_are(cast: Cast) -> None:
    stranger = await cast.stage.participant(await cast.stage.campaign())
    seen = set()
    for participant in (stranger.key, uuid4(), "helena", f"urn:uuid:{cast.person.key}", f"{cast.person.key}\nx"):
        headers = cast.headers(participantid=str(participant), catalogId="any")
        reply = await cast.stage.call("GET", "/participants/me", headers=headers, x_correlation_id="twin")
        assert told(reply) == (404, "113", "participant_not_found")
        seen.add((reply.body, *reply.headers.items()))
    assert len(seen) == 1


async def test_another_id_in_the_path_is_an_unknown_one(cast: Cast) -> None:
    neighbour = await cast.stage.participant(cast.campaign)
    for other in (neighbour.key, uuid4()):
        reply = await cast.read(f"/participants/{other}", username=None)
        assert told(reply) == (404, "113", "participant_not_found")


async def test_without_the_scope_nobody_is_impersonated(cast: Cast) -> None:
    poor = await cast.stage.application(cast.campaign, scopes=["participants.read", "redemptions.write"])
    headers = cast.stage.as_impersonator(poor, cast.campaign, cast.person)
    for method, path in (("GET", "/participants/me"), ("POST", "/purchases"), ("GET", f"/participants/{uuid4()}")):
        reply = await cast.stage.call(method, path, headers=headers)
        assert told(reply) == (403, "RDM000918", "insufficient_scope")
        assert reply.json["extra_fields"]["scope"] == "impersonate"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/participants/me/devices"),
        ("PUT", "/participants/me/devices/{}/validate_token"),
        ("PUT", "/participants/me/devices/{}/resend_token"),
        ("DELETE", "/participants/me/devices/{}"),
    ],
)
async def test_devices_are_not_changed_on_behalf_of_the_participant(cast: Cast, method: str, path: str) -> None:
    scopes = ["impersonate", "participants.read", "participants.write", "redemptions.write", "redemptions.external"]
    poor = await cast.stage.application(cast.campaign, scopes=scopes)
    headers = cast.stage.as_impersonator(poor, cast.campaign, cast.person)
    reply = await cast.stage.call(method, path.format(uuid4()), headers=headers | {"username": "ana"})
    assert told(reply) == (403, "RDM000917", "impersonation_forbidden")


async def test_where_the_application_calls_for_itself_headers_mean_nothing(cast: Cast) -> None:
    """`confirm`, or finding participants: no impersonation headers are needed, and none are looked at."""
    own = f"/campaigns/{cast.campaign.campaign_id}"
    poor = await cast.stage.application(cast.campaign, scopes=["participants.read"])
    headers = cast.stage.as_application(poor) | {"impersonatorUser": "atendente", "participantid": "x"}
    assert (await cast.stage.call("GET", own, headers=headers)).status == 200
    assert (await cast.stage.call("GET", "/participants?login=ninguem", headers=headers)).status == 200


async def test_who_impersonates_is_the_actor_of_the_audit(cast: Cast) -> None:
    change = {"emails": [{"email": "nova@example.com", "type": "PERSONAL"}]}
    reply = await cast.stage.call("PUT", "/participants/me", change, headers=cast.headers(username=None))
    assert reply.status == 200
    (actor,) = await cast.stage.fetch(
        "select actor from audit where integrator_id = $1 and action = 'participant.changed'", cast.campaign.key
    )
    assert actor == (f"application:{cast.application.application.key}/atendente-22",)
