"""A sweep writes all it found at once; a row that cannot be written stays, and keeps no other waiting."""

from collections.abc import Sequence

import pytest

from aval.operations.expire_apart import expire_apart
from aval.storage.database import Connection, Database, DatabaseUnavailable, LockNotWon


class Sweeper:
    """Writes a row each, and fails at some of them after that."""

    def __init__(self, *bad: str, failure: type[Exception] = ValueError) -> None:
        self.bad, self.failure, self.runs = set(bad), failure, 0

    async def write(self, connection: Connection, rows: Sequence[str]) -> int:
        self.runs += 1
        await connection.executemany("insert into sweeps values ($1, clock_timestamp())", [(row,) for row in rows])
        if not self.bad.isdisjoint(rows):
            raise self.failure
        return len(rows)


async def written(db: Database) -> set[str]:
    async with db.connection() as connection:
        return {row["name"] for row in await connection.fetch("select name from sweeps where name like 'test-%'")}


ROWS = [f"test-{number}" for number in range(7)]


@pytest.mark.parametrize("bad", [[], ["test-0"], ["test-3", "test-6"], ROWS])
async def test_only_the_rows_that_fail_stay(db: Database, bad: list[str]) -> None:
    sweeper = Sweeper(*bad)
    assert await expire_apart(db, ROWS, sweeper.write) == (len(ROWS) - len(bad), len(bad))
    assert await written(db) == set(ROWS) - set(bad)
    assert sweeper.runs == 1 or bad


async def test_nothing_found_opens_no_transaction(db: Database) -> None:
    sweeper = Sweeper()
    assert await expire_apart(db, [], sweeper.write) == (0, 0)
    assert sweeper.runs == 0


@pytest.mark.parametrize("failure", [DatabaseUnavailable, LockNotWon])
async def test_what_is_no_fault_of_a_row_is_not_tried_row_by_row(db: Database, failure: type[Exception]) -> None:
    sweeper = Sweeper("test-1", failure=failure)
    with pytest.raises(failure):
        await expire_apart(db, ROWS, sweeper.write)
    assert sweeper.runs == 1 and await written(db) == set()
