"""Pictures whose notes are broken are still pictures (redemptions.md §3.2: a full decode decides)."""

import struct
from io import BytesIO

import pytest
from PIL import Image

from aval.decoder.images import rewrite_image
from aval.domain.identity_document import JPEG, PNG
from tests.hostile_files import chunk, exif, picture, png_with

SIDEWAYS = (0x0112, 3, 1, 6)


def jpeg_with(notes: bytes) -> bytes:
    """A JPEG with these bytes where a camera puts its notes."""
    plain, told = picture(), b"Exif\0\0" + notes
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(told) + 2) + told + plain[2:]


def notes(*entries: tuple[int, int, int, int]) -> bytes:
    """Notes as a camera writes them: tag, type, count and value."""
    told = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + told + bytes(4)


def shown(content: bytes, media_type: str) -> Image.Image:
    target = BytesIO()
    rewrite_image(BytesIO(content), target, media_type)
    return Image.open(BytesIO(target.getvalue()))


BROKEN = {
    "jpeg": (jpeg_with(b"garbage!" * 2), JPEG),
    "jpeg, short": (jpeg_with(b"II*\0"), JPEG),
    "png": (png_with(chunk(b"eXIf", b"garbage!!")), PNG),
    "png, short": (png_with(chunk(b"eXIf", b"MM")), PNG),
}


@pytest.mark.parametrize(("content", "media_type"), BROKEN.values(), ids=BROKEN)
def test_notes_that_cannot_be_read_say_nothing(content: bytes, media_type: str):
    assert shown(content, media_type).size == (320, 240)


def test_a_picture_stands_upright_whatever_else_its_camera_noted():
    odd = [(0x100, 2, 4, 0x41414141), (0x101, 12, 1, 3), (0x110, 7, 4, 0xFFFFFFFF), (0x111, 99, 1, 1), (0x131, 1, 4, 0)]
    assert shown(jpeg_with(notes(*odd, SIDEWAYS)), JPEG).size == (240, 320)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["RGB", "P", "I;16", "1"])
def test_every_way_to_hold_a_camera_ends_upright(orientation: int, mode: str):
    told = shown(picture("PNG", mode=mode, exif=exif(orientation)), PNG)
    assert told.size == ((240, 320) if 5 <= orientation <= 8 else (320, 240))
    assert not told.getexif()
