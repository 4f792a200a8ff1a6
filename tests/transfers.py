"""Transfers tests start from, made through the API itself."""

from typing import Any
from uuid import UUID

from aval.http import pix
from aval.http.app import build_app
from aval.storage.database import Database
from tests.factories import Client, Party, make_parts


async def make_pix(db: Database, party: Party, **change: Any) -> UUID:
    """The key of a Pix that waits for approval."""
    parts = make_parts(db)
    call = Client(build_app(parts, [pix.routes(parts)]), party.api_key)
    answer = await call("POST", f"/account/{party.account.key}/pix_transfer", party.pix(**change))
    assert answer.status == 202, answer.body
    return UUID(answer.json["pix_transfer_key"])
