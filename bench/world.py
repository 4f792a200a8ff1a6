"""What the load runs on: an embedded PostgreSQL, a live integrator without budgets, a thousand accounts."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from aval.domain.integrator import IntegratorSettings
from aval.domain.keyring import SEAL_NONCE_BYTES, Keyring
from aval.operations.create_credential import SCOPES, create_credential
from aval.operations.create_integrator import create_integrator
from aval.operations.fresh import new_cpf, new_signing_key
from aval.operations.record_act import Author
from aval.storage.database import Database
from aval.storage.embedded import EmbeddedServer
from aval.storage.keys_file import KeysFile
from aval.storage.migrations import migrate

ACCOUNTS = 1_000
HOT_ACCOUNT = 1
BALANCE_CENTAVOS = 10**15
READY_TIMEOUT_S = 30.0
PROCESSES_START_S = 2.0
AUTHOR = Author("admin:bench", "bench")


def account_key(number: int) -> UUID:
    """The key of an account by its number, which pgbench computes alike."""
    return UUID(f"00000001-0000-4000-8000-{number:012x}")


def approver_key(number: int) -> UUID:
    """The key of the approver of that account."""
    return UUID(f"00000002-0000-4000-8000-{number:012x}")


def contact_key(number: int) -> UUID:
    """The key of that approver's phone."""
    return UUID(f"00000003-0000-4000-8000-{number:012x}")


