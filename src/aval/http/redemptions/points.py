"""Points: the balance and statement of a participant, and what the operator credits or takes (redemptions.md §6)."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import day_bounds_utc, parse_date, zone_of
from aval.domain.campaign import POINTS_MAX
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.points import Balance, EntryType, PointsLine
from aval.domain.points_view import balance_view, line_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, QueryParameter, Route, encoded, json_answer
from aval.http.fields import author_of, text_of
from aval.http.parts import Parts
from aval.http.redemptions.participants import NOT_FOUND, PARTICIPANT, campaign_of_call
from aval.http.redemptions.route import LIMIT_DEFAULT, PAGE, Listing, participant_of, redemption_route
from aval.http.strict_json import decode
from aval.http.transfer_body import canonical, fingerprint_of
from aval.operations.post_points import CreditCall, post_points
from aval.storage.points import find_balance, list_lines

DESCRIPTION_CHARACTERS_MAX = 200
REFERENCE_CHARACTERS_MAX = 64
_SCOPE = "redemptions.read"
_READERS = Access(ANY_SCOPE, impersonator=_SCOPE, participant=_SCOPE, is_username_needed=True)
_STRETCH = (
    QueryParameter("start_date", "date", description="first day, in the campaign's time zone"),
    QueryParameter("end_date", "date", description="last day, in the campaign's time zone"),
    *PAGE,
    QueryParameter("_offset", "offset", description="the same as `offset`"),
    QueryParameter("_limit", "limit", description="the same as `limit`"),
)

Amount = Annotated[int, Meta(ge=-POINTS_MAX, le=POINTS_MAX)]


class CreditBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A line of the operator: points above 0, of an adjustment below 0 too."""

    type: Literal["credit", "adjustment", "expiration"]
    points: Amount
    description: str
    external_reference: str | None = None


class BalanceAnswer(msgspec.Struct):
    """What a participant has: available, reserved, both; and all that ever came in and went out."""

    points_value: int
    points_value_onhold: int
    total_points_value: int
    total_credit_points_value: int
    total_debit_points_value: int


class LineAnswer(msgspec.Struct, kw_only=True):
    """A line of the statement; its points are above 0 whatever it did."""

    authorization_code: str
    date: str
    description: str
    value_points: int
    type: Literal["credit", "adjustment", "expiration", "reserve", "release", "debit", "reversal"]
    purchase_id: str | UnsetType = UNSET
    order_id: str | UnsetType = UNSET
    available_after: int
    reserved_after: int


class StatementAnswer(msgspec.Struct):
    """A part of the statement, newest first."""

    items: list[LineAnswer]
    offset: int
    limit: int
    total: int


class CreditAnswer(LineAnswer, kw_only=True):
    """The line that was written, and the balance after it."""

    external_reference: str | UnsetType = UNSET
    balance: BalanceAnswer


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    points = PointsCalls(app)
    return [
        redemption_route(
            "GET",
            PARTICIPANT + "/balance",
            points.balance,
            _READERS,
            200,
            "Read a participant's points",
            response=BalanceAnswer,
            refusals=(NOT_FOUND,),
        ),
        *(_statement_route(points, name) for name in ("statement", "extract")),
        redemption_route(
            "POST",
            PARTICIPANT + "/credits",
            points.credit,
            Access("points.write"),
            201,
            "Credit, adjust or let expire points",
            request=CreditBody,
            response=CreditAnswer,
            refusals=(NOT_FOUND, "rdm.insufficient_points", "rdm.idempotency_conflict"),
        ),
    ]


def _statement_route(points: "PointsCalls", name: str) -> Route:
    return redemption_route(
        "GET",
        f"{PARTICIPANT}/{name}",
        points.statement,
        _READERS,
        200,
        "Read a participant's statement" + (", under its documented name" if name == "extract" else ""),
        response=StatementAnswer,
        query=_STRETCH,
        refusals=(NOT_FOUND,),
    )


class PointsCalls:
    """Handlers of points."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def balance(self, call: Call) -> Answer:
        """GET /participants/{p}/balance."""
        tenant_key, key = await participant_of(self._app.db, call)
        async with self._app.db.reading() as connection:
            balance = await find_balance(connection, tenant_key, key)
        assert balance is not None  # made with the participant
        return json_answer(200, balance_view(balance))

    async def statement(self, call: Call) -> Answer:
        """GET /participants/{p}/statement, and /extract."""
        tenant_key, key = await participant_of(self._app.db, call)
        offset, limit = _page_number(call, "offset", 0), _page_number(call, "limit", LIMIT_DEFAULT)
        zone = zone_of((await campaign_of_call(self._app, call, tenant_key)).timezone)
        assert zone is not None  # checked when it was set
        first, last = (parse_date(call.query.get(name, "")) for name in ("start_date", "end_date"))
        start_at, end_at = day_bounds_utc(first, last, zone)
        async with self._app.db.reading() as connection:
            lines, total = await list_lines(
                connection, tenant_key, key, start_at=start_at, end_at=end_at, offset=offset, limit=limit
            )
        return json_answer(200, Listing([line_view(line) for line in lines], offset, limit, total))

    async def credit(self, call: Call) -> Answer:
        """POST /participants/{id}/credits."""
        idempotency_key = call.headers.get("idempotency-key")
        if idempotency_key is None:
            raise Refusal("qit.bad_request")
        tenant_key, key = await participant_of(self._app.db, call)
        body = _checked(decode(call.body, CreditBody))
        request = CreditCall(
            integrator_key=tenant_key,
            participant_key=key,
            entry_type=EntryType(body.type),
            points=body.points,
            description=body.description,
            external_reference=body.external_reference,
            path=f"/participants/{key}/credits",
            idempotency_key=idempotency_key,
            fingerprint=fingerprint_of(self._app.keyring.current(), canonical(body)),
            render=lambda line, balance: (201, encoded(_credited(line, balance))),
        )
        status, answer, _ = await post_points(self._app.db, call=request, author=author_of(call))
        return Answer(status, answer)


def _checked(body: CreditBody) -> CreditBody:
    is_right = body.points != 0 if body.type == "adjustment" else body.points > 0
    if not is_right:
        raise schema_refusal(("points", "invalid_value"))
    reference = body.external_reference
    return msgspec.structs.replace(
        body,
        description=text_of(body.description, "description", characters_max=DESCRIPTION_CHARACTERS_MAX),
        external_reference=None
        if reference is None
        else text_of(reference, "external_reference", characters_max=REFERENCE_CHARACTERS_MAX),
    )


def _credited(line: PointsLine, balance: Balance) -> dict[str, object]:
    reference = {} if line.external_reference is None else {"external_reference": line.external_reference}
    return line_view(line) | reference | {"balance": balance_view(balance)}


def _page_number(call: Call, name: str, default: int) -> int:
    """`offset` or `limit`, or the same under its synonym; both, and different, is a mistake."""
    values = {call.query[key] for key in (name, f"_{name}") if key in call.query}
    if len(values) > 1:
        raise schema_refusal((f"_{name}", "invalid_value"))
    return int(values.pop()) if values else default
