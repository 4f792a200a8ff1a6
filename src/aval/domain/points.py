"""Points of a participant: what each kind of ledger line does to the account.

Source: redemptions.md §6.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class EntryType(StrEnum):
    """Why points move."""

    CREDIT = "credit"
    ADJUSTMENT = "adjustment"
    EXPIRATION = "expiration"
    RESERVE = "reserve"
    RELEASE = "release"
    DEBIT = "debit"
    REVERSAL = "reversal"


class Balance(msgspec.Struct, frozen=True):
    """What an account holds, and all that ever came in and went out: total = credited - debited."""

    available: int = 0
    reserved: int = 0
    credited: int = 0
    debited: int = 0

    @property
    def total(self) -> int:
        """Available and reserved points together."""
        return self.available + self.reserved


# By what the points of a line are multiplied: available, reserved, credited, debited.
_FACTORS = {
    EntryType.CREDIT: (1, 0, 1, 0),
    EntryType.EXPIRATION: (-1, 0, 0, 1),
    EntryType.RESERVE: (-1, 1, 0, 0),
    EntryType.RELEASE: (1, -1, 0, 0),
    EntryType.DEBIT: (0, -1, 0, 1),
    EntryType.REVERSAL: (1, 0, 1, 0),
}


def deltas(entry_type: EntryType, points: int) -> tuple[int, int, int, int]:
    """What a line adds to available, reserved, credited and debited; only an adjustment has points below 0."""
    if entry_type is EntryType.ADJUSTMENT:
        assert points != 0
        return points, 0, max(points, 0), max(-points, 0)
    assert points > 0
    available, reserved, credited, debited = _FACTORS[entry_type]
    return available * points, reserved * points, credited * points, debited * points


class PointsEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger line to be written; one of a purchase names it, a reversal its order and itself too."""

    integrator_key: UUID
    participant_key: UUID
    key: UUID
    entry_type: EntryType
    points: int  # above 0; below it only an adjustment that takes points away
    authorization_code: str
    description: str
    correlation_id: str
    created_at: datetime
    purchase_key: UUID | None = None
    order_key: UUID | None = None
    reversal_key: UUID | None = None
    external_reference: str | None = None


class PointsLine(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger line as the statement shows it."""

    key: UUID
    entry_type: EntryType
    points: int
    available_after: int
    reserved_after: int
    authorization_code: str
    description: str
    external_reference: str | None
    purchase_key: UUID | None
    order_key: UUID | None
    created_at: datetime
