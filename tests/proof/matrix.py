"""Proof of DV1 (T9) and DV7 (T11): the stored method decides what ends an operation, whatever body is sent.

Every kind × method × body × content type is asked of an operation that waits: what is no token approves no token
operation, what is no signature no device operation. Then the right factor ends it. A denial ends every kind, once, in
the one state where there is something to deny.
"""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

from tests.devices.authenticator import AppKey
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import KINDS, Signing, request_by_device
from tests.factories import Reply
from tests.transfers import Wire
from tests.world import World

pytestmark = pytest.mark.proof

ROUNDS = 10 if os.environ.get("AVAL_PROOF_NIGHTLY") else 1
CASES_MIN = 500  # promises.md DV1, all kinds and methods together
METHODS = ("sms", "email", "device, unsigned", "device, signed")
CONTENT_TYPES = (
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
)
SIGNATURE = {"device_key": "41c9e0a7-3d5f-4b62-8c14-f9b6027d8ae5", "nonce": "A" * 43, "type": "p256", "signature": "AA"}
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "an empty object": b"{}",
    "a space and an object": b" {} ",
    "a null token": b'{"token": null}',
    "an empty token": b'{"token": ""}',
    "a token of spaces": b'{"token": "      "}',
    "a short token": b'{"token": "12345"}',
    "a number": b'{"token": 123456}',
    "true": b'{"token": true}',
    "a list": b'{"token": ["123456"]}',
    "approved": b'{"approved": true}',
    "a status": b'{"status": "approved"}',
    "a method": b'{"contact_type": "device"}',
    "a session": b'{"session_id": "e8d1c7b4-6f25-4a90-9b3c-57a0f41d2e86"}',
    "a signature": json.dumps(SIGNATURE).encode(),
    "a list of nothing": b"[]",
    "null": b"null",
    "text": b"approve",
    "two tokens": b'{"token": "", "token": null}',
}
# What each method takes for "nothing was sent"; every other body here is refused before it is looked at.
EMPTY = ("nothing", "an empty object", "a space and an object", "a null token", "an empty token")
cases = 0


def wire_of(enrollment: Enrollment, kind: str) -> Wire:
    return Wire(enrollment.world, enrollment.party, kind)


async def waiting(enrollment: Enrollment, kind: str, method: str) -> tuple[UUID, Callable[[], Awaitable[Reply]]]:
    """An operation that waits, and the call that ends it rightly."""
    wire = wire_of(enrollment, kind)
    if not method.startswith("device"):
        key = await wire.new(tfa_info=enrollment.party.tfa_info | {"contact_type": method})
        return key, lambda: wire.approve(key)
    signing = await request_by_device(enrollment, kind)
    if method.endswith(" signed"):
        assert (await signing.sign()).status == 200
        return signing.key, lambda: wire.validate(signing.key, {})

    async def signed() -> Reply:
        assert (await signing.sign()).status == 200
        return await wire.validate(signing.key, {})

    return signing.key, signed


async def standing(world: World, key: UUID) -> tuple[str, int, int]:
    """Status, attempts and comparisons of an operation."""
    (row,) = await world.fetch(
        "select status, attempts_used, (select count(*) from comparisons where operation_id = $1) as compared"
        " from challenges where operation_id = $1",
        key,
    )
    return row["status"], row["attempts_used"], row["compared"]


@pytest.fixture(scope="module")
async def enrollment(module_world: World) -> Enrollment:
    return await registered(module_world, await passkey_party(module_world), AppKey())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_body_takes_the_place_of_the_factor(
    world: World, enrollment: Enrollment, kind: str, method: str
) -> None:
    global cases
    for _ in range(ROUNDS):
        key, end = await waiting(enrollment, kind, method)
        path = f"{wire_of(enrollment, kind).base}/{key}/validate_token"
        for name, raw in BODIES.items():
            for content_type in CONTENT_TYPES:
                is_read = content_type.startswith("application/json") or not raw
                if method == "device, signed" and name in EMPTY and is_read:
                    continue  # this is the body that ends it
                key_of = enrollment.party.api_key
                reply = await world.call("PUT", path, key=key_of, raw=raw, content_type=content_type)
                assert reply.status in (400, 409, 415), (name, content_type, reply.body)
                assert await standing(world, key) == ("pending_2fa_approval", 0, 0), (name, content_type)
                cases += 1
        if method.startswith("device"):
            reply = await world.validate(enrollment.party, kind, key, await world.token(enrollment.party, key))
            assert reply.code == "QIT000001"
            assert await standing(world, key) == ("pending_2fa_approval", 0, 0)
        assert (await end()).status in (201, 202)
        assert (await standing(world, key))[0] in ("pending", "approved")


def test_there_were_enough_of_them() -> None:
    assert cases == 0 or cases >= CASES_MIN
    print(f"{cases} combinations")


State = Callable[[Signing], Awaitable[Any]]
STATES: dict[str, State] = {
    "denied": lambda signing: signing.sign("deny"),
    "signed": lambda signing: signing.sign(),
    "cancelled": lambda signing: signing.wire.cancel(signing.key),
    "over": lambda signing: signing.enrollment.world.advance(signing.key, 3_600),
}


async def alarms(world: World, key: UUID) -> int:
    (row,) = await world.fetch(
        "select count(*) as told from events where operation_id = $1 and event_type = 'aval.operation.denied'", key
    )
    return int(row["told"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_denial_ends_what_waits_and_raises_the_alarm(world: World, enrollment: Enrollment, kind: str) -> None:
    signing = await request_by_device(enrollment, kind)
    assert (await signing.sign("deny", reason="not_me")).status == 200
    (row,) = await world.fetch("select status, rejection_reason from challenges where operation_id = $1", signing.key)
    assert tuple(row) == ("rejected", "denied_by_approver")
    assert await alarms(world, signing.key) == 1
    assert (await signing.validate()).status in (400, 404)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_else_can_be_denied(world: World, enrollment: Enrollment, kind: str, state: str) -> None:
    signing = await request_by_device(enrollment, kind)
    session = await signing.open()
    await STATES[state](signing)
    told = await alarms(world, signing.key)
    denied = await signing.sign("deny", session)
    assert (denied.status, denied.code) == (400, "OBD000921")
    assert await alarms(world, signing.key) == told


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_settled_cannot_be_denied(world: World, enrollment: Enrollment, kind: str) -> None:
    signing = await request_by_device(enrollment, kind)
    session = await signing.open()
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status in (201, 202)
    assert (await signing.sign("deny", session)).code == "OBD000921"
