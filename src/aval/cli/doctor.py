"""`aval doctor`: everything the gate would say, without starting anything."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.gate import API_ROLES, WORKER_ROLES, all_findings, local_findings
from aval.cli.processes import EXIT_REFUSED
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell
from aval.storage.safety import Finding


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the command."""

    @commands.root.command("doctor")
    def doctor(
        is_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
    ) -> None:
        """Look for unsafe settings of this process, its keys and its database; fails if any would stop `serve`."""
        findings = asyncio.run(_look(open_deployment))
        is_safe = all(finding.severity != "refuse" for finding in findings)
        if is_json:
            told = [{"name": each.name, "severity": each.severity, "what_to_do": each.what_to_do} for each in findings]
            typer.echo(json.dumps({"is_safe": is_safe, "findings": told}, ensure_ascii=False))
        else:
            _print(findings, is_safe)
        if not is_safe:
            raise typer.Exit(EXIT_REFUSED)


async def _look(open_deployment: OpenDeployment) -> list[Finding]:
    """What keeps the doctor from looking on is a finding itself."""
    found: list[Finding] = []
    subject = "settings"
    try:
        deployment = open_deployment()
        found += local_findings(deployment)
        subject = "database"
        async with deployment.dsn(notice=tell) as dsn:
            found += await all_findings(deployment, dsn, (*API_ROLES, *WORKER_ROLES))
    except CommandRefused as refused:
        found += [Finding(subject, "refuse", sentence) for sentence in refused.sentences]
    return list(dict.fromkeys(found))


def _print(findings: Sequence[Finding], is_safe: bool) -> None:
    console = Console(highlight=False)
    if findings:
        table = Table("finding", "", "what to do")
        for each in sorted(findings, key=lambda finding: finding.severity):
            table.add_row(each.name, each.severity, each.what_to_do)
        console.print(table)
    console.print("Aval would start." if is_safe else "Aval refuses to start until every `refuse` is gone.")
