"""Brazilian documents: CPF, CNPJ with digits or letters, ISPB.

Own code: python-stdnum accepts punctuation and nine of the ten equal-digit CPFs, which the wire contract refuses, and
takes several times as long.
"""

import re
from collections.abc import Iterable
from operator import mul
from typing import Literal

PersonType = Literal["natural", "legal"]

_CPF = re.compile("[0-9]{11}")
_CNPJ = re.compile("[0-9A-Za-z]{12}[0-9]{2}")
_ISPB = re.compile("[0-9]{8}")
_CPF_WEIGHTS = (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_CNPJ_WEIGHTS = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)


def is_cpf(text: str) -> bool:
    """Tell whether the text is a CPF: 11 digits, not all equal, right check digits."""
    if not _CPF.fullmatch(text) or text == text[0] * 11:
        return False
    values = text.encode()
    return values[9:] == b"%d%d" % (_cpf_digit(values, 9), _cpf_digit(values, 10))


def normalized_cnpj(text: str) -> str | None:
    """Upper-case a CNPJ; None unless 12 letters or digits and the right two check digits, not all equal."""
    if not _CNPJ.fullmatch(text) or text == text[0] * 14:
        return None
    cnpj = text.upper()
    values = cnpj.encode()
    is_right = values[12:] == b"%d%d" % (_cnpj_digit(values, 12), _cnpj_digit(values, 13))
    return cnpj if is_right else None


def normalized_document(text: str) -> str | None:
    """Read a CPF or CNPJ; None if it is neither."""
    if len(text) == 11:
        return text if is_cpf(text) else None
    return normalized_cnpj(text)


def person_type(document: str) -> PersonType:
    """Tell a person (CPF) from a company (CNPJ) by a valid document."""
    return "natural" if len(document) == 11 else "legal"


def is_ispb(text: str) -> bool:
    """Tell whether the text is the 8-digit number of a bank; leading zeros count."""
    return _ISPB.fullmatch(text) is not None


def _cpf_digit(values: bytes, length: int) -> int:
    return _weighted(values, _CPF_WEIGHTS[-length:]) * 10 % 11 % 10


def _cnpj_digit(values: bytes, length: int) -> int:
    rest = _weighted(values, _CNPJ_WEIGHTS[-length:]) % 11
    return 0 if rest < 2 else 11 - rest


def _weighted(values: bytes, weights: tuple[int, ...]) -> int:
    products: Iterable[int] = map(mul, values, weights)
    return sum(products) - ord("0") * sum(weights)
