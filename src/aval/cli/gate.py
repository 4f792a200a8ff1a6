"""The gate every process passes before it works (promises.md D19), and `aval doctor` shows."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from aval.cli.deployment import Deployment, opened
from aval.cli.refusal import CommandRefused
from aval.domain.keyring import OPTIONAL
from aval.storage.database import Connection
from aval.storage.migrations import read_migrations
from aval.storage.production import has_standby, sandbox_shortcuts
from aval.storage.readiness import has_migrations
from aval.storage.safety import Finding, unsafe_settings

API_ROLES = ("aval_app_api",)
WORKER_ROLES = ("aval_app_settle", "aval_app_notify", "aval_app_webhook", "aval_sealer")


async def pass_gate(deployment: Deployment, dsn: str, roles: Iterable[str]) -> list[Finding]:
    """Refuse to start while anything unsafe is left; answers what is worth a warning."""
    findings = await all_findings(deployment, dsn, roles)
    refused = [finding.what_to_do for finding in findings if finding.severity == "refuse"]
    if refused:
        raise CommandRefused(*refused)
    return findings


async def all_findings(deployment: Deployment, dsn: str, roles: Iterable[str]) -> list[Finding]:
    """Everything of D19 about this process, its keys and its database; raises CommandRefused if it cannot look."""
    found = local_findings(deployment)
    for role in roles:
        async with opened(dsn, role) as db, db.connection() as connection:
            found += await unsafe_settings(connection, dsn=dsn, clock=lambda: datetime.now(UTC))
            found += await _deployment_findings(deployment, connection)
    return list(dict.fromkeys(found))


def local_findings(deployment: Deployment) -> list[Finding]:
    """What can be seen without the database."""
    return [*_process_findings(deployment), *_key_findings(deployment), *_stranger_findings(deployment.strangers)]


def _process_findings(deployment: Deployment) -> list[Finding]:
    found = []
    if sys.flags.optimize:
        found.append(Finding("python_optimize", "refuse", "Run Python without -O and PYTHONOPTIMIZE: checks are lost."))
    is_debug = sys.flags.dev_mode or asyncio.get_running_loop().get_debug()
    if is_debug and deployment.is_production:
        found.append(Finding("debug", "refuse", "Unset PYTHONDEVMODE and PYTHONASYNCIODEBUG in production."))
    return found


def _key_findings(deployment: Deployment) -> list[Finding]:
    try:
        keyring = deployment.keyring()
    except CommandRefused as refused:
        return [Finding("keys", "refuse", sentence) for sentence in refused.sentences]
    sentence = (
        "Run `aval admin keyring rotate {}`: the keys file is older than this purpose, which answers 503 without it."
    )
    missing = sorted(purpose for purpose in OPTIONAL if not keyring.all_of(purpose))
    return [Finding(f"keys:{purpose}", "warn", sentence.format(purpose)) for purpose in missing]


def _stranger_findings(strangers: Sequence[str]) -> list[Finding]:
    return [Finding(f"unknown:{name}", "warn", f"{name} is no setting of Aval; is it misspelt?") for name in strangers]


async def _deployment_findings(deployment: Deployment, connection: Connection) -> list[Finding]:
    found = []
    if not await has_migrations(connection, [migration.version for migration in read_migrations()]):
        found.append(Finding("migrations", "refuse", "Run `aval migrate`: the database is older than this release."))
    if deployment.is_standby_required and not await has_standby(connection):
        sentence = "Name a standby in synchronous_standby_names, or switch AVAL_STANDBY_REQUIRED off."
        found.append(Finding("standby", "refuse", sentence))
    if deployment.is_production:
        found += [
            Finding(
                f"shortcut:{integrator}", "refuse", f"Give the live integrator {integrator} {needs}, or deactivate it."
            )
            for integrator, needs in await sandbox_shortcuts(connection)
        ]
    return found
