"""Who may call: applications, impersonators, participants, the back office (redemptions.md §7)."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import Campaign
from aval.operations.change_application import change_application
from aval.operations.create_application import NewApplication
from aval.operations.rotate_application_keys import revoke_application_key
from tests.factories import AUTHOR, Reply, make_admin_key, make_party
from tests.redemption_stage import Headers, Person, RedemptionStage, reason_of

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
    return Cast(
        redemptions, campaign, await redemptions.application(campaign), await redemptions.participant(campaign)
    )


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
