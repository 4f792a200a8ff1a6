"""Purchases under a second factor: requests prepared before the clock starts, and the stretches of load they make."""

import json
import random
from typing import Any

from aval.domain.keyring import Purpose
from aval.domain.token import Alphabet, TokenSeed, derived_token
from bench.client import Load, closed_loop, request_bytes
from bench.club import VENDOR, Club
from bench.stages import CLIENTS, PREPARED_PER_SECOND, checked
from bench.world import World

BODY = {
    "channel_type": "MOBILE",
    "items": [{"name": "Fone de ouvido", "quantity": 2, "price": {"for": 40}, "vendor": {"id": VENDOR}}],
    "shipping_values": [{"vendor_id": VENDOR, "value_points": 5}],
}

_PENDING = (
    "select o.approver_id, o.operation_id, o.details_digest, o.nonce, c.kid from operations o"
    " join challenges c using (integrator_id, operation_id)"
    " where o.integrator_id = $1 and o.kind = 'purchase' and c.status = 'pending_2fa_approval'"
    " and c.expires_at > now() + interval '60 seconds'"
)


class Purchases:
    """Makes requests; `chance` decides the participants."""

    def __init__(self, world: World, club: Club, seed: int) -> None:
        self._world = world
        self._club = club
        self._chance = random.Random(seed)  # spreads load, guards nothing
        self._numbers = {person.key: number for number, person in enumerate(club.participants)}
        self._body = json.dumps(BODY).encode()

    async def create(self, *, seconds: float) -> Load:
        """POST /purchases for a thousand participants."""
        requests = [self._create() for _ in range(int(PREPARED_PER_SECOND * seconds))]
        load = await closed_loop(self._world.port, iter(requests), clients=CLIENTS, seconds=seconds)
        return checked(load, 202)

    async def validate(self, *, seconds: float) -> Load:
        """PUT …/validate_token with right tokens, for what `create` left."""
        async with self._world.db.connection() as connection:
            rows = await connection.fetch(_PENDING, self._club.campaign.key)
        requests = [self._validate(row) for row in rows]
        load = await closed_loop(self._world.port, iter(requests), clients=CLIENTS, seconds=seconds)
        return checked(load, 201)

    def _create(self) -> bytes:
        number = self._chance.randrange(len(self._club.participants))
        return request_bytes("POST", "/purchases", self._club.headers(number), self._body)

    def _validate(self, row: Any) -> bytes:
        secret = self._world.keyring.find(Purpose.TOKEN, row["kid"]).secret
        seed = TokenSeed(self._club.campaign.key, row["operation_id"], row["details_digest"], row["nonce"])
        token = derived_token(secret, seed, generation=1, alphabet=Alphabet.DIGITS).text
        headers = self._club.headers(self._numbers[row["approver_id"]])
        path = f"/purchases/{row['operation_id']}/validate_token"
        return request_bytes("PUT", path, headers, json.dumps({"token": token}).encode())
