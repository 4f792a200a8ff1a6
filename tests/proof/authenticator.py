"""Proof of DV2 (T10): a signature counts once, for one operation, integrator, origin and key, with the user verified.

Every kind of lie of `tests/devices/mutations.py` is told over and over to sessions that wait; each is refused with its
code, and nothing moves. Then the honest signature is taken, once.
"""

import os
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.device_proof import base64url
from tests.devices.authenticator import AppKey, Passkey
from tests.devices.mutations import LIES, STRANGERS, Scene
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import Signing, request_by_device
from tests.factories import Party, make_account, make_approver
from tests.world import World

pytestmark = pytest.mark.proof

ROUNDS = 200 if os.environ.get("AVAL_PROOF_NIGHTLY") else 20
KINDS_MIN = 60  # promises.md DV2
LINK = (
    "insert into account_approvers select integrator_id, $2, $3, powers, null, created_at, updated_at"
    " from account_approvers where account_id = $1 and approver_id = $4"
)


@dataclass
class Stand:
    """Two operations that wait for the same passkey, and everybody else's devices."""

    signing: Signing
    other: Signing
    strangers: dict[str, tuple[str, Passkey]]

    async def scene(self, chance: random.Random) -> Scene:
        """The session as it is told now; what was told of it before is void."""
        former = await self.signing.open()
        session, other = await self.signing.open(), await self.other.open()
        passkey = self.signing.enrollment.device
        assert isinstance(passkey, Passkey)
        device_key = str(self.signing.enrollment.device_key)
        return Scene(passkey, device_key, session, chance, other["nonce"], former["nonce"], self.strangers)


async def make_stand(world: World, passkey: Passkey) -> Stand:
    party = await passkey_party(world)
    own = await registered(world, party, passkey)
    strangers = {each: (str(found.device_key), device) async for each, found, device in _strangers(world, party)}
    assert tuple(strangers) == STRANGERS
    return Stand(await request_by_device(own), await request_by_device(own), strangers)


async def _strangers(world: World, party: Party) -> AsyncIterator[tuple[str, Enrollment, Any]]:
    pending = Enrollment(world, party, Passkey())
    await pending.requested()
    yield STRANGERS[0], pending, pending.device
    disabled = await registered(world, party)
    await disabled.call("DELETE", "/disable")
    yield STRANGERS[1], disabled, disabled.device
    other = await make_approver(world.db, party.key, document_number="52998224725", phone="+5511987651234")
    await world.execute(LINK, party.account.key, party.account.key, other.key, party.approver.key)
    theirs = Enrollment(world, replace(party, document_number="52998224725", approver=other))
    yield STRANGERS[2], await theirs.registered(), theirs.device
    account = await make_account(world.db, party.key)
    await world.execute(LINK, party.account.key, account.key, party.approver.key, party.approver.key)
    elsewhere = await registered(world, replace(party, account=account))
    yield STRANGERS[3], elsewhere, elsewhere.device
    foreign = await registered(world, await passkey_party(world))
    yield STRANGERS[4], foreign, foreign.device


@pytest.fixture(scope="module")
async def stand(module_world: World) -> Stand:
    return await make_stand(module_world, Passkey(counter=7))


async def test_every_lie_is_refused_and_nothing_moves(world: World, stand: Stand, chance: random.Random) -> None:
    assert len(LIES) >= KINDS_MIN
    scene = await stand.scene(chance)
    before, faults = await world.snapshot(), []
    for number in range(ROUNDS):
        for name, (lie, code) in LIES.items():
            reply = await stand.signing.call("POST", "/approve", lie(scene))
            if (reply.status, reply.code) != (400, code):
                faults.append(f"{name} ({number}): {reply.status} {reply.code} instead of {code}")
    assert faults == []
    assert await world.snapshot() == before
    print(f"{len(LIES)} kinds of lies × {ROUNDS}")


async def test_the_honest_signature_is_taken_once(world: World, stand: Stand) -> None:
    body = stand.signing.signed(await stand.signing.open())
    assert (await stand.signing.call("POST", "/approve", body)).status == 200
    before = await world.snapshot()
    for signing, code in ((stand.signing, "OBD000921"), (stand.other, "OBD000926")):
        for decision in ("approve", "deny"):
            replay = await signing.call("POST", f"/{decision}", body)
            assert (replay.status, replay.code) == (400, code)
    assert await world.snapshot() == before
    assert (await stand.signing.validate()).status == 202
    assert (await stand.signing.call("POST", "/approve", body)).code == "OBD000921"


async def test_a_signature_of_one_session_does_not_serve_after_it_was_voided(world: World) -> None:
    """The device is disabled and the session waits again: what it took before is used up."""
    own = await registered(world, await passkey_party(world), AppKey())
    signing = await request_by_device(own)
    body = signing.signed(await signing.open())
    assert (await signing.call("POST", "/approve", body)).status == 200
    await own.call("DELETE", "/disable")
    assert (await signing.validate()).code == "PXT000905"
    assert (await signing.call("POST", "/approve", body)).code == "OBD000926"
    await signing.open()
    assert (await signing.call("POST", "/approve", body)).code == "OBD000926"


def app_lies(own: Signing, session: dict[str, object], chance: random.Random) -> Iterator[dict[str, object]]:
    """What an app key could sign beside the challenge."""
    for nonce in (str(uuid4()), str(session["nonce"])[::-1]):
        yield own.signed({**session, "nonce": nonce}) | {"nonce": session["nonce"]}
    for name, text in dict(session["details"]).items():  # type: ignore[call-overload]
        details = {**session["details"], name: f"{text}x"}  # type: ignore[dict-item]
        yield own.signed({**session, "details": details})
    yield own.signed(session, "deny")
    yield own.signed(session, signature=base64url(chance.randbytes(70)))


async def test_an_app_key_signs_the_challenge_and_nothing_else(world: World, chance: random.Random) -> None:
    own = await request_by_device(await registered(world, await passkey_party(world), AppKey()))
    session = await own.open()
    before = await world.snapshot()
    for _ in range(ROUNDS):
        for body in app_lies(own, session, chance):
            reply = await own.call("POST", "/approve", body)
            assert (reply.status, reply.code) == (400, "OBD000924"), body
    assert await world.snapshot() == before
    assert (await own.call("POST", "/approve", own.signed(session))).status == 200
