"""The same batch twice at once: whenever the other one commits, the second is its replay and no collision of items."""

from typing import Any

import pytest

from aval.operations import request_batch as module
from aval.operations.fresh import fresh_key
from tests.batches import batch_request, request_in
from tests.changed import replace
from tests.factories import Party
from tests.stage import Stage


@pytest.mark.parametrize("read", ["read_facts", "read_used_identities", "insert_batch"])
async def test_a_twin_that_commits_before_any_statement_is_told_as_the_twin(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    request = await batch_request(stage, party)
    items = tuple(replace(item, key=fresh_key()) for item in request.items)
    twin = replace(request, key=fresh_key(), items=items)
    statement, made = getattr(module, read), []

    async def after_the_twin(*arguments: Any, **named: Any) -> Any:
        if not made:
            made.append(None)
            made[0] = await request_in(stage.db, twin)
        return await statement(*arguments, **named)

    monkeypatch.setattr(module, read, after_the_twin)
    requested = await request_in(stage.parts.db, request)
    assert requested.is_replay
    assert requested.transfer.key == made[0].transfer.key
