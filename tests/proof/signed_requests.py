"""Proof of TN7 (T23) and TN8: a captured or altered signed request is useless, a revoked key is dead at once.

The application is the real one with its routes, twice, as two processes with caches of their own would be; each
creation of a TED is a hot route, each list is not.
Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import base64
import json
import os
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.errors import Refusal
from aval.http import pix, sandbox, ted, webhooks
from aval.http.app import App, build_app
from aval.http.edge import Route
from aval.operations.revoke_credential import revoke_credential
from aval.storage.database import Database
from tests.factories import AUTHOR, Client, Party, Reply, exchange, make_credential, make_parts, make_party
from tests.request_mutations import Sent, Signer, all_mutations, flipped, mirrored, with_signature
from tests.signing import new_signing_key, pem_of

pytestmark = pytest.mark.proof

IS_NIGHTLY = os.environ.get("AVAL_PROOF_NIGHTLY") == "1"
SEED = int(os.environ.get("AVAL_PROOF_SEED") or secrets.randbits(32))
ROUNDS = 20 if IS_NIGHTLY else 2
MUTATIONS_MIN = 40
REPLAY_RACES = 1_000 if IS_NIGHTLY else 50
REVOCATION_RACES = 1_000
RACES_AT_ONCE = 8

print(f"signed_requests: AVAL_PROOF_SEED={SEED}")
chance = random.Random(SEED)


@dataclass(frozen=True)
class Scene:
    """A party that signs, a stranger's client key, and the application twice."""

    apps: tuple[App, App]
    routes: list[Route]
    party: Party
    signer: Signer
    stranger: str

    def post(self) -> Sent:
        """A signed creation of a TED."""
        return self.signer.request("POST", f"/account/{self.party.account.key}/ted", ted_body(self.party))

    def get(self) -> Sent:
        """A signed list with a query."""
        return self.signer.request("GET", f"/account/{self.party.account.key}/teds?page=1&page_size=30")


@pytest.fixture
async def scene(db: Database, db_as: Any) -> AsyncIterator[Scene]:
    party, key = await make_party(db), new_signing_key()
    client_key = await client_key_of(db, party, key)
    stranger = await client_key_of(db, await make_party(db), new_signing_key())
    parts = [make_parts(await db_as("aval_app_api")) for _ in range(2)]
    features = [[module.routes(each) for module in (pix, ted, webhooks, sandbox)] for each in parts]
    apps = build_app(parts[0], features[0]), build_app(parts[1], features[1])
    routes = [route for feature in features[0] for route in feature]
    yield Scene(apps, routes, party, Signer(key, client_key), stranger)


async def client_key_of(db: Database, party: Party, key: Any) -> str:
    return str((await make_credential(db, party.key, public_key=pem_of(key))).credential.api_client_key)


def ted_body(party: Party) -> bytes:
    target = {
        "account_branch": "0001",
        "account_number": "7654321",
        "account_digit": "0",
        "owner_document_number": "11222333000181",
        "owner_name": "Padaria Boa Vista Ltda",
        "ispb": "87654321",
        "account_type": "checking_account",
    }
    request = {"request_control_key": str(uuid4()), "transaction_amount": 1, "target_account": target}
    return json.dumps(request | {"tfa_info": party.tfa_info}).encode()


async def send(app: App, sent: Sent) -> Reply:
    headers = {"api-client-key": sent.client_key, "authorization": sent.jwt}
    if sent.body:
        headers |= {"content-type": "application/json", "content-length": str(len(sent.body))}
    return await exchange(app, sent.method, sent.target, headers, sent.body)


async def count_operations(db: Database) -> int:
    async with db.connection() as connection:
        count: int = await connection.fetchval("select count(*) from operations")
    return count


async def test_no_altered_request_is_good_for_anything(db: Database, scene: Scene) -> None:
    for _ in range(ROUNDS):
        mutations = all_mutations(scene.signer, scene.post, scene.get, scene.stranger, chance)
        assert len(mutations) >= MUTATIONS_MIN
        for name, sent in mutations.items():
            answers = [await send(app, sent) for app in scene.apps]
            assert {(answer.status, answer.code) for answer in answers} == {(401, "GDF000014")}, name
    assert await count_operations(db) == 0


async def test_a_request_is_good_once_even_after_it_was_tampered_with(scene: Scene) -> None:
    first, second = scene.apps
    for _ in range(ROUNDS * 5):
        for original, accepted in ((scene.post(), 202), (scene.get(), 200)):
            assert (await send(first, with_signature(original, lambda data: flipped(data, chance)))).status == 401
            assert (await send(second, original)).status == accepted
            for again in (original, with_signature(original, mirrored)):  # both are valid signatures
                for app in scene.apps:
                    assert (await send(app, again)).code == "GDF000014"


