"""`aval demo`: a real Aval of its own, and every way to approve through all of it."""

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import typer

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.cli.processes import Child, bound, keep_alive, stop_on_signals
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell, warn
from aval.cli.run import WORKER, prepared
from aval.cli.serve import api_children
from aval.storage.keys_file import KeysFile

HOST = "127.0.0.1"
GRACE_S = 10.0
EXIT_INTERRUPTED = 130


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("demo")
    def demo() -> None:
        """Watch transfers go from request to settled, by token and by device, on an Aval of AVAL_DATA_DIR/demo."""
        raise typer.Exit(asyncio.run(_demo(open_deployment("development"))))


async def _demo(deployment: Deployment) -> int:
    stop = stop_on_signals()
    with ExitStack() as opened:
        api = opened.enter_context(_free_socket(deployment.port))
        own = _own(deployment, api.getsockname()[1])
        children = [*api_children(own, api, opened), WORKER]
        try:
            async with prepared(own) as dsn:
                return await _play(own, dsn, children, stop)
        except CommandRefused as refused:
            hint = f"The demo keeps its data in {own.data_dir}; once that is removed, it begins afresh."
            raise CommandRefused(*refused.sentences, hint) from None


def _free_socket(port: int) -> socket.socket:
    try:
        return bound(HOST, port, "AVAL_PORT")
    except CommandRefused:
        return bound(HOST, 0, "AVAL_PORT")


def _own(deployment: Deployment, port: int) -> Deployment:
    """A deployment that shares nothing with the one of the settings, so that the demo cannot touch real data."""
    data_dir = deployment.data_dir / "demo"
    return replace(
        deployment,
        is_production=False,
        data_dir=data_dir,
        keys=KeysFile(data_dir / "keys.json"),
        database_url="",
        migrate_url="",
        is_standby_required=False,
        host=HOST,
        port=port,
        ops_port=port,
        api_processes=1,
    )


async def _play(own: Deployment, dsn: str, children: Sequence[Child], stop: asyncio.Event) -> int:
    """Keep the processes alive for the length of the show; exit code 2 if one refuses to start."""
    from aval.cli.demo_show import show  # here, so that no other command carries it in memory

    if stop.is_set():
        return EXIT_INTERRUPTED
    running = keep_alive(children, _environment(own, dsn), stop, grace_s=GRACE_S, tell=warn)
    keeping = asyncio.create_task(running)
    try:
        code = await _until_stopped(show(own, dsn), stop)
    finally:
        stop.set()
        refused = await keeping
    return refused or code


def _environment(own: Deployment, dsn: str) -> dict[str, str]:
    """None of the settings around us, and what the demo's processes need."""
    around = own.child_environment(dsn)
    return {name: value for name, value in around.items() if not name.startswith("AVAL_")} | {
        "AVAL_ENV": "development",
        "AVAL_DATABASE_URL": dsn,
        "AVAL_DATA_DIR": str(own.data_dir),
        "AVAL_HOST": own.host,
        "AVAL_PORT": str(own.port),
        "AVAL_LOG_LEVEL": "error",
    }


async def _until_stopped(show: Coroutine[Any, Any, int], stop: asyncio.Event) -> int:
    """Run the show to its end, unless Ctrl-C or a process that refuses to start ends it."""
    showing, stopping = asyncio.create_task(show), asyncio.create_task(stop.wait())
    await asyncio.wait({showing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if showing.done():
        return showing.result()
    showing.cancel()
    await asyncio.wait({showing})
    tell("Stopped before its end; nothing of it is left running.")
    return EXIT_INTERRUPTED
