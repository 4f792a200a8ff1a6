"""A real deployment for harnesses: a PostgreSQL of its own, `aval serve` and `aval worker` processes, and a caller.

    async with running_deployment(apis=2, workers=1, AVAL_WORKER_LEASE="2") as aval:
        party = await make_party(aval.db, mode="live", budgets=False, ted_hours=False, requests_per_second=None)
        answer = await aval.call("POST", f"/account/{party.account.key}/pix_transfer", party.pix(), key=party.api_key)
        tokens = await live_tokens(aval.db, [UUID(answer.json["pix_transfer_key"])])
        aval.apis[0].kill()
        await aval.apis[0].start()
        aval.kill_postgres()
        await aval.revive_postgres()

The keys file holds the keys of `tests.factories.make_keyring`, so everything in `tests/factories.py` works on `aval.db`
(a superuser's pool). SMS of live integrators go to a gateway in this process, `aval.sms`. Processes run in development,
write their logs beside their data, and end with this process.
"""

import asyncio
import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp import web

from aval.domain.keyring import Keyring, Purpose
from aval.domain.token import Alphabet, Token, TokenSeed, derived_token
from aval.storage.database import Database
from aval.storage.embedded import EmbeddedServer
from aval.storage.embedded_binaries import make_directory
from aval.storage.keys_file import KeysFile
from aval.storage.migrations import migrate
from tests.factories import Reply, make_keyring

IS_NIGHTLY = os.environ.get("AVAL_PROOF_NIGHTLY") == "1"
SEED = int(os.environ.get("AVAL_PROOF_SEED") or secrets.randbits(32))
SOURCE = Path(__file__).parents[2] / "src"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
CALL_TIMEOUT_S = 60.0


def figure(pull_request: int, nightly: int) -> int:
    """The figure of a promise for this run."""
    return nightly if IS_NIGHTLY else pull_request


