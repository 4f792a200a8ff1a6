import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.keyring import Key, Keyring, Purpose
from aval.http.app import App
from aval.http.edge import Answer, Call
from aval.operations.revoke_credential import revoke_credential
from aval.storage.database import Database
from tests.conftest import numbers, run, with_database
from tests.factories import (
    AUTHOR,
    Client,
    KeyringHolder,
    Reply,
    exchange,
    make_admin_key,
    make_credential,
    make_integrator,
    make_keyring,
    make_parts,
)
from tests.http.probe import COLD, HOT, KEY, OTHER_KEY, probe_routes
from tests.signing import claims_of, jwt_of, new_signing_key, pem_of, signed_headers

NO_KEY = "3f0c9a54-7b1e-4d2a-9c68-5e8b7d1f2a40"
PATHS = [pytest.param(HOT, id="hot"), pytest.param(COLD, id="cold")]
TED_LIST = f"/account/{KEY}/teds"
BODY = b'{"token":"7K3M9Q"}'
BAD = "Please provide valid credentials as part of the request. Details: Failed while decoding the authentication token"


@dataclass
class World:
    """One database for the tables of cases: an integrator with a key and a signer, and an administrator."""

    db: Database
    integrator: UUID
    api_key: str
    readonly_key: str
    admin_key: str
    client_key: UUID
    signing_key: Any

    @property
    def app(self) -> App:
        return App(make_parts(self.db), probe_routes())


@pytest.fixture(scope="module")
async def world(postgres_dsn: str, template: str) -> AsyncIterator[World]:
    name = f"aval_test_{os.getpid()}_{next(numbers)}"
    await run(postgres_dsn, f"create database {name} template {template}")
    db = await Database.open(with_database(postgres_dsn, name), role="aval_app_api")
    integrator = (await make_integrator(db)).key
    bearer = await make_credential(db, integrator)
    readonly = await make_credential(db, integrator, scopes=("transfers:read",))
    signing_key = new_signing_key()
    signed = await make_credential(db, integrator, public_key=pem_of(signing_key))
    assert bearer.api_key and readonly.api_key and signed.credential.api_client_key
    yield World(
        db,
        integrator,
        bearer.api_key,
        readonly.api_key,
        await make_admin_key(db),
        signed.credential.api_client_key,
        signing_key,
    )
    await db.close()
    await run(postgres_dsn, f"drop database {name} with (force)")


async def put(app: App, target: str, headers: dict[str, str], body: bytes = BODY) -> Reply:
    sent = {"content-type": "application/json", "content-length": str(len(body))} if body else {}
    return await exchange(app, "PUT", target, sent | headers, body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 400, "GDF000003"),
        ("", 400, "GDF000003"),
        ("Bearer", 400, "GDF000003"),
        ("Bearer ", 400, "GDF000003"),
        ("Basic YTpi", 400, "GDF000003"),
        ("Bearer {admin_key}", 401, "GDF000014"),
        ("Bearer x", 401, "GDF000014"),
        ("Bearer aval_test_" + "a" * 43, 401, "GDF000014"),
        ("Bearer {api_key} ", 401, "GDF000014"),
        ("Bearer {api_key}\nBearer {api_key}", 401, "GDF000014"),
        ("Bearer {api_key}\n", 401, "GDF000014"),
        ("Basic x\nBearer {api_key}", 401, "GDF000014"),
        ("Bearer {api_key}", 200, None),
        ("bearer  {api_key}", 200, None),
    ],
)
async def test_a_bearer_key_is_taken_or_refused(
    world: World, path: str, authorization: str | None, status: int, code: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization.format(**vars(world))}
    answer = await put(world.app, path, headers)
    assert (answer.status, answer.code) == (status, code)
    if code == "GDF000014":
        assert answer.json["description"] == BAD


@pytest.mark.parametrize(("key", "status"), [("admin_key", 200), ("api_key", 401), ("readonly_key", 401)])
async def test_integrator_keys_never_work_on_admin_routes(world: World, key: str, status: int) -> None:
    answer = await Client(world.app, getattr(world, key))("POST", "/admin/integrators", {})
    assert answer.status == status


