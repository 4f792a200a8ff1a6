"""One of everything in the sandbox: what comes out works."""

from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from aval.domain.contact import normalized_email, normalized_phone
from aval.domain.documents import is_cpf
from aval.operations.create_credential import SCOPES
from aval.operations.seed_sandbox import POWERS, seed_sandbox
from aval.storage.credentials import (
    find_admin_by_hashes,
    find_principal_by_api_key_hashes,
    find_principal_by_client_key,
)
from aval.storage.integrators import find_integrator
from tests.factories import AUTHOR, make_keyring

KEYRING = make_keyring()


async def test_a_seed_opens_every_door_of_its_integrator(db, db_as):
    seed = await seed_sandbox(await db_as("aval_app_api"), keyring=KEYRING, author=AUTHOR)
    async with db.connection() as connection:
        bearer = await find_principal_by_api_key_hashes(connection, KEYRING.credential_hashes(seed.api_key))
        signed = await find_principal_by_client_key(connection, seed.api_client_key)
        admin = await find_admin_by_hashes(connection, KEYRING.credential_hashes(seed.admin_key))
        account = await connection.fetchrow("select * from accounts")
        grant = await connection.fetchrow("select * from account_approvers")
        approver = await connection.fetchrow("select * from approvers")
        contacts = await connection.fetch(
            "select contact_type, usable_at <= clock_timestamp() as is_usable from contacts"
        )
    assert bearer is not None and signed is not None and admin is not None
    assert {bearer.integrator.key, signed.principal.integrator.key} == {seed.integrator_key}
    assert bearer.scopes == signed.principal.scopes == {*SCOPES}
    assert (bearer.integrator.mode, bearer.integrator.pix_fee, bearer.integrator.ted_fee) == ("sandbox", 0, 0)
    assert (account["account_id"], account["balance_centavos"]) == (seed.account_key, 1_000_000_00)
    assert (set(grant["powers"]), grant["max_amount_centavos"]) == ({*POWERS}, None)
    assert approver["document_index"] == KEYRING.index_of(f"cpf:{seed.approver_document_number}")
    assert sorted(tuple(row) for row in contacts) == [("email", True), ("sms", True)]
    private_key = load_pem_private_key(seed.private_key_pem.encode(), None)
    assert isinstance(private_key.curve, SECP521R1)
    assert private_key.public_key() == load_pem_public_key(signed.public_key_pem.encode())


async def test_what_a_seed_makes_up_is_valid_and_nothing_special(db):
    seed = await seed_sandbox(db, keyring=KEYRING, author=AUTHOR)
    assert is_cpf(seed.approver_document_number)
    assert normalized_phone(seed.approver_phone) == seed.approver_phone
    assert normalized_email(seed.approver_email) == seed.approver_email
    assert seed.approver_phone not in ("+5511900000001", "+5511900000002")
    assert seed.admin_key not in repr(seed) and seed.api_key not in repr(seed)


async def test_a_second_seed_is_another_set(db):
    first = await seed_sandbox(db, keyring=KEYRING, author=AUTHOR)
    second = await seed_sandbox(db, keyring=KEYRING, author=AUTHOR)
    assert all(
        getattr(first, name) != getattr(second, name)
        for name in ("integrator_key", "account_key", "admin_key", "api_key", "api_client_key", "private_key_pem")
    )


async def test_passkeys_may_be_used_where_the_seed_says(db):
    passkeys = {"rp_id": "localhost", "origins": ("http://localhost:8321",)}
    seed = await seed_sandbox(db, keyring=KEYRING, author=AUTHOR, passkeys=passkeys)
    async with db.connection() as connection:
        made = await find_integrator(connection, seed.integrator_key)
    assert (made.settings.rp_id, made.settings.origins) == ("localhost", ("http://localhost:8321",))
