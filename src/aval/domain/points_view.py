"""How points are told on the wire: the balance, and a line of the statement.

Source: redemptions.md §6.
"""

from typing import Any

from aval.domain.calendar import wire_datetime
from aval.domain.points import Balance, PointsLine


def balance_view(balance: Balance) -> dict[str, Any]:
    """The balance of a participant."""
    return {
        "points_value": balance.available,
        "points_value_onhold": balance.reserved,
        "total_points_value": balance.total,
        "total_credit_points_value": balance.credited,
        "total_debit_points_value": balance.debited,
    }


def line_view(line: PointsLine) -> dict[str, Any]:
    """A ledger line; its points are above 0 whatever it did, which its type and `available_after` tell."""
    view: dict[str, Any] = {
        "authorization_code": line.authorization_code,
        "date": wire_datetime(line.created_at),
        "description": line.description,
        "value_points": abs(line.points),
        "type": line.entry_type.value,
    }
    if line.purchase_key is not None:
        view["purchase_id"] = line.purchase_key
    if line.order_key is not None:
        view["order_id"] = line.order_key
    return view | {"available_after": line.available_after, "reserved_after": line.reserved_after}
