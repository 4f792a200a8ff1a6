"""A real Aval for the client: an API process and a worker process over a database, and both clients as one."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aval.client import ApiKey, Approver, AvalClient, Retry, SigningKey, SyncAvalClient
from aval.storage.database import Database
from tests.conftest import run, with_database
from tests.factories import Party, make_credential, make_keyring, make_party
from tests.proof.deployment import AvalProcess, free_port, make_folder, process_environment, write_keys
from tests.signing import new_signing_key, pem_of

QUICK = Retry(pause_first_s=0.01, pause_max_s=2.0)


@dataclass(frozen=True)
class RunningApi:
    """The processes' address, and their database as superuser."""

    url: str
    db: Database = field(repr=False)

    async def count(self, party: Party, table: str) -> int:
        async with self.db.connection() as connection:
            return await connection.fetchval(f"select count(*) from {table} where integrator_id = $1", party.key)


@pytest.fixture(scope="session")
async def api(postgres_dsn: str, template: str) -> AsyncIterator[RunningApi]:
    """`aval serve` and `aval worker`; tests share them, each with a party of its own."""
    name = f"aval_test_{os.getpid()}_{uuid4().hex[:8]}"
    await run(postgres_dsn, f"create database {name} template {template}")
    dsn, folder = with_database(postgres_dsn, name), make_folder()
    write_keys(folder / "keys.json", make_keyring())
    environment = process_environment(folder, dsn, {})
    serve = AvalProcess("serve", environment, folder / "serve.log", free_port())
    worker = AvalProcess("worker", environment, folder / "worker.log", None)
    db = await Database.open(dsn, application_name="aval tests")
    try:
        await asyncio.gather(serve.start(), worker.start())
        assert serve.url is not None
        yield RunningApi(serve.url, db)
        await asyncio.gather(serve.stop(), worker.stop())
    finally:
        serve.kill()
        worker.kill()
        await db.close()
        await run(postgres_dsn, f"drop database {name} with (force)")
        shutil.rmtree(folder)


class InThread:
    """The synchronous client behind coroutines: each call runs in a thread of its own."""

    def __init__(self, client: SyncAvalClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name.startswith("each_"):
            return lambda *args, **kwargs: _each(method, args, kwargs)

        async def ask(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return ask


async def _each(walk: Any, args: Any, kwargs: Any) -> AsyncIterator[Any]:
    for row in await asyncio.to_thread(lambda: list(walk(*args, **kwargs))):
        yield row


MakeClient = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
async def client_of(request: pytest.FixtureRequest) -> AsyncIterator[MakeClient]:
    """Make a client of either sort, which is closed at the end: `client_of(url, credential)`."""
    async with AsyncExitStack() as stack:

        def make(url: str, credential: Any, **options: Any) -> Any:
            options = {"retry": QUICK} | options
            if request.param == "async":
                client = AvalClient(url, credential, **options)
                stack.push_async_callback(client.close)
                return client
            sync_client = SyncAvalClient(url, credential, **options)
            stack.callback(sync_client.close)
            return InThread(sync_client)

        yield make


@pytest.fixture
async def party(api: RunningApi) -> Party:
    """A sandbox integrator ready to transfer."""
    return await make_party(api.db)


@pytest.fixture
def approver(party: Party) -> Approver:
    return Approver(party.document_number)


@pytest.fixture
async def aval(api: RunningApi, client_of: MakeClient, party: Party) -> Any:
    """A client with an API key."""
    return client_of(api.url, ApiKey(party.api_key))


@pytest.fixture
async def signing_key(api: RunningApi, party: Party) -> SigningKey:
    """A registered key that signs."""
    key = new_signing_key()
    made = await make_credential(api.db, party.key, public_key=pem_of(key))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert made.credential.api_client_key is not None
    return SigningKey.from_pem(made.credential.api_client_key, pem)