class AvalProcess:
    """One `python -m aval …`; `kill` is -9, `freeze` is SIGSTOP. It can be started again."""

    def __init__(self, command: str, environment: Mapping[str, str], log: Path, port: int | None) -> None:
        self.log = log
        self.port = port
        self.url = None if port is None else f"http://127.0.0.1:{port}"
        self._arguments = [sys.executable, "-m", "aval", command, "--parent", str(os.getpid())]
        self._environment = {**environment, **({} if port is None else {"AVAL_PORT": str(port)})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start it; returns when an API answers /readyz, and at once for a worker, which tells nobody."""
        assert not self.is_running
        self._process = self._launched()
        async with asyncio.timeout(START_TIMEOUT_S):
            while self.url is not None and not await self._is_ready():
                assert self.is_running, self.log.read_text()
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kill it (-9) and return when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """Ask it to end and wait; it has to be running until now, and to end well."""
        assert self._process is not None and self.is_running, self.log.read_text()[-4000:]
        self.thaw()
        self._process.terminate()
        code = await asyncio.to_thread(self._process.wait, STOP_TIMEOUT_S)
        assert code == 0, (code, self.log.read_text()[-4000:])

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _launched(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._arguments, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _is_ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


class RunningAval:
    """What `running_deployment` lends."""

    def __init__(self, server: EmbeddedServer, db: Database, dsn: str) -> None:
        self.sms: list[dict[str, str]] = []  # every message the gateway took: message_key, destination, text
        self.apis: list[AvalProcess] = []
        self.workers: list[AvalProcess] = []
        self.db = db
        self.dsn = dsn
        self._server = server
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._turn = 0

    @property
    def processes(self) -> list[AvalProcess]:
        return [*self.apis, *self.workers]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str,
        api: AvalProcess | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One HTTP request, to the API processes in turn unless one is named; `body` is encoded unless it is bytes.

        Raises ConnectionError or TimeoutError when no whole answer came: then its outcome is unknown.
        """
        port, request = self._request(method, path, body, key, api, headers)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await self._exchange(port, request)

    async def cut(
        self, method: str, path: str, body: Any = None, *, key: str, after_s: float, headers: Mapping[str, str]
    ) -> None:
        """Send a request, and reset its connection a little later: its answer is lost, if there was one."""
        port, request = self._request(method, path, body, key, None, headers)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await asyncio.sleep(after_s)
        writer.transport.abort()

    def _request(
        self,
        method: str,
        path: str,
        body: Any,
        key: str,
        api: AvalProcess | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, bytes]:
        """The port of an API process and the bytes to send there."""
        if api is None:
            self._turn += 1
            api = self.apis[self._turn % len(self.apis)]
        assert api.port is not None
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        proof = {"Authorization": f"Bearer {key}"} if key else {}
        given = {"Host": f"127.0.0.1:{api.port}", **proof, **(headers or {})}
        if content:
            given = {"Content-Type": "application/json", **given, "Content-Length": str(len(content))}
        lines = "".join(f"{name}: {text}\r\n" for name, text in given.items())
        return api.port, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content

    async def _exchange(self, port: int, request: bytes) -> Reply:
        idle = self._idle.setdefault(port, [])
        while True:
            line = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            if not line[0].at_eof():
                break
            line[1].close()
        try:
            reply = await _asked(*line, request)
        except BaseException:
            line[1].close()
            raise
        if reply.headers.get("connection") == "close":
            line[1].close()
        else:
            idle.append(line)
        return reply

    def hang_up(self) -> None:
        """Close the connections that are idle."""
        for line in (line for idle in self._idle.values() for line in idle):
            line[1].close()

    def kill_postgres(self) -> None:
        """Kill the postmaster (-9); its sessions follow by themselves."""
        os.kill(self.postgres_pid, signal.SIGKILL)

    async def revive_postgres(self) -> None:
        """Start it again; it recovers from its log."""
        await self._server.start()

    @property
    def postgres_pid(self) -> int:
        return int((self._server.place.cluster / "postmaster.pid").read_text().split()[0])


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Reply:
    """One exchange on a connection of our own: a client library would cost more than the API it asks."""
    writer.write(request)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        assert "transfer-encoding" not in headers
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    return Reply(int(status.split()[1]), headers, body)


@asynccontextmanager
async def running_gateway(sms: list[dict[str, str]]) -> AsyncIterator[str]:
    """An SMS gateway on loopback that writes down what it takes; lends its URL."""

    async def take(request: web.Request) -> web.Response:
        sms.append(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/sms", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/sms"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_deployment(*, apis: int = 2, workers: int = 1, **environment: str) -> AsyncIterator[RunningAval]:
    """Start everything, AVAL_ variables as given; at the end every process has to be running, and to stop well."""
    folder = make_folder()
    server = EmbeddedServer(folder / "server")
    processes: list[AvalProcess] = []
    try:
        async with AsyncExitStack() as stack:
            dsn = await server.start()
            await migrate(dsn)
            write_keys(folder / "keys.json", make_keyring())
            db = await Database.open(dsn, application_name="aval proof")
            stack.push_async_callback(db.close)
            aval = RunningAval(server, db, dsn)
            stack.callback(aval.hang_up)
            gateway = await stack.enter_async_context(running_gateway(aval.sms))
            variables = process_environment(folder, dsn, {"AVAL_SMS_GATEWAY_URL": gateway, **environment})
            for number in range(apis):
                aval.apis.append(AvalProcess("serve", variables, folder / f"api-{number}.log", free_port()))
            for number in range(workers):
                aval.workers.append(AvalProcess("worker", variables, folder / f"worker-{number}.log", None))
            processes = aval.processes
            await asyncio.gather(*(process.start() for process in processes))
            yield aval
            aval.hang_up()
            await asyncio.gather(*(process.stop() for process in aval.processes))
    finally:
        for process in processes:
            process.kill()
        await server.stop()
        shutil.rmtree(folder)


def make_folder() -> Path:
    """A directory of this run; the account PostgreSQL runs under may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="aval-proof-")).resolve()
    folder.chmod(0o711)
    make_directory(folder / "server")
    return folder


def process_environment(folder: Path, dsn: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of Aval's processes: nothing of ours but what is named here."""
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith("AVAL_")},
        "PYTHONPATH": str(SOURCE),
        "AVAL_ENV": "development",
        "AVAL_DATABASE_URL": dsn,
        "AVAL_DATA_DIR": str(folder),
        "AVAL_KEYS_FILE": str(folder / "keys.json"),
        "AVAL_LOG_LEVEL": "warning",
        **environment,
    }


def write_keys(path: Path, keyring: Keyring) -> None:
    """Write a keys file that processes accept."""
    keys = [
        {
            "purpose": key.purpose.value,
            "kid": key.kid,
            "key": base64.b64encode(key.secret).decode(),
            "created_at": key.created_at.isoformat(),
        }
        for purpose in Purpose
        for key in keyring.all_of(purpose)
    ]
    path.touch(mode=0o600)
    path.write_text(json.dumps({"keys": keys}))
    KeysFile(path).load()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def live_tokens(
    db: Database, operation_keys: Collection[UUID], keyring: Keyring | None = None
) -> dict[UUID, Token]:
    """The live token of each operation, derived as its message would hold it: what only the approver sees."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select o.*, c.generation, c.kid, c.alphabets from aval.operations o join aval.challenges c"
            " using (integrator_id, operation_id) where o.operation_id = any($1)",
            list(operation_keys),
        )
    keys = keyring or make_keyring()
    return {row["operation_id"]: token_of(keys, row, row["generation"]) for row in rows}


def token_of(keyring: Keyring, row: Any, generation: int) -> Token:
    """The token of one generation of a row with the columns of `operations` and `challenges`."""
    seed = TokenSeed(row["integrator_id"], row["operation_id"], row["details_digest"], row["nonce"])
    secret = keyring.find(Purpose.TOKEN, row["kid"]).secret
    return derived_token(
        secret, seed, generation=generation, alphabet=Alphabet.of_letter(row["alphabets"][generation - 1])
    )
