"""Requests by device that meet their twin between two looks at the database."""

import os
from typing import Any
from uuid import uuid4

import pytest

import aval.operations.request_transfer as request_transfer
from aval.domain.money import Brl
from aval.domain.request import TransferRequest
from aval.domain.transfer import Kind, Method, Payee
from aval.operations.request_transfer import Requested, Rules, request_transfers
from tests.batches import batch_request
from tests.changed import replace
from tests.devices.requests import active_device
from tests.factories import Party, make_keyring
from tests.stage import Stage


async def device_transfer(stage: Stage, party: Party) -> TransferRequest:
    """A Pix that a device is to approve."""
    key = uuid4()
    return TransferRequest(
        principal=await party.principal(stage.db),
        kind=Kind.PIX_TRANSFER,
        account_key=party.account.key,
        key=key,
        nonce=os.urandom(16),
        request_control_key=key,
        fingerprint=os.urandom(32),
        correlation_id="tests",
        amount=Brl(202_01),
        payee=Payee("Maria Souza"),
        pix_transfer_type="manual",
        approver_index=make_keyring().index_of(f"cpf:{party.document_number}"),
        method=Method.DEVICE,
        session_id=uuid4(),
    )


def meet_a_twin(monkeypatch: pytest.MonkeyPatch, name: str, twin: Any) -> None:
    """Let `twin` be done once, right after the first look of this name."""
    look, waiting = getattr(request_transfer, name), [twin]

    async def looked(*given: Any, **named: Any) -> Any:
        found = await look(*given, **named)
        if waiting:
            await waiting.pop()()
        return found

    monkeypatch.setattr(request_transfer, name, looked)


LOOKS = ["read_used_sessions", "read_request_facts", "read_facts"]


@pytest.mark.parametrize("name", LOOKS)
async def test_a_twin_is_a_replay_whenever_it_commits(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await active_device(stage, party)
    request = await device_transfer(stage, party)

    async def ask() -> Any:
        (made,) = await request_transfers(stage.db, requests=[request], keyring=make_keyring(), rules=Rules())
        return made

    meet_a_twin(monkeypatch, name, ask)
    made = await ask()
    assert isinstance(made, Requested) and made.is_replay


@pytest.mark.parametrize("name", LOOKS)
async def test_a_stranger_in_the_session_is_told_as_one(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await active_device(stage, party)
    request = await device_transfer(stage, party)
    stranger = replace(await device_transfer(stage, party), session_id=request.session_id)

    async def ask(asked: TransferRequest) -> Any:
        (made,) = await request_transfers(stage.db, requests=[asked], keyring=make_keyring(), rules=Rules())
        return made

    meet_a_twin(monkeypatch, name, lambda: ask(stranger))
    assert (await ask(request)).name == "pix.device_not_available"
    stored = "select count(*) from operations where operation_id = $1"
    assert await stage.value(stored, request.key) == 0


async def test_a_batch_takes_a_session_like_a_single(stage: Stage, party: Party) -> None:
    await active_device(stage, party)
    request = await device_transfer(stage, party)
    assert await stage.desk.request(request)
    batch = replace(await batch_request(stage, party), method=Method.DEVICE, session_id=request.session_id)
    with pytest.raises(Exception, match="device_not_available"):
        await stage.desk.request_batch(batch)
    made = await stage.desk.request_batch(replace(batch, session_id=uuid4()))
    assert made.challenge.method is Method.DEVICE
