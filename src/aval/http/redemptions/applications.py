"""Applications of a campaign: their credentials, scopes and webhook address (redemptions.md §7.1, §12)."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import wire_datetime
from aval.domain.caller import ApplicationScope
from aval.domain.campaign import Campaign
from aval.domain.errors import schema_refusal
from aval.http.edge import Access, Answer, Call, Route, json_answer
from aval.http.fields import author_of, given, text_of
from aval.http.parts import Parts
from aval.http.redemptions.campaigns import known_id
from aval.http.redemptions.route import PAGE, page_of, redemption_route, unknown, uuid_or
from aval.http.strict_json import decode
from aval.operations.change_application import change_application
from aval.operations.create_application import create_application
from aval.operations.rotate_application_keys import create_application_key, revoke_application_key
from aval.storage.applications import Application, ApplicationKey, list_active_keys, list_applications
from aval.storage.campaigns import find_campaign

APPLICATIONS = "/campaigns/{campaign_id}/applications"
APPLICATION = APPLICATIONS + "/{client_id}"
NOT_FOUND = "rdm.resource_not_found"
NAME_CHARACTERS_MAX = 80
CALLS_PER_MINUTE_DEFAULT = 600  # spec redemptions.md §7.2; of a sandbox campaign none
_OPERATOR = Access("campaigns.write")
_NULLABLE = frozenset({"webhook_url", "calls_per_minute"})

CallsPerMinute = Annotated[int, Meta(ge=1, le=1_000_000)]


class ApplicationBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new application; `calls_per_minute` null is no limit."""

    name: str
    scopes: Annotated[list[ApplicationScope], Meta(min_length=1)]
    webhook_url: str | None = None
    calls_per_minute: CallsPerMinute | None | UnsetType = UNSET


class ApplicationChange(msgspec.Struct, forbid_unknown_fields=True):
    """What changes of an application; `webhook_url` null ends its webhooks, `calls_per_minute` null its limit."""

    name: str | None = None
    scopes: Annotated[list[ApplicationScope], Meta(min_length=1)] | None = None
    webhook_url: str | None | UnsetType = UNSET
    calls_per_minute: CallsPerMinute | None | UnsetType = UNSET


class ApplicationKeyAnswer(msgspec.Struct, kw_only=True):
    """An API key; the key itself only in the answer that made it."""

    key_id: str
    created_at: str
    api_key: str | UnsetType = UNSET


class ApplicationAnswer(msgspec.Struct, kw_only=True):
    """An application; its secrets only in the answer that made it."""

    client_id: str
    campaign_id: str
    name: str
    scopes: list[str]
    webhook_url: str | None
    calls_per_minute: int | None
    active: bool
    keys: list[ApplicationKeyAnswer]
    created_at: str
    client_secret: str | UnsetType = UNSET
    api_key: str | UnsetType = UNSET
    subscription_key: str | UnsetType = UNSET
    webhook_secret: str | UnsetType = UNSET


class ApplicationListing(msgspec.Struct):
    """A part of the applications of a campaign, in the order of their making."""

    items: list[ApplicationAnswer]
    offset: int
    limit: int
    total: int


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Applications(app)
    unknown_id: dict[str, Any] = {"refusals": (NOT_FOUND,)}
    revoked: dict[str, Any] = {"refusals": (NOT_FOUND, "rdm.wrong_status")}
    made: dict[str, Any] = {"request": ApplicationBody, "response": ApplicationAnswer, **unknown_id}
    listed: dict[str, Any] = {"response": ApplicationListing, "query": PAGE, **unknown_id}
    changed: dict[str, Any] = {"request": ApplicationChange, "response": ApplicationAnswer, **revoked}
    key_made: dict[str, Any] = {"response": ApplicationKeyAnswer, "empty_body": True, **revoked}
    key = APPLICATION + "/keys/{key_id}"
    return [
        redemption_route("POST", APPLICATIONS, calls.create, _OPERATOR, 201, "Create an application", **made),
        redemption_route("GET", APPLICATIONS, calls.list_all, _OPERATOR, 200, "List applications", **listed),
        redemption_route("PATCH", APPLICATION, calls.change, _OPERATOR, 200, "Change an application", **changed),
        redemption_route("DELETE", APPLICATION, calls.revoke, _OPERATOR, 204, "Revoke an application", **revoked),
        redemption_route(
            "POST", APPLICATION + "/keys", calls.create_key, _OPERATOR, 201, "Make another API key", **key_made
        ),
        redemption_route("DELETE", key, calls.revoke_key, _OPERATOR, 204, "Revoke an API key", **revoked),
    ]


