"""Evidence of real approvals: kept once, whole, and seen through when rows are changed behind it (AU5)."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.domain.evidence import public_key_of
from aval.domain.evidence_check import Check, check_evidence
from aval.domain.keyring import Purpose
from aval.operations.seal_evidence import Evidence, export_evidence, seal_evidence
from aval.storage.database import Database, RestrictViolation
from tests.conftest import with_database
from tests.devices.authenticator import AppKey, Passkey, signed_body
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import KINDS, Signing, request_by_device
from tests.factories import make_approver, make_keyring, make_party
from tests.transfers import Wire
from tests.world import World

PUBLIC_KEY = public_key_of(make_keyring().current(Purpose.EVIDENCE))


@pytest.fixture
async def sealer(world: World, postgres_dsn: str) -> AsyncIterator[Database]:
    """Connections of the role that seals, planned as the worker's are."""
    (row,) = await world.fetch("select current_database() as name")
    dsn = with_database(postgres_dsn, row["name"])
    db = await Database.open(dsn, role="aval_sealer", is_hot=True, pool_size=2)
    yield db
    await db.close()


async def seal_all(sealer: Database, most: int = 50) -> None:
    while await seal_evidence(sealer, keyring=make_keyring(), most=most):
        continue


async def exported(sealer: Database, key: UUID, integrator_key: UUID | None = None) -> Evidence:
    (found,) = await export_evidence(sealer, operation_key=key, integrator_key=integrator_key, keyring=make_keyring())
    return found


async def kept(world: World, key: UUID) -> list[Any]:
    return list(await world.fetch("select kid, file, sealed_at from evidence where operation_id = $1", key))


async def approved(world: World, kind: str = "pix_transfer", method: str = "sms") -> UUID:
    """An operation approved with the second token, after a wrong one and a resend."""
    party = await make_party(world.db)
    wire = Wire(world, party, kind)
    key = await wire.new(tfa_info=party.tfa_info | {"contact_type": method})
    assert (await wire.validate(key, "AAAAAA")).status == 400
    await world.advance(key, 30)
    assert (await wire.resend(key)).status == 202
    assert (await wire.approve(key)).status in (201, 202)
    return key


