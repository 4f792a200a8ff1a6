"""Sealing keeps up with whoever approves, and is stopped by nobody's row (docs/adr/0031)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from aval.operations import seal_evidence as module
from aval.operations.seal_evidence import EvidenceNotSealable, export_evidence, seal_evidence
from aval.storage.database import Database
from tests.conftest import with_database
from tests.factories import make_keyring, make_party
from tests.transfers import Wire
from tests.world import World
from tests.world_fixtures import world

__all__ = ["world"]


@pytest.fixture
async def sealer(world: World, postgres_dsn: str) -> AsyncIterator[Database]:
    (row,) = await world.fetch("select current_database() as name")
    db = await Database.open(with_database(postgres_dsn, row["name"]), role="aval_sealer", is_hot=True, pool_size=2)
    yield db
    await db.close()


async def approved(world: World, *, age: timedelta = timedelta()) -> UUID:
    """A Pix that was approved some time ago."""
    party = await make_party(world.db)
    wire = Wire(world, party, "pix_transfer")
    key = await wire.new()
    assert (await wire.approve(key)).status == 202
    earlier = f"update audit set at = at - interval '{age.total_seconds()} s' where operation_id = $1"
    await rows_changed(world, key, earlier)
    return key


async def rows_changed(world: World, key: UUID, statement: str) -> None:
    """Change rows as whoever owns the database may."""
    async with world.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(statement, key)


async def are_sealed(world: World, keys: list[UUID]) -> list[bool]:
    rows = await world.fetch("select operation_id from evidence where operation_id = any($1)", keys)
    return [key in {row["operation_id"] for row in rows} for key in keys]


async def begin(world: World, sealer: Database) -> None:
    """Seal what other tests left."""
    while await seal_evidence(sealer, keyring=make_keyring(), most=50):
        continue
    await world.execute("delete from sweeps where name = 'evidence'")


async def begin_now(world: World, sealer: Database) -> None:
    """Forget what other tests broke, too."""
    await begin(world, sealer)
    await world.execute("insert into sweeps (name, swept_until) values ('evidence', clock_timestamp())")


async def test_the_oldest_are_sealed_first_and_never_looked_at_again(world: World, sealer: Database) -> None:
    await begin(world, sealer)
    await world.execute("insert into sweeps (name, swept_until) values ('evidence', now() - interval '4 hours')")
    young = await approved(world)
    keys = [await approved(world, age=timedelta(hours=hours)) for hours in (1, 3, 2)]
    for sealed in ([False, True, False], [False, True, True]):
        assert await seal_evidence(sealer, keyring=make_keyring(), most=1)
        assert await are_sealed(world, keys) == sealed
        (row,) = await world.fetch(
            "select (select max(at) from audit a join evidence e using (integrator_id, operation_id)"
            "  where a.operation_id = any($1)) - swept_until as behind from sweeps where name = 'evidence'",
            keys,
        )
        assert row["behind"] <= timedelta()
    assert await are_sealed(world, [young]) == [False]


@pytest.mark.parametrize(
    "broken",
    [
        "update operations set facts = '[]' where operation_id = $1",
        "update operations set facts = '{\"payee_name\": 1.5}' where operation_id = $1",
        'update audit set details = \'{"status": "pending", "mac": 0.5}\' where operation_id = $1',
    ],
)
async def test_an_approval_whose_rows_are_broken_keeps_no_other_from_its_seal(
    world: World, sealer: Database, broken: str
) -> None:
    await begin(world, sealer)
    first, spoilt, last = [await approved(world) for _ in range(3)]
    await rows_changed(world, spoilt, broken)
    await seal_evidence(sealer, keyring=make_keyring(), most=50)
    assert await are_sealed(world, [first, spoilt, last]) == [True, False, True]


async def test_rows_broken_after_the_seal_are_told_and_the_file_is_handed_out(world: World, sealer: Database) -> None:
    key = await approved(world)
    (before,) = await export_evidence(sealer, operation_key=key, integrator_key=None, keyring=make_keyring())
    assert before.changed == []
    await rows_changed(world, key, "update operations set facts = '[]' where operation_id = $1")
    (after,) = await export_evidence(sealer, operation_key=key, integrator_key=None, keyring=make_keyring())
    assert after.file == before.file
    assert "shown" in after.changed


async def test_an_approval_whose_rows_are_broken_is_told(world: World, sealer: Database) -> None:
    await begin_now(world, sealer)
    key = await approved(world)
    await rows_changed(world, key, "update operations set facts = '[]' where operation_id = $1")
    told: list[UUID] = []
    has_more = await seal_evidence(
        sealer, keyring=make_keyring(), most=1, tell_broken=lambda operation: told.append(operation[1])
    )
    assert (told, has_more) == ([key], False)
    with pytest.raises(EvidenceNotSealable):
        await export_evidence(sealer, operation_key=key, integrator_key=None, keyring=make_keyring())


async def test_large_batches_are_sealed_a_few_at_a_time(
    world: World, sealer: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin_now(world, sealer)
    monkeypatch.setattr(module, "ITEMS_MAX", 5)
    party = await make_party(world.db)
    wire = Wire(world, party, "pix_transfer_batch")
    keys = [await wire.new() for _ in range(4)]  # of two items each
    for key in keys:
        assert (await wire.approve(key)).status == 201
    assert await seal_evidence(sealer, keyring=make_keyring(), most=50)
    assert await are_sealed(world, keys) == [True, True, False, False]
    assert not await seal_evidence(sealer, keyring=make_keyring(), most=50)
    assert await are_sealed(world, keys) == [True] * 4
    monkeypatch.setattr(module, "ITEMS_MAX", 1)
    key = await wire.new()
    assert (await wire.approve(key)).status == 201
    assert not await seal_evidence(sealer, keyring=make_keyring(), most=50)
    assert await are_sealed(world, [key]) == [True]
