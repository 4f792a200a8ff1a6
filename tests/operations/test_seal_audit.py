"""The audit is sealed in an order that nobody can slip into, by one at a time, whole or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from aval.domain.audit_chain import Link
from aval.operations.seal_audit import ChainOutOfReach, seal_audit
from aval.operations.verify_audit import verify_audit
from aval.storage import audit_chain
from aval.storage.audit import AuditRow, append_audit
from aval.storage.audit_chain import read_seal_lag
from aval.storage.database import Connection, Database
from tests.factories import make_keyring
from tests.stage import until

OpenAs = Callable[[str], Awaitable[Database]]


def act(name: str) -> AuditRow:
    return AuditRow(uuid4(), "admin:ana", name, None, "tests", datetime.now(UTC), {"n": 1.50, "name": "Conceição"})


async def write(db: Database, *names: str, may_wait: bool = True) -> None:
    """A transaction with these acts; returns when they may be sealed."""
    async with db.transaction() as connection:
        await append_audit(connection, [act(name) for name in names])
    if may_wait:
        await until_sealable(db)


async def until_sealable(db: Database) -> None:
    """Other databases of the cluster may have transactions of their own, which hold sealing up here as well."""

    async def is_sealable() -> bool:
        async with db.connection() as connection:
            return not await connection.fetchval("select exists (select from audit where xact >= audit_horizon())")

    await until(is_sealable)


async def seal_all(db: Database, most: int = 1_000) -> None:
    while await seal_audit(db, keyring=make_keyring(), most=most):
        continue


async def sealed_rows(db: Database) -> int:
    report = await verify_audit(db, keyring=make_keyring())
    assert report.fault is None
    return report.head.rows


async def seal_lag(db: Database) -> float:
    async with db.connection() as connection:
        return await read_seal_lag(connection)


async def test_rows_are_sealed_in_links_of_bounded_size(db: Database, db_as: OpenAs):
    sealer = await db_as("aval_sealer")
    assert not await seal_audit(sealer, keyring=make_keyring())
    await write(db, "a", "b", "c")
    await write(db, "d", "e")
    assert [await seal_audit(sealer, keyring=make_keyring(), most=2) for _ in range(3)] == [True, True, False]
    report = await verify_audit(sealer, keyring=make_keyring())
    assert (report.head.number, report.head.rows, report.fault, report.tail.rows) == (3, 5, None, 0)


async def test_a_row_whose_transaction_ends_late_is_never_passed_over(db: Database, db_as: OpenAs):
    sealer = await db_as("aval_sealer")
    async with db.transaction() as slow:
        await append_audit(slow, [act("slow")])
        await write(db, "quick", may_wait=False)
        await seal_all(sealer)
        assert await sealed_rows(sealer) == 0
        assert await seal_lag(db) > 0
    await until_sealable(db)
    await seal_all(sealer)
    assert await sealed_rows(sealer) == 2
    assert await seal_lag(db) == 0


async def test_rows_that_were_taken_back_leave_no_gap(db: Database, db_as: OpenAs):
    sealer = await db_as("aval_sealer")
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as connection:
            await append_audit(connection, [act("never")])
            raise ZeroDivisionError
    await write(db, "kept")
    await seal_all(sealer)
    assert await sealed_rows(sealer) == 1


async def test_many_sealers_make_one_chain(db: Database, db_as: OpenAs):
    sealer = await db_as("aval_sealer")
    for number in range(20):
        await write(db, f"act {number}")
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(seal_all(sealer, most=3))
    await seal_all(sealer)
    assert await sealed_rows(sealer) == 20


async def test_a_sealer_that_dies_leaves_no_half_of_a_link(
    db: Database, db_as: OpenAs, monkeypatch: pytest.MonkeyPatch
):
    sealer = await db_as("aval_sealer")
    await write(db, "a", "b")

    async def kept_and_killed(connection: Connection, link: Link) -> None:
        await audit_chain.keep_link(connection, link)
        connection.terminate()
        raise asyncio.CancelledError

    with monkeypatch.context() as patched, pytest.raises(asyncio.CancelledError):
        patched.setattr("aval.operations.seal_audit.keep_link", kept_and_killed)
        await seal_audit(sealer, keyring=make_keyring())
    assert await sealed_rows(sealer) == 0
    await seal_all(sealer)
    assert await sealed_rows(sealer) == 2


async def test_a_database_whose_transactions_count_anew_is_told(db: Database, db_as: OpenAs):
    sealer = await db_as("aval_sealer")
    await write(db, "a")
    async with db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update audit set xact = '900000000000'")
        link = "select '900000000000'::xid8, 1, 0, 1, integrator_id, audit_id, decode(repeat('00', 32), 'hex'),"
        await connection.execute(
            "insert into audit_links (last_xact, link_no, rows_before, row_count, last_integrator_id, last_audit_id,"
            f" marks, former, kid, sealed_at, seal) {link} decode(repeat('00', 32), 'hex'), 'k', at,"
            " decode(repeat('00', 32), 'hex') from audit"
        )
    with pytest.raises(ChainOutOfReach):
        await seal_audit(sealer, keyring=make_keyring())
