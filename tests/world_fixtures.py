"""A world that all tests of one file share: each brings a party of its own and looks at nothing else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from os import getpid
from uuid import uuid4

import pytest

from aval.operations.request_transfer import Rules
from aval.storage.database import Database
from tests.conftest import run, with_database
from tests.world import World, make_world


@pytest.fixture(scope="module")
async def world(postgres_dsn: str, template: str) -> AsyncIterator[World]:
    """The application under the API's role, on days that are all holidays; every answer is held to its document."""
    name = f"aval_test_{getpid()}_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    dsn = with_database(postgres_dsn, name)
    today = datetime.now(UTC).date()
    rules = Rules(holidays=frozenset(today + timedelta(days=days) for days in range(-2, 3)))
    db, api_db = await Database.open(dsn), await Database.open(dsn, role="aval_app_api")
    try:
        async with make_world(db, api_db, rules=rules) as made:
            yield made
    finally:
        await db.close()
        await api_db.close()
        await run(postgres_dsn, f"drop database {name} with (force)")
