"""Keys of administrators: shown once, one active of a name, dead when revoked."""

import pytest

from aval.domain.errors import Refusal
from aval.operations.create_admin_key import create_admin_key
from aval.operations.record_act import DEPLOYMENT
from aval.operations.revoke_admin_key import revoke_admin_key
from aval.storage.admin_keys import list_admin_keys
from tests.factories import AUTHOR, make_keyring


async def test_a_name_is_free_again_once_its_key_is_revoked(db):
    first, secret = await create_admin_key(db, name="ana", keyring=make_keyring(), author=AUTHOR)
    assert secret.startswith("aval_admin_") and len(secret) == len("aval_admin_") + 43
    with pytest.raises(Refusal, match="qit.conflict"):
        await create_admin_key(db, name="ana", keyring=make_keyring(), author=AUTHOR)
    await revoke_admin_key(db, name="ana", author=AUTHOR)
    with pytest.raises(Refusal, match="qit.not_found"):
        await revoke_admin_key(db, name="ana", author=AUTHOR)
    second, other_secret = await create_admin_key(db, name="ana", keyring=make_keyring(), author=AUTHOR)
    assert other_secret != secret
    async with db.connection() as connection:
        listed = await list_admin_keys(connection)
        rows = await connection.fetch("select * from audit order by at")
    assert [(key.key, key.revoked_at is None) for key in listed] == [(first.key, False), (second.key, True)]
    verbs = ["admin_key.created", "admin_key.revoked", "admin_key.created"]
    assert [(row["action"], row["integrator_id"]) for row in rows] == [(verb, DEPLOYMENT) for verb in verbs]
    assert secret not in str(rows)
