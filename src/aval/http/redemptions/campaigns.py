"""Campaigns: made, read and changed by the operator, read by their own applications (redemptions.md §2, §12)."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import wire_datetime, zone_of
from aval.domain.campaign import CampaignData, ClaimNames, OidcSettings
from aval.domain.errors import schema_refusal
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, Route, json_answer
from aval.http.fields import author_of, given, matching, text_of
from aval.http.parts import Parts
from aval.http.redemptions.route import PAGE, Listing, page_of, redemption_route, unknown
from aval.http.strict_json import decode
from aval.operations.change_campaign import change_campaign
from aval.operations.create_campaign import create_campaign
from aval.storage.campaigns import StoredCampaign, find_campaign, list_campaigns

CAMPAIGNS = "/campaigns"
CAMPAIGN = CAMPAIGNS + "/{campaign_id}"
NOT_FOUND = "rdm.resource_not_found"
NAME_CHARACTERS_MAX = 80
CATALOGS_MAX, VENDORS_MAX = 200, 2_000
_ID = re.compile("[A-Za-z0-9._-]{1,64}")
_OPERATOR = Access("campaigns.write")
_READERS = Access(ANY_SCOPE, application=ANY_SCOPE)

Mode = Literal["sandbox", "live"]
Status = Literal["active", "paused", "closed"]
Locale = Literal["pt-BR", "en"]


class Named(msgspec.Struct, forbid_unknown_fields=True):
    """A catalogue or vendor of a campaign."""

    id: str
    name: str


class CampaignOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may change of a campaign and has a default; `oidc` null takes its issuer away."""

    status: Status | None = None
    catalogs: Annotated[list[Named], Meta(max_length=CATALOGS_MAX)] | None = None
    vendors: Annotated[list[Named], Meta(max_length=VENDORS_MAX)] | None = None
    locale: Locale | None = None
    timezone: str | None = None
    oidc: OidcSettings | None | UnsetType = UNSET


class CampaignBody(CampaignOptions, forbid_unknown_fields=True, kw_only=True):
    """A new campaign."""

    id: str
    name: str
    client_id: str
    mode: Mode | None = None


class CampaignChange(CampaignOptions, forbid_unknown_fields=True, kw_only=True):
    """What changes of a campaign; its id and mode never do."""

    name: str | None = None
    client_id: str | None = None


class CampaignAnswer(msgspec.Struct, kw_only=True):
    """A campaign."""

    id: str
    name: str
    client_id: str
    mode: Mode
    status: Status
    catalogs: list[Named]
    vendors: list[Named]
    locale: Locale
    timezone: str
    oidc: OidcSettings | None
    policy_version: int
    created_at: str
    updated_at: str


class CampaignListing(msgspec.Struct):
    """A part of all campaigns, in the order of their making."""

    items: list[CampaignAnswer]
    offset: int
    limit: int
    total: int


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Campaigns(app)
    return [
        redemption_route(
            "POST",
            CAMPAIGNS,
            calls.create,
            _OPERATOR,
            201,
            "Create a campaign",
            request=CampaignBody,
            response=CampaignAnswer,
            refusals=("rdm.wrong_status",),
        ),
        redemption_route(
            "GET",
            CAMPAIGNS,
            calls.list_all,
            Access(ANY_SCOPE),
            200,
            "List campaigns",
            response=CampaignListing,
            query=PAGE,
        ),
        redemption_route(
            "GET",
            CAMPAIGN,
            calls.read,
            _READERS,
            200,
            "Read a campaign",
            response=CampaignAnswer,
            refusals=(NOT_FOUND,),
        ),
        redemption_route(
            "PATCH",
            CAMPAIGN,
            calls.change,
            _OPERATOR,
            200,
            "Change a campaign",
            request=CampaignChange,
            response=CampaignAnswer,
            refusals=(NOT_FOUND,),
        ),
    ]


