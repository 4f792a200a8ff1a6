"""What tests of operations share: the application under the API's role, and a party that may transfer."""

from collections.abc import AsyncIterator

import pytest

from aval.storage.database import Database
from tests.factories import Party, make_party
from tests.stage import OpenAs
from tests.world import World, make_world


@pytest.fixture
async def api_db(db_as: OpenAs) -> Database:
    """The database as API processes see it."""
    return await db_as("aval_app_api")


@pytest.fixture
async def world(db: Database, api_db: Database) -> AsyncIterator[World]:
    """The application; every answer is held to its documentation."""
    async with make_world(db, api_db) as made:
        yield made


@pytest.fixture
async def party(db: Database) -> Party:
    """A sandbox integrator with a funded account and an approver."""
    return await make_party(db)
