"""Money as whole centavos, read from and written to text exactly."""

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

CHARACTERS_MAX = 10  # spec transfers.md §2.3
CENTAVOS_MAX = 999_999_999  # spec transfers.md §2.3: 9999999.99
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]{1,2}))?")

Locale = Literal["pt-BR", "en"]


class AmountError(ValueError):
    """The text is no amount of the wire contract."""


class Brl(msgspec.Struct, frozen=True, order=True):
    """An amount in reais as whole centavos; negative only as a difference."""

    centavos: int

    @classmethod
    def parse(cls, text: str, *, is_zero_allowed: bool = False) -> "Brl":
        """Read an amount from the text of a JSON number, never through a float.

        Raises AmountError unless it matches `(0|[1-9][0-9]*)(\\.[0-9]{1,2})?`, has at most 10 characters, is at most
        9999999.99 and above zero (fees and limits may be zero).
        """
        found = _AMOUNT.fullmatch(text) if len(text) <= CHARACTERS_MAX else None
        if found is None:
            raise AmountError
        reais, fraction = found.groups()
        centavos = int(reais) * 100 + (int(fraction.ljust(2, "0")) if fraction else 0)
        if centavos > CENTAVOS_MAX or (centavos == 0 and not is_zero_allowed):
            raise AmountError
        return cls(centavos)

    @classmethod
    def total(cls, amounts: Iterable["Brl"]) -> "Brl":
        """Add amounts up; nothing is zero."""
        return cls(sum(amount.centavos for amount in amounts))

    def __add__(self, other: "Brl") -> "Brl":
        return Brl(self.centavos + other.centavos)

    def __sub__(self, other: "Brl") -> "Brl":
        return Brl(self.centavos - other.centavos)

    def details(self) -> str:
        """Write with always two decimals, as in signed details: `10.00`, `202.01`."""
        reais, fraction = divmod(abs(self.centavos), 100)
        return f"{self._sign()}{reais}.{fraction:02d}"

    def wire(self) -> str:
        """Write the shortest JSON number: `10`, `10.5`, `202.01`."""
        text = self.details()
        return text[:-3] if text.endswith(".00") else text.removesuffix("0")

    def localized(self, locale: Locale) -> str:
        """Write as people read it: `R$ 1.580,50` in pt-BR, `BRL 1,580.50` in en."""
        reais, fraction = divmod(abs(self.centavos), 100)
        text = f"{reais:,}.{fraction:02d}"
        if locale == "en":
            return f"BRL {self._sign()}{text}"
        return f"R$ {self._sign()}{text.translate(_DECIMAL_COMMA)}"

    def _sign(self) -> str:
        return "-" if self.centavos < 0 else ""


_DECIMAL_COMMA = str.maketrans(",.", ".,")
ZERO = Brl(0)
