"""`aval worker`: delivers tokens, settles, calls webhooks, ends approval windows."""

import asyncio
import os
from typing import Annotated

import typer
import uvloop

from aval.cli.deployment import CommandTree, Deployment, OpenDeployment
from aval.cli.gate import WORKER_ROLES, pass_gate
from aval.cli.processes import stop_on_signals, stop_with_parent
from aval.cli.report import tell, warn


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("worker")
    def worker(parent: Annotated[int | None, typer.Option(hidden=True)] = None) -> None:
        """Deliver tokens, settle, call webhooks, end approval windows, seal evidence and audit; run any number."""
        uvloop.run(_work(open_deployment("production"), parent))


async def _work(deployment: Deployment, parent: int | None) -> None:
    stop = stop_on_signals()
    watching = asyncio.create_task(stop_with_parent(parent, stop))
    async with deployment.dsn(notice=tell) as dsn:
        for finding in await pass_gate(deployment, dsn, WORKER_ROLES):
            warn(finding.what_to_do)
        if parent is None:
            tell(f"The worker is at work (process {os.getpid()}).")
        await deployment.run_worker(dsn, stop)
    watching.cancel()
