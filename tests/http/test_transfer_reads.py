"""What GET one and lists say of a transfer that waits for its approval."""

import pytest

from aval.http import pix, ted
from aval.http.app import build_app
from tests.factories import Client, make_parts, make_party
from tests.transfers import make_pix


@pytest.fixture
async def party(db):
    return await make_party(db)


@pytest.fixture
async def call(db_as, party):
    parts = make_parts(await db_as("aval_app_api"))
    return Client(build_app(parts, [pix.routes(parts), ted.routes(parts)]), party.api_key)


async def test_a_waiting_transfer_tells_its_approval_in_get_one_and_in_lists(call, db, party):
    base = f"/account/{party.account.key}"
    key = await make_pix(db, party)
    await call("PUT", f"{base}/pix_transfer/{key}/validate_token", {"token": "ZZZZZZ"})
    read = (await call("GET", f"{base}/pix_transfer/{key}/outgoing")).json
    (row,) = (await call("GET", f"{base}/pix_transfers")).json["data"]
    assert read["approval"]["attempts_remaining"] == 4
    assert row == read


async def test_a_transfer_that_waits_no_more_has_no_approval(call, db, party):
    base = f"/account/{party.account.key}/pix_transfer/{await make_pix(db, party)}"
    await call("PATCH", f"{base}/cancel")
    assert "approval" not in (await call("GET", f"{base}/outgoing")).json
