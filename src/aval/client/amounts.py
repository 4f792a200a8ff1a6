"""Amounts on their way to Aval: exact, and never a float."""

from decimal import Decimal

import msgspec

from aval.client.errors import ArgumentNotValid
from aval.domain.money import AmountError, Brl

Amount = Decimal | Brl
DIGITS_MAX = 100  # before or after the point, so that writing it out stays small


def amount_json(amount: Amount) -> msgspec.Raw:
    """Write an amount as a JSON number; raises ArgumentNotValid for what is no whole number of centavos above zero."""
    if not isinstance(amount, Amount):  # a float was rounded before it came here, an int may be reais or centavos
        raise ArgumentNotValid("amount", "not_decimal_or_brl")
    text = amount.wire() if isinstance(amount, Brl) else _plain(amount)
    try:
        return msgspec.Raw(Brl.parse(text).wire().encode())
    except AmountError:
        raise ArgumentNotValid("amount", "no_amount") from None


def _plain(amount: Decimal) -> str:
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -DIGITS_MAX or amount.adjusted() > DIGITS_MAX:
        raise ArgumentNotValid("amount", "no_amount")
    text = f"{amount:f}"
    return text.rstrip("0").removesuffix(".") if "." in text else text
