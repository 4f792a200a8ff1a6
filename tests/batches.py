"""Batches handed to the desk as the edge would hand them, so that operations are tested without it."""

import asyncio
import os
from typing import Any
from uuid import UUID, uuid4

from aval.domain.batch import BatchItem, BatchRequest
from aval.domain.money import Brl
from aval.domain.token import Token
from aval.domain.transfer import Kind, Method, Payee
from aval.operations.cancel_transfer import CancelCall
from aval.operations.confirm_transfer import ConfirmCall, Confirmed, Replay
from aval.operations.fresh import fresh_key
from aval.operations.request_batch import request_batch
from aval.operations.request_transfer import Requested, Rules
from aval.operations.resend_token import ResendCall
from aval.storage.challenges import Question
from aval.storage.database import Database
from aval.storage.requests import read_operation
from tests.changed import replace
from tests.factories import Party, make_keyring
from tests.stage import Stage

TARGET = {
    "account_branch": "0001",
    "account_number": "7654321",
    "account_digit": "0",
    "owner_document_number": "11222333000181",
    "owner_name": "Padaria Boa Vista Ltda",
    "ispb": "87654321",
    "account_type": "checking_account",
}
AMOUNTS = (1500_00, 80_50, 42_00)


def item(centavos: int, **change: Any) -> BatchItem:
    """A manual item; its fingerprint is its own."""
    payee = Payee(name=TARGET["owner_name"], document=TARGET["owner_document_number"], target_account=TARGET)
    given = {
        "key": fresh_key(),
        "request_control_key": uuid4(),
        "amount": Brl(centavos),
        "nonce": os.urandom(16),
        "fingerprint": os.urandom(32),
        "payee": payee,
        "pix_transfer_type": "manual",
    }
    return BatchItem(**given | change)


def items(*centavos: int) -> tuple[BatchItem, ...]:
    return tuple(item(amount) for amount in centavos)


async def batch_request(stage: Stage, party: Party, **change: Any) -> BatchRequest:
    """A Pix batch of three items, approved by SMS."""
    given = {
        "principal": await party.principal(stage.db),
        "kind": Kind.PIX_TRANSFER_BATCH,
        "account_key": party.account.key,
        "key": fresh_key(),
        "nonce": os.urandom(16),
        "request_control_key": uuid4(),
        "fingerprint": os.urandom(32),
        "correlation_id": "tests",
        "items": items(*AMOUNTS),
        "approver_index": make_keyring().index_of(f"cpf:{party.document_number}"),
        "method": Method.SMS,
    }
    return BatchRequest(**given | change)


async def requested(stage: Stage, party: Party, **change: Any) -> Requested:
    """A batch that waits for its token."""
    return await stage.desk.request_batch(await batch_request(stage, party, **change))


async def request_in(db: Database, request: BatchRequest, *, rules: Rules | None = None) -> Requested:
    """Request a batch past the desk, as another process would."""
    return await request_batch(db, request=request, keyring=make_keyring(), rules=rules or Rules())


async def outcomes(*calls: Any) -> list[Any]:
    """What calls at the same moment came to, exceptions among it."""
    return list(await asyncio.gather(*calls, return_exceptions=True))


async def question(stage: Stage, party: Party, key: UUID) -> Question:
    return Question(await party.principal(stage.db), party.account.key, key)


async def confirm(
    stage: Stage, party: Party, key: UUID, token: str | None, kind: Kind = Kind.PIX_TRANSFER_BATCH
) -> Confirmed | Replay:
    """Submit a token to the desk."""
    call = ConfirmCall(
        question=await question(stage, party, key),
        kind=kind,
        token=None if token is None else Token(token),
        fingerprint=b"",
        correlation_id="tests",
        render=lambda _: None,
    )
    return await stage.desk.confirm(call)


async def approve(stage: Stage, party: Party, key: UUID, kind: Kind = Kind.PIX_TRANSFER_BATCH) -> Confirmed | Replay:
    return await confirm(stage, party, key, await stage.token(party, key), kind)


async def resend(
    stage: Stage, party: Party, key: UUID, kind: Kind = Kind.PIX_TRANSFER_BATCH, method: Method | None = None
) -> Confirmed | Replay:
    return await stage.desk.resend(
        ResendCall(await question(stage, party, key), kind, method, b"", "tests", lambda _: (202, b""))
    )


async def cancel(stage: Stage, party: Party, key: UUID, kind: Kind = Kind.PIX_TRANSFER_BATCH) -> Confirmed | Replay:
    call = CancelCall(await question(stage, party, key), kind, b"", "tests", lambda *_: (200, b""))
    return await stage.desk.cancel(call)


async def seen(stage: Stage, party: Party, *keys: UUID) -> list[tuple[str, str | None]]:
    """Status and reason of operations as a GET shows them."""
    shown = []
    for key in keys:
        async with stage.db.connection() as connection:
            found = await read_operation(connection, party.key, key)
        assert found is not None
        shown.append((found[1].status.value, found[1].rejection_reason))
    return shown


async def stored_of(stage: Stage, *keys: UUID) -> list[int]:
    """How many rows of each table belong to a batch and its items: of these nothing is ever half there."""
    return [
        await stage.value(f"select count(*) from {table} where operation_id = any($1)", list(keys))  # noqa: S608
        for table in ("operations", "challenges", "settlement_jobs", "outbox")
    ]


def keys_of(request: BatchRequest) -> list[UUID]:
    """The keys of a batch and of its items."""
    return [request.key, *(asked.key for asked in request.items)]


def again(*asked: BatchItem) -> tuple[BatchItem, ...]:
    """The same items as another call would ask for them: Aval's own keys are new."""
    return tuple(replace(one, key=fresh_key()) for one in asked)


class CountingDatabase:
    """Counts the statements that go through its connections."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.statements = 0

    def __getattr__(self, name: str):
        lend = getattr(self._db, name)

        def lent():
            return _Counted(self, lend())

        return lent


class _Counted:
    def __init__(self, counter: CountingDatabase, lent) -> None:
        self._counter, self._lent = counter, lent

    async def __aenter__(self):
        self._connection = await self._lent.__aenter__()
        return self

    async def __aexit__(self, *error: object):
        return await self._lent.__aexit__(*error)

    def __getattr__(self, name: str):
        method = getattr(self._connection, name)

        def called(*arguments: object, **named: object):
            self._counter.statements += 1
            return method(*arguments, **named)

        return called
