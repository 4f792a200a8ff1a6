"""Requests of the service, prepared before the clock starts."""

import hashlib
import json
import random
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from aval.client import Approver, TargetAccount, TedItem
from aval.domain.keyring import Purpose
from aval.domain.token import Alphabet, TokenSeed, derived_token
from bench.client import request_bytes
from bench.world import ACCOUNTS, World, account_key

numbers = count(1)


class Calls:
    """Makes requests; `chance` decides the accounts."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)  # spreads load, guards nothing
        self.fresh_numbers = count(10_000_000)

    def create(self, *, account: int | None = None, number: int | None = None, is_signed: bool = False) -> bytes:
        """A TED request by SMS; the payee's name carries a number."""
        account = account or self._chance.randint(1, ACCOUNTS)
        path = f"/account/{account_key(account)}/ted"
        body = _ted(number or next(numbers)) | self._tfa_info(account)
        return self._request("POST", path, json.dumps(body).encode(), is_signed=is_signed)

    def items(self, count_: int) -> list[TedItem]:
        """Such TEDs as items of a batch."""
        return [
            TedItem(amount=Decimal("202.01"), target=TargetAccount(**_target(next(numbers)))) for _ in range(count_)
        ]

    def approver(self, account: int) -> Approver:
        """The approver of an account, by SMS."""
        return Approver(self._world.documents[account - 1])

    def _tfa_info(self, account: int) -> dict[str, Any]:
        return {
            "tfa_info": {
                "approver_document_number": self._world.documents[account - 1],
                "contact_type": "sms",
            }
        }

    def creates(self, count_: int, **options: Any) -> list[bytes]:
        """Many of them."""
        return [self.create(**options) for _ in range(count_)]

    def validate(self, account: UUID, operation: UUID, token: str) -> bytes:
        """A token for a TED."""
        path = f"/account/{account}/ted/{operation}/validate_token"
        return self._request("PUT", path, json.dumps({"token": token}).encode())

    async def validates(self, *, account: int | None = None) -> list[bytes]:
        """Right tokens for every operation the service made that still waits, derived with the deployment's key."""
        async with self._world.db.connection() as connection:
            rows = await connection.fetch(
                "select o.operation_id, o.account_id, o.details_digest, o.nonce, c.kid from operations o"
                " join challenges c using (integrator_id, operation_id)"
                " where o.integrator_id = $1 and c.status = 'pending_2fa_approval'"
                " and o.credential_id <> o.integrator_id and o.kind = 'ted'"  # not the ones stored for pgbench
                " and ($2::uuid is null or o.account_id = $2) and c.expires_at > now() + interval '60 seconds'",
                self._world.integrator_key,
                None if account is None else account_key(account),
            )
        return [self.validate(row["account_id"], row["operation_id"], self.token(row)) for row in rows]

    async def token_of(self, operation: UUID) -> str:
        """The right token of an operation."""
        async with self._world.db.connection() as connection:
            row = await connection.fetchrow(
                "select o.operation_id, o.details_digest, o.nonce, c.kid from operations o"
                " join challenges c using (integrator_id, operation_id)"
                " where o.integrator_id = $1 and o.operation_id = $2",
                self._world.integrator_key,
                operation,
            )
        return self.token(row)

    def token(self, row: Any) -> str:
        """The token of a stored challenge."""
        secret = self._world.keyring.find(Purpose.TOKEN, row["kid"]).secret
        seed = TokenSeed(self._world.integrator_key, row["operation_id"], row["details_digest"], row["nonce"])
        return derived_token(secret, seed, generation=1, alphabet=Alphabet.DIGITS).text

    def _request(self, method: str, path: str, body: bytes, *, is_signed: bool = False) -> bytes:
        if not is_signed:
            return request_bytes(method, path, {"Authorization": f"Bearer {self._world.api_key}"}, body)
        jwt = signed_jwt(self._world.private_key_pem, method, path, body)
        headers = {"API-CLIENT-KEY": str(self._world.client_key), "AUTHORIZATION": jwt}
        return request_bytes(method, path, headers, body)


def _ted(number: int) -> dict[str, Any]:
    return {
        "request_control_key": str(uuid4()),
        "transaction_amount": 202.01,
        "target_account": _target(number),
    }


def _target(number: int) -> dict[str, str]:
    return {
        "account_branch": "0001",
        "account_number": "7654321",
        "account_digit": "0",
        "owner_document_number": "11222333000181",
        "owner_name": f"P{number}",
        "ispb": "87654321",
        "account_type": "checking_account",
    }


def signed_jwt(private_key_pem: str, method: str, path: str, body: bytes) -> str:
    """The JWT of a signed request (transfers.md §2.2)."""
    key = load_pem_private_key(private_key_pem.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    claims = {
        "payload_md5": hashlib.md5(body, usedforsecurity=False).hexdigest(),
        "payload_sha256": hashlib.sha256(body).hexdigest(),
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "method": method,
        "uri": path,
    }
    signing = f"{_encoded({'typ': 'JWT', 'alg': 'ES512'})}.{_encoded(claims)}"
    r, s = decode_dss_signature(key.sign(signing.encode(), ECDSA(SHA512())))
    return f"{signing}.{_b64(r.to_bytes(66, 'big') + s.to_bytes(66, 'big'))}"


def _encoded(value: dict[str, str]) -> str:
    return _b64(json.dumps(value).encode())


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def endless(requests: list[bytes]) -> Iterator[bytes]:
    """Each once; running out ends the load early, which its duration then shows."""
    return iter(requests)
