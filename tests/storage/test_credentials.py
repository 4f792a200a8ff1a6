"""From what a caller presents to who it is."""

from datetime import timedelta
from uuid import uuid4

from aval.operations.fresh import new_api_key, new_signing_key
from aval.storage.credentials import (
    find_admin_by_hashes,
    find_principal_by_api_key_hashes,
    find_principal_by_client_key,
    knows_client_key,
)
from tests.factories import make_admin_key, make_credential, make_integrator, make_keyring, make_party

KEYRING = make_keyring()


async def test_a_principal_carries_the_settings_of_its_integrator(db):
    settings = {
        "settlement_mode": "sync",
        "sync_wait_seconds": 3,
        "approval_window_minutes": 90,
        "resend_cooldown_seconds": 45,
        "token_alphabets": {"ted": "crockford32"},
        "fixed_token": "ABC123",
        "locale": "en",
    }
    party = await make_party(db, **settings)
    principal = await party.principal(db)
    integrator = principal.integrator
    assert (integrator.key, integrator.mode, integrator.version) == (party.key, "sandbox", 1)
    assert (integrator.settlement_mode, integrator.sync_wait) == ("sync", timedelta(seconds=3))
    assert integrator.approval_window == timedelta(minutes=90)
    assert integrator.resend_cooldown == timedelta(seconds=45)
    assert (integrator.token_alphabets, integrator.fixed_token) == ({"ted": "crockford32"}, "ABC123")
    assert (integrator.locale, integrator.active, integrator.is_sandbox) == ("en", True, True)
    assert principal.credential_type == "bearer"
    assert principal.may("transfers:write") and not principal.may("transfers.admin")


async def test_a_key_is_found_by_its_hash_under_any_live_key(db):
    party = await make_party(db)
    stranger, own = KEYRING.credential_hashes(new_api_key("aval_test_")), KEYRING.credential_hashes(party.api_key)
    async with db.connection() as connection:
        assert await find_principal_by_api_key_hashes(connection, stranger) is None
        assert await find_principal_by_api_key_hashes(connection, []) is None
        found = await find_principal_by_api_key_hashes(connection, [*stranger, *own])
    assert found is not None and found.integrator.key == party.key


async def test_a_client_key_finds_the_public_key(db):
    integrator = await make_integrator(db)
    _, public_key = new_signing_key()
    client_key = (await make_credential(db, integrator.key, public_key=public_key)).credential.api_client_key
    async with db.connection() as connection:
        found = await find_principal_by_client_key(connection, client_key)
        assert found is not None and (found.public_key_pem, found.principal.credential_type) == (public_key, "signed")
        assert await find_principal_by_client_key(connection, uuid4()) is None
        await connection.execute("update credentials set revoked_at = created_at")
        assert await find_principal_by_client_key(connection, client_key) is None
        assert (await knows_client_key(connection, client_key), await knows_client_key(connection, uuid4())) == (
            True,
            False,
        )


async def test_an_admin_is_found_until_the_key_is_revoked(db):
    hashes = KEYRING.credential_hashes(await make_admin_key(db, "ana"))
    async with db.connection() as connection:
        admin = await find_admin_by_hashes(connection, hashes)
        assert admin is not None and (admin.name, admin.scopes) == ("ana", {"transfers.admin"})
        await connection.execute("update admin_keys set revoked_at = created_at")
        assert await find_admin_by_hashes(connection, hashes) is None


async def test_a_principal_prints_no_secret(db):
    party = await make_party(db, fixed_token="ABC123")
    assert "ABC123" not in repr(await party.principal(db))
    assert party.api_key not in repr(party)
