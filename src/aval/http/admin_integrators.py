"""Administration of tenants: settings and fees (transfers.md §8, §8.1)."""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import wire_datetime
from aval.domain.errors import schema_refusal
from aval.domain.integrator import LOCAL_ORIGIN, IntegratorSettings
from aval.domain.money import Brl
from aval.http.admin_route import INTEGRATOR, INTEGRATORS, admin_route
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, found, given, ispb_of, key_of, matching, text_of
from aval.http.paging import ORDERED, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import ABSENT, decode, optional_amount_of
from aval.operations.change_integrator import change_integrator
from aval.operations.create_integrator import create_integrator
from aval.operations.set_fees import Fees, set_fees
from aval.storage.integrators import StoredIntegrator, find_integrator, list_integrators

Kind = Literal["pix_transfer", "pix_transfer_batch", "ted", "ted_batch", "device"]
Hours = Annotated[int, Meta(ge=0, le=72)]

_NULLABLE = frozenset({"requests_per_second", "rail_url", "fixed_token", "rp_id"})
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ORIGIN = re.compile(rf"(?:https://{_DOMAIN.pattern}|{LOCAL_ORIGIN})(?::[0-9]{{1,5}})?|(?:android|ios):[!-~]{{1,200}}")
_TOKEN = re.compile("[0-9A-Za-z]{6}")


class IntegratorOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The settings that have a default."""

    locale: Literal["pt-BR", "en"] | None = None
    settlement_mode: Literal["async", "sync"] | None = None
    sync_wait_seconds: Annotated[int, Meta(ge=1, le=20)] | None = None
    approval_window_minutes: Annotated[int, Meta(ge=5, le=1440)] | None = None
    resend_cooldown_seconds: Annotated[int, Meta(ge=5, le=300)] | None = None
    max_resends: Annotated[int, Meta(ge=0, le=20)] | None = None
    token_alphabets: dict[Kind, Literal["crockford32", "digits"]] | None = None
    rp_id: str | None | UnsetType = UNSET
    origins: Annotated[list[str], Meta(max_length=10)] | None = None
    require_sha256: bool | None = None
    signature_window_seconds: Annotated[int, Meta(ge=60, le=300)] | None = None
    contact_cooldown_hours: Hours | None = None
    device_cooldown_hours: Hours | None = None
    ted_hours: bool | None = None
    requests_per_second: Annotated[int, Meta(ge=1, le=10_000)] | None | UnsetType = UNSET
    budgets: bool | None = None
    rail_url: str | None | UnsetType = UNSET
    fixed_token: str | None | UnsetType = UNSET
    active: bool | None = None


class IntegratorBody(IntegratorOptions, forbid_unknown_fields=True, kw_only=True):
    """A new tenant."""

    name: str
    ispb: str
    mode: Literal["sandbox", "live"]


class IntegratorChange(IntegratorOptions, forbid_unknown_fields=True, kw_only=True):
    """What changes of a tenant; its mode never does."""

    name: str | None = None
    ispb: str | None = None


class IntegratorAnswer(msgspec.Struct, kw_only=True):
    """A tenant; `rail_secret` only in the answer that made it."""

    integrator_key: str
    name: str
    ispb: str
    mode: Literal["sandbox", "live"]
    locale: Literal["pt-BR", "en"]
    settlement_mode: Literal["async", "sync"]
    sync_wait_seconds: int
    approval_window_minutes: int
    resend_cooldown_seconds: int
    max_resends: int
    token_alphabets: dict[str, str]
    rp_id: str | None
    origins: list[str]
    require_sha256: bool
    signature_window_seconds: int
    contact_cooldown_hours: int
    device_cooldown_hours: int
    ted_hours: bool
    requests_per_second: int | None
    budgets: bool
    rail_url: str | None
    fixed_token: str | None
    active: bool
    created_at: str
    rail_secret: str | UnsetType = UNSET


class FeesBody(msgspec.Struct, forbid_unknown_fields=True):
    """What an item costs; absent or null: nothing on an integrator, the integrator's fee on an account."""

    pix_transfer: msgspec.Raw = ABSENT
    ted: msgspec.Raw = ABSENT


