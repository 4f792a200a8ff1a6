"""The schema repeats the rules of devices: one nonce one signature, nothing ends twice (promises.md D9 to D12)."""

from uuid import uuid4

import pytest

from aval.storage.database import CheckViolation, InsufficientPrivilege, RestrictViolation, UniqueViolation
from tests.devices.authenticator import AppKey
from tests.devices.registering import passkey_party, registered
from tests.devices.signing import Signing, request_by_device
from tests.world import World

REFUSED = (CheckViolation, RestrictViolation, UniqueViolation)


@pytest.fixture
async def signed(world: World) -> Signing:
    """An operation its device approved."""
    signing = await request_by_device(await registered(world, await passkey_party(world), AppKey()))
    assert (await signing.sign()).status == 200
    return signing


BAD = {
    "a nonce twice": "insert into device_decisions select * from device_decisions where session_id = $1",
    "a decision taken back": "delete from device_decisions where session_id = $1",
    "a decision turned over": "update device_decisions set decision = 'deny', reason = 'other' where session_id = $1",
    "a denial without reason": "insert into device_decisions select integrator_id, 'x', session_id, operation_id,"
    " device_id, 'deny', null, challenge, proof, rp_id, origins, correlation_id, decided_at from device_decisions"
    " where session_id = $1",
    "an approval denied": "update device_sessions set status = 'denied' where session_id = $1",
    "an approval of nobody": "update device_sessions set device_id = null where session_id = $1",
    "a nonce after the approval": f"update device_sessions set nonce = '{'A' * 43}', nonce_expires_at = now()"
    " where session_id = $1",
    "a nonce that is none": "update device_sessions set status = 'pending', device_id = null, nonce = 'x',"
    " nonce_expires_at = now() where session_id = $1",
    "a nonce without end": f"update device_sessions set status = 'pending', device_id = null, nonce = '{'A' * 43}'"
    " where session_id = $1",
    "a session gone": "delete from device_sessions where session_id = $1",
    "a session for another operation": "update device_sessions set operation_id = device_id where session_id = $1",
    "a session id freed": "delete from session_ids where session_id = $1",
    "a session id given away": "update session_ids set integrator_id = gen_random_uuid() where session_id = $1",
    "a session id twice": "insert into session_ids select session_id, integrator_id from session_ids"
    " where session_id = $1",
}
BAD_DEVICES = {
    "gone": "delete from devices where device_id = $1",
    "another key": "update devices set public_key = '\\x00' where device_id = $1",
    "another approver": "update devices set approver_id = account_id where device_id = $1",
    "a counter back": "update devices set sign_count = -1 where device_id = $1",
    "a passkey without id": "update devices set credential_type = 'webauthn' where device_id = $1",
    "no name": "update devices set name = '' where device_id = $1",
}


@pytest.mark.parametrize("case", BAD)
async def test_a_session_that_cannot_be_is_refused(world: World, signed: Signing, case: str) -> None:
    with pytest.raises(REFUSED):
        await world.execute(BAD[case], signed.session_id)


@pytest.mark.parametrize("case", BAD_DEVICES)
async def test_a_device_that_cannot_be_is_refused(world: World, signed: Signing, case: str) -> None:
    with pytest.raises(REFUSED):
        await world.execute(BAD_DEVICES[case], signed.enrollment.device_key)


async def test_a_disabled_device_stays_so(world: World, signed: Signing) -> None:
    key = signed.enrollment.device_key
    await world.execute("update devices set disabled_at = now() where device_id = $1", key)
    for value in ("null", "now() + interval '1 day'"):
        with pytest.raises(RestrictViolation):
            await world.execute(f"update devices set disabled_at = {value} where device_id = $1", key)


async def test_a_counter_only_rises(world: World, signed: Signing) -> None:
    key = signed.enrollment.device_key
    await world.execute("update devices set sign_count = 7 where device_id = $1", key)
    with pytest.raises(RestrictViolation):
        await world.execute("update devices set sign_count = 6 where device_id = $1", key)


async def test_a_void_signature_makes_room_for_another(world: World, signed: Signing) -> None:
    moved = "update device_sessions set status = 'pending', device_id = null where session_id = $1"
    assert await world.execute(moved, signed.session_id) == "UPDATE 1"


async def test_only_devices_have_no_amount(world: World, signed: Signing) -> None:
    copied = (
        "insert into operations select integrator_id, gen_random_uuid(), kind, account_id, approver_id, credential_id,"
        " batch_id, item_no, gen_random_uuid(), request_fingerprint, null, %s, 0, facts, details_digest, nonce,"
        " correlation_id, created_at from operations where operation_id = $1"
    )
    with pytest.raises(CheckViolation):
        await world.execute(copied % "null", signed.key)
    with pytest.raises(CheckViolation):
        await world.execute(copied % "1", signed.enrollment.device_key)


@pytest.mark.parametrize(
    "statement",
    [
        "update devices set public_key = public_key",
        "update devices set name = name",
        "update device_sessions set operation_id = operation_id",
        "update device_challenges set expires_at = now()",
        "update session_ids set integrator_id = integrator_id",
        "delete from device_decisions",
    ],
)
async def test_the_api_moves_no_more_than_it_has_to(world: World, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        async with world.parts.db.connection() as connection:
            await connection.execute(statement)


async def test_keys_of_other_integrators_do_not_collide(world: World) -> None:
    key = uuid4()
    for _ in range(2):
        party = await passkey_party(world)
        enrollment = type(await registered(world, party))(world, party, AppKey(), device_key=key)
        assert (await enrollment.requested()).status == 202
