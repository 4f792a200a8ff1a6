"""Credentials over HTTP: shown once, hashed, two of a type, dead when revoked."""

from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aval.http import admin
from aval.http.app import build_app
from aval.operations.fresh import new_signing_key
from aval.storage.credentials import (
    find_principal_by_api_key_hashes,
    find_principal_by_client_key,
    knows_client_key,
)
from tests.factories import (
    Client,
    make_account,
    make_admin_key,
    make_credential,
    make_integrator,
    make_keyring,
    make_parts,
)

BEARER = {"type": "bearer", "scopes": ["transfers:read", "transfers:write"]}


@pytest.fixture
async def app(db_as):
    parts = make_parts(await db_as("aval_app_api"))
    return build_app(parts, [admin.routes(parts)])


@pytest.fixture
async def call(app, db):
    return Client(app, await make_admin_key(db))


@pytest.fixture
async def path(db):
    return f"/admin/integrators/{(await make_integrator(db)).key}/credentials"


def pem_of_a_p256_key():
    key = generate_private_key(SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def test_a_bearer_key_is_shown_once_and_kept_as_a_hash(call, db, path):
    made = await call("POST", path, BEARER)
    assert made.status == 201
    api_key = made.json["api_key"]
    assert api_key.startswith("aval_test_") and len(api_key) == len("aval_test_") + 43
    assert "api_client_key" not in made.json
    listed = (await call("GET", path)).json["data"]
    assert [row["credential_key"] for row in listed] == [made.json["credential_key"]]
    assert "api_key" not in listed[0]
    async with db.connection() as connection:
        row = await connection.fetchrow("select * from credentials")
        assert row["api_key_hash"] == make_keyring().credential_hashes(api_key)[0]
        assert api_key not in str(list(row.values()))


async def test_a_live_integrators_key_says_live(call, db):
    live = await make_integrator(db, mode="live")
    made = await call("POST", f"/admin/integrators/{live.key}/credentials", BEARER)
    assert made.json["api_key"].startswith("aval_live_")


async def test_a_signing_credential_answers_the_name_it_signs_under(call, db, path):
    _, public_key = new_signing_key()
    made = await call("POST", path, {"type": "signed", "scopes": ["sandbox"], "public_key": public_key})
    assert made.status == 201
    assert "api_key" not in made.json
    async with db.connection() as connection:
        found = await find_principal_by_client_key(connection, UUID(made.json["api_client_key"]))
    assert found is not None
    assert found.public_key_pem.strip() == public_key.strip()
    assert found.principal.scopes == {"sandbox"}


NO_CREDENTIALS = [
    {},
    {"type": "bearer"},
    {"type": "bearer", "scopes": []},
    {"type": "bearer", "scopes": ["transfers.admin"]},
    {"type": "basic", "scopes": ["sandbox"]},
    {"type": "bearer", "scopes": ["sandbox"], "public_key": "x"},
    {"type": "signed", "scopes": ["sandbox"]},
    {"type": "signed", "scopes": ["sandbox"], "public_key": "-----BEGIN PUBLIC KEY-----"},
    {"type": "signed", "scopes": ["sandbox"], "public_key": pem_of_a_p256_key()},
    {"type": "signed", "scopes": ["sandbox"], "public_key": "A" * 3_000},
]


async def test_only_known_scopes_and_p521_keys_are_taken(call, path):
    for body in NO_CREDENTIALS:
        answer = await call("POST", path, body)
        assert (answer.status, answer.code) == (400, "QIT000001"), body


async def test_a_private_key_is_never_taken_for_a_public_one(call, path):
    private_key, _ = new_signing_key()
    answer = await call("POST", path, {"type": "signed", "scopes": ["sandbox"], "public_key": private_key})
    assert answer.code == "QIT000001"


async def test_a_third_active_credential_of_a_type_is_refused_until_one_is_revoked(call, path):
    first = await call("POST", path, BEARER)
    assert (await call("POST", path, BEARER)).status == 201
    third = await call("POST", path, BEARER)
    assert (third.status, third.code) == (409, "QIT000945")
    _, public_key = new_signing_key()
    other = await call("POST", path, {"type": "signed", "scopes": ["sandbox"], "public_key": public_key})
    assert other.status == 201
    revoked = await call("DELETE", f"{path}/{first.json['credential_key']}")
    assert (revoked.status, revoked.body) == (204, b"")
    assert (await call("POST", path, BEARER)).status == 201
    assert [row["active"] for row in (await call("GET", path)).json["data"]].count(False) == 1


async def test_a_revoked_key_is_dead_at_the_next_request(app, call, db, path):
    made = (await call("POST", path, BEARER)).json
    integrator_key = UUID(path.split("/")[3])
    account = await make_account(db, integrator_key)
    own = Client(app, made["api_key"])
    assert (await own("GET", f"/account/{account.key}")).status == 200
    await call("DELETE", f"{path}/{made['credential_key']}")
    assert (await own("GET", f"/account/{account.key}")).code == "GDF000014"
    again = await call("DELETE", f"{path}/{made['credential_key']}")
    assert (again.status, again.code) == (404, "QIT000404")


async def test_a_credential_is_revoked_only_through_its_own_integrator(call, db, path):
    made = (await call("POST", path, BEARER)).json
    other = await make_integrator(db)
    answer = await call("DELETE", f"/admin/integrators/{other.key}/credentials/{made['credential_key']}")
    assert (answer.status, answer.code) == (404, "QIT000404")
    assert (await call("GET", path)).json["data"][0]["active"]


async def test_all_credentials_of_an_inactive_integrator_answer_as_revoked(app, call, db):
    integrator = await make_integrator(db)
    account = await make_account(db, integrator.key)
    bearer = await make_credential(db, integrator.key)
    signed = await make_credential(db, integrator.key, public_key=new_signing_key()[1])
    await call("PATCH", f"/admin/integrators/{integrator.key}", {"active": False})
    assert (await Client(app, bearer.api_key)("GET", f"/account/{account.key}")).code == "GDF000014"
    async with db.connection() as connection:
        hashes = make_keyring().credential_hashes(bearer.api_key)
        assert await find_principal_by_api_key_hashes(connection, hashes) is None
        client_key = signed.credential.api_client_key
        assert await find_principal_by_client_key(connection, client_key) is None
        assert await knows_client_key(connection, client_key)
        assert not await knows_client_key(connection, uuid4())


async def test_scopes_bound_what_a_credential_may_do(app, db):
    integrator = await make_integrator(db)
    account = await make_account(db, integrator.key)
    narrow = await make_credential(db, integrator.key, scopes=("sandbox",))
    assert (await Client(app, narrow.api_key)("GET", f"/account/{account.key}")).code == "GDF000014"
