"""Pix keys and the identifiers of a Pix: shapes, kinds and the generated end_to_end_id."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from aval.domain.documents import is_cpf, normalized_cnpj
from aval.domain.ids import parse_uuid

EMAIL_CHARACTERS_MAX = 77  # spec transfers.md §2.3
ENTROPY_BYTES = 16
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
_EMAIL = re.compile("[!-?A-~]+@[!-?A-~]+")
_END_TO_END_ID = re.compile("E[0-9]{8}([0-9]{12})[0-9A-Za-z]{11}")
_CONCILIATION_ID = re.compile("[0-9A-Za-z]{1,35}")
_SYMBOLS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class PixKeyKind(StrEnum):
    """The five kinds of Pix key."""

    RANDOM = "random"
    PHONE = "phone"
    EMAIL = "email"
    CPF = "cpf"
    CNPJ = "cnpj"


@dataclass(frozen=True, slots=True)
class PixKey:
    """A Pix key in its one spelling."""

    kind: PixKeyKind
    text: str


def pix_key_of(text: str) -> PixKey | None:
    """Read a Pix key by the first shape that matches; None for no shape or a wrong check digit."""
    if parse_uuid(text):
        return PixKey(PixKeyKind.RANDOM, text.lower())
    if _PHONE.fullmatch(text):
        return PixKey(PixKeyKind.PHONE, text)
    if "@" in text:
        is_address = len(text) <= EMAIL_CHARACTERS_MAX and _EMAIL.fullmatch(text)
        return PixKey(PixKeyKind.EMAIL, text.lower()) if is_address else None
    if len(text) == 11:
        return PixKey(PixKeyKind.CPF, text) if is_cpf(text) else None
    cnpj = normalized_cnpj(text)
    return PixKey(PixKeyKind.CNPJ, cnpj) if cnpj else None


def is_end_to_end_id(text: str) -> bool:
    """Tell whether the text is `E`, an ISPB, a real UTC minute and 11 letters or digits; case counts."""
    found = _END_TO_END_ID.fullmatch(text)
    if found is None:
        return False
    minute = found[1]
    try:
        datetime(int(minute[:4]), int(minute[4:6]), int(minute[6:8]), int(minute[8:10]), int(minute[10:]), tzinfo=UTC)
    except ValueError:
        return False
    return True


def generated_end_to_end_id(ispb: str, at: datetime, entropy: bytes) -> str:
    """Make the end_to_end_id of a transfer that brings none, from its integrator's ISPB and 16 random bytes."""
    assert len(entropy) == ENTROPY_BYTES
    chance, suffix = int.from_bytes(entropy), ""
    for _ in range(11):
        chance, index = divmod(chance, len(_SYMBOLS))
        suffix += _SYMBOLS[index]
    return f"E{ispb}{at.astimezone(UTC):%Y%m%d%H%M}{suffix}"


def is_receiver_conciliation_id(text: str) -> bool:
    """Tell whether the text is 1 to 35 letters or digits."""
    return _CONCILIATION_ID.fullmatch(text) is not None
