"""`aval run`: everything on one machine – PostgreSQL, keys, migrations, API and worker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment, embedded, refused_keys
from aval.cli.migrate import bring_up_to_date
from aval.cli.processes import Child, bound, keep_alive, stop_on_signals
from aval.cli.report import tell, warn
from aval.cli.serve import api_children
from aval.storage.keys_file import KeysFileError

READY_LOOK_S = 0.1
ANSWER_S = 30.0  # the socket listens before a process answers on it
WORKER = Child("worker", ["worker"])


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("run")
    def run() -> None:
        """Start everything on this machine: PostgreSQL, API and worker; Ctrl-C stops it, and the data stays."""
        raise typer.Exit(asyncio.run(_run(open_deployment("development"))))


async def _run(deployment: Deployment) -> int:
    stop = stop_on_signals()
    with contextlib.ExitStack() as opened:
        api = opened.enter_context(bound(deployment.host, deployment.port, "AVAL_PORT"))
        children = [*api_children(deployment, api, opened), WORKER]
        async with prepared(deployment) as dsn:
            return await _serve_and_work(deployment, dsn, children, stop)


@contextlib.asynccontextmanager
async def prepared(deployment: Deployment) -> AsyncIterator[str]:
    """Lend the address of a migrated database that is kept running, with the keys made if there were none."""
    ensure_keys(deployment)
    async with running_database(deployment) as dsn:
        owner_dsn = deployment.migrate_url or dsn
        applied = await bring_up_to_date(owner_dsn, process_dsn=dsn)
        if applied:
            tell(f"Prepared the database ({len(applied)} migrations).")
        yield dsn


def ensure_keys(deployment: Deployment) -> None:
    """Make the keys file unless there is one; raises CommandRefused."""
    try:
        if not deployment.keys.path.exists():
            deployment.keys.create()
            tell(f"Made the secret keys: {deployment.keys.path}")
    except KeysFileError as error:
        raise refused_keys(error) from None


@contextlib.asynccontextmanager
async def running_database(deployment: Deployment) -> AsyncIterator[str]:
    """Lend the address of the database; the embedded one is started again if it dies."""
    if deployment.database_url:
        yield deployment.database_url
        return
    tell("Starting PostgreSQL …")
    async with embedded(deployment.data_dir, tell) as server:
        looking_after = asyncio.create_task(server.keep_running())
        try:
            yield server.place.dsn
        finally:
            looking_after.cancel()


async def _serve_and_work(deployment: Deployment, dsn: str, children: Sequence[Child], stop: asyncio.Event) -> int:
    environment = deployment.child_environment(dsn)
    greeting = asyncio.create_task(_greet(deployment, stop))
    try:
        return await keep_alive(children, environment, stop, grace_s=deployment.shutdown_grace_s + 5, tell=warn)
    finally:
        greeting.cancel()
        tell("Stopped. The data stays; `aval run` goes on with it.")


async def _greet(deployment: Deployment, stop: asyncio.Event) -> None:
    """Once the API answers, say how to go on."""
    while not await answers(deployment.host, deployment.port):
        if stop.is_set():
            return
        await asyncio.sleep(READY_LOOK_S)
    ops = f"http://{deployment.host}:{deployment.ops_port}"
    lines = (
        f"API            [bold]http://{deployment.host}:{deployment.port}[/]",
        f"Documentation  {ops}/docs",
        f"Data           {escape(str(deployment.data_dir))}",
        "",
        "Next           [bold]aval sandbox seed --json[/]  makes someone to play with",
        "Tokens         GET /sandbox/inbox shows what approvers receive",
        "Stop           Ctrl-C",
    )
    Console(stderr=True, highlight=False).print(Panel("\n".join(lines), title="Aval is running", expand=False))


async def answers(host: str, port: int) -> bool:
    """Whether an API process behind the socket answers HTTP."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 ")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