@pytest.mark.parametrize("method", ["sms", "email"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_token_approved_is_sealed_and_verifies(
    world: World, sealer: Database, kind: str, method: str
) -> None:
    key = await approved(world, kind, method)
    assert await kept(world, key) == []
    await seal_all(sealer)
    (row,) = await kept(world, key)
    report = check_evidence(row["file"].encode(), [PUBLIC_KEY])
    assert (report.fails, len(report.holds)) == ([], 9)
    record = report.record
    assert (record["factor"]["method"], record["factor"]["generation"]) == (method, 2)
    assert [each["verdict"] for each in record["comparisons"]] == ["wrong", "right"]
    assert record["shown"]["details"]["operation_key"] == str(key)
    assert (record["shown"]["items"] is None) == (not kind.endswith("batch"))
    assert [message["generation"] for message in record["context"]["messages"]] == [1, 2]
    assert await exported(sealer, key) == (row["file"], [])


@pytest.mark.parametrize("device", [Passkey(), Passkey(counter=0), AppKey()], ids=["passkey", "synchronised", "app"])
async def test_what_a_device_approved_is_sealed_and_verifies(world: World, sealer: Database, device: Any) -> None:
    enrollment = await registered(world, await passkey_party(world), device)
    for kind in KINDS:
        signing = await request_by_device(enrollment, kind)
        assert (await signing.sign()).status == 200
        assert (await signing.validate()).status in (201, 202)
        report = check_evidence((await exported(sealer, signing.key)).file.encode(), [PUBLIC_KEY])
        assert (report.fails, Check.SIGNATURE in report.holds) == ([], True), kind
        assert report.record["factor"]["device_key"] == str(enrollment.device_key)


async def test_an_integrator_that_moved_before_the_seal_leaves_the_approval_genuine(
    world: World, sealer: Database
) -> None:
    signing = await request_by_device(await registered(world, await passkey_party(world)))
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status == 202
    await world.execute(
        "update integrators set rp_id = 'new.example', origins = '{https://new.example}' where integrator_id = $1",
        signing.enrollment.party.key,
    )
    report = check_evidence((await exported(sealer, signing.key)).file.encode(), [PUBLIC_KEY])
    assert (report.fails, Check.SIGNATURE in report.holds) == ([], True)


async def test_the_registration_of_a_device_is_an_approval_too(world: World, sealer: Database) -> None:
    enrollment = await registered(world, await passkey_party(world), AppKey())
    report = check_evidence((await exported(sealer, enrollment.device_key)).file.encode(), [PUBLIC_KEY])
    assert report.fails == []
    assert report.record["shown"]["details"]["device_name"] == "Celular da Ana"


async def test_a_signature_that_was_void_stays_in_the_evidence(world: World, sealer: Database) -> None:
    enrollment = await registered(world, await passkey_party(world), AppKey())
    second = Enrollment(world, enrollment.party, AppKey())
    signing = await request_by_device(enrollment)
    assert (await signing.sign()).status == 200
    disabled = await enrollment.call("DELETE", "/disable")
    assert disabled.status == 200
    assert (await signing.validate()).status == 409
    again = Signing(await second.registered(), signing.kind, signing.session_id, signing.key)
    assert (await again.sign()).status == 200
    assert (await again.validate()).status == 202
    report = check_evidence((await exported(sealer, signing.key)).file.encode(), [PUBLIC_KEY])
    assert report.fails == []
    keys = [signature["device_key"] for signature in report.record["signatures"]]
    assert keys == [str(enrollment.device_key), str(second.device_key)]


async def test_what_was_not_approved_has_no_evidence(world: World, sealer: Database) -> None:
    party = await make_party(world.db)
    wire = Wire(world, party, "pix_transfer")
    waiting, cancelled, exhausted = [await wire.new() for _ in range(3)]
    assert (await wire.cancel(cancelled)).status == 200
    await wire.exhaust(exhausted)
    await seal_all(sealer)
    for key in (waiting, cancelled, exhausted):
        assert await kept(world, key) == []
        assert await export_evidence(sealer, operation_key=key, integrator_key=None, keyring=make_keyring()) == []


async def test_the_evidence_of_an_item_is_its_batchs(world: World, sealer: Database) -> None:
    key = await approved(world, "ted_batch")
    (item, _) = await world.fetch("select operation_id from operations where batch_id = $1", key)
    assert await exported(sealer, item["operation_id"]) == await exported(sealer, key)


async def test_two_sealers_keep_one_record_and_skip_none(world: World, sealer: Database) -> None:
    keys = [await approved(world) for _ in range(5)]
    await seal_all(sealer, most=2)
    first = [await kept(world, key) for key in keys]
    await world.execute("delete from sweeps where name = 'evidence'")  # as if nobody had ever looked
    await seal_all(sealer, most=2)
    assert [await kept(world, key) for key in keys] == first
    assert [len(rows) for rows in first] == [1] * 5


async def test_the_watermark_follows_a_little_behind(world: World, sealer: Database) -> None:
    await seal_all(sealer)
    (row,) = await world.fetch("select clock_timestamp() - swept_until as behind from sweeps where name = 'evidence'")
    assert timedelta(seconds=20) <= row["behind"] < timedelta(seconds=40)


async def test_the_look_of_the_sealer_reads_no_whole_table(world: World, sealer: Database) -> None:
    from aval.storage.evidence import _UNSEALED

    async with sealer.connection() as connection:
        plan = await connection.fetchval(f"explain (format json) {_UNSEALED.replace('$1', '50')}")
    text = json.dumps(plan)
    assert "audit_approvals" in text and "Seq Scan" not in text.replace('"Relation Name": "sweeps"', "")


CHANGES = {
    "operation": "update operations set details_digest = sha256('x') where operation_id = $1",
    "shown": 'update operations set facts = facts || \'{"payee_name": "Outra"}\' where operation_id = $1',
    "comparisons": "update comparisons set verdict = 'superseded' where operation_id = $1 and comparison_no = 1",
    "audit": "update audit set actor = 'nobody' where operation_id = $1",
    "factor": "update challenges set masked_destination = '+55 21 *****-0000' where operation_id = $1",
}


@pytest.mark.parametrize("part", CHANGES)
async def test_rows_changed_after_the_seal_are_named(world: World, sealer: Database, part: str) -> None:
    key = await approved(world)
    await seal_all(sealer)
    async with world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")  # an insider with all rights
        await connection.execute(CHANGES[part], key)
    found = await exported(sealer, key)
    assert part in found.changed
    assert check_evidence(found.file.encode(), [PUBLIC_KEY]).is_genuine  # the file still tells what it was


BEFORE_THE_SEAL = {
    "digest": "update operations set details_digest = sha256('x') where operation_id = $1",
    "approver": "update operations set approver_id = (select approver_id from approvers where integrator_id ="
    " operations.integrator_id and approver_id <> operations.approver_id) where operation_id = $1",
    "actor": "update audit set actor = 'credential:x' where operation_id = $1 and details ? 'mac'",
    "generation": "update audit set details = details || '{\"generation\": 7}' where operation_id = $1",
    "digest of the row": 'update audit set details = details || \'{"mac": "evidence-1:00"}\' where operation_id = $1',
    "no digest": "update audit set details = details - 'mac' where operation_id = $1",
    "moment": "update audit set at = at - interval '1 microsecond' where operation_id = $1",
}


@pytest.mark.parametrize("what", BEFORE_THE_SEAL)
async def test_rows_changed_before_the_seal_are_told(world: World, sealer: Database, what: str) -> None:
    key = await approved(world)
    if what == "approver":
        (row,) = await world.fetch("select integrator_id from operations where operation_id = $1", key)
        await make_approver(world.db, row["integrator_id"])
    async with world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(BEFORE_THE_SEAL[what], key)
    report = check_evidence((await exported(sealer, key)).file.encode(), [PUBLIC_KEY])
    assert Check.INTACT in report.fails


async def test_a_kept_record_is_not_changed(world: World, sealer: Database) -> None:
    key = await approved(world)
    await seal_all(sealer)
    for statement in (
        "update evidence set kid = 'x' where operation_id = $1",
        "delete from evidence where operation_id = $1",
    ):
        with pytest.raises(RestrictViolation):
            await world.execute(statement, key)


async def test_no_token_is_in_a_record(world: World, sealer: Database) -> None:
    party = await make_party(world.db)
    wire = Wire(world, party, "pix_transfer")
    key = await wire.new()
    token = await world.token(party, key)
    assert (await wire.approve(key)).status == 202
    file = (await exported(sealer, key)).file
    assert token not in json.dumps(json.loads(file)["record"]["context"])
    assert all(secret not in file for secret in (party.phone, party.email, party.document_number))
    assert f'"{token}"' not in file


async def test_a_signature_exchanged_before_the_seal_is_told(world: World, sealer: Database) -> None:
    """Whoever owns the database puts a key of theirs, and its flawless signature, in the place of the device's."""
    signing = await request_by_device(await registered(world, await passkey_party(world), AppKey()))
    session = await signing.open()
    assert (await signing.sign(session=session)).status == 200
    assert (await signing.validate()).status == 202
    theirs = AppKey()
    forged = signed_body(theirs, signing.enrollment.device_key, session, "approve")["signature"]
    async with world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(
            "update devices set public_key = $2 where device_id = $1", signing.enrollment.device_key, theirs.public_key
        )
        await connection.execute(
            "update device_decisions set proof = jsonb_build_object('type', 'p256', 'signature', $2::text)"
            " where operation_id = $1",
            *(signing.key, forged),
        )
    report = check_evidence((await exported(sealer, signing.key)).file.encode(), [PUBLIC_KEY])
    assert report.fails == [Check.INTACT]
