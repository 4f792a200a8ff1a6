"""What a PDF hides where a parser looks only when it must, and photos packed in something else (promises.md DV9)."""

import binascii
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from pypdf import PdfReader

from aval.decoder.pdfs import rewrite_pdf
from aval.decoder.verdict import Unreadable
from tests.hostile_files import CANARY, exif, picture

SCRIPT = b"<</S/JavaScript/JS(app.alert\\(1\\))>>"
WITH_FIVE = b"<</Foo 5 0 R>>"


def document(*others: tuple[int, bytes], resources: bytes = b"<<>>", catalog: bytes = b"", unlisted: int = 0) -> bytes:
    """A PDF of one page, written by hand; the table of objects leaves one of them out."""
    objects = [
        (1, b"<</Type/Catalog/Pages 2 0 R" + catalog + b">>"),
        (2, b"<</Type/Pages/Kids[3 0 R]/Count 1>>"),
        (3, b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources" + resources + b">>"),
        (4, stream(b"0 0 m 100 100 l S")),
        *others,
    ]
    written, lines = b"%PDF-1.7\n", [b"0000000000 65535 f "]
    for number, body in objects:
        listed = b"%010d 00000 n " % len(written)
        lines.append(b"0000000000 00000 f " if number == unlisted else listed)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    count, table = len(lines), b"\n".join(lines)
    written += b"xref\n0 %d\n%s\ntrailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n" % (
        count,
        table,
        count,
        len(written),
    )
    return written + b"%%EOF\n"


def stream(data: bytes, members: bytes = b"") -> bytes:
    """A stream and its members."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (members, len(data), data)


def photo(filters: bytes, data: bytes, *others: tuple[int, bytes]) -> bytes:
    """A page that shows a photo, packed in these filters."""
    told = b"/Type/XObject/Subtype/Image/Width 320/Height 240/ColorSpace/DeviceRGB/BitsPerComponent 8/Filter" + filters
    return document((5, stream(data, told)), *others, resources=b"<</XObject<</I 5 0 R>>>>")


def rewritten(content: bytes) -> bytes:
    target = BytesIO()
    rewrite_pdf(BytesIO(content), target)
    return target.getvalue()


def test_a_document_written_by_hand_is_kept():
    assert len(PdfReader(BytesIO(rewritten(document((5, b"<</Nothing true>>"), resources=WITH_FIVE)))).pages) == 1


HIDDEN = {
    "a program behind a reference": document(
        (5, b"<</S 6 0 R/F(cmd.exe)>>"), (6, b"/Launch"), catalog=b"/OpenAction 5 0 R"
    ),
    "an object that no table lists": document((5, SCRIPT), (6, b"null"), resources=WITH_FIVE, unlisted=5),
    "a picture that lies elsewhere": document(
        (5, stream(b"", b"/Type/XObject/Subtype/Image/Width 1/Height 1/F(http://example.com/x)")),
        resources=b"<</XObject<</I 5 0 R>>>>",
    ),
    "a program for printers": document(
        (5, stream(b"showpage", b"/Type/XObject/Subtype/PS")), resources=b"<</XObject<</I 5 0 R>>>>"
    ),
}


@pytest.mark.parametrize("content", HIDDEN.values(), ids=HIDDEN)
def test_what_a_document_hides_refuses_it(content: bytes):
    with pytest.raises(Unreadable):
        rewritten(content)


NOTED = picture(exif=exif(), comment=CANARY)
PLAIN = picture()
PASSES = picture(progressive=True)
BETWEEN = PASSES.rindex(b"\xff\xda")
TOLD = b"\xff\xe1\0\x22Exif\0\0" + CANARY.encode().ljust(26)
PACKED = {
    "with a second picture behind it": photo(b"/DCTDecode", PLAIN + NOTED),
    "with a film behind it": photo(b"/DCTDecode", PLAIN + b"\0\0\0\x18ftypmp42" + CANARY.encode()),
    "with room before its notes": photo(b"/DCTDecode", PLAIN[:2] + b"\xff\xff" + TOLD + PLAIN[2:]),
    "with notes between its passes": photo(b"/DCTDecode", PASSES[:BETWEEN] + TOLD + PASSES[BETWEEN:]),
    "plain": photo(b"/DCTDecode", NOTED),
    "in short": photo(b"/DCT", NOTED),
    "by reference": photo(b" 6 0 R", NOTED, (6, b"/DCTDecode")),
    "squeezed": photo(b"[/FlateDecode/DCTDecode]", zlib.compress(NOTED)),
    "squeezed, with parameters": photo(
        b"[/FlateDecode/DCTDecode]/DecodeParms[null<</ColorTransform 1>>]", zlib.compress(NOTED)
    ),
    "in letters": photo(b"[/ASCIIHexDecode/DCTDecode]", binascii.hexlify(NOTED) + b">"),
}


@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
def test_a_photo_in_a_document_loses_its_metadata_however_it_is_packed(content: bytes):
    kept = rewritten(content)
    (shown,) = (PdfReader(BytesIO(kept)).pages[0]["/Resources"]["/XObject"]).values()
    assert shown.get_object()["/Filter"] == "/DCTDecode"
    assert CANARY.encode() not in kept
    assert Image.open(BytesIO(kept[kept.index(b"\xff\xd8\xff") :])).size == (320, 240)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "CMYK"}, {"quality": 100}], ids=str)
def test_a_photo_in_a_document_shows_what_it_showed(options: dict[str, Any]):
    sent = picture(exif=exif(), comment=CANARY, **options)
    kept = rewritten(photo(b"/DCTDecode", sent))
    start = kept.index(b"\xff\xd8\xff")
    assert Image.open(BytesIO(kept[start:])).tobytes() == Image.open(BytesIO(sent)).tobytes()
