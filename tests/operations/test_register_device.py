"""Registering devices where several calls want the same thing at once."""

import asyncio
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.principal import PrincipalStale
from aval.operations.challenge_device import challenge_device
from aval.operations.expire_window import expire_windows
from aval.operations.register_device import DeviceRequest, register_device
from aval.operations.request_transfer import Requested, Rules
from aval.storage.database import LockNotWon
from tests.changed import replace
from tests.devices.requests import device_request
from tests.factories import Party, make_keyring
from tests.stage import Stage, until, working


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


async def test_the_sweeper_ends_a_registration_under_its_own_role(own_stage: Stage) -> None:
    made = await register(own_stage, await device_request(own_stage, await own_stage.party()))
    await own_stage.shift(made.transfer.key, 3_600)
    await expire_windows(await own_stage.open_as("aval_app_settle"), most=100)
    assert await own_stage.status(made.transfer.key) == ("rejected", "approval_window_expired")
    assert await own_stage.events(made.transfer.key) == [(1, "aval.device.status_change")]


async def test_a_worker_brings_the_token_and_then_the_notice(stage: Stage, party: Party) -> None:
    made = await register(stage, await device_request(stage, party))
    key = made.transfer.key

    async def delivered() -> list[str]:
        rows = await stage.fetch(
            "select topic from outbox where approver_id = $1 and state = 'delivered'", party.approver.key
        )
        return sorted(topic for (topic,) in rows)

    async def both() -> bool:
        return await delivered() == ["notice", "token"]

    async with working(await stage.worker()):
        assert await until(delivered) == ["token"]
        reply = await stage.call(party, "PUT", f"device/{key}/validate", {"token": await stage.token(party, key)})
        assert reply.status == 201
        assert await until(both)