class Applications:
    """Handlers of applications."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST …/applications."""
        body = decode(call.body, ApplicationBody)
        name = text_of(body.name, "name", characters_max=NAME_CHARACTERS_MAX)
        url = await self._target(body.webhook_url)
        campaign = await self._campaign(call)
        default = None if campaign.is_sandbox else CALLS_PER_MINUTE_DEFAULT
        made = await create_application(
            self._app.db,
            campaign=campaign,
            name=name,
            scopes=body.scopes,
            webhook_url=url,
            calls_per_minute=default if body.calls_per_minute is UNSET else body.calls_per_minute,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        answer = _application(campaign, made.application, [made.key])
        answer.client_secret, answer.api_key = made.client_secret, made.api_key
        answer.subscription_key, answer.webhook_secret = made.subscription_key, made.webhook_secret
        return json_answer(201, answer)

    async def list_all(self, call: Call) -> Answer:
        """GET …/applications."""
        page, campaign = page_of(call), await self._campaign(call)
        async with self._app.db.connection() as connection:
            rows, total = await list_applications(connection, campaign.key, offset=page.offset, limit=page.limit)
            keys = await list_active_keys(connection, campaign.key, [row.key for row in rows])
        items = [_application(campaign, row, keys) for row in rows]
        return json_answer(200, ApplicationListing(items, page.offset, page.limit, total))

    async def change(self, call: Call) -> Answer:
        """PATCH …/applications/{client_id}."""
        changes = given(decode(call.body, ApplicationChange), nullable=_NULLABLE)
        if "name" in changes:
            changes["name"] = text_of(changes["name"], "name", characters_max=NAME_CHARACTERS_MAX)
        if "scopes" in changes:
            changes["scopes"] = sorted(set(changes["scopes"]))
        if "webhook_url" in changes:
            changes["webhook_url"] = await self._target(changes["webhook_url"])
        return await self._changed(call, changes)

    async def revoke(self, call: Call) -> Answer:
        """DELETE …/applications/{client_id}."""
        await self._changed(call, {"is_revoked": True})
        return Answer(204)

    async def create_key(self, call: Call) -> Answer:
        """POST …/keys."""
        campaign = await self._campaign(call)
        key, api_key = await create_application_key(
            self._app.db,
            integrator_key=campaign.key,
            application_key=_client_of(call),
            mode=campaign.mode,
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, _key(key, api_key))

    async def revoke_key(self, call: Call) -> Answer:
        """DELETE …/keys/{key_id}."""
        campaign = await self._campaign(call)
        await revoke_application_key(
            self._app.db,
            integrator_key=campaign.key,
            application_key=_client_of(call),
            key=uuid_or(call, "key_id", NOT_FOUND),
            author=author_of(call),
        )
        return Answer(204)

    async def _changed(self, call: Call, changes: dict[str, Any]) -> Answer:
        campaign = await self._campaign(call)
        changed = await change_application(
            self._app.db,
            integrator_key=campaign.key,
            application_key=_client_of(call),
            changes=changes,
            author=author_of(call),
        )
        async with self._app.db.connection() as connection:
            keys = await list_active_keys(connection, campaign.key, [changed.key])
        return json_answer(200, _application(campaign, changed, keys))

    async def _campaign(self, call: Call) -> Campaign:
        async with self._app.db.connection() as connection:
            found = await find_campaign(connection, known_id(call))
        if found is None:
            raise unknown(NOT_FOUND, "campaign")
        return found.campaign

    async def _target(self, url: str | None) -> str | None:
        if url is not None and await self._app.check_target(url) is not None:
            raise schema_refusal(("webhook_url", "invalid_value"))
        return url


def _client_of(call: Call) -> UUID:
    return uuid_or(call, "client_id", NOT_FOUND, "application")


def _application(campaign: Campaign, application: Application, keys: list[ApplicationKey]) -> ApplicationAnswer:
    return ApplicationAnswer(
        client_id=str(application.key),
        campaign_id=campaign.campaign_id,
        name=application.name,
        scopes=list(application.scopes),
        webhook_url=application.webhook_url,
        calls_per_minute=application.calls_per_minute,
        active=application.revoked_at is None,
        keys=[_key(key) for key in keys if key.application_key == application.key],
        created_at=wire_datetime(application.created_at),
    )


def _key(key: ApplicationKey, api_key: str | UnsetType = UNSET) -> ApplicationKeyAnswer:
    return ApplicationKeyAnswer(key_id=str(key.key), created_at=wire_datetime(key.created_at), api_key=api_key)
