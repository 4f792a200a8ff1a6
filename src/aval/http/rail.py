"""What an integrator's own core tells of settlements on its own account (transfers.md §8.4)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID
from weakref import WeakValueDictionary

import structlog

from aval.domain.errors import Refusal
from aval.domain.signature import is_signed
from aval.http.auth import bad_credentials
from aval.http.edge import Answer, Call, Route
from aval.http.parts import Parts
from aval.operations.coalesce import Coalescer
from aval.operations.settle_transfer import take_callback
from aval.storage.clock import read_clock
from aval.storage.integrators import StoredIntegrator, find_integrator

AT_ONCE_MAX = 4  # of one core: words on items of a batch go one after another, and hold a connection while they wait
LOOK_UPS_MAX = 256  # callbacks that one look at their integrators answers

_log = structlog.get_logger("aval.rail")


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    return [
        Route(
            "POST",
            "/rail/{integrator_key}/callbacks",
            RailCallbacks(app).take,
            None,
            "rail",
            "qit",
            204,
            "Tell the outcome of a settlement",
            refusals=("gdf.unauthenticated", "qit.not_found"),
        )
    ]


class RailCallbacks:
    """The handler of callbacks."""

    def __init__(self, app: Parts) -> None:
        self._app = app
        self._turns: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()
        # One connection for all that have to be verified, however many: who has not been, must not take it from others.
        self._look_ups: Coalescer[UUID, tuple[StoredIntegrator | None, datetime]] = Coalescer(
            self._look_up, key_of=id, batch_max=LOOK_UPS_MAX, lanes=1, spare_lanes=1, is_gathering=True
        )

    async def take(self, call: Call) -> Answer:
        """POST /rail/{integrator_key}/callbacks; a repetition is answered alike."""
        integrator_key = UUID(call.params["integrator_key"])
        await self._verify(call, integrator_key)
        assert self._app.rail_callback_of is not None and self._app.retry is not None
        rail_reference, answer = self._app.rail_callback_of(call.body)
        async with self._turns.setdefault(integrator_key, asyncio.Semaphore(AT_ONCE_MAX)):
            is_known = await take_callback(
                self._app.db,
                integrator_key=integrator_key,
                rail_reference=rail_reference,
                answer=answer,
                policy=self._app.retry,
            )
        if not is_known:
            _log.warning("rail_reference_unknown", integrator=str(integrator_key), correlation_id=call.correlation_id)
            raise Refusal("qit.not_found")
        return Answer(204)

    async def _verify(self, call: Call, integrator_key: UUID) -> None:
        """An unknown integrator, one without a core, and a wrong signature answer alike."""
        found, now = await self._look_ups.submit(integrator_key)
        sealed = found.rail_secret_sealed if found is not None else None
        if sealed is None:
            raise bad_credentials()
        place = f"integrators/{integrator_key}/rail_secret"
        secret = self._app.keyring.current().opened(sealed, associated=place)
        if not is_signed([secret], call.headers, call.body, now):
            raise bad_credentials()

    async def _look_up(
        self, integrator_keys: Sequence[UUID], _may_wait: bool
    ) -> list[tuple[StoredIntegrator | None, datetime]]:
        """Read the integrators of calls that came before, and the time."""
        async with self._app.db.reading() as connection:
            found = {key: await find_integrator(connection, key) for key in dict.fromkeys(integrator_keys)}
            now = await read_clock(connection)
        return [(found[key], now) for key in integrator_keys]
