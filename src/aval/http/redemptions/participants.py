"""Participants: entered and found by applications, read and changed in their own name (redemptions.md §7.4, §12)."""

from typing import Any
from uuid import UUID

from aval.domain.campaign import Campaign
from aval.domain.documents import normalized_document
from aval.domain.onboarding import onboarding_of
from aval.domain.participant_view import participant_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of
from aval.http.parts import Parts
from aval.http.redemptions.participant_body import (
    ParticipantAnswer,
    ParticipantBody,
    ParticipantChange,
    ParticipantListing,
    changes_of,
    new_participant,
)
from aval.http.redemptions.route import PAGE, Listing, page_of, participant_of, redemption_route
from aval.http.strict_json import decode
from aval.operations.change_participant import change_participant
from aval.operations.create_approver import document_index
from aval.operations.create_participant import create_participant, opened_document, opened_profile
from aval.operations.erase_participant import erase_participant
from aval.storage.campaigns import find_tenant
from aval.storage.onboarding import read_onboarding
from aval.storage.participants import StoredParticipant, find_participant, find_participants

PARTICIPANTS = "/participants"
PARTICIPANT = PARTICIPANTS + "/{participant}"
NOT_FOUND = "rdm.participant_not_found"
READ, WRITE, ADMIN = "participants.read", "participants.write", "participants.admin"
SEARCH = (QueryParameter("login"), QueryParameter("document"), *PAGE)


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Participants(app)
    return [
        redemption_route(
            "POST",
            PARTICIPANTS,
            calls.create,
            Access(application=WRITE),
            201,
            "Create a participant",
            request=ParticipantBody,
            response=ParticipantAnswer,
            refusals=("rdm.participant_exists",),
        ),
        redemption_route(
            "GET",
            PARTICIPANTS,
            calls.search,
            Access(application=READ),
            200,
            "Find a participant by log-in or document",
            response=ParticipantListing,
            query=SEARCH,
        ),
        redemption_route(
            "GET",
            PARTICIPANT,
            calls.read,
            Access(ANY_SCOPE, impersonator=READ, participant=READ),
            200,
            "Read a participant",
            response=ParticipantAnswer,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "PUT",
            PARTICIPANT,
            calls.change,
            Access(ADMIN, impersonator=WRITE, participant=WRITE),
            200,
            "Change a participant",
            request=ParticipantChange,
            response=ParticipantAnswer,
            refusals=(NOT_FOUND, "rdm.wrong_status"),
        ),
        redemption_route(
            "POST",
            PARTICIPANT + "/erase",
            calls.erase,
            Access(ADMIN),
            200,
            "Erase a participant's personal data",
            response=ParticipantAnswer,
            refusals=(NOT_FOUND, "rdm.wrong_status"),
        ),
    ]


class Participants:
    """Handlers of participants."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /participants."""
        campaign = call.redeemer.tenant
        stored = await create_participant(
            self._app.db,
            campaign=campaign,
            person=new_participant(decode(call.body, ParticipantBody)),
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, (await self._told(campaign, [stored]))[0])

    async def search(self, call: Call) -> Answer:
        """GET /participants?login=&document=."""
        page, campaign = page_of(call), call.redeemer.tenant
        login, number = call.query.get("login"), call.query.get("document")
        document = None if number is None else normalized_document(number.strip(" "))
        found: list[StoredParticipant] = []
        if number is None or document is not None:
            index = None if document is None else document_index(self._app.keyring.current(), document)
            async with self._app.db.reading() as connection:
                found = await find_participants(connection, campaign.key, login=login, document_index=index)
        shown = found[page.offset : page.offset + page.limit]
        return json_answer(200, Listing(await self._told(campaign, shown), page.offset, page.limit, len(found)))

    async def read(self, call: Call) -> Answer:
        """GET /participants/{p}."""
        tenant_key, key = await participant_of(self._app.db, call)
        async with self._app.db.reading() as connection:
            stored = await find_participant(connection, tenant_key, key)
        assert stored is not None  # the caller was found by it, and participants are never deleted
        return json_answer(200, await self.shown(call, stored))

    async def change(self, call: Call) -> Answer:
        """PUT /participants/{p}."""
        tenant_key, key = await participant_of(self._app.db, call)
        stored = await change_participant(
            self._app.db,
            integrator_key=tenant_key,
            participant_key=key,
            changes=changes_of(decode(call.body, ParticipantChange)),
            kind=call.redeemer.kind,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(200, await self.shown(call, stored))

    async def erase(self, call: Call) -> Answer:
        """POST /participants/{id}/erase."""
        tenant_key, key = await participant_of(self._app.db, call)
        stored = await erase_participant(
            self._app.db,
            integrator_key=tenant_key,
            participant_key=key,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(200, await self.shown(call, stored))

    async def shown(self, call: Call, stored: StoredParticipant) -> dict[str, Any]:
        """A participant as this caller is told of them."""
        campaign = await campaign_of_call(self._app, call, stored.participant.integrator_key)
        return (await self._told(campaign, [stored]))[0]

    async def _told(self, campaign: Campaign, listed: list[StoredParticipant]) -> list[dict[str, Any]]:
        """Participants of a campaign with what their onboarding derives from, which one statement reads for all."""
        keyring = self._app.keyring.current()
        async with self._app.db.reading() as connection:
            facts = await read_onboarding(connection, [(campaign.key, each.participant.key) for each in listed])
        return [
            participant_view(
                each.participant,
                opened_profile(keyring, each),
                opened_document(keyring, each),
                campaign,
                onboarding_of(campaign.policy, facts[campaign.key, each.participant.key]).status.value,
            )
            for each in listed
        ]


async def campaign_of_call(app: Parts, call: Call, tenant_key: UUID) -> Campaign:
    """The campaign a call is about: the caller's own, or for the back office the one of what it names."""
    if call.redeemer.campaign is not None:
        return call.redeemer.campaign
    async with app.db.reading() as connection:
        stored = await find_tenant(connection, tenant_key)
    assert stored is not None
    return stored.campaign
