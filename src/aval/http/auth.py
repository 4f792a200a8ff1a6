"""Who calls: API keys, signed requests and admin keys, against PostgreSQL or, on hot routes, a cache of this process.

A cached principal only saves the look-up: the deciding statement of a hot operation checks it again, and every
other route asks PostgreSQL each time, so a revoked credential is dead at the next request.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from aval.domain.errors import BAD_CREDENTIALS, Refusal
from aval.domain.ids import parse_uuid
from aval.domain.principal import AdminActor, Principal
from aval.http.edge import Call, Route
from aval.http.limits import REPEATED
from aval.http.parts import KeyringSource
from aval.http.signed_request import BadSignature, Proof, RequestFacts, load_public_key, verify_request
from aval.storage.credentials import (
    find_admin_by_hashes,
    find_principal_by_api_key_hashes,
    find_principal_by_client_key,
)
from aval.storage.database import Database
from aval.storage.request_signatures import remember_signature

_BEARER = re.compile(r"bearer +(\S.*)", re.IGNORECASE | re.DOTALL)
_API_KEY = re.compile(r"aval_(?:live|test)_[A-Za-z0-9_-]{43}")
_ADMIN_KEY = re.compile(r"aval_admin_[A-Za-z0-9_-]{43}")
_NO_SCOPE = "Endpoint or HTTP method not allowed for the given ClientIntegration (Action: {method} {path})"

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Signer:
    """A caller who signs requests."""

    principal: Principal
    public_key: EllipticCurvePublicKey
    is_cached: bool = False


class Recent(Generic[Key, Value]):
    """Keeps the most recently used values, up to a maximum."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value, which then counts as used."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value | None) -> None:
        """Keep a value, or forget the key if there is none."""
        if value is None:
            self._values.pop(key, None)
            return
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size_max:
            self._values.popitem(last=False)


class Authenticator:
    """Finds out who calls; every method raises the refusal that answers a caller who is nobody."""

    def __init__(self, db: Database, keyring: KeyringSource, *, recalled_max: int) -> None:
        self._db = db
        self._keyring = keyring
        self._by_hashes: Recent[tuple[bytes, ...], Principal] = Recent(recalled_max)  # of all keys there are
        self._by_client_key: Recent[UUID, Signer] = Recent(recalled_max)

    async def identify(self, call: Call, route: Route) -> Signer | None:
        """Set the caller of a call whose body is not read yet; a signer's body must then pass `verify`."""
        if route.audience == "admin":
            call.admin = await self._admin(call)
        elif route.audience == "integrator":
            if "api-client-key" in call.headers:
                signer = await self._signer(call, is_cache_allowed=route.is_hot)
                call.principal = signer.principal
                return signer
            call.principal = await self._bearer(call, is_cache_allowed=route.is_hot)
        return None

    async def refresh(self, call: Call) -> None:
        """Read the caller of a hot route from PostgreSQL, past the cache."""
        if "api-client-key" in call.headers:
            call.principal = (await self._signer(call, is_cache_allowed=False)).principal
        else:
            call.principal = await self._bearer(call, is_cache_allowed=False)

    async def verify(self, signer: Signer, call: Call, target: str) -> None:
        """Check the signature over the exact body, and that it is used for the first time."""
        jwt = call.headers.get("authorization", "")
        integrator = signer.principal.integrator
        try:
            proof = verify_request(
                jwt,
                signer.public_key,
                RequestFacts(call.method, target, call.body),
                is_sha256_required=integrator.require_sha256,
            )
        except BadSignature:
            raise bad_credentials() from None
        if not await self._is_first_use(signer.principal, proof):
            if signer.is_cached:
                await self.refresh(call)  # a key revoked meanwhile is told as one
            raise bad_credentials()

    async def _is_first_use(self, principal: Principal, proof: Proof) -> bool:
        async with self._db.connection() as connection:
            return await remember_signature(
                connection,
                integrator_key=principal.integrator.key,
                credential_key=principal.credential_key,
                signature_hash=proof.signature_hash,
                signed_at=proof.signed_at,
                window=principal.integrator.signature_window,
            )

    async def _bearer(self, call: Call, *, is_cache_allowed: bool) -> Principal:
        hashes = tuple(self._hashes_of(call, _API_KEY))
        cached = self._by_hashes.get(hashes) if is_cache_allowed else None
        if cached is not None:
            return cached
        async with self._db.connection() as connection:
            principal = await find_principal_by_api_key_hashes(connection, hashes)
        self._by_hashes.put(hashes, principal)
        if principal is None:
            raise bad_credentials()
        call.is_verified = True
        return principal

    async def _signer(self, call: Call, *, is_cache_allowed: bool) -> Signer:
        client_key = parse_uuid(call.headers["api-client-key"])
        if client_key is None:
            raise Refusal("gdf.unknown_client_key", api_client_key="-")
        cached = self._by_client_key.get(client_key) if is_cache_allowed else None
        if cached is not None:
            return cached
        async with self._db.connection() as connection:
            found = await find_principal_by_client_key(connection, client_key)
        if found is None:
            self._by_client_key.put(client_key, None)
            raise Refusal("gdf.unknown_client_key", api_client_key=str(client_key))
        public_key = load_public_key(found.public_key_pem)
        self._by_client_key.put(client_key, Signer(found.principal, public_key, is_cached=True))
        call.is_verified = True
        return Signer(found.principal, public_key)

    async def _admin(self, call: Call) -> AdminActor:
        hashes = self._hashes_of(call, _ADMIN_KEY)
        async with self._db.connection() as connection:
            admin = await find_admin_by_hashes(connection, hashes)
        if admin is None:
            raise bad_credentials()
        return admin

    def _hashes_of(self, call: Call, shape: re.Pattern[str]) -> list[bytes]:
        given = call.headers.get("authorization", "")
        if REPEATED in given:
            raise bad_credentials()
        bearer = _BEARER.fullmatch(given)
        if bearer is None:
            raise Refusal("gdf.no_client_key")
        if not shape.fullmatch(bearer[1]):
            raise bad_credentials()
        return self._keyring.current().credential_hashes(bearer[1])


def check_scope(call: Call, route: Route) -> None:
    """Refuse a caller whose credential does not carry the route's scope."""
    caller = call.principal or call.admin
    if route.scope is None or caller is None or caller.may(route.scope):
        return
    path = route.path
    for name, value in call.params.items():  # only a uuid may be repeated to the caller
        key = parse_uuid(value)
        path = path.replace(f"{{{name}}}", str(key)) if key else path
    raise Refusal("gdf.unauthenticated", details=_NO_SCOPE.format(method=route.method, path=path))


def bad_credentials() -> Refusal:
    """Make the one refusal for every credential that proves nothing."""
    return Refusal("gdf.unauthenticated", details=BAD_CREDENTIALS)