async def test_an_admin_key_without_the_scope_is_refused(world: World) -> None:
    async with world.db.connection() as connection:
        await connection.execute("update admin_keys set scopes = '{other}'")
        answer = await Client(world.app, world.admin_key)("POST", "/admin/integrators", {})
        await connection.execute("update admin_keys set scopes = '{transfers.admin}'")
    assert (answer.status, answer.code) == (401, "GDF000014")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (HOT, HOT),
        (
            HOT.upper().replace("ACCOUNT", "account").replace("TED", "ted").replace("VALIDATE_TOKEN", "validate_token"),
            HOT,
        ),
        (HOT.replace(OTHER_KEY, "52998224725"), HOT.replace(OTHER_KEY, "{ted_key}")),
    ],
)
async def test_a_missing_scope_names_the_action_and_repeats_nothing_but_uuids(
    world: World, path: str, told: str
) -> None:
    answer = await put(world.app, path, {"authorization": f"Bearer {world.readonly_key}"})
    assert (answer.status, answer.code) == (401, "GDF000014")
    assert answer.json["description"].endswith(
        f"Details: Endpoint or HTTP method not allowed for the given ClientIntegration (Action: PUT {told})"
    )


@pytest.mark.parametrize("path", PATHS)
async def test_credentials_come_before_syntax(world: World, path: str) -> None:
    broken = path.replace(OTHER_KEY, "x") + "?unknown=1"
    assert (await put(world.app, broken, {}, b"{")).code == "GDF000003"
    assert (await put(world.app, broken, {"authorization": f"Bearer {world.readonly_key}"}, b"{")).code == "GDF000014"
    assert (await put(world.app, broken, {"authorization": f"Bearer {world.api_key}"}, b"{")).status == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("client_key", ["", "x", "%00", NO_KEY.replace("-", ""), f"{NO_KEY}\n{NO_KEY}"])
