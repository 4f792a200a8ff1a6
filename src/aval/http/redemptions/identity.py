"""Who calls on redemptions: the back office, an application, an impersonator or a participant (redemptions.md §7)."""

import re
import time
from collections.abc import Sequence
from functools import cache
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.caller import BACK_OFFICE_SCOPES, Caller, CallerKind, KeyState, Recalled
from aval.domain.campaign import Campaign
from aval.domain.errors import BAD_CREDENTIALS, Refusal
from aval.domain.jwt import BadJwt, UnverifiedJwt, parse_jwt
from aval.http.auth import Recent
from aval.http.edge import Access, Call, Route
from aval.http.parts import Parts
from aval.http.rates import MinuteRates
from aval.http.redemptions.access import check_access, is_for_application
from aval.http.redemptions.access_tokens import check_access_times, is_access_token, read_access_token, verify_jwt
from aval.http.redemptions.impersonation import (
    SENT_HEADERS,
    impersonated,
    is_impersonating,
    meant_participants,
    refuse_headers_of_participant,
)
from aval.http.redemptions.jwks import IssuerKeys
from aval.http.redemptions.participant_tokens import participant_meant, participants_named
from aval.operations.coalesce import Coalescer, Postponed
from aval.storage.credentials import find_admin_by_hashes
from aval.storage.redeemers import Identified, Presented, identify

LOOK_UPS_MAX = 64  # calls that share a statement
LOOK_UP_LANES = 1
NOBODY = "rdm.unauthenticated"

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_ADMIN_KEY = re.compile(r"aval_admin_[A-Za-z0-9_-]{43}")
_API_KEY = re.compile(r"aval_(?:live|test)_[A-Za-z0-9_-]{43}")
_SUBSCRIPTION_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_SUBSCRIPTION_HEADERS = ("ocp-apim-subscription-key", "x-subscription-key")
_TELLING_HEADERS = ("authorization", *_SUBSCRIPTION_HEADERS, *SENT_HEADERS)  # all that says who calls


class _Sent(msgspec.Struct, frozen=True):
    """The credentials of an application or participant, and the participants it may mean."""

    subscription_key: str
    api_key: str | None = None
    participants: Sequence[UUID] = ()

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


class _Known(msgspec.Struct, frozen=True):
    """What all callers by one API key share, as it was found last."""

    key: KeyState
    campaign: Campaign


