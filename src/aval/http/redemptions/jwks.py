"""The public keys of issuers of participant tokens: fetched, kept, and asked for again when they may have changed."""

import asyncio
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from aval.domain.jwt import Algorithm
from aval.http.parts import JwksPolicy
from aval.ports import Outbound, OutboundCall

ISSUERS_MAX = 1_000
KEYS_MAX = 100  # of an issuer; more are not looked at
RSA_BITS = range(2_048, 8_193)
RSA_EXPONENTS = range(3, 2**32, 2)

_log = structlog.get_logger("aval.jwks")

PublicKey = RSAKey | ECKey
Keys = Mapping[tuple[str, Algorithm], PublicKey]


@dataclass(slots=True)
class _Issuer:
    keys: Keys = field(default_factory=dict)
    fetched_at: float | None = None
    asked_at: float | None = None
    fetching: "asyncio.Task[None] | None" = None


class IssuerKeys:
    """Finds keys by the address they are published at; nothing here touches the database.

    Calls that need the same address at the same time share one question.
    """

    def __init__(
        self, outbound: Outbound | None, policy: JwksPolicy, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbound = outbound
        self._policy = policy
        self._monotonic = monotonic
        self._issuers: OrderedDict[str, _Issuer] = OrderedDict()

    async def find(self, address: str, kid: str, algorithm: Algorithm) -> PublicKey | None:
        """The key of this `kid`; None if the issuer does not tell of it, or could not be asked for too long."""
        issuer = self._issuers.setdefault(address, _Issuer())
        self._issuers.move_to_end(address)
        if len(self._issuers) > ISSUERS_MAX:
            self._issuers.popitem(last=False)
        wanted = (kid, algorithm)
        is_known = wanted in issuer.keys and not self._is_old(issuer, self._policy.keep)
        if (not is_known or self._is_old(issuer, self._policy.refresh)) and self._may_ask(issuer):
            await self._ask(address, issuer, patience=self._policy.patience if is_known else None)
        return None if self._is_old(issuer, self._policy.keep) else issuer.keys.get(wanted)

    def _is_old(self, issuer: _Issuer, limit: timedelta) -> bool:
        return issuer.fetched_at is None or self._monotonic() - issuer.fetched_at >= limit.total_seconds()

    def _may_ask(self, issuer: _Issuer) -> bool:
        if issuer.fetching is not None or issuer.asked_at is None:
            return True
        return self._monotonic() - issuer.asked_at >= self._policy.retry.total_seconds()

    async def _ask(self, address: str, issuer: _Issuer, *, patience: timedelta | None) -> None:
        """Wait for an answer; with `patience` no longer than that, for the last one is good as well."""
        if issuer.fetching is None:
            issuer.asked_at = self._monotonic()
            issuer.fetching = asyncio.create_task(self._fetch(address, issuer))
        waiting = asyncio.shield(issuer.fetching)  # whoever began it may go away
        if patience is None:
            await waiting
        else:
            await asyncio.wait({waiting}, timeout=patience.total_seconds())

    async def _fetch(self, address: str, issuer: _Issuer) -> None:
        try:
            keys = await self._fetched(address)
        finally:
            issuer.fetching = None
        if keys is not None:
            issuer.keys, issuer.fetched_at = keys, self._monotonic()

    async def _fetched(self, address: str) -> Keys | None:
        if self._outbound is None:
            return None
        headers = {"accept": "application/json"}
        answer = await self._outbound.call(OutboundCall("GET", address, headers, b"", self._policy.timeout))
        if answer.status != 200 or answer.error:
            _log.warning("keys of an issuer not fetched", status=answer.status, error=answer.error)
            return None
        keys = dict(_keys_of(answer.body))
        if not keys:
            _log.warning("no usable key of an issuer", status=answer.status)
            return None
        return keys


def _keys_of(body: bytes) -> Iterator[tuple[tuple[str, Algorithm], PublicKey]]:
    """Every key that may sign tokens; whatever else an issuer publishes is left out."""
    try:
        told = msgspec.json.decode(body, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    for member in (told if isinstance(told, list) else [])[:KEYS_MAX]:
        try:
            yield from _key_of(member)
        except (JoseError, KeyError, TypeError, ValueError, AttributeError):
            continue


def _key_of(member: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Algorithm], PublicKey]]:
    kid = member["kid"]
    if not isinstance(kid, str) or member.get("use", "sig") != "sig":
        return
    if member["kty"] == "RSA" and member.get("alg", "RS256") == "RS256":
        if _number(member["n"]).bit_length() in RSA_BITS and _number(member["e"]) in RSA_EXPONENTS:
            yield (kid, "RS256"), RSAKey.import_key({"kty": "RSA", "n": member["n"], "e": member["e"]})
    elif member["kty"] == "EC" and member["crv"] == "P-256" and member.get("alg", "ES256") == "ES256":
        yield (kid, "ES256"), ECKey.import_key({"kty": "EC", "crv": "P-256", "x": member["x"], "y": member["y"]})


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
