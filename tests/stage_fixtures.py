"""Fixtures around `tests.stage`: a stage that all tests of a session share, and one that a test has alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from os import getpid
from uuid import uuid4

import pytest

from aval.storage.database import Database
from tests.conftest import run, with_database
from tests.factories import Party
from tests.stage import OpenAs, Stage


@pytest.fixture(scope="session")
async def stage(postgres_dsn: str, template: str) -> AsyncIterator[Stage]:
    """Two API processes over one database; a test brings a party of its own and looks at nothing else."""
    name = f"aval_test_{getpid()}_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    dsn = with_database(postgres_dsn, name)
    async with AsyncExitStack() as stack:

        async def open_as(role: str | None) -> Database:
            db = await Database.open(dsn, role=role, application_name="aval tests")
            stack.push_async_callback(db.close)
            return db

        yield await Stage.make(await open_as(None), open_as, processes=2)
    await run(postgres_dsn, f"drop database {name} with (force)")


@pytest.fixture
async def own_stage(db: Database, db_as: OpenAs) -> Stage:
    """A stage over a fresh database, for what changes the schema or counts all there is."""
    return await Stage.make(db, db_as, processes=2)


@pytest.fixture
async def party(stage: Stage) -> Party:
    """A sandbox integrator with a funded account and an approver, on the shared stage."""
    return await stage.party()
