"""Seal evidence: a signed record of each approval, kept a moment after it, out of the way of the call that approved."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.batch import ITEMS_MAX
from aval.domain.decision_mac import is_decision_intact
from aval.domain.device import digest_of_signature
from aval.domain.evidence import Approval, record_of, sealed
from aval.domain.keyring import Key, Keyring, Purpose
from aval.storage.challenges import OperationId
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.evidence import (
    SealedRecord,
    Unsealed,
    find_operation,
    find_unsealed,
    keep_evidence,
    move_evidence_watermark,
    read_approvals,
    read_evidence,
)


class EvidenceNotSealable(Exception):
    """The rows of an approval are so broken that no record can be made of them."""


def tell_nobody(_operation: OperationId) -> None:
    """Nobody wants to know."""


async def seal_evidence(
    db: Database, *, keyring: Keyring, most: int, tell_broken: Callable[[OperationId], None] = tell_nobody
) -> bool:
    """Seal the oldest approvals without a record, at most `most`; answers whether there are more. Any number may run.

    One whose rows are broken is told, and keeps no other waiting: from some seconds after its approval on it is looked
    at no more.
    """
    async with db.transaction() as connection:
        looked_at = await read_clock(connection)
        unsealed = await find_unsealed(connection, most=most)
        chosen = list(_within_reach(unsealed))
        broken = await _seal(connection, [each.operation for each in chosen], keyring)
        has_more = len(unsealed) == most or len(chosen) < len(unsealed)
        sealed_until = chosen[-1].at if has_more else looked_at
        await move_evidence_watermark(connection, looked_at=looked_at, sealed_until=sealed_until)
    for operation in broken:
        tell_broken(operation)
    return has_more and len(broken) < len(chosen)  # nothing but broken ones: the next look comes later


def _within_reach(unsealed: Sequence[Unsealed]) -> Iterator[Unsealed]:
    """The first, and as many more as hold ITEMS_MAX items together."""
    counts = accumulate(each.item_count for each in unsealed)
    for place, (each, count) in enumerate(zip(unsealed, counts, strict=True)):
        if place and count > ITEMS_MAX:
            return
        yield each


class Evidence(NamedTuple):
    """A sealed file, and which parts of its record the rows no longer tell."""

    file: str
    changed: Sequence[str]


async def export_evidence(
    db: Database, *, operation_key: UUID, integrator_key: UUID | None, keyring: Keyring
) -> list[Evidence]:
    """The evidence of the approvals an operation key stands for: one, unless integrators chose the same device key.

    Of an item it is that of its batch. Where the worker did not come to it yet, it is sealed now; what was not approved
    has none. Raises EvidenceNotSealable.
    """
    async with db.transaction() as connection:
        found = await find_operation(connection, operation_key)
        exported = []
        for each in (each for each in found if integrator_key in (None, each[0])):
            file = await _kept(connection, each, keyring)
            if file is not None:
                exported.append(Evidence(file, await _changed(connection, each, file, keyring)))
        return exported


async def _kept(connection: Connection, operation: OperationId, keyring: Keyring) -> str | None:
    file = await read_evidence(connection, operation)
    if file is not None:
        return file
    if await _seal(connection, [operation], keyring):
        raise EvidenceNotSealable
    return await read_evidence(connection, operation)


async def _seal(connection: Connection, operations: Sequence[OperationId], keyring: Keyring) -> list[OperationId]:
    """Seal what was approved of these; answers those whose rows are broken."""
    approvals = await read_approvals(connection, operations) if operations else []
    if not approvals:
        return []
    key, now = keyring.current(Purpose.EVIDENCE), await read_clock(connection)

    def files() -> list[tuple[OperationId, str | None]]:
        return [(operation, _file(_record(approval, keyring), key, now)) for operation, approval in approvals]

    made = await asyncio.to_thread(files)  # a batch takes tens of milliseconds, in which the worker has other work
    records = [SealedRecord(*operation, key.kid, file, now) for operation, file in made if file is not None]
    if records:
        await keep_evidence(connection, records)
    return [operation for operation, file in made if file is None]


def _file(record: dict[str, Any] | None, key: Key, at: datetime) -> str | None:
    return None if record is None else msgspec.json.encode(sealed(record, key, at=at)).decode()


def _record(approval: Callable[[], Approval], keyring: Keyring) -> dict[str, Any] | None:
    """What is sealed; None where rows that somebody changed tell nothing any more."""
    try:
        return record_of(_judged(approval(), keyring))
    except Exception:  # noqa: BLE001 – such rows may raise anything
        return None


async def _changed(connection: Connection, operation: OperationId, file: str, keyring: Keyring) -> list[str]:
    """The parts that differ from what the rows tell today; the context may change, the rest may not."""
    kept: dict[str, Any] = msgspec.json.decode(file)["record"]
    approvals = await read_approvals(connection, [operation])
    told = (_record(approvals[0][1], keyring) if approvals else None) or {}
    return sorted(name for name in kept if name != "context" and told.get(name) != kept[name])


def _judged(approval: Approval, keyring: Keyring) -> Approval:
    """Whether its one row of audit has the keyed digest of what the rows say, and names the signature they hold."""
    rows = [row for row in approval.audit if "mac" in row["details"]]
    is_intact = len(rows) == 1 and is_decision_intact(
        keyring, approval.transfer, rows[0]["details"], rows[0]["actor"], rows[0]["at"]
    )
    is_intact = is_intact and rows[0]["details"].get("signed") == _signed(approval)
    return replace(approval, is_intact=is_intact)


def _signed(approval: Approval) -> str | None:
    if not approval.signatures:
        return None
    last = approval.signatures[-1]
    return digest_of_signature(last["device"]["public_key"], last["nonce"], last["proof"]["signature"])
