"""Images: decoded to their last pixel and written anew, so that nothing but the picture is left."""

import struct
from typing import Any, BinaryIO

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from aval.decoder.verdict import Unreadable
from aval.domain.identity_document import JPEG, PIXELS_PER_SIDE_MAX, PIXELS_PER_SIDE_MIN

JPEG_QUALITY = 90
PLAIN_PIXELS_MAX = 16_000_000  # above, compressing well would take longer than the child has
TURNED_PIXELS_MAX = 40_000_000  # turning needs a second picture in memory; above, the file says how to turn it
ORIENTATION = 0x0112

Image.MAX_IMAGE_PIXELS = PIXELS_PER_SIDE_MAX**2
ImageFile.LOAD_TRUNCATED_IMAGES = False

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OPENERS = {JPEG: JpegImagePlugin.JpegImageFile}
_AS_JPEG = ("L", "RGB", "CMYK")
_AS_PNG = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


def rewrite_image(source: BinaryIO, target: BinaryIO, media_type: str) -> None:
    """Read a JPEG or PNG and write its first picture without metadata; raises Unreadable."""
    try:
        picture = _OPENERS.get(media_type, PngImagePlugin.PngImageFile)(source)
        if not all(PIXELS_PER_SIDE_MIN <= side <= PIXELS_PER_SIDE_MAX for side in picture.size):
            raise Unreadable
        picture.load()
        _write(picture, target, media_type)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, Image.DecompressionBombError):
        raise Unreadable from None


def _write(picture: Image.Image, target: BinaryIO, media_type: str) -> None:
    transparency = picture.info.get("transparency")
    turned, options = _upright(picture)
    turned.info = {} if transparency is None else {"transparency": transparency}
    if media_type == JPEG:
        whole = turned if turned.mode in _AS_JPEG else turned.convert("RGB")
        whole.info = {}
        whole.save(target, "JPEG", quality=JPEG_QUALITY, **options)
        return
    whole = turned if turned.mode in _AS_PNG else turned.convert("RGB")
    level = 3 if turned.width * turned.height <= PLAIN_PIXELS_MAX else 1
    whole.save(target, "PNG", compress_level=level, **options)


def _upright(picture: Image.Image) -> tuple[Image.Image, dict[str, Any]]:
    """Turn the picture as its camera meant it; one too large to turn keeps that single note."""
    orientation = _orientation_of(picture)
    if orientation not in _TURNS:
        return picture, {}
    if picture.width * picture.height > TURNED_PIXELS_MAX:
        note = Image.Exif()
        note[ORIENTATION] = orientation
        return picture, {"exif": note}
    return picture.transpose(_TURNS[orientation]), {}


def _orientation_of(picture: Image.Image) -> int:
    """How the camera was held; notes that cannot be read say nothing, for they are no part of the picture."""
    try:
        noted = picture.getexif().get(ORIENTATION)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, EOFError, struct.error):
        return 0
    return int(noted) if isinstance(noted, int | float) and noted in _TURNS else 0