async def test_of_racing_replays_one_wins(scene: Scene) -> None:
    for _ in range(REPLAY_RACES):
        sent = chance.choice([scene.post, scene.get])()
        answers = await asyncio.gather(*(send(scene.apps[place % 2], sent) for place in range(8)))
        assert sorted(answer.status for answer in answers)[1:] == [401] * 7
        assert min(answer.status for answer in answers) in (200, 202)


async def test_a_used_signature_stays_used_when_the_window_grows(db: Database, scene: Scene) -> None:
    sent = scene.get()
    assert (await send(scene.apps[0], sent)).status == 200
    async with db.connection() as connection:
        await connection.execute("update integrators set signature_window_seconds = 300, version = version + 1")
        nearly_due = "delete from request_signatures where expires_at <= clock_timestamp() + interval '9 min'"
        assert await connection.execute(nearly_due) == "DELETE 0"
    assert (await send(scene.apps[1], sent)).code == "GDF000014"


async def test_no_clear_key_is_stored_anywhere(db: Database, scene: Scene) -> None:
    key = scene.party.api_key
    assert (await Client(scene.apps[0], key)("POST", scene.post().target, raw=ted_body(scene.party))).status == 202
    secret = key.removeprefix("aval_test_")
    needles = {secret, secret.encode().hex(), base64.b64encode(key.encode()).decode()}
    seen: set[str] = set()
    async with db.connection() as connection:
        tables = "select relname from pg_class where relnamespace = 'aval'::regnamespace and relkind = 'r'"
        for table in [row["relname"] for row in await connection.fetch(tables)]:
            for row in await connection.fetch(f"select t::text as line from {table} t"):
                seen.add(table)
                assert not any(needle in row["line"] for needle in needles), table
    assert {"credentials", "operations", "audit", "outbox"} <= seen


async def test_a_credential_reaches_the_routes_of_its_scopes_only(db: Database, scene: Scene) -> None:
    routes = [route for route in scene.routes if route.audience == "integrator" and route.scope]
    scopes = sorted({str(route.scope) for route in routes})
    assert len(scopes) >= 3
    for scope in scopes:
        party = await make_party(db)
        call = Client(scene.apps[0], (await make_credential(db, party.key, scopes=(scope,))).api_key)
        for route in routes:
            path = "/".join(str(uuid4()) if part.startswith("{") else part for part in route.path.split("/"))
            answer = await call(route.method, path, None if route.method in {"GET", "DELETE"} else {})
            assert (answer.code == "GDF000014") == (route.scope != scope), (scope, route.method, route.path)


async def test_at_most_two_credentials_of_a_type_are_active(db: Database) -> None:
    for public_key, room in ((None, 1), (pem_of(new_signing_key()), 2)):  # a party has one API key already
        party = await make_party(db)
        makings = [make_credential(db, party.key, public_key=public_key) for _ in range(8)]
        outcomes = await asyncio.gather(*makings, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(outcome, Refusal) and outcome.name == "qit.conflict" for outcome in refused)
        assert len(outcomes) - len(refused) == room


async def test_a_revoked_key_is_dead_at_the_next_request(db: Database, scene: Scene) -> None:
    lanes = await asyncio.gather(
        *(race_revocations(db, scene, REVOCATION_RACES // RACES_AT_ONCE) for _ in range(RACES_AT_ONCE))
    )
    print(f"signed_requests: {sum(lanes)} of {2 * REVOCATION_RACES} racing creations came before the revocation")
    assert 0 < sum(lanes) < 2 * REVOCATION_RACES  # both sides of the race were seen


async def race_revocations(db: Database, scene: Scene, count: int) -> int:
    """Revoke keys that two processes have cached, while they are in use; tell how many racing calls came first."""
    party = await make_party(db)
    path = f"/account/{party.account.key}/ted"
    came_first = 0

    async def create(call: Client) -> int:
        return (await call("POST", path, raw=ted_body(party))).status

    async def read(call: Client) -> int:
        return (await call("GET", path + "s")).status

    for _ in range(count):
        made = await make_credential(db, party.key)
        calls = [Client(app, made.api_key) for app in scene.apps]
        assert [await create(call) for call in calls] == [202, 202]
        racing = [asyncio.create_task(create(call)) for call in calls]
        await asyncio.sleep(chance.random() / 200)
        await revoke_credential(db, integrator_key=party.key, credential_key=made.credential.key, author=AUTHOR)
        late = [use(call) for use in (create, read) for call in calls]
        assert await asyncio.gather(*late) == [401, 401, 401, 401]
        outcomes = await asyncio.gather(*racing)
        assert set(outcomes) <= {202, 401}
        came_first += outcomes.count(202)
    return came_first
