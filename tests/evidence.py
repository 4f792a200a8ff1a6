"""An approval to show evidence of, whatever the keys of the deployment."""

from uuid import UUID

from aval.http import pix
from aval.http.app import build_app
from aval.storage.database import Database
from tests.factories import Client, make_parts, make_party

TOKEN = "7X4K9M"


async def approve_one(dsn: str) -> UUID:
    """The key of a Pix that was requested, and approved with its token."""
    db = await Database.open(dsn)
    try:
        party = await make_party(db, fixed_token=TOKEN)
        parts = make_parts(db)
        call = Client(build_app(parts, [pix.routes(parts)]), party.api_key)
        base = f"/account/{party.account.key}/pix_transfer"
        key = UUID((await call("POST", base, party.pix())).json["pix_transfer_key"])
        answer = await call("PUT", f"{base}/{key}/validate_token", {"token": TOKEN})
        assert answer.status == 202, answer.body
        return key
    finally:
        await db.close()
