"""Fixtures around `tests.stage`: a stage that all tests of a session share, and one that a test has alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from os import getpid
from uuid import uuid4

import pytest

from aval.storage.database import Database
from tests.conftest import run, with_database
from tests.factories import Party
from tests.stage import Stage

POOL_SIZE = 6  # opening many connections at once is what takes long on a busy machine


@asynccontextmanager
async def staged(dsn: str) -> AsyncIterator[Stage]:
    """Two API processes over a database."""
    async with AsyncExitStack() as stack:

        async def open_as(role: str | None) -> Database:
            db = await Database.open(dsn, role=role, pool_size=POOL_SIZE, application_name="aval tests")
            stack.push_async_callback(db.close)
            return db

        yield await Stage.make(await open_as(None), open_as, processes=2)


@pytest.fixture(scope="session")
async def stage(postgres_dsn: str, template: str) -> AsyncIterator[Stage]:
    """One for all; a test brings a party of its own and looks at nothing else."""
    name = f"aval_test_{getpid()}_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    async with staged(with_database(postgres_dsn, name)) as made:
        yield made
    await run(postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def own_stage(dsn: str) -> AsyncIterator[Stage]:
    """One over a fresh database, for what changes the schema or counts all there is."""
    async with staged(dsn) as made:
        yield made


@pytest.fixture
async def party(stage: Stage) -> Party:
    """A sandbox integrator with a funded account and an approver, on the shared stage."""
    return await stage.party()
