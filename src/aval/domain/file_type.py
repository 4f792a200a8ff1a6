"""What a file is, told by its first bytes and never by its name; and what else it pretends to be.

Source: redemptions.md §3.2, promises.md §4.7.
"""

from aval.domain.identity_document import JPEG, PDF, PNG

HEAD_BYTES = 16
ZIP_END_BYTES = 65_557  # the end record of a ZIP and its longest comment; readers look for it from the end
CHUNK_BYTES = 262_144

_HEADS = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG), (b"%PDF-1.", PDF), (b"%PDF-2.", PDF))
_ZIP_END = b"PK\x05\x06"
# Long enough not to appear by chance: five bytes in 5 MB of noise do so once in 200,000 files.
_FOREIGN = (b"<html", b"<script", b"<?php", b"__halt_compiler", b"rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"%pdf-")


def media_type_of(head: bytes) -> str | None:
    """The type the first bytes promise; None for any that is not accepted."""
    return next((media_type for magic, media_type in _HEADS if head.startswith(magic)), None)


def is_polyglot(content: bytes) -> bool:
    """Whether a file of an accepted type is one of another type as well."""
    if _ZIP_END in content[-ZIP_END_BYTES:]:
        return True
    longest = max(map(len, _FOREIGN))
    for start in range(0, len(content), CHUNK_BYTES):
        part = content[start : start + CHUNK_BYTES + longest].lower()
        if any(part.find(mark, 1 if start == 0 else 0) >= 0 for mark in _FOREIGN):
            return True
    return False
