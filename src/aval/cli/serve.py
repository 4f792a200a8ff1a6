"""`aval serve`: the API, in one process or several."""

import asyncio
import os
import socket
from contextlib import ExitStack, closing
from typing import Annotated

import typer
import uvloop

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment, Sockets
from aval.cli.gate import API_ROLES, pass_gate
from aval.cli.processes import Child, bound, keep_alive, stop_on_signals, stop_with_parent
from aval.cli.report import tell, warn

Inherited = Annotated[int | None, typer.Option(hidden=True)]


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("serve")
    def serve(api_socket: Inherited = None, ops_socket: Inherited = None, parent: Inherited = None) -> None:
        """Answer the API on AVAL_HOST and AVAL_PORT; refuses to start on unsafe settings."""
        deployment = open_deployment("production")
        if parent is None and deployment.api_processes > 1:
            code = asyncio.run(_serve_in_processes(deployment))
            raise typer.Exit(code)
        with closing(_taken_over(api_socket, ops_socket) or bound_sockets(deployment)) as sockets:
            uvloop.run(_serve(deployment, sockets, parent))


def bound_sockets(deployment: Deployment) -> Sockets:
    """Bind what a lone API process listens on; raises CommandRefused."""
    with ExitStack() as opened:
        api = opened.enter_context(bound(deployment.host, deployment.port, "AVAL_PORT"))
        sockets = Sockets(api, ops_socket_of(deployment, 0))
        opened.pop_all()
    return sockets


def ops_socket_of(deployment: Deployment, process: int) -> socket.socket | None:
    """Bind the listener of health and metrics; each further process has the next port, for its numbers are its own."""
    if not deployment.has_ops_port:
        return None
    return bound(deployment.host, deployment.ops_port + process, "AVAL_OPS_PORT")


def api_children(deployment: Deployment, api: socket.socket, opened: ExitStack) -> list[Child]:
    """The API processes to keep alive over one socket; `opened` closes the other ones at the end."""
    children = []
    for number in range(deployment.api_processes):
        arguments, inherited = ["serve", "--api-socket", str(api.fileno())], [api.fileno()]
        ops = ops_socket_of(deployment, number)
        if ops is not None:
            opened.enter_context(ops)
            arguments += ["--ops-socket", str(ops.fileno())]
            inherited.append(ops.fileno())
        children.append(Child("API" if number == 0 else f"API {number + 1}", arguments, inherited))
    return children


async def _serve_in_processes(deployment: Deployment) -> int:
    stop = stop_on_signals()
    with ExitStack() as opened:
        api = opened.enter_context(bound(deployment.host, deployment.port, "AVAL_PORT"))
        children = api_children(deployment, api, opened)
        async with deployment.dsn(notice=tell) as dsn:
            await pass_gate(deployment, dsn, API_ROLES)
            environment = deployment.child_environment(dsn)
            return await keep_alive(children, environment, stop, grace_s=deployment.shutdown_grace_s + 5, tell=warn)


async def _serve(deployment: Deployment, sockets: Sockets, parent: int | None) -> None:
    stop = stop_on_signals()
    watching = asyncio.create_task(stop_with_parent(parent, stop))
    async with deployment.dsn(notice=tell) as dsn:
        for finding in await pass_gate(deployment, dsn, API_ROLES):
            warn(finding.what_to_do)
        if parent is None:
            tell(f"Aval answers on http://{deployment.host}:{deployment.port} (process {os.getpid()}).")
        await deployment.serve_api(dsn, sockets, stop)
    watching.cancel()


def _taken_over(api: int | None, ops: int | None) -> Sockets | None:
    if api is None:
        return None
    return Sockets(socket.socket(fileno=api), None if ops is None else socket.socket(fileno=ops))