class Campaigns:
    """Handlers of campaigns."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /campaigns."""
        values = await self._checked(decode(call.body, CampaignBody))
        data = CampaignData(campaign_id=values.pop("id"), **values)
        stored = await create_campaign(self._app.db, data=data, author=author_of(call))
        return json_answer(201, _campaign(stored))

    async def list_all(self, call: Call) -> Answer:
        """GET /campaigns."""
        page = page_of(call)
        async with self._app.db.reading() as connection:
            rows, total = await list_campaigns(connection, offset=page.offset, limit=page.limit)
        return json_answer(200, Listing([_campaign(row) for row in rows], page.offset, page.limit, total))

    async def read(self, call: Call) -> Answer:
        """GET /campaigns/{id}."""
        return json_answer(200, _campaign(await readable_campaign(self._app, call)))

    async def change(self, call: Call) -> Answer:
        """PATCH /campaigns/{id}."""
        stored = await change_campaign(
            self._app.db,
            campaign_id=known_id(call),
            changes=await self._checked(decode(call.body, CampaignChange)),
            author=author_of(call),
        )
        return json_answer(200, _campaign(stored))

    async def _checked(self, body: CampaignOptions) -> dict[str, Any]:
        values = given(body, nullable=frozenset({"oidc"}))
        for name in ("id", "client_id"):
            if name in values:
                values[name] = matching(values[name], name, _ID)
        if "name" in values:
            values["name"] = text_of(values["name"], "name", characters_max=NAME_CHARACTERS_MAX)
        for name in ("catalogs", "vendors"):
            if name in values:
                values[name] = _names_of(values[name], name)
        if "timezone" in values and zone_of(values["timezone"]) is None:
            raise schema_refusal(("timezone", "invalid_value"))
        if values.get("oidc") is not None:
            values["oidc"] = await self._oidc(values["oidc"])
        return values

    async def _oidc(self, oidc: OidcSettings) -> OidcSettings:
        problem = await self._app.check_target(oidc.jwks_uri)
        if problem is not None:
            raise schema_refusal(("oidc.jwks_uri", problem))
        claims = {
            name: text_of(value, f"oidc.claims.{name}", characters_max=64)
            for name, value in msgspec.structs.asdict(oidc.claims).items()
        }
        return OidcSettings(
            issuer=text_of(oidc.issuer, "oidc.issuer", characters_max=500),
            audience=text_of(oidc.audience, "oidc.audience", characters_max=500),
            jwks_uri=oidc.jwks_uri,
            claims=ClaimNames(**claims),
        )


async def readable_campaign(app: Parts, call: Call) -> StoredCampaign:
    """The campaign of the path, if this caller may see it: an application sees its own alone."""
    campaign_id, caller = known_id(call), call.redeemer
    if caller.campaign is None or caller.campaign.campaign_id == campaign_id:
        async with app.db.reading() as connection:
            stored = await find_campaign(connection, campaign_id)
        if stored is not None:
            return stored
    raise unknown(NOT_FOUND, "campaign")


def known_id(call: Call) -> str:
    """The campaign's id in the path; a malformed one is unknown."""
    campaign_id = call.params["campaign_id"]
    if not _ID.fullmatch(campaign_id):
        raise unknown(NOT_FOUND, "campaign")
    return campaign_id


def _names_of(listed: Sequence[Named], field: str) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for place, each in enumerate(listed):
        key = matching(each.id, f"{field}[{place}].id", _ID)
        if key in names:
            raise schema_refusal((f"{field}[{place}].id", "duplicate"))
        names[key] = text_of(each.name, f"{field}[{place}].name", characters_max=NAME_CHARACTERS_MAX)
    return names


def _campaign(stored: StoredCampaign) -> CampaignAnswer:
    campaign = stored.campaign
    return CampaignAnswer(
        id=campaign.campaign_id,
        name=campaign.name,
        client_id=campaign.client_id,
        mode="sandbox" if campaign.is_sandbox else "live",
        status=campaign.status,  # type: ignore[arg-type]
        catalogs=[Named(key, name) for key, name in sorted(campaign.catalogs.items())],
        vendors=[Named(key, name) for key, name in sorted(campaign.vendors.items())],
        locale="en" if campaign.locale == "en" else "pt-BR",
        timezone=campaign.timezone,
        oidc=stored.oidc,
        policy_version=campaign.policy_version,
        created_at=wire_datetime(stored.created_at),
        updated_at=wire_datetime(stored.updated_at),
    )
