"""Purchases: created, approved by token, confirmed, canceled, read (redemptions.md §4, §12)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from aval.domain.calendar import BRASILIA, day_bounds_utc, parse_date, zone_of
from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import PurchaseKind
from aval.domain.challenge import Verdict
from aval.domain.errors import Refusal
from aval.domain.ids import parse_uuid
from aval.domain.purchase import Purchase, PurchaseStatus
from aval.domain.redemption_call import RedemptionCall
from aval.domain.redemption_view import DELIVERIES, snapshot_view
from aval.http.edge import ANY_SCOPE, Access, Answer, Call, Handler, QueryParameter, Route, decided, json_answer
from aval.http.parts import Parts
from aval.http.redemptions.kept_answers import REPLAYED, opened_answer, sealed_answer
from aval.http.redemptions.purchase_answers import PurchaseAnswer, PurchaseListing, told_purchase
from aval.http.redemptions.purchase_body import PurchaseBody, read_purchase
from aval.http.redemptions.route import PAGE, Listing, page_of, redemption_route, unknown, uuid_or
from aval.http.redemptions.tokens import (
    RESEND_REFUSALS,
    TOKEN_REFUSALS,
    ResendBody,
    TokenBody,
    channel_of,
    token_of,
    token_problem,
)
from aval.http.transfer_body import fingerprint_of
from aval.operations.approve_purchase import PurchaseCall, PurchaseOutcome
from aval.operations.confirm_redemption import Kept
from aval.operations.end_purchase import EndCall, Ended
from aval.operations.expire_purchases import expire_purchase
from aval.operations.redemption_desk import RedemptionDesk
from aval.storage.campaigns import find_campaign
from aval.storage.purchases import PurchaseFilter, ReadPurchase, find_purchase, list_purchases

PURCHASES = "/purchases"
PURCHASE = PURCHASES + "/{purchase_id}"
UNKNOWN = "rdm.purchase_not_found"
READ, WRITE, EXTERNAL = "redemptions.read", "redemptions.write", "redemptions.external"

_TOKEN_CALLS = Access(impersonator=WRITE, participant=WRITE, is_username_needed=True)
_READERS = Access(ANY_SCOPE, application=READ, impersonator=READ, participant=READ, is_username_needed=True)
_CREATING = (
    *("rdm.campaign_not_active", "rdm.order_inconsistent_6", "rdm.channel_invalid", "rdm.vendor_not_linked"),
    *("rdm.payment_combination", "rdm.quantity_limit", "rdm.risk_denied", "rdm.risk_rejected", "rdm.risk_external"),
    *("rdm.risk_score", "rdm.risk_unspecified", "rdm.onboarding_required", "rdm.device_cooling_off"),
    *("rdm.boleto_self_service_only", "rdm.phone_incorrect", "rdm.order_not_completed"),
    *("rdm.resend_limit", "rdm.token_budget", "rdm.insufficient_points", "rdm.idempotency_conflict"),
    "rdm.participant_not_found",
)
_INTERNAL = (
    *("rdm.order_inconsistent_2", "rdm.order_inconsistent_4", "rdm.plain_boleto_self_service_only"),
    *("rdm.plain_phone_incorrect", "rdm.plain_order_not_completed"),
)
_FILTERS = (
    QueryParameter("status", "choice", tuple(status.value for status in PurchaseStatus)),
    QueryParameter("kind", "choice", ("internal", "external")),
    QueryParameter("start_date", "date", description="first day, in the campaign's time zone"),
    QueryParameter("end_date", "date", description="last day, in the campaign's time zone"),
    *PAGE,
)


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    purchases = Purchases(app)
    return [
        _create_route(purchases.request_internal, PURCHASES, WRITE, "Redeem points", _INTERNAL),
        _create_route(
            purchases.request_external,
            PURCHASES + "/authorize",
            EXTERNAL,
            "Reserve points for a purchase that the application itself sells",
            ("rdm.items_required", "rdm.payment_mismatch"),
        ),
        *_token_routes(purchases),
        *_ending_routes(purchases),
        *_reading_routes(purchases),
    ]


def _create_route(handler: Handler, path: str, scope: str, summary: str, refusals: tuple[str, ...]) -> Route:
    return redemption_route(
        "POST",
        path,
        handler,
        Access(impersonator=scope, participant=scope, is_username_needed=True),
        201,
        f"{summary}; 202 while it waits for the token of a second factor",
        request=PurchaseBody,
        response=PurchaseAnswer,
        also=202,
        is_hot=True,
        refusals=(*_CREATING, *refusals),
    )


def _token_routes(purchases: "Purchases") -> list[Route]:
    resend: list[Literal["PUT", "PATCH"]] = ["PUT", "PATCH"]
    return [
        redemption_route(
            "PUT",
            PURCHASE + "/validate_token",
            purchases.validate,
            _TOKEN_CALLS,
            201,
            "Approve a purchase by its token",
            request=TokenBody,
            response=PurchaseAnswer,
            empty_body=True,
            is_hot=True,
            refusals=(UNKNOWN, *TOKEN_REFUSALS),
        ),
        *(
            redemption_route(
                method,
                PURCHASE + "/resend_token",
                purchases.resend,
                _TOKEN_CALLS,
                202,
                "Send a new token; the one before is void",
                request=ResendBody,
                response=PurchaseAnswer,
                empty_body=True,
                refusals=(UNKNOWN, *RESEND_REFUSALS),
            )
            for method in resend
        ),
    ]


def _ending_routes(purchases: "Purchases") -> list[Route]:
    acts = (
        ("confirm", purchases.confirm, Access(application=EXTERNAL), "Debit an authorized purchase"),
        ("cancel", purchases.cancel, Access(application=EXTERNAL, participant=WRITE), "Give back what is reserved"),
    )
    return [
        redemption_route(
            "POST",
            f"{PURCHASE}/{name}",
            handler,
            access,
            200,
            summary,
            response=PurchaseAnswer,
            empty_body=True,
            refusals=(UNKNOWN, "rdm.wrong_status", "rdm.idempotency_conflict"),
        )
        for name, handler, access, summary in acts
    ]


def _reading_routes(purchases: "Purchases") -> list[Route]:
    of_campaign = QueryParameter("campaign_id", description="only of this campaign")
    of_participant = QueryParameter("participant_id", description="only of this participant")
    return [
        redemption_route(
            "GET",
            PURCHASES,
            purchases.list_of_campaign,
            _READERS,
            200,
            "List purchases, newest first; a participant sees their own",
            response=PurchaseListing,
            query=(of_campaign, of_participant, *_FILTERS),
            refusals=("rdm.resource_not_found",),
        ),
        redemption_route(
            "GET",
            PURCHASES + "/me",
            purchases.list_of_participant,
            Access(impersonator=READ, participant=READ, is_username_needed=True),
            200,
            "List the participant's own purchases, newest first",
            response=PurchaseListing,
            query=_FILTERS,
        ),
        redemption_route(
            "GET",
            PURCHASE,
            purchases.read,
            _READERS,
            200,
            "Read a purchase",
            response=PurchaseAnswer,
            refusals=(UNKNOWN,),
        ),
    ]


class Purchases:
    """Handlers of purchases."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    @property
    def _desk(self) -> RedemptionDesk:
        assert self._app.redemption_desk is not None
        return self._app.redemption_desk

    async def request_internal(self, call: Call) -> Answer:
        """POST /purchases."""
        return await self._requested(call, "internal", PURCHASES)

    async def request_external(self, call: Call) -> Answer:
        """POST /purchases/authorize."""
        return await self._requested(call, "external", PURCHASES + "/authorize")

    async def _requested(self, call: Call, kind: PurchaseKind, path: str) -> Answer:
        keyring = self._app.keyring.current()
        made = await decided(call, self._desk.request(read_purchase(call, kind, path, keyring)))
        view = told_purchase(made.purchase, keyring, made.challenge, made.delivery, made.data)
        return Answer(made.purchase.created_status, msgspec.json.encode(view), REPLAYED if made.is_replay else {})

    async def validate(self, call: Call) -> Answer:
        """PUT /purchases/{id}/validate_token."""
        token, told = token_of(call)
        asked = self._asked(call, "validate_token", told, token=token)
        outcome = await decided(call, self._desk.approve(PurchaseCall(asked, self._kept(asked, 201))))
        return self._answered(asked, outcome, 201)

    async def resend(self, call: Call) -> Answer:
        """PUT /purchases/{id}/resend_token."""
        asked = self._asked(call, "resend_token", channel_of(call))
        return self._answered(asked, await self._desk.resend(PurchaseCall(asked, self._kept(asked, 202))), 202)

    async def confirm(self, call: Call) -> Answer:
        """POST /purchases/{id}/confirm."""
        asked = self._asked(call, "confirm", b"")
        return self._answered_end(asked, await self._desk.confirm(EndCall(asked, self._kept_end(asked))))

    async def cancel(self, call: Call) -> Answer:
        """POST /purchases/{id}/cancel."""
        may_end = call.redeemer.kind is not CallerKind.PARTICIPANT
        asked = self._asked(call, "cancel", b"")
        ending = EndCall(asked, self._kept_end(asked), may_end_authorized=may_end)
        return self._answered_end(asked, await self._desk.cancel(ending))

    async def read(self, call: Call) -> Answer:
        """GET /purchases/{id}; one whose time is over is ended first."""
        found = await self._found(call)
        if found.is_over:
            await expire_purchase(self._app.db, key=found.purchase.id)
            found = await self._found(call)
        return json_answer(200, self._view(found))

    async def list_of_campaign(self, call: Call) -> Answer:
        """GET /purchases."""
        caller, query = call.redeemer, call.query
        tenant_key, zone = await self._campaign_asked(caller, query.get("campaign_id"))
        if "participant_id" in query:
            asked = parse_uuid(query["participant_id"])
            if asked is None or caller.participant_key not in (None, asked):
                page = page_of(call)
                return json_answer(200, Listing([], page.offset, page.limit, 0))
        else:
            asked = caller.participant_key
        return await self._listed(call, PurchaseFilter(tenant_key=tenant_key, participant_key=asked), zone)

    async def list_of_participant(self, call: Call) -> Answer:
        """GET /purchases/me."""
        caller = call.redeemer
        wanted = PurchaseFilter(tenant_key=caller.tenant.key, participant_key=caller.participant_key)
        return await self._listed(call, wanted, caller.tenant.timezone)

    async def _listed(self, call: Call, wanted: PurchaseFilter, timezone: str) -> Answer:
        page, query = page_of(call), call.query
        start_at, end_at = _stretch(query, timezone)
        wanted = PurchaseFilter(
            wanted.tenant_key, wanted.participant_key, query.get("status"), query.get("kind"), start_at, end_at
        )
        async with self._app.db.reading() as connection:
            rows, total = await list_purchases(connection, wanted, offset=page.offset, limit=page.limit)
        return json_answer(200, Listing([self._view(row) for row in rows], page.offset, page.limit, total))

    async def _campaign_asked(self, caller: Caller, campaign_id: str | None) -> tuple[Any, str]:
        """The tenant a list is narrowed to, and the zone of its days; another campaign's is unknown."""
        own = caller.campaign
        if own is not None:
            if campaign_id not in (None, own.campaign_id):
                raise unknown("rdm.resource_not_found", "campaign")
            return own.key, own.timezone
        if campaign_id is None:
            return None, BRASILIA.key
        async with self._app.db.reading() as connection:
            found = await find_campaign(connection, campaign_id)
        if found is None:
            raise unknown("rdm.resource_not_found", "campaign")
        return found.campaign.key, found.campaign.timezone

    async def _found(self, call: Call) -> ReadPurchase:
        caller, key = call.redeemer, uuid_or(call, "purchase_id", UNKNOWN)
        tenant_key = None if caller.campaign is None else caller.campaign.key
        async with self._app.db.reading() as connection:
            found = await find_purchase(connection, key, tenant_key)
        if found is None or caller.participant_key not in (None, found.purchase.participant_key):
            raise Refusal(UNKNOWN)
        return found

    def _view(self, found: ReadPurchase) -> dict[str, Any]:
        return told_purchase(found.purchase, self._app.keyring.current(), found.challenge, DELIVERIES[found.delivery])

    def _asked(self, call: Call, name: str, told: bytes, *, token: Any = None) -> RedemptionCall:
        key, idempotency_key = uuid_or(call, "purchase_id", UNKNOWN), call.headers.get("idempotency-key")
        return RedemptionCall(
            caller=call.redeemer,
            operation_key=key,
            participant_key=call.redeemer.participant_key,
            path=f"{PURCHASES}/{key}/{name}",
            correlation_id=call.correlation_id,
            token=token,
            idempotency_key=idempotency_key,
            fingerprint=b"" if idempotency_key is None else fingerprint_of(self._app.keyring.current(), told),
        )

    def _kept(self, asked: RedemptionCall, success: int) -> Callable[[PurchaseOutcome], Kept]:
        return lambda outcome: self._sealed(asked, self._rendered(outcome, success))

    def _kept_end(self, asked: RedemptionCall) -> Callable[[Purchase], Kept]:
        return lambda purchase: self._sealed(asked, self._ended(purchase))

    def _sealed(self, asked: RedemptionCall, kept: Kept) -> Kept:
        return sealed_answer(self._app.keyring.current(), asked, kept)

    def _opened(self, asked: RedemptionCall, kept: Kept) -> Answer:
        return opened_answer(self._app.keyring.current(), asked, kept)

    def _answered(self, asked: RedemptionCall, outcome: PurchaseOutcome | Kept, success: int) -> Answer:
        if isinstance(outcome, Kept):
            return self._opened(asked, outcome)
        rendered = self._rendered(outcome, success)
        return Answer(rendered.status, rendered.body)

    def _rendered(self, outcome: PurchaseOutcome, success: int) -> Kept:
        purchase = outcome.purchase
        if outcome.verdict is Verdict.APPROVED:
            assert purchase is not None
            view = told_purchase(purchase, self._app.keyring.current(), outcome.challenge, told=outcome.data)
            return Kept(success, msgspec.json.encode(view), is_replay=False)
        snapshot = {} if purchase is None else {"purchase_data": snapshot_view(purchase)}
        answer = token_problem(outcome.verdict, outcome.challenge, snapshot)
        return Kept(answer.status, answer.body, is_replay=False)

    def _answered_end(self, asked: RedemptionCall, ended: Ended | Kept) -> Answer:
        if isinstance(ended, Kept):
            return self._opened(asked, ended)
        if not ended.is_done:
            raise Refusal("rdm.wrong_status", extra_fields={"status": ended.purchase.status.value})
        rendered = self._ended(ended.purchase)
        return Answer(rendered.status, rendered.body)

    def _ended(self, purchase: Purchase) -> Kept:
        view = told_purchase(purchase, self._app.keyring.current())
        return Kept(200, msgspec.json.encode(view), is_replay=False)


def _stretch(query: Mapping[str, str], timezone: str) -> tuple[datetime | None, datetime | None]:
    first, last = (parse_date(query[name]) if name in query else None for name in ("start_date", "end_date"))
    return day_bounds_utc(first, last, zone_of(timezone) or BRASILIA)
