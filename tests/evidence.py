"""An approval to show evidence of."""

from dataclasses import replace
from uuid import UUID

from aval.domain.keyring import Keyring, Purpose
from aval.http import pix
from aval.http.app import build_app
from aval.operations.request_transfer import Rules
from aval.operations.transfer_desk import DeskSettings, TransferDesk
from aval.storage.database import Database
from tests.factories import Client, KeyringHolder, make_keyring, make_parts, make_party

TOKEN = "7X4K9M"


async def approve_one(dsn: str, deployment: Keyring) -> UUID:
    """The key of a Pix that was requested, and approved with its token, in a deployment with this evidence key."""
    db = await Database.open(dsn)
    try:
        party = await make_party(db, fixed_token=TOKEN)
        tests = make_keyring()
        keys = [key for purpose in Purpose if purpose is not Purpose.EVIDENCE for key in tests.all_of(purpose)]
        holder = KeyringHolder(Keyring([*keys, *deployment.all_of(Purpose.EVIDENCE)]))
        parts = replace(make_parts(db), keyring=holder, desk=TransferDesk(db, holder, Rules(), DeskSettings()))
        call = Client(build_app(parts, [pix.routes(parts)]), party.api_key)
        base = f"/account/{party.account.key}/pix_transfer"
        key = UUID((await call("POST", base, party.pix())).json["pix_transfer_key"])
        answer = await call("PUT", f"{base}/{key}/validate_token", {"token": TOKEN})
        assert answer.status == 202, answer.body
        return key
    finally:
        await db.close()