@dataclass
class World:
    """A running deployment."""

    directory: Path
    dsn: str
    db: Database
    keyring: Keyring
    integrator_key: UUID
    api_key: str = field(repr=False)
    client_key: UUID
    private_key_pem: str = field(repr=False)
    documents: list[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    server: EmbeddedServer = field(repr=False)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    port: int = 0
    api_processes: int = 1

    def start(self, command: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Start `aval serve` or `aval worker` as a process of its own."""
        log = (self.directory / f"{command}.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "aval", command],
            env={**self.environment, **settings},
            stdout=log,
            stderr=log,
        )
        self.processes[command] = process
        return process

    async def stop(self, command: str) -> None:
        """End a process by its id and wait for it."""
        process = self.processes.pop(command, None)
        if process is not None:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)

    async def close(self) -> None:
        """End everything."""
        for command in list(self.processes):
            await self.stop(command)
        await self.db.close()
        await self.server.stop()

    async def serve(self) -> None:
        """Start the API and wait until each of its processes answers."""
        self.start("serve", AVAL_API_PROCESSES=str(self.api_processes))
        await self.wait_for_api()
        if self.api_processes > 1:  # which process answered is not known; they start together
            await asyncio.sleep(PROCESSES_START_S)

    async def wait_for_api(self) -> None:
        """Wait until the API answers."""
        for _ in range(int(READY_TIMEOUT_S * 10)):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
        raise TimeoutError((self.directory / "serve.log").read_text()[-2000:])

    def resident_mb(self, command: str) -> float:
        """Memory that the largest process of a command holds now."""
        return self.largest_process(command)[1]

    def largest_process(self, command: str) -> tuple[int, float]:
        """Id and memory, in MB, of a command's process that holds most."""
        own = self.processes[command].pid
        printed = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,rss="], text=True)
        rows = (map(int, line.split()) for line in printed.splitlines())
        resident, pid = max((resident, pid) for pid, parent, resident in rows if own in (pid, parent))
        return pid, resident / 1024


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def make_world(directory: Path, gateway_port: int) -> World:
    """Start PostgreSQL, make the deployment and its thousand accounts."""
    server = EmbeddedServer(directory / "aval")
    dsn = await server.start()
    await migrate(dsn)
    keys = KeysFile(directory / "keys.json")
    keys.create()
    keyring = keys.load()
    db = await Database.open(dsn, pool_size=4, command_timeout_s=120)
    settings = IntegratorSettings.of(
        {
            "name": "Bench",
            "ispb": "12345678",
            "mode": "live",
            "budgets": False,
            "ted_hours": False,
            "requests_per_second": None,
            "signature_window_seconds": 300,
        }
    )
    integrator, _ = await create_integrator(db, settings=settings, keyring=keyring, is_production=False, author=AUTHOR)
    private_key, public_key = new_signing_key()
    bearer = await _credential(db, integrator.key, None, keyring)
    signed = await _credential(db, integrator.key, public_key, keyring)
    documents = await _fill(db, integrator.key, keyring)
    port = free_port()
    environment = {
        **os.environ,
        "AVAL_ENV": "development",
        "AVAL_DATA_DIR": str(directory / "aval"),
        "AVAL_KEYS_FILE": str(directory / "keys.json"),
        "AVAL_PORT": str(port),
        "AVAL_SMS_GATEWAY_URL": f"http://127.0.0.1:{gateway_port}/sms",
        "AVAL_LOG_LEVEL": "warning",
    }
    assert bearer.api_key is not None and signed.credential.api_client_key is not None
    return World(
        directory=directory,
        dsn=dsn,
        db=db,
        keyring=keyring,
        integrator_key=integrator.key,
        api_key=bearer.api_key,
        client_key=signed.credential.api_client_key,
        private_key_pem=private_key,
        documents=documents,
        environment=environment,
        server=server,
        port=port,
    )


async def _credential(db: Database, integrator_key: UUID, public_key: str | None, keyring: Keyring) -> Any:
    return await create_credential(
        db,
        integrator_key=integrator_key,
        credential_type="signed" if public_key else "bearer",
        scopes=SCOPES,
        public_key=public_key,
        keyring=keyring,
        author=AUTHOR,
    )


async def _fill(db: Database, integrator_key: UUID, keyring: Keyring) -> list[str]:
    """Accounts with their approver and phone, numbered from 1; answers the approvers' CPFs."""
    numbers = range(1, ACCOUNTS + 1)
    documents = [new_cpf() for _ in numbers]
    sealed = []
    for number in numbers:
        place = f"contacts/{contact_key(number)}"
        phone = f"+55119{80000000 + number}"
        sealed.append(keyring.sealed(phone, associated=place, nonce=secrets.token_bytes(SEAL_NONCE_BYTES)))
    async with db.transaction() as connection:
        await connection.execute(
            "insert into accounts (integrator_id, account_id, account_branch, account_number, account_digit,"
            " owner_document_number, owner_name, balance_centavos, created_at, updated_at)"
            " select $1, ('00000001-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '0001', n::text, '0',"
            " '11222333000181', 'Bench', $3, now(), now() from generate_series(1, $2::int) n",
            integrator_key,
            ACCOUNTS,
            BALANCE_CENTAVOS,
        )
        await connection.execute(
            "insert into approvers (integrator_id, approver_id, document_index, document_sealed, document_masked, name,"
            " created_at, updated_at) select $1, ('00000002-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, d,"
            " 'x', '***', 'Ana', now(), now() from unnest($2::bytea[]) with ordinality as r (d, n)",
            integrator_key,
            [keyring.index_of(f"cpf:{document}") for document in documents],
        )
        await connection.execute(
            "insert into contacts (integrator_id, contact_id, approver_id, contact_type, destination_sealed,"
            " masked_destination, usable_at, created_at)"
            " select $1, ('00000003-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,"
            " ('00000002-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'sms', d, '+55 11 *****-0000', now(),"
            " now() from unnest($2::bytea[]) with ordinality as r (d, n)",
            integrator_key,
            sealed,
        )
        await connection.execute(
            "insert into account_approvers (integrator_id, account_id, approver_id, powers, created_at, updated_at)"
            " select $1, ('00000001-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,"
            " ('00000002-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, '{ted,pix_transfer,ted_batch}',"
            " now(), now() from generate_series(1, $2::int) n",
            integrator_key,
            ACCOUNTS,
        )
    async with db.connection() as connection:
        # Only what is filled: an empty table that was analysed is planned as if it stayed empty.
        await connection.execute("analyze accounts, approvers, contacts, account_approvers, integrators, credentials")
    return documents
