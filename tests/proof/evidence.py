"""Proof of AU5 (T26): evidence of every kind of approval is whole and verifies offline; whatever is changed is found.

Files are changed at random places; rows are changed by one with all rights, before the seal and after it.
"""

import json
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from aval.domain.evidence import public_key_of
from aval.domain.evidence_check import Check, EvidenceNotReadable, check_evidence
from aval.domain.keyring import Purpose
from aval.operations.seal_evidence import export_evidence, seal_evidence
from aval.storage.database import Database
from tests.devices.authenticator import AppKey, Passkey
from tests.devices.registering import Enrollment, passkey_party, registered
from tests.devices.signing import KINDS, Signing
from tests.domain.test_evidence_check import changed, leaves, other_than
from tests.factories import make_keyring
from tests.storage.test_evidence import BEFORE_THE_SEAL, CHANGES
from tests.transfers import Wire
from tests.world import World

pytestmark = pytest.mark.proof

OPERATIONS = 1_000  # promises.md AU5
CHANGES_OF_A_FILE = 10
PUBLIC_KEY = public_key_of(make_keyring().current(Purpose.EVIDENCE))


@pytest.fixture
async def sealer(module_dsn: str) -> AsyncIterator[Database]:
    """The role that seals."""
    db = await Database.open(module_dsn, role="aval_sealer", is_hot=True, pool_size=2)
    yield db
    await db.close()


async def approve_by_token(world: World, enrollment: Enrollment, kind: str, chance: random.Random) -> UUID:
    """After up to four wrong tokens and perhaps a resend."""
    wire = Wire(world, enrollment.party, kind)
    key = await wire.new(tfa_info=enrollment.party.tfa_info | {"contact_type": chance.choice(["sms", "email"])})
    right = await world.token(enrollment.party, key)
    for _ in range(chance.randrange(5)):
        assert (await wire.validate(key, "000000" if right != "000000" else "000001")).status == 400
    if chance.random() < 0.3:
        await world.advance(key, 30)
        assert (await wire.resend(key)).status == 202
    assert (await wire.approve(key)).status in (201, 202)
    return key


async def approve_by_device(enrollment: Enrollment, kind: str) -> UUID:
    signing = await Signing(enrollment, kind).requested()
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status in (201, 202)
    return signing.key


async def approvals(world: World, chance: random.Random, count: int) -> list[UUID]:
    """Every kind by every factor in turn, the registrations of the devices among them."""
    enrollments = [
        await registered(world, await passkey_party(world, requests_per_second=None, budgets=False), device)
        for device in (Passkey(), Passkey(counter=0), AppKey())
    ]
    keys = [enrollment.device_key for enrollment in enrollments]
    while len(keys) < count:
        enrollment, kind = enrollments[len(keys) % 3], KINDS[len(keys) % 4]
        by_token = len(keys) % 2 == 0
        keys.append(
            await approve_by_token(world, enrollment, kind, chance)
            if by_token
            else await approve_by_device(enrollment, kind)
        )
    return keys


async def export(sealer: Database, key: UUID) -> tuple[str, list[str]]:
    (found,) = await export_evidence(sealer, operation_key=key, integrator_key=None, keyring=make_keyring())
    return found.file, list(found.changed)


async def seal_all(sealer: Database) -> None:
    while await seal_evidence(sealer, keyring=make_keyring(), most=25):
        continue


def is_genuine(file: Any) -> bool:
    try:
        return check_evidence(json.dumps(file).encode(), [PUBLIC_KEY]).is_genuine
    except EvidenceNotReadable:
        return False


async def test_evidence_of_every_approval_is_whole_and_no_change_of_a_file_is_missed(
    world: World, sealer: Database, chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = await approvals(world, chance, OPERATIONS)
    await seal_all(sealer)
    (row,) = await world.fetch("select count(*) from evidence where operation_id = any ($1)", keys)
    assert row["count"] == len(keys)
    missed, made = [], 0
    for key in keys:
        text, differing = await export(sealer, key)
        report = check_evidence(text.encode(), [PUBLIC_KEY])
        assert (report.fails, differing, len(report.holds)) == ([], [], 9)
        file = json.loads(text)
        places = [(path, value) for path, value in leaves(file) if path]
        for path, value in chance.sample(places, CHANGES_OF_A_FILE):
            other = chance.choice(other_than(value))
            made += 1
            if is_genuine(changed(file, path, other)):
                missed.append((path, value, other))
    assert missed == []
    with capsys.disabled():
        print(f"evidence: {len(keys)} approvals, {made} changes of files, all found")


async def tampered(world: World, statement: str, key: UUID) -> None:
    """By one with all rights, to whom triggers are nothing."""
    async with world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        assert await connection.execute(statement, key) != "UPDATE 0"


async def test_rows_changed_before_and_after_the_seal_are_told(
    world: World, sealer: Database, chance: random.Random
) -> None:
    enrollment = await registered(world, await passkey_party(world, requests_per_second=None, budgets=False), AppKey())
    others = {name: statement for name, statement in BEFORE_THE_SEAL.items() if name != "approver"}
    for kind in KINDS:
        for name, statement in others.items():
            key = await approve_by_token(world, enrollment, kind, chance)
            await tampered(world, statement, key)
            text, _ = await export(sealer, key)
            assert Check.INTACT in check_evidence(text.encode(), [PUBLIC_KEY]).fails, (kind, name)
        for part in ("operation", "audit", "factor"):
            key = await approve_by_token(world, enrollment, kind, chance)
            await seal_all(sealer)
            await tampered(world, CHANGES[part], key)
            text, differing = await export(sealer, key)
            assert part in differing and is_genuine(json.loads(text)), (kind, part)


async def test_a_changed_signature_of_a_device_is_told(world: World, sealer: Database) -> None:
    enrollment = await registered(world, await passkey_party(world), Passkey())
    statement = 'update device_decisions set proof = proof || \'{"signature": "MAYCAQECAQE"}\' where operation_id = $1'
    key = await approve_by_device(enrollment, "ted")
    await tampered(world, statement, key)
    text, _ = await export(sealer, key)
    assert check_evidence(text.encode(), [PUBLIC_KEY]).fails == [Check.INTACT, Check.SIGNATURE]
