"""The sandbox of a campaign: messages that no phone receives, and time that passes on demand (transfers.md §10)."""

from datetime import timedelta
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from aval.domain.caller import CallerKind
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.redemption_view import approval_of
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, QueryParameter, Route, json_answer
from aval.http.fields import author_of
from aval.http.paging import Listing
from aval.http.parts import Parts
from aval.http.redemptions.phone_answers import ApprovalAnswer
from aval.http.redemptions.route import redemption_route, unknown, uuid_or
from aval.http.sandbox import INBOX_QUERY, AdvanceBody, InboxAnswer, inbox_answer
from aval.http.strict_json import decode
from aval.operations.advance_redemption import advance_redemption
from aval.storage.campaigns import find_campaign
from aval.storage.sandbox import find_sandbox_campaign_of

UNKNOWN = "rdm.resource_not_found"
_ACCESS = Access(ANY_SCOPE, application="sandbox")


class AdvanceAnswer(msgspec.Struct):
    """The approval as it is then; nothing once the operation is final."""

    approval: ApprovalAnswer | UnsetType = UNSET


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = CampaignSandbox(app)
    return [
        redemption_route(
            "GET",
            "/sandbox/inbox",
            calls.read_inbox,
            _ACCESS,
            200,
            "Read the messages of a campaign in sandbox mode, newest first; the back office names it",
            response=Listing[InboxAnswer],
            query=(*INBOX_QUERY, QueryParameter("campaign_id")),
            refusals=(UNKNOWN, "qit.not_found"),
        ),
        redemption_route(
            "POST",
            "/sandbox/operations/{operation_key}/advance",
            calls.advance,
            _ACCESS,
            200,
            "Let time pass for a purchase, or for a device in registration",
            request=AdvanceBody,
            response=AdvanceAnswer,
            refusals=(UNKNOWN, "qit.not_found"),
        ),
    ]


class CampaignSandbox:
    """Handlers of the sandbox of campaigns; live ones have none."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def read_inbox(self, call: Call) -> Answer:
        """GET /sandbox/inbox."""
        return await inbox_answer(self._app, call, await self._tenant_of_inbox(call))

    async def advance(self, call: Call) -> Answer:
        """POST /sandbox/operations/{operation_key}/advance."""
        operation_key = uuid_or(call, "operation_key", UNKNOWN, "operation")
        challenge = await advance_redemption(
            self._app.db,
            tenant_key=await self._tenant_of_operation(call, operation_key),
            operation_key=operation_key,
            earlier_by=timedelta(seconds=decode(call.body, AdvanceBody).seconds),
            author=author_of(call),
        )
        if challenge is None:
            return json_answer(200, {})
        assert challenge.contact_key is not None
        return json_answer(200, {"approval": approval_of(challenge, challenge.contact_key)})

    async def _tenant_of_inbox(self, call: Call) -> UUID:
        if call.redeemer.kind is not CallerKind.OPERATOR:
            return _own_sandbox(call)
        campaign_id = call.query.get("campaign_id")
        if campaign_id is None:
            raise schema_refusal(("campaign_id", "required"))
        async with self._app.db.reading() as connection:
            stored = await find_campaign(connection, campaign_id)
        if stored is None or not stored.campaign.is_sandbox:
            raise unknown(UNKNOWN, "campaign")
        return stored.campaign.key

    async def _tenant_of_operation(self, call: Call, operation_key: UUID) -> UUID:
        if call.redeemer.kind is not CallerKind.OPERATOR:
            return _own_sandbox(call)
        async with self._app.db.reading() as connection:
            tenant_key = await find_sandbox_campaign_of(connection, operation_key)
        if tenant_key is None:
            raise unknown(UNKNOWN, "operation")
        return tenant_key


def _own_sandbox(call: Call) -> UUID:
    campaign = call.redeemer.tenant
    if not campaign.is_sandbox:
        raise Refusal("qit.not_found")
    return campaign.key
