"""Requests that a device is to approve: which devices there are, and the session it opens."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from msgspec.structs import replace

from aval.domain.calendar import day_began_at
from aval.domain.device import DeviceChoice
from aval.domain.request import RequestFacts, TransferRequest
from aval.domain.transfer import Method, Transfer
from aval.storage.database import Connection
from aval.storage.device_sessions import DeviceQuestion, NewSession, insert_sessions, read_devices


async def with_devices(
    connection: Connection,
    requests: Sequence[TransferRequest],
    facts: list[RequestFacts],
    used: frozenset[UUID],
) -> list[RequestFacts]:
    """Add to the facts of each request by device what its approver has registered on the account.

    `used` are the session ids that were taken before the facts were read: who took one is known as the twin by then.
    """
    asked = {
        place: DeviceQuestion(request.principal.integrator.key, request.account_key, known.approver_key)
        for place, (request, known) in enumerate(zip(requests, facts, strict=True))
        if request.method is Method.DEVICE and known.approver_key is not None and request.session_id is not None
    }
    if asked:
        midnight = day_began_at(facts[0].now)
        found = await read_devices(connection, list(asked.values()), day_began_at=midnight)
        for place, devices in zip(asked, found, strict=True):
            facts[place] = replace(facts[place], device=DeviceChoice(requests[place].session_id in used, devices))
    return facts


def sessions_of(requests: Iterable[TransferRequest]) -> list[UUID]:
    """The ids of the sessions that those to be approved on a device open."""
    return [request.session_id for request in requests if request.session_id is not None]


async def open_sessions(connection: Connection, made: Collection[tuple[TransferRequest, Transfer]]) -> None:
    """Store the sessions of operations that were stored in this transaction; raises SessionTaken."""
    sessions = [
        NewSession(transfer.integrator_key, request.session_id, transfer.key, transfer.created_at)
        for request, transfer in made
        if request.session_id is not None and transfer.created_at is not None
    ]
    if sessions:
        await insert_sessions(connection, sessions)
