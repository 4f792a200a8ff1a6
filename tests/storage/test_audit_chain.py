"""Links are only ever added, each after the last; taking rows for the next one is a look-up, however many there are."""

import asyncpg
import pytest

from aval.domain.audit_chain import NO_HEAD
from aval.operations.seal_audit import seal_audit
from aval.operations.verify_audit import verify_audit
from aval.storage import audit_chain
from aval.storage.audit_chain import read_by_index, read_chain, read_head
from aval.storage.audit_shift import keep_audit_ahead
from aval.storage.database import CheckViolation, Connection, Database, RestrictViolation, UniqueViolation
from aval.storage.manifest import schema_drift
from aval.storage.migrations import migrate
from tests.factories import make_keyring
from tests.operations.test_seal_audit import OpenAs, seal_all, write
from tests.storage.test_plans import generic_plan


async def a_link(connection: Connection, **change: object) -> None:
    """A link with one row, after what there is unless told otherwise."""
    row = {
        "link_no": "(select coalesce(max(link_no), 0) + 1 from audit_links)",
        "rows_before": "(select coalesce(sum(row_count), 0) from audit_links)",
        "former": "coalesce((select seal from audit_links order by link_no desc limit 1), sha256('none'))",
        "row_count": "1",
        "last_xact": "'1'",
        "marks": "decode(repeat('00', 32), 'hex')",
        "seal": "sha256(gen_random_uuid()::text::bytea)",
    } | change
    columns = f"{', '.join(row)}, last_integrator_id, last_audit_id, kid, sealed_at"
    values = f"{', '.join(map(str, row.values()))}, gen_random_uuid(), gen_random_uuid(), 'k', now()"
    await connection.execute(f"insert into audit_links ({columns}) select {values}")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"link_no": 2}, (CheckViolation, UniqueViolation)),
        ({"link_no": 4}, CheckViolation),
        ({"link_no": 0}, CheckViolation),
        ({"rows_before": 1}, CheckViolation),
        ({"former": "sha256('other')"}, CheckViolation),
        ({"row_count": 0, "marks": "''"}, CheckViolation),
        ({"row_count": 2}, CheckViolation),
        ({"row_count": 1001, "marks": "decode(repeat('00', 32032), 'hex')"}, CheckViolation),
    ],
)
async def test_a_link_follows_the_last_one_and_no_other(db: Database, change: dict[str, object], refusal: object):
    async with db.connection() as connection:
        await a_link(connection)
        await a_link(connection)
    with pytest.raises(refusal):
        async with db.connection() as connection:
            await a_link(connection, **change)


@pytest.mark.parametrize("statement", ["update audit_links set kid = 'x'", "delete from audit_links"])
async def test_a_link_stays_as_it_is_even_for_the_owner(db: Database, statement: str):
    async with db.connection() as connection:
        await a_link(connection)
    with pytest.raises(RestrictViolation):
        async with db.connection() as connection:
            await connection.execute(statement)


async def test_the_next_rows_are_found_by_the_index(db_as: OpenAs, db: Database):
    await write(db, "a")
    sealer = await db_as("aval_sealer")
    async with sealer.transaction() as connection:
        await read_by_index(connection)
        for statement in (audit_chain._UNSEALED, audit_chain._ROWS, audit_chain._TAIL):
            plan = "\n".join(await generic_plan(connection, statement))
            assert "Index Scan using audit_by_transaction" in plan, plan
            assert " Sort  (" not in plan.replace("Incremental Sort", ""), plan


async def test_a_row_takes_its_transaction_without_a_call_of_a_function(db: Database):
    """PostgreSQL writes the body of `audit_transaction` in its place: nothing of it is left to be called."""
    async with db.connection() as connection:
        insert = "insert into audit (integrator_id, audit_id, at, actor, action, correlation_id)"
        values = "values (gen_random_uuid(), gen_random_uuid(), now(), 'a', 'b', 'c')"
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain verbose {insert} {values}"))
    assert "pg_current_xact_id()" in plan and "audit_transaction" not in plan


async def test_a_long_chain_is_read_in_steps(db: Database, db_as: OpenAs, monkeypatch: pytest.MonkeyPatch):
    sealer = await db_as("aval_sealer")
    for number in range(5):
        await write(db, *"abcd"[: number % 4 + 1])
        await seal_all(sealer, most=3)
    monkeypatch.setattr(audit_chain, "STEP_ROWS_MAX", 2)
    read = [(link.number, link.row_count, len(rows)) async for link, rows in read_chain(sealer)]
    assert read == [(n, count, count) for n, count in enumerate([1, 2, 3, 3, 1, 1], 1)]
    async with sealer.connection() as connection:
        assert (await read_head(connection)).rows == 11


async def test_a_database_restored_where_transactions_count_anew_goes_on_after_its_audit(
    db: Database, dsn: str, db_as: OpenAs
):
    sealer = await db_as("aval_sealer")
    await write(db, "before")
    async with db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute("update audit set xact = '900000000000'")  # as if it came from elsewhere
    assert await migrate(dsn) == []
    assert await migrate(dsn) == []
    await write(db, "after")
    await seal_all(sealer)
    report = await verify_audit(sealer, keyring=make_keyring())
    assert (report.fault, report.head.rows) == (None, 2)
    async with sealer.connection() as connection:
        head = await read_head(connection)
    assert 900_000_000_000 < head.last.xact < 900_000_100_000
    migrator = await asyncpg.connect(dsn)
    try:
        assert await schema_drift(migrator) == []
    finally:
        await migrator.close()


async def test_a_database_at_home_counts_as_before(db: Database, dsn: str, db_as: OpenAs):
    async with db.connection() as connection:
        await connection.execute("set search_path = aval")
        assert not await keep_audit_ahead(connection)
        await write(db, "a")
        assert not await keep_audit_ahead(connection)
        assert (await read_head(connection)) == NO_HEAD
    assert not await seal_audit(await db_as("aval_sealer"), keyring=make_keyring())