class Redeemers:
    """Finds out who makes a call on redemptions, and whether they may.

    Calls that come together share one statement. On hot routes an application that acts for a participant is recalled
    from an earlier call; the statement that decides then asks whether all of it is as it was (docs/adr/0046). For every
    other call PostgreSQL is asked each time. What was revoked is dead at the next request.
    """

    def __init__(self, parts: Parts) -> None:
        self._db = parts.hot_db or parts.db
        self._keyring = parts.keyring
        self._issuer = parts.settings.public_url
        self._issuer_keys = IssuerKeys(parts.outbound, parts.settings.jwks)
        self._rates = MinuteRates()
        self._desk = parts.redemption_desk
        # By a hash of what was sent, never by that itself, callers without their campaign, which may be large; and by
        # the hash of an API key what its callers share.
        self._callers: Recent[bytes, Caller] = Recent(parts.settings.callers_recalled_max)
        self._keys: Recent[bytes, _Known] = Recent(parts.settings.callers_recalled_max)
        self._look_up: Coalescer[_Sent, Identified | None] = Coalescer(
            self._identified, key_of=id, batch_max=LOOK_UPS_MAX, lanes=LOOK_UP_LANES
        )

    async def admit(self, call: Call, route: Route) -> None:
        """Set the caller of a call whose body is not read yet, or refuse the call."""
        access = route.access
        assert access is not None
        # Whoever is asked outside is asked before PostgreSQL decides, and so never about a caller who is only recalled.
        is_asking = self._desk is not None and self._desk.is_asking
        if route.is_hot and not is_asking and self._is_recalled(call, access):
            return
        await self.look_up(call, route)

    async def look_up(self, call: Call, route: Route, *, is_counted: bool = True) -> None:
        """The same by PostgreSQL alone; not counted again for a call that was counted before."""
        access, former = route.access, call.caller_of_redemption
        assert access is not None
        try:
            await self._looked_up(call, route, access, is_counted=is_counted)
        except Refusal as refusal:
            if former is not None and former.recalled is not None:
                self._forget(call, access, former.recalled, refusal)
            raise

    async def _looked_up(self, call: Call, route: Route, access: Access, *, is_counted: bool) -> None:
        bearer = _bearer_of(call)
        call.is_verified = True
        if _ADMIN_KEY.fullmatch(bearer):
            call.caller_of_redemption = await self._operator(bearer)
            check_access(call.redeemer, access)
            return
        found, caller = await self._application(call, bearer, access)
        if is_counted:
            self._rates.check(found.application_key, found.calls_per_minute, time.monotonic())
        call.caller_of_redemption = self._admitted(call, found, caller, access)
        if route.is_hot and caller.kind is CallerKind.IMPERSONATOR and _API_KEY.fullmatch(bearer):
            self._remember(call, access, found)

    def count(self, call: Call) -> None:
        """Count a call whose caller was recalled, once it is there as a whole; the others are counted as they come.

        What a revoked caller only begins is never looked up, and does not use up the calls of the application.
        """
        recalled = call.redeemer.recalled
        if recalled is not None:
            self._rates.check(recalled.key.application_key, recalled.calls_per_minute, time.monotonic())

    def _is_recalled(self, call: Call, access: Access) -> bool:
        """Set the caller to the one that the same headers were found to be before."""
        caller = self._callers.get(self._hash_of(call, access))
        if caller is None or caller.recalled is None:
            return False
        known = self._keys.get(caller.recalled.key.api_key_hash)
        if known is None or known.key != caller.recalled.key:
            return False
        call.caller_of_redemption = replace(caller, campaign=known.campaign)
        return True

    def _remember(self, call: Call, access: Access, found: Identified) -> None:
        (participant,) = found.participants.values()
        assert found.key is not None
        self._keys.put(found.key.api_key_hash, _Known(found.key, found.campaign))
        recalled = Recalled(found.key, participant.username, participant.catalog_id, found.calls_per_minute)
        self._callers.put(self._hash_of(call, access), replace(call.redeemer, campaign=None, recalled=recalled))

    def _forget(self, call: Call, access: Access, recalled: Recalled, refusal: Refusal) -> None:
        """Recall nobody by a key that proves nothing any more; of a good one, not the caller who was refused."""
        if refusal.name == NOBODY:
            self._keys.put(recalled.key.api_key_hash, None)
        else:
            self._callers.put(self._hash_of(call, access), None)

    def _hash_of(self, call: Call, access: Access) -> bytes:
        """A hash of all that a caller who was let in follows from, beside what PostgreSQL knows."""
        sent = [*map(call.headers.get, _TELLING_HEADERS), access.impersonator, access.is_username_needed]
        return self._keyring.current().recall_hash(msgspec.json.encode(sent))

    @staticmethod
    def _admitted(call: Call, found: Identified, caller: Caller, access: Access) -> Caller:
        """The caller, if what is found of them lets them in."""
        check_access(caller, access)
        if caller.kind is CallerKind.IMPERSONATOR:
            return impersonated(caller, call, found, access)
        if caller.kind is CallerKind.PARTICIPANT:
            refuse_headers_of_participant(call)
            if caller.participant_key not in found.participants:
                raise Refusal("rdm.participant_not_found")
        return caller

    async def _operator(self, bearer: str) -> Caller:
        async with self._db.connection() as connection:
            admin = await find_admin_by_hashes(connection, self._hashes(bearer))
        if admin is None:
            raise nobody()
        return Caller(CallerKind.OPERATOR, f"admin:{admin.name}", admin.scopes & frozenset(BACK_OFFICE_SCOPES))

    async def _application(self, call: Call, bearer: str, access: Access) -> tuple[Identified, Caller]:
        """The application, for itself or for a participant, or the participant who calls through it."""
        subscription_key = _subscription_key_of(call)
        if _API_KEY.fullmatch(bearer):
            return await self._by_api_key(call, _Sent(subscription_key, bearer), access)
        sent = _Sent(subscription_key)
        try:
            jwt = parse_jwt(bearer)
            if is_access_token(jwt, self._keyring.current()):
                return await self._by_access_token(call, sent, access, jwt)
            return await self._by_participant(sent, jwt)
        except BadJwt:
            raise nobody() from None

    async def _by_api_key(self, call: Call, sent: _Sent, access: Access) -> tuple[Identified, Caller]:
        kind = _kind_of(call, access)
        found = await self._acting(call, sent, kind)
        if found.key is None:
            raise nobody()
        return found, _application(found, found.scopes, kind)

    async def _by_access_token(
        self, call: Call, sent: _Sent, access: Access, jwt: UnverifiedJwt
    ) -> tuple[Identified, Caller]:
        grant = read_access_token(jwt, self._keyring.current())
        kind = _kind_of(call, access)
        found = await self._acting(call, sent, kind)
        if found.application_key != grant.application_key:
            raise nobody()
        check_access_times(grant, issuer=self._issuer, now=found.now)
        return found, _application(found, found.scopes & grant.scopes, kind)

    async def _acting(self, call: Call, sent: _Sent, kind: CallerKind) -> Identified:
        """Look up an application, and the participant it may act for."""
        if kind is CallerKind.IMPERSONATOR:
            sent = replace(sent, participants=meant_participants(call))
        return await self._found(sent)

    async def _by_participant(self, sent: _Sent, jwt: UnverifiedJwt) -> tuple[Identified, Caller]:
        """A participant whose token is good, and who may not exist; no connection is held while keys are fetched."""
        found = await self._found(replace(sent, participants=participants_named(jwt)))
        if found.oidc is None:
            raise nobody()
        key = await self._issuer_keys.find(found.oidc.jwks_uri, jwt.kid, jwt.algorithm)
        if key is None:
            raise nobody()
        verify_jwt(jwt, key)
        participant_key = participant_meant(jwt, found)
        caller = Caller(
            CallerKind.PARTICIPANT,
            f"participant:{participant_key}",
            found.scopes,
            campaign=found.campaign,
            application_key=found.application_key,
            participant_key=participant_key,
        )
        return found, caller

    async def _found(self, sent: _Sent) -> Identified:
        found = await self._look_up.submit(sent)
        if found is None:
            raise nobody()
        return found

    async def _identified(
        self, calls: Sequence[_Sent], _may_wait: bool
    ) -> Sequence[Identified | None | Exception | Postponed]:
        hashes = cache(self._hashes)  # for these calls only, which mostly bring the same credentials; gone with them
        presented = [
            Presented(hashes(sent.subscription_key), hashes(sent.api_key) if sent.api_key else (), sent.participants)
            for sent in calls
        ]
        async with self._db.connection() as connection:
            return await identify(connection, presented)

    def _hashes(self, credential: str) -> list[bytes]:
        return self._keyring.current().credential_hashes(credential)


def _kind_of(call: Call, access: Access) -> CallerKind:
    """What an application is on this call."""
    acts_for_another = is_impersonating(call) and not is_for_application(access)
    return CallerKind.IMPERSONATOR if acts_for_another else CallerKind.APPLICATION


def _application(found: Identified, scopes: frozenset[str], kind: CallerKind) -> Caller:
    return Caller(
        kind,
        f"application:{found.application_key}",
        scopes,
        campaign=found.campaign,
        application_key=found.application_key,
    )


def nobody() -> Refusal:
    """Make the one refusal for credentials that prove nothing, whatever they lack."""
    return Refusal(NOBODY, details=BAD_CREDENTIALS)


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
