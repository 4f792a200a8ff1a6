"""Orders and other values the rail tests are made of."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from aval.domain.money import Brl
from aval.ports import SettlementOrder

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
LATER = NOW + timedelta(seconds=2)
SECRET = "whsec_" + "QUJD" * 10 + "QUI="
TARGET_ACCOUNT = {
    "account_branch": "0001",
    "account_number": "7654321",
    "account_digit": "0",
    "account_type": "checking_account",
    "ispb": "12345678",
    "owner_document_number": "11144477735",
    "owner_name": "Maria Souza",
}


def order(centavos: int = 20_200, *, ispb: str | None = None, **changes: Any) -> SettlementOrder:
    """A first send of R$ 202,00 by Pix key; with an ISPB to an account."""
    values: dict[str, Any] = {
        "integrator_key": UUID(int=1),
        "rail_reference": uuid4(),
        "fence": 1,
        "send_number": 1,
        "operation": "pix_transfer",
        "operation_key": UUID(int=2),
        "account_key": UUID(int=3),
        "amount": Brl(centavos),
        "end_to_end_id": "E12345678202611231430abcdefghijk",
        "pix_message": "aluguel",
        "target_pix_key": "maria@example.com",
        "target_account": None if ispb is None else {**TARGET_ACCOUNT, "ispb": ispb},
        "now": NOW,
        "later_at": LATER,
    }
    return SettlementOrder(**{**values, **changes})