async def test_a_client_key_that_is_no_uuid_prints_as_a_dash(world: World, path: str, client_key: str) -> None:
    answer = await put(world.app, path, {"api-client-key": client_key, "authorization": "x"})
    assert (answer.status, answer.code) == (404, "GDF000018")
    assert answer.json["description"] == "No ClientIntegration found for api_client_key: -."


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_client_key_is_not_found_whatever_else_is_sent(world: World, path: str) -> None:
    stranger = uuid4()
    headers = {"api-client-key": str(stranger), "authorization": f"Bearer {world.api_key}"}
    answer = await put(world.app, path, headers)
    assert (answer.status, answer.code) == (404, "GDF000018")
    assert str(stranger) in answer.json["description"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("claims", [{}, {"payload_md5": hashlib.md5(BODY).hexdigest()}])
@pytest.mark.parametrize("at", ["%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
async def test_a_signed_request_is_accepted_once(world: World, path: str, claims: dict[str, str], at: str) -> None:
    signed = claims_of("PUT", path, BODY) | claims
    signed["timestamp"] = _now(at)
    headers = {"api-client-key": str(world.client_key).upper(), "authorization": jwt_of(world.signing_key, signed)}
    app = world.app
    assert (await put(app, path, headers)).status == 200
    again = await put(app, path, headers)
    assert (again.status, again.code, again.json["description"]) == (401, "GDF000014", BAD)
    assert (await put(world.app, path, headers)).status == 401  # nor by another process


def _now(form: str) -> str:
    return datetime.now(UTC).strftime(form)


@pytest.mark.parametrize("digested", [None, b"", b"{}"])
async def test_without_a_body_the_digest_is_absent_or_of_nothing(world: World, digested: bytes | None) -> None:
    claims = claims_of("GET", TED_LIST, b"")
    if digested is not None:
        claims |= {
            "payload_md5": hashlib.md5(digested).hexdigest(),
            "payload_sha256": hashlib.sha256(digested).hexdigest(),
        }
    headers = {"api-client-key": str(world.client_key), "authorization": jwt_of(world.signing_key, claims)}
    assert (await exchange(world.app, "GET", TED_LIST, headers, b"")).status == 200


async def test_the_query_is_signed_as_it_was_sent(world: World) -> None:
    target = TED_LIST + "?text=a%2bb&page=1"
    headers = signed_headers(world.signing_key, world.client_key, "GET", target)
    assert (await exchange(world.app, "GET", target, headers, b"")).status == 200


async def test_a_switch_makes_the_stronger_digest_mandatory(db: Database) -> None:
    key = new_signing_key()
    integrator = await make_integrator(db, require_sha256=True)
    client_key = (await make_credential(db, integrator.key, public_key=pem_of(key))).credential.api_client_key
    app = App(make_parts(db), probe_routes())
    with_md5 = claims_of("PUT", HOT, BODY) | {"payload_md5": hashlib.md5(BODY).hexdigest()}
    without_sha = {name: value for name, value in with_md5.items() if name != "payload_sha256"}
    for claims, status in ((without_sha, 401), (with_md5, 200)):
        headers = {"api-client-key": str(client_key), "authorization": jwt_of(key, claims)}
        assert (await put(app, HOT, headers)).status == status


@pytest.mark.parametrize("path", PATHS)
async def test_a_revoked_credential_is_refused_at_the_next_request(db: Database, path: str) -> None:
    integrator = (await make_integrator(db)).key
    key = new_signing_key()
    bearer = await make_credential(db, integrator)
    signed = await make_credential(db, integrator, public_key=pem_of(key))
    app = App(make_parts(db), probe_routes(_refusing))

    async def ask() -> tuple[str | None, str | None]:
        by_key = await Client(app, bearer.api_key)("PUT", path, {})
        headers = signed_headers(key, signed.credential.api_client_key, "PUT", path, BODY)
        return by_key.code, (await put(app, path, headers)).code

    assert await ask() == ("TED000020", "TED000020")
    for credential in (bearer, signed):
        await revoke_credential(db, integrator_key=integrator, credential_key=credential.credential.key, author=AUTHOR)
    assert await ask() == ("GDF000014", "GDF000018")


async def _refusing(_call: Call) -> Answer:
    """A handler that refuses before it asked the database."""
    raise Refusal("ted.operation_not_found")


async def test_an_inactive_integrator_has_no_valid_credentials(db: Database) -> None:
    integrator = (await make_integrator(db)).key
    bearer = await make_credential(db, integrator)
    app = App(make_parts(db), probe_routes())
    async with db.connection() as connection:
        await connection.execute("update integrators set active = false")
    assert (await Client(app, bearer.api_key)("PUT", COLD, {})).code == "GDF000014"


async def test_a_hot_route_asks_the_database_once_for_a_caller(world: World) -> None:
    app = world.app
    call = Client(app, world.api_key)
    await call("PUT", HOT, {})
    before = await _calls(world.db)
    assert (await call("PUT", HOT, {})).status == 200
    assert await _calls(world.db) == before
    assert (await call("PUT", COLD, {})).status == 200


async def _calls(db: Database) -> int:
    """Look-ups of credentials by index, as PostgreSQL counts them."""
    async with db.connection() as connection:
        await connection.execute("select pg_stat_force_next_flush()")
        counted: int = await connection.fetchval(
            "select idx_scan from pg_stat_user_indexes where indexrelname = 'credentials_by_api_key'"
        )
    return counted


async def test_a_key_hashed_under_an_older_secret_works_until_that_secret_is_gone(db: Database) -> None:
    integrator = (await make_integrator(db)).key
    api_key = (await make_credential(db, integrator)).api_key
    older = make_keyring()
    made_at = older.current(Purpose.CREDENTIAL).created_at + timedelta(days=1)
    newest = Key(Purpose.CREDENTIAL, "credential-2", b"n" * 32, made_at)
    parts = make_parts(db)
    keys = KeyringHolder(Keyring([*(key for purpose in Purpose for key in older.all_of(purpose)), newest]))
    parts.keyring = keys
    call = Client(App(parts, probe_routes()), api_key)
    assert (await call("PUT", HOT, {})).status == 200
    keys.keyring = Keyring([newest])
    assert (await call("PUT", HOT, {})).code == "GDF000014"  # whoever was known by it, too
    assert (await call("PUT", COLD, {})).code == "GDF000014"


async def test_keys_are_stored_as_hashes_only(world: World) -> None:
    async with world.db.connection() as connection:
        rows = await connection.fetch(
            "select c::text as row from credentials c union all select a::text from admin_keys a"
        )
    stored = json.dumps([row["row"] for row in rows])
    for key in (world.api_key, world.readonly_key, world.admin_key):
        assert key not in stored
        assert key.encode().hex() not in stored


@pytest.mark.parametrize("path", PATHS)
async def test_calls_that_somebody_else_made_up_do_not_use_up_a_signers_rate(world: World, path: str) -> None:
    """A client key is no secret; whoever knows it must not be able to keep its owner out."""
    integrator = await make_integrator(world.db, requests_per_second=2)
    signing_key = new_signing_key()
    made = await make_credential(world.db, integrator.key, public_key=pem_of(signing_key))
    client_key = made.credential.api_client_key
    forged = signed_headers(new_signing_key(), client_key, "PUT", path, BODY)
    app = world.app
    assert [(await put(app, path, forged)).status for _ in range(4)] == [401] * 4
    answers = [await put(app, path, signed_headers(signing_key, client_key, "PUT", path, BODY)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
