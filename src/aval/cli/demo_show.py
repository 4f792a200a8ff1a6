"""The demo as a whole: who watches, who plays, and the acts between opening and closing."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import aiohttp

from aval.cli.admin import command_author
from aval.cli.demo_calls import Caller, DemoFailed, Receiver, Wire, bearing, until
from aval.cli.demo_cast import ACCOUNT_NAME, APPROVER_NAME, INTEGRATOR_NAME, Cast, engage, listen
from aval.cli.demo_screen import Screen
from aval.cli.demo_stage import Stage
from aval.cli.demo_story import play
from aval.cli.deployment import Deployment, opened
from aval.cli.run import answers
from aval.cli.seed import base_url
from aval.client import ApiKey, CallFailed, NoCredential
from aval.domain.caller import BACK_OFFICE_SCOPES
from aval.domain.evidence import public_key_of
from aval.domain.evidence_check import EvidenceReport, check_evidence
from aval.domain.keyring import Keyring, Purpose
from aval.operations.create_admin_key import SCOPES, create_admin_key
from aval.operations.revoke_admin_key import revoke_admin_key
from aval.operations.seal_evidence import export_evidence
from aval.storage.database import Database
from aval.storage.ledger import AccountLedger, read_ledger

OPENING = (
    "A second factor in front of money and points. What follows is real: PostgreSQL, API and worker run on this "
    "machine, every line comes from an answer of the API. Nothing leaves this machine."
)
CLOSING = (
    ("make run", "an Aval of your own, which keeps its data"),
    ("README.md", "the same TED by hand, with curl"),
    ("docs/guides/integrate.md", "fifteen minutes from nothing to webhooks"),
    ("docs/guides/redemptions.md", "the same for points of a loyalty programme"),
    ("docs/architecture.md", "how it works, on one page"),
)


async def show(own: Deployment, dsn: str) -> int:
    """Play everything; exit code 1 if Aval does not do what the demo tells."""
    screen, started = Screen(), time.monotonic()
    screen.opening(OPENING)
    try:
        await until("the API answers", partial(_is_up, own))
        async with _stage(own, dsn, screen) as stage:
            await play(stage)
    except DemoFailed as failed:
        screen.failed(failed.what, failed.seen)
        return 1
    except CallFailed as failed:
        screen.failed(f"{failed.call} succeeds", str(failed).removeprefix(f"{failed.call}: "))
        return 1
    screen.closing(f"All of it took {time.monotonic() - started:.0f} seconds.", CLOSING)
    return 0


async def _is_up(own: Deployment) -> bool | None:
    return await answers(own.host, own.port) or None


@asynccontextmanager
async def _stage(own: Deployment, dsn: str, screen: Screen) -> AsyncIterator[Stage]:
    url = base_url(own.host, own.port)
    async with (
        opened(dsn, "aval_app_api") as db,
        opened(dsn, "aval_readonly") as reader,
        opened(dsn, "aval_sealer") as sealer,
        Receiver() as receiver,
        aiohttp.ClientSession() as session,
        _admin_key(own, db) as admin_key,
    ):
        screen.fact(f"The API answers on [bold]{url}[/], a worker is at work.")
        operator = Caller(session, url, bearing(admin_key))
        cast = await engage(operator)
        wire, phone = Wire(url, ApiKey(cast.api_key)), Wire(url, NoCredential())
        async with wire.aval, phone.aval:
            await listen(wire, receiver)
            screen.fact(
                f"[bold]{INTEGRATOR_NAME}[/] may call; [bold]{ACCOUNT_NAME}[/] has an account there, and "
                f"[bold]{APPROVER_NAME}[/] approves for it."
            )
            evidence = partial(_evidence, sealer, own.keyring())
            yield Stage(screen, wire, phone, operator, receiver, cast, partial(_ledger, reader, cast), evidence)


@asynccontextmanager
async def _admin_key(own: Deployment, db: Database) -> AsyncIterator[str]:
    """Lend an admin key that is revoked afterwards."""
    name = f"demo {uuid4()}"
    _, secret = await create_admin_key(
        db, name=name, scopes=(*SCOPES, *BACK_OFFICE_SCOPES), keyring=own.keyring(), author=command_author()
    )
    try:
        yield secret
    finally:
        await revoke_admin_key(db, name=name, author=command_author())


async def _ledger(reader: Database, cast: Cast) -> AccountLedger:
    async with reader.connection() as connection:
        found = await read_ledger(connection, cast.integrator_key, cast.account_key)
    assert found is not None
    return found


async def _evidence(sealer: Database, keyring: Keyring, operation_key: UUID) -> EvidenceReport | None:
    found = await export_evidence(sealer, operation_key=operation_key, integrator_key=None, keyring=keyring)
    if not found:
        return None
    return check_evidence(found[0].file.encode(), [public_key_of(keyring.current(Purpose.EVIDENCE))])
