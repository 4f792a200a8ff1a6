"""Proof of DV3 (T10): what a device is told to sign is fresh, and of many signatures over it exactly one counts.

Races of 64: approvals and denials by two devices of the approver, all rightly signed under the one nonce.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any

import pytest

from aval.domain.device_proof import from_base64url
from tests.devices.authenticator import AppKey, signed_body
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import request_by_device
from tests.world import World

pytestmark = pytest.mark.proof

RACES = 5_000 if os.environ.get("AVAL_PROOF_NIGHTLY") else 200
RUNNERS = 64
NONCE_BYTES_MIN = 16  # promises.md DV3: 128 bits


@pytest.fixture(scope="module")
async def devices(module_world: World) -> list[Enrollment]:
    """Two active devices of one approver."""
    party = await passkey_party(module_world)
    return [await registered(module_world, party, AppKey()) for _ in range(2)]


async def test_exactly_one_of_many_signatures_counts(
    world: World, devices: list[Enrollment], chance: random.Random
) -> None:
    world.has_server_errors = True  # who waits too long for a connection is told to come again; nothing was judged
    nonces: Counter[str] = Counter()
    for _ in range(RACES):
        signing = await request_by_device(devices[0])
        session = await signing.open()
        nonces[session["nonce"]] += 1
        bodies = _bodies(devices, session, chance)
        replies = await asyncio.gather(*(signing.call("POST", f"/{path}", body) for path, body in bodies))
        told = Counter((reply.status, reply.code) for reply in replies)
        assert told[200, None] == 1, told
        assert set(told) <= {(200, None), (400, "OBD000921"), (503, "QIT000944")}, told
        winner = next(path for (path, _), reply in zip(bodies, replies, strict=True) if reply.status == 200)
        (row,) = await world.fetch(
            "select c.status, s.status as session, (select count(*) from device_decisions where operation_id = $1)"
            " as decisions from challenges c join device_sessions s using (operation_id) where c.operation_id = $1",
            signing.key,
        )
        expected = {"approve": ("pending_2fa_approval", "approved", 1), "deny": ("rejected", "denied", 1)}[winner]
        assert tuple(row) == expected
    assert max(nonces.values()) == 1
    assert min(len(from_base64url(nonce) or b"") for nonce in nonces) >= NONCE_BYTES_MIN
    world.has_server_errors = False


def _bodies(
    devices: list[Enrollment], session: dict[str, Any], chance: random.Random
) -> list[tuple[str, dict[str, Any]]]:
    """The same few signatures many times over, in any order."""
    signed = [
        (decision, signed_body(each.device, each.device_key, session, decision))
        for each in devices
        for decision in ("approve", "deny")
    ]
    return [chance.choice(signed) for _ in range(RUNNERS)]


async def test_looks_at_once_leave_one_nonce_alive(world: World, devices: list[Enrollment]) -> None:
    for _ in range(RACES // 20):
        signing = await request_by_device(devices[0])
        sessions = await asyncio.gather(*(signing.open() for _ in range(8)))
        assert len({session["nonce"] for session in sessions}) == 8
        replies = [await signing.sign(session=session) for session in sessions]
        assert sorted(reply.code or "" for reply in replies).count("") == 1
        assert {reply.code for reply in replies} <= {None, "OBD000926", "OBD000921"}
