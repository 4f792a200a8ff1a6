"""Who calls on redemptions: the back office, an application, an impersonator or a participant (redemptions.md §7)."""

import re
import time
from collections.abc import Sequence
from uuid import UUID

from aval.domain.caller import BACK_OFFICE_SCOPES, Caller, CallerKind
from aval.domain.errors import BAD_CREDENTIALS, Refusal
from aval.http.edge import Access, Call, Route
from aval.http.parts import Parts
from aval.http.rates import MinuteRates
from aval.http.redemptions.access import check_access, is_for_application
from aval.http.redemptions.impersonation import impersonated, is_impersonating, meant_participants
from aval.operations.coalesce import Coalescer, Postponed
from aval.storage.credentials import find_admin_by_hashes
from aval.storage.redeemers import Identified, Presented, identify

LOOK_UPS_MAX = 64  # calls that share a statement
LOOK_UP_LANES = 2

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_ADMIN_KEY = re.compile(r"aval_admin_[A-Za-z0-9_-]{43}")
_API_KEY = re.compile(r"aval_(?:live|test)_[A-Za-z0-9_-]{43}")
_SUBSCRIPTION_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_SUBSCRIPTION_HEADERS = ("ocp-apim-subscription-key", "x-subscription-key")


class Redeemers:
    """Finds out who makes a call on redemptions, and whether they may; asks PostgreSQL each time.

    Calls that come together share one statement; nothing is kept from one call to the next, so what was revoked is
    dead at the next request.
    """

    def __init__(self, parts: Parts) -> None:
        self._db = parts.db
        self._keyring = parts.keyring
        self._rates = MinuteRates()
        self._look_up: Coalescer[Presented, Identified | None] = Coalescer(
            self._identified, key_of=id, batch_max=LOOK_UPS_MAX, lanes=LOOK_UP_LANES
        )

    async def admit(self, call: Call, route: Route) -> None:
        """Set the caller of a call whose body is not read yet, or refuse the call."""
        access = route.access
        assert access is not None
        bearer = _bearer_of(call)
        if _ADMIN_KEY.fullmatch(bearer):
            call.caller_of_redemption = await self._operator(bearer)
            check_access(call.redeemer, access)
            return
        found, caller = await self._application(call, bearer, access)
        self._rates.check(found.application_key, found.calls_per_minute, time.monotonic())
        check_access(caller, access)
        if caller.kind is CallerKind.IMPERSONATOR:
            caller = impersonated(caller, call, found, access)
        call.caller_of_redemption = caller

    async def _operator(self, bearer: str) -> Caller:
        async with self._db.connection() as connection:
            admin = await find_admin_by_hashes(connection, self._hashes(bearer))
        if admin is None:
            raise nobody()
        return Caller(CallerKind.OPERATOR, f"admin:{admin.name}", admin.scopes & frozenset(BACK_OFFICE_SCOPES))

    async def _application(self, call: Call, bearer: str, access: Access) -> tuple[Identified, Caller]:
        subscription = self._hashes(_subscription_key_of(call))
        if not _API_KEY.fullmatch(bearer):
            raise nobody()
        is_impersonator = is_impersonating(call) and not is_for_application(access)
        participants = meant_participants(call) if is_impersonator else ()
        found = await self._look_up.submit(Presented(subscription, self._hashes(bearer), participants))
        if found is None or not found.is_key_good:
            raise nobody()
        kind = CallerKind.IMPERSONATOR if is_impersonator else CallerKind.APPLICATION
        return found, caller_of(found, kind, f"application:{found.application_key}")

    async def _identified(
        self, calls: Sequence[Presented], _may_wait: bool
    ) -> Sequence[Identified | None | Exception | Postponed]:
        async with self._db.connection() as connection:
            return await identify(connection, calls)

    def _hashes(self, credential: str) -> list[bytes]:
        return self._keyring.current().credential_hashes(credential)


def caller_of(found: Identified, kind: CallerKind, actor: str, *, participant_key: UUID | None = None) -> Caller:
    """Make the caller from what was looked up."""
    return Caller(
        kind,
        actor,
        found.scopes,
        campaign=found.campaign,
        application_key=found.application_key,
        participant_key=participant_key,
    )


def nobody() -> Refusal:
    """Make the one refusal for credentials that prove nothing, whatever they lack."""
    return Refusal("rdm.unauthenticated", details=BAD_CREDENTIALS)


def _bearer_of(call: Call) -> str:
    given = _BEARER.fullmatch(call.headers.get("authorization", ""))
    if given is None:
        raise nobody()
    return given[1]


def _subscription_key_of(call: Call) -> str:
    given = {call.headers[name] for name in _SUBSCRIPTION_HEADERS if name in call.headers}
    key = given.pop() if len(given) == 1 else ""
    if not _SUBSCRIPTION_KEY.fullmatch(key):
        raise nobody()
    return key
