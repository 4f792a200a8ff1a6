"""Registering devices where several calls want the same thing at once."""

import asyncio
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.principal import PrincipalStale
from aval.operations.challenge_device import challenge_device
from aval.operations.register_device import DeviceRequest, register_device
from aval.operations.request_transfer import Requested, Rules
from aval.storage.database import LockNotWon
from tests.changed import replace
from tests.devices.requests import device_request
from tests.factories import Party, make_keyring
from tests.stage import Stage


async def register(stage: Stage, request: DeviceRequest) -> Requested:
    return await register_device(stage.parts.db, request=request, keyring=make_keyring(), rules=Rules())


async def outcomes(stage: Stage, *requests: DeviceRequest) -> list[str]:
    """What each of several calls at once came to."""
    found = await asyncio.gather(*(register(stage, request) for request in requests), return_exceptions=True)
    return sorted(each.name if isinstance(each, Refusal) else f"replay {each.is_replay}" for each in found)  # type: ignore[union-attr]


@pytest.mark.parametrize("budgets", [False, True])
async def test_the_same_registration_at_once_is_made_once(stage: Stage, budgets: bool) -> None:
    request = await device_request(stage, await stage.party(budgets=budgets))
    assert await outcomes(stage, *[request] * 5) == ["replay False", *["replay True"] * 4]


@pytest.mark.parametrize("budgets", [False, True])
async def test_one_key_serves_one_of_two(stage: Stage, budgets: bool) -> None:
    party = await stage.party(budgets=budgets)
    first = await device_request(stage, party)
    second = await device_request(stage, party, first.asked.key)
    assert await outcomes(stage, first, second) == ["device.idempotency_conflict", "replay False"]
    third = await device_request(stage, party)
    stolen = replace(third, asked=replace(third.asked, key=uuid4()))
    assert await outcomes(stage, stolen) == ["device.invalid_device_proof"]  # it was proven for another key


async def test_a_revoked_caller_registers_nothing(stage: Stage, party: Party) -> None:
    request = await device_request(stage, party)
    await stage.execute("update credentials set revoked_at = now() where integrator_id = $1", party.key)
    with pytest.raises(PrincipalStale):
        await register(stage, request)


async def test_an_unknown_account_registers_nothing(stage: Stage, party: Party) -> None:
    request = await device_request(stage, party)
    with pytest.raises(Refusal, match="device.account_not_found"):
        await register(stage, replace(request, asked=replace(request.asked, account_key=uuid4())))


async def test_who_never_wins_is_told_to_come_again(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that others take and free again between two looks; it cannot be in earnest, as nothing is ever freed."""

    async def taken(*_: object) -> frozenset[UUID]:
        return frozenset()

    request = await device_request(stage, party)
    monkeypatch.setattr("aval.operations.register_device.insert_transfers", taken)
    with pytest.raises(LockNotWon):
        await register(stage, request)


async def test_a_session_id_is_challenged_once(stage: Stage, party: Party) -> None:
    index = make_keyring().index_of(f"cpf:{party.document_number}")
    session_id = uuid4()

    async def ask() -> object:
        return await challenge_device(
            stage.parts.db,
            integrator_key=party.key,
            account_key=party.account.key,
            session_id=session_id,
            document_index=index,
        )

    found = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(each, Refusal) for each in found) == 1
