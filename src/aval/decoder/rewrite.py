"""One file of a stranger, written anew: the only thing the child process does."""

# Codecs are looked up when first used, which the child, unable to open a file, could not do any more.
import encodings.ascii
import encodings.cp1252
import encodings.latin_1
import encodings.utf_16
import encodings.utf_16_be
import encodings.utf_16_le  # noqa: F401
from io import BytesIO
from typing import BinaryIO

from PIL import Image
from pypdf import PdfWriter

from aval.decoder.images import ORIENTATION, rewrite_image
from aval.decoder.pdfs import rewrite_pdf
from aval.decoder.verdict import Unreadable
from aval.domain.file_type import is_polyglot
from aval.domain.identity_document import FILE_BYTES_MAX, JPEG, PDF, PIXELS_PER_SIDE_MIN, PNG

UPSIDE_DOWN = 3  # of the orientations of EXIF


def rewrite(source: BinaryIO, target: BinaryIO, media_type: str) -> None:
    """Write what the source shows, and nothing else of it; raises Unreadable."""
    content = source.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX or is_polyglot(content):
        raise Unreadable
    if media_type == PDF:
        rewrite_pdf(BytesIO(content), target)
    else:
        rewrite_image(BytesIO(content), target, media_type)


def practise() -> None:
    """Rewrite files of our own: what a parser imports when it is first used is at hand from then on."""
    side = (PIXELS_PER_SIDE_MIN, PIXELS_PER_SIDE_MIN)
    blank, writer = BytesIO(), PdfWriter()
    writer.add_blank_page(*side)
    writer.write(blank)
    note = Image.Exif()
    note[ORIENTATION] = UPSIDE_DOWN
    rewrite(BytesIO(blank.getvalue()), BytesIO(), PDF)
    for media_type, kind in ((JPEG, "JPEG"), (PNG, "PNG")):
        picture = BytesIO()
        Image.new("L", side).save(picture, kind, exif=note)
        rewrite(BytesIO(picture.getvalue()), BytesIO(), media_type)