class FeesAnswer(msgspec.Struct):
    """What an item costs; null on an account means the integrator's fee."""

    pix_transfer: Brl | None
    ted: Brl | None


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Integrators(app)
    return [
        admin_route(
            "POST",
            INTEGRATORS,
            calls.create,
            success=201,
            summary="Make an integrator",
            request=IntegratorBody,
            response=IntegratorAnswer,
        ),
        admin_route(
            "GET",
            INTEGRATORS,
            calls.list_all,
            success=200,
            summary="List integrators",
            response=Listing[IntegratorAnswer],
            query=ORDERED,
        ),
        admin_route(
            "GET", INTEGRATOR, calls.read, success=200, summary="Read an integrator", response=IntegratorAnswer
        ),
        admin_route(
            "PATCH",
            INTEGRATOR,
            calls.change,
            success=200,
            summary="Change an integrator",
            request=IntegratorChange,
            response=IntegratorAnswer,
        ),
        admin_route(
            "PUT",
            INTEGRATOR + "/fees",
            calls.set_fees,
            success=200,
            summary="Set an integrator's fees",
            request=FeesBody,
            response=FeesAnswer,
        ),
        admin_route(
            "GET",
            INTEGRATOR + "/fees",
            calls.read_fees,
            success=200,
            summary="Read an integrator's fees",
            response=FeesAnswer,
        ),
    ]


class Integrators:
    """Handlers of tenants and their fees."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /admin/integrators."""
        settings = IntegratorSettings.of(await self._checked(decode(call.body, IntegratorBody)))
        stored, secret = await create_integrator(
            self._app.db,
            settings=settings,
            keyring=self._app.keyring.current(),
            is_production=self._app.settings.is_production,
            author=author_of(call),
        )
        return json_answer(201, _integrator(stored, secret))

    async def list_all(self, call: Call) -> Answer:
        """GET /admin/integrators."""
        page = page_of(call)
        async with self._app.db.connection() as connection:
            rows = await list_integrators(connection, **page.rows)
        return json_answer(200, listing(page, rows, _integrator))

    async def read(self, call: Call) -> Answer:
        """GET I."""
        async with self._app.db.connection() as connection:
            stored = await find_integrator(connection, key_of(call, "integrator_key"))
        return json_answer(200, _integrator(found(stored)))

    async def change(self, call: Call) -> Answer:
        """PATCH I."""
        stored, secret = await change_integrator(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            changes=await self._checked(decode(call.body, IntegratorChange)),
            keyring=self._app.keyring.current(),
            is_production=self._app.settings.is_production,
            author=author_of(call),
        )
        return json_answer(200, _integrator(stored, secret))

    async def set_fees(self, call: Call) -> Answer:
        """PUT I/fees."""
        fees = await set_fees(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            fees=fees_of(call.body),
            author=author_of(call),
        )
        return json_answer(200, FeesAnswer(fees.pix_transfer, fees.ted))

    async def read_fees(self, call: Call) -> Answer:
        """GET I/fees."""
        async with self._app.db.connection() as connection:
            stored = found(await find_integrator(connection, key_of(call, "integrator_key")))
        return json_answer(200, FeesAnswer(stored.pix_fee, stored.ted_fee))

    async def _checked(self, body: IntegratorOptions) -> dict[str, Any]:
        values = given(body, nullable=_NULLABLE)
        for name in values.keys() & _CHECKS.keys():
            if values[name] is not None:
                values[name] = _CHECKS[name](values[name], name)
        if values.get("rail_url") is not None:
            problem = await self._app.check_target(values["rail_url"])
            if problem is not None:
                raise schema_refusal(("rail_url", problem))
        return values


def _origins(origins: list[str], field: str) -> tuple[str, ...]:
    return tuple(matching(origin, f"{field}[{place}]", _ORIGIN) for place, origin in enumerate(origins))


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "name": lambda text, field: text_of(text, field, characters_max=80),
    "ispb": ispb_of,
    "rp_id": lambda text, field: matching(text, field, _DOMAIN),
    "origins": _origins,
    "fixed_token": lambda text, field: matching(text, field, _TOKEN),
}


def fees_of(body: bytes) -> Fees:
    """Read the body of a PUT of fees."""
    fees = decode(body, FeesBody)
    return Fees(
        pix_transfer=optional_amount_of(fees.pix_transfer, "pix_transfer", is_zero_allowed=True),
        ted=optional_amount_of(fees.ted, "ted", is_zero_allowed=True),
    )


def _integrator(stored: StoredIntegrator, rail_secret: str | None = None) -> IntegratorAnswer:
    settings = asdict(stored.settings) | {"origins": list(stored.settings.origins)}
    return IntegratorAnswer(
        integrator_key=str(stored.key),
        created_at=wire_datetime(stored.created_at),
        rail_secret=UNSET if rail_secret is None else rail_secret,
        **settings,
    )
