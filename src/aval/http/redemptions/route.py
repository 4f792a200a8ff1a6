"""How a route of redemptions is written down, and the ids in its path (redemptions.md §7, §12)."""

from typing import Any, Literal
from uuid import UUID

import msgspec

from aval.domain.caller import CallerKind
from aval.domain.errors import Refusal
from aval.domain.ids import parse_uuid
from aval.http.edge import Access, Call, Handler, QueryParameter, Route
from aval.storage.database import Database
from aval.storage.redeemers import find_tenant_of

__all__ = ["PAGE", "Access", "Listing", "Page", "page_of", "participant_of", "redemption_route", "unknown", "uuid_or"]

ME = "me"
LIMIT_DEFAULT = 20
PAGE = (QueryParameter("offset", "offset"), QueryParameter("limit", "limit"))


class Page(msgspec.Struct, frozen=True):
    """Which part of a list is asked for."""

    offset: int
    limit: int


class Listing(msgspec.Struct):
    """A part of a list, and how long the whole is."""

    items: list[Any]
    offset: int
    limit: int
    total: int


def redemption_route(
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
    path: str,
    handler: Handler,
    access: Access,
    success: int,
    summary: str,
    **more: Any,
) -> Route:
    """Make a route of redemptions; `more` are members of Route."""
    return Route(method, path, handler, None, "redemption", "rdm", success, summary, access=access, **more)


def page_of(call: Call) -> Page:
    """Which part of a list a call asks for; the route has `PAGE` among its query parameters."""
    return Page(int(call.query.get("offset", "0")), int(call.query.get("limit", str(LIMIT_DEFAULT))))


def uuid_or(call: Call, name: str, refusal: str, resource: str | None = None) -> UUID:
    """Read an id of the path; a malformed one is an unknown one, refused by `refusal` (the name of an entry).

    `rdm.resource_not_found` tells the resource, which is the name of the parameter unless given: `order_id` is `order`.
    """
    key = parse_uuid(call.params[name])
    if key is None:
        raise unknown(refusal, resource or name.removesuffix("_id"))
    return key


def unknown(refusal: str, resource: str) -> Refusal:
    """Make the refusal of an id that is unknown or of somebody else."""
    told = {"resource": resource} if refusal == "rdm.resource_not_found" else None
    return Refusal(refusal, extra_fields=told)


async def participant_of(db: Database, call: Call, name: str = "participant") -> tuple[UUID, UUID]:
    """The tenant's and the participant's key that `{participant}` of the path means for this caller.

    `me` and one's own id are the participant who calls or is impersonated; anybody else's is unknown. The back office
    names participants of every campaign. Whether the participant of an operator exists is looked up here.
    """
    text, caller = call.params[name], call.redeemer
    given = parse_uuid(text)
    if caller.kind is CallerKind.OPERATOR:
        if given is not None:
            async with db.connection() as connection:
                tenant = await find_tenant_of(connection, given)
            if tenant is not None:
                return tenant, given
    elif caller.participant_key is not None and (text == ME or given == caller.participant_key):
        return caller.tenant.key, caller.participant_key
    raise Refusal("rdm.participant_not_found")
