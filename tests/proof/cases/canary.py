"""Canaries: values that must not leave, in every spelling they could leave in, and the search for them."""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

HEX_LETTERS = set("0123456789abcdefABCDEF")
FORM_BYTES_MIN = 6  # a shorter rest of a base64 text is anywhere by chance


@dataclass
class Aviary:
    """Canaries by what they are: `document`, `phone`, `email`, `token`, `key`, `authorization`, `file`."""

    birds: dict[bytes, str] = field(default_factory=dict)  # spelling -> what it is

    def keep(self, kind: str, *values: str | bytes) -> None:
        """Watch for values; a short token that chance could write into a key or a time is left out."""
        for value in values:
            text = value.encode() if isinstance(value, str) else value
            if kind != "token" or sum(symbol not in HEX_LETTERS for symbol in text.decode()) >= 2:
                self.birds |= dict.fromkeys(spellings(kind, text), kind)

    def found(self, data: bytes, *, but: Iterable[str] = ()) -> set[str]:
        """What of them is in some bytes."""
        allowed = {*but}
        return {f"{kind}: {form[:24]!r}" for form, kind in self.birds.items() if kind not in allowed and form in data}


def spellings(kind: str, text: bytes) -> set[bytes]:
    """A value as it is, in base64 wherever it begins, in hex, in a URL, in JSON, and as people write it."""
    forms = {text, text.hex().encode(), text.hex().upper().encode(), quote(text, safe="").encode()}
    forms |= {form for offset in range(3) for form in _in_base64(text, offset)}
    if kind != "file":
        forms.add(json.dumps(text.decode())[1:-1].encode())
        forms |= {written.encode() for written in _as_written(kind, text.decode())}
    return {form for form in forms if len(form) >= FORM_BYTES_MIN}


def _in_base64(text: bytes, offset: int) -> set[bytes]:
    """The symbols that the value alone decides when it begins at this offset of a group."""
    encoded = base64.b64encode(bytes(offset) + text)
    first = (offset * 8 + 5) // 6
    core = encoded[first : (offset + len(text)) * 8 // 6]
    return {core, core.translate(bytes.maketrans(b"+/", b"-_"))}


def _as_written(kind: str, text: str) -> set[str]:
    if kind == "document" and len(text) == 11:
        return {f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"}
    if kind == "phone":
        digits = re.sub(r"\D", "", text)
        national = digits.removeprefix("55")
        return {digits, national, national[2:], f"({national[:2]}) {national[2:7]}-{national[7:]}"}
    return {text.lower()} if kind in ("token", "email") else set()


def told(places: Mapping[str, bytes], aviary: Aviary, *, but: Iterable[str] = ()) -> dict[str, set[str]]:
    """What escaped, by place."""
    escaped = {name: aviary.found(data, but=but) for name, data in places.items()}
    return {name: found for name, found in escaped.items() if found}
