"""The settings of redemptions: whom nothing is sold to, and who is asked about a purchase before it is made."""

import re
from dataclasses import dataclass

from aval.settings import kinds

_BLOCKED = re.compile(r"[0-9]{11}|[0-9A-Za-z]{12}[0-9]{2}|\+[0-9]{8,15}")


def _blocked(text: str) -> str:
    """A CPF, a CNPJ, or a telephone with its leading plus; what is none of them would block nobody."""
    if not _BLOCKED.fullmatch(text):
        raise ValueError
    return text.upper()


@dataclass(frozen=True, slots=True)
class RedemptionSettings:
    """Redemptions"""

    block_list: tuple[str, ...] = kinds.list_of(
        "AVAL_BLOCK_LIST",
        "",
        _blocked,
        "CPF, CNPJ or telephones such as +5511999990000",
        "Whose purchases are denied (code 325), in every campaign.",
        is_secret=True,
    )
    risk_url: str = kinds.url(
        "AVAL_RISK_URL", "https http", "A server asked about the risk of each purchase, for 2 s at most."
    )
    risk_key: str = kinds.text("AVAL_RISK_KEY", "", "Bearer key of that server.", secret=True)
    item_validator_url: str = kinds.url(
        "AVAL_ITEM_VALIDATOR_URL", "https http", "A server asked about the items of each purchase, for 2 s at most."
    )
    item_validator_key: str = kinds.text("AVAL_ITEM_VALIDATOR_KEY", "", "Bearer key of that server.", secret=True)
