"""Seal evidence: a signed record of each approval, kept a moment after it, out of the way of the call that approved."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.decision_mac import is_decision_intact
from aval.domain.evidence import Approval, record_of, sealed
from aval.domain.keyring import Keyring, Purpose
from aval.storage.challenges import OperationId
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.evidence import (
    SealedRecord,
    find_operation,
    find_unsealed,
    keep_evidence,
    move_evidence_watermark,
    read_approvals,
    read_evidence,
)


async def seal_evidence(db: Database, *, keyring: Keyring, most: int) -> int:
    """Seal approvals that have no record yet, at most `most`; answers how many there were. Any number may run."""
    async with db.transaction() as connection:
        looked_at = await read_clock(connection)
        unsealed = await find_unsealed(connection, most=most)
        await _seal(connection, unsealed, keyring)
        if len(unsealed) < most:
            await move_evidence_watermark(connection, looked_at=looked_at)
    return len(unsealed)


class Evidence(NamedTuple):
    """A sealed file, and which parts of its record the rows no longer tell."""

    file: str
    changed: Sequence[str]


async def export_evidence(
    db: Database, *, operation_key: UUID, integrator_key: UUID | None, keyring: Keyring
) -> list[Evidence]:
    """The evidence of the approvals an operation key stands for: one, unless integrators chose the same device key.

    Of an item it is that of its batch. Where the worker did not come to it yet, it is sealed now; what was not approved
    has none.
    """
    async with db.transaction() as connection:
        found = await find_operation(connection, operation_key)
        asked = [each for each in found if integrator_key in (None, each[0])]
        await _seal(connection, asked, keyring)
        return [
            Evidence(file, await _changed(connection, each, file, keyring))
            for each in asked
            if (file := await read_evidence(connection, each)) is not None
        ]


async def _seal(connection: Connection, operations: Sequence[OperationId], keyring: Keyring) -> None:
    approvals = await read_approvals(connection, operations) if operations else []
    if not approvals:
        return
    key, now = keyring.current(Purpose.EVIDENCE), await read_clock(connection)
    records = []
    for approval in approvals:
        transfer = approval.transfer
        file = msgspec.json.encode(sealed(record_of(_judged(approval, keyring)), key, at=now)).decode()
        records.append(SealedRecord(transfer.integrator_key, transfer.key, key.kid, file, now))
    await keep_evidence(connection, records)


async def _changed(connection: Connection, operation: OperationId, file: str, keyring: Keyring) -> list[str]:
    """The parts that differ from what the rows tell today; the context may change, the rest may not."""
    kept: dict[str, Any] = msgspec.json.decode(file)["record"]
    (approval,) = await read_approvals(connection, [operation])
    told = record_of(_judged(approval, keyring))
    return sorted(name for name in told if name != "context" and told[name] != kept.get(name))


def _judged(approval: Approval, keyring: Keyring) -> Approval:
    """Whether its one row of audit has the keyed digest of what the rows say."""
    rows = [row for row in approval.audit if "mac" in row["details"]]
    is_intact = len(rows) == 1 and is_decision_intact(
        keyring, approval.transfer, rows[0]["details"], rows[0]["actor"], rows[0]["at"]
    )
    return replace(approval, is_intact=is_intact)
