"""What every harness shares: its seed, printed so that a failure can be replayed."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from aval.operations.request_transfer import Rules
from aval.storage.database import Database
from tests.proof.deployment import SEED
from tests.world import World, make_world


@pytest.fixture
def chance(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Randomness of one test; AVAL_PROOF_SEED repeats a run."""
    with capsys.disabled():
        print(f"\n{request.path.stem}: seed {SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="module")
async def module_dsn(request: pytest.FixtureRequest, postgres_dsn: str, template: str) -> AsyncIterator[str]:
    """DSN of a migrated database that the tests of one harness share: a database each costs a second."""
    name = f"aval_test_{os.getpid()}_{request.path.stem}"
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f"create database {name} template {template}")
    yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()


@pytest.fixture(scope="module")
async def module_world(module_dsn: str) -> AsyncIterator[World]:
    """An application over that database, under the role of the API."""
    db = await Database.open(module_dsn, application_name="aval proof")
    api_db = await Database.open(module_dsn, role="aval_app_api", application_name="aval proof api")
    today = datetime.now(UTC).date()  # all days are holidays, for those who heed TED hours
    rules = Rules(holidays=frozenset(today + timedelta(days=days) for days in range(-2, 3)))
    async with make_world(db, api_db, rules=rules) as world:
        yield world
    await db.close()
    await api_db.close()


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    """The same, for one test: it fails if any answer was not what is documented."""
    module_world.faults.clear()
    yield module_world
    faults = sorted(set(module_world.faults))
    module_world.faults.clear()
    assert not faults, "\n".join(faults[:50])
