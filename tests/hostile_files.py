"""Files that strangers send, made here and nowhere stored, each with its verdict (promises.md DV9, §4.7)."""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal

from PIL import Image, PngImagePlugin
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NumberObject,
    RectangleObject,
    StreamObject,
    TextStringObject,
)

CANARY = "canary-of-metadata"  # no stored file may hold it
Fate = Literal["kept", "type", "unreadable"]
ANSWERS: dict[Fate, tuple[int, str | None]] = {
    "kept": (201, None),
    "type": (415, "RDM000924"),
    "unreadable": (422, "RDM000925"),
}


@dataclass(frozen=True)
class Sent:
    """One file, as which type of document it comes, and what becomes of it."""

    name: str
    content: bytes = field(repr=False)
    fate: Fate
    document_type: str = "passport"


def picture(kind: str = "JPEG", size: tuple[int, int] = (320, 240), mode: str = "RGB", **options: Any) -> bytes:
    """A picture with something to see on it."""
    made = Image.effect_noise(size, 40).convert(mode) if mode != "I;16" else Image.new(mode, size, 700)
    target = BytesIO()
    made.save(target, kind, **options)
    return target.getvalue()


def flat(kind: str, size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    """A picture of one colour, small whatever its size."""
    target = BytesIO()
    Image.new(mode, size, 0).save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose head says one thing and whose data may say another."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data or zlib.compress(bytes(4096))) + chunk(b"IEND", b"")


def png_with(extra: bytes) -> bytes:
    """A good PNG with one more chunk after its head."""
    whole = picture("PNG")
    return whole[:33] + extra + whole[33:]


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG whose frame header lies."""
    whole = bytearray(picture())
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def exif(orientation: int = 1) -> Image.Exif:
    """What a camera notes: where, with which device, and how it was held."""
    noted = Image.Exif()
    noted[0x0112] = orientation
    noted[0x010F] = CANARY
    noted.get_ifd(0x8825).update({1: "S", 2: (23.0, 33.0, 1.0), 3: "W", 4: (46.0, 38.0, 2.0), 29: CANARY})
    return noted


def notes() -> PngImagePlugin.PngInfo:
    """Texts in a PNG."""
    noted = PngImagePlugin.PngInfo()
    noted.add_text("Comment", CANARY)
    noted.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{CANARY}</x:xmpmeta>", zip=False)
    return noted


def pdf(pages: int = 1, change: Any = None, **options: Any) -> bytes:
    """A PDF with a line on each page."""
    writer = PdfWriter()
    for number in range(pages):
        page = writer.add_blank_page(width=300, height=400)
        content = DecodedStreamObject()
        content.set_data(b"0 0 m 100 %d l S" % number)
        page[NameObject("/Contents")] = writer._add_object(content)
    if change is not None:
        change(writer)
    target = BytesIO()
    writer.write(target)
    return target.getvalue()


def action(kind: str, **members: Any) -> DictionaryObject:
    """An action of a PDF."""
    told = {NameObject(f"/{name}"): value for name, value in members.items()}
    return DictionaryObject({NameObject("/S"): NameObject(f"/{kind}"), **told})


SCRIPT = action("JavaScript", JS=TextStringObject("app.alert(1)"))


def on_open(act: DictionaryObject) -> Any:
    """Let the document act when it is opened."""
    return lambda writer: writer._root_object.__setitem__(NameObject("/OpenAction"), act)


def on_page(act: DictionaryObject) -> Any:
    """Let a page act when it is seen."""
    return lambda writer: writer.pages[0].__setitem__(NameObject("/AA"), DictionaryObject({NameObject("/O"): act}))


def annotated(subtype: str, **members: Any) -> Any:
    """Put an annotation on the first page."""

    def change(writer: PdfWriter) -> None:
        note = action("None", **members)
        note[NameObject("/Type")], note[NameObject("/Subtype")] = NameObject("/Annot"), NameObject(f"/{subtype}")
        note[NameObject("/Rect")] = RectangleObject((0, 0, 50, 50))
        writer.pages[0][NameObject("/Annots")] = ArrayObject([writer._add_object(note)])

    return change


def with_form(writer: PdfWriter, **members: Any) -> None:
    """A form, as signed documents have one."""
    told = {NameObject(f"/{name}"): value for name, value in members.items()}
    writer._root_object[NameObject("/AcroForm")] = DictionaryObject({NameObject("/Fields"): ArrayObject(), **told})


def with_orphan(writer: PdfWriter) -> None:
    """A script that nothing leads to, for a reader that looks for one."""
    writer._add_object(SCRIPT)


def with_inflating_content(writer: PdfWriter) -> None:
    """A page whose few bytes become 600 MB."""
    squeezer = zlib.compressobj(9)
    data = b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(600)) + squeezer.flush()
    stream = StreamObject()
    stream._data = data
    stream[NameObject("/Filter")] = NameObject("/FlateDecode")
    writer.pages[0][NameObject("/Contents")] = writer._add_object(stream)


def with_loop(writer: PdfWriter) -> None:
    """Pages that are their own children."""
    pages = writer._root_object["/Pages"].get_object()
    pages[NameObject("/Kids")] = ArrayObject([pages.indirect_reference] * 12)
    pages[NameObject("/Count")] = NumberObject(1)


def with_depth(writer: PdfWriter) -> None:
    """Arrays in arrays, deeper than any stack."""
    nested = ArrayObject([FloatObject(1)])
    for _ in range(400):
        nested = ArrayObject([nested])
    writer._root_object[NameObject("/Deep")] = writer._add_object(nested)


def with_photo(writer: PdfWriter) -> None:
    """A photo that tells where it was taken."""
    photo = StreamObject()
    photo._data = picture(exif=exif(), comment=CANARY)
    photo.update(
        {
            NameObject("/Type"): NameObject("/XObject"),
            NameObject("/Subtype"): NameObject("/Image"),
            NameObject("/Filter"): NameObject("/DCTDecode"),
            NameObject("/Width"): NumberObject(320),
            NameObject("/Height"): NumberObject(240),
            NameObject("/ColorSpace"): NameObject("/DeviceRGB"),
            NameObject("/BitsPerComponent"): NumberObject(8),
        }
    )
    images = DictionaryObject({NameObject("/Im0"): writer._add_object(photo)})
    writer.pages[0][NameObject("/Resources")] = DictionaryObject({NameObject("/XObject"): images})


def locked_pdf(password: str) -> bytes:
    """A PDF that asks for a password, or only says that it is encrypted."""
    return pdf(change=lambda writer: writer.encrypt(user_password=password, owner_password="owner"))


def zip_file() -> bytes:
    """The least archive there is."""
    return b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)


def no_such_type() -> Iterator[Sent]:
    """What is no JPEG, PNG or PDF, or not the one that this document may be."""
    heads = {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "svg with declaration": b'<?xml version="1.0"?><svg/>',
        "html": b"<!doctype html><html><script>alert(1)</script></html>",
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(200),
        "avif": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(200),
        "video": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(200),
        "zip": zip_file(),
        "virus": b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*",
        "program for Windows": b"MZ" + bytes(300),
        "program for Linux": b"\x7fELF" + bytes(300),
        "shell": b"#!/bin/sh\nrm -rf /\n",
        "php": b"<?php system($_GET[0]);",
        "rar": b"Rar!\x1a\x07\x00" + bytes(100),
        "seven zip": b"7z\xbc\xaf\x27\x1c" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "photoshop": b"8BPS\0\x01" + bytes(100),
        "postscript": b"%!PS-Adobe-3.0\nshowpage\n",
        "postscript for print": b"%!PS-Adobe-3.0 EPSF-3.0\n%PDF-1.7",
        "rich text": b"{\\rtf1\\ansi}",
        "text": b"front of my document",
        "nul": bytes(1000),
        "one byte": b"\xff",
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
        "jpeg after a byte": b"\0" + picture(),
        "pdf after a line": b"\n" + pdf(),
        "pdf after a picture's name": b"GIF89a" + pdf(),
        "png without its first byte": picture("PNG")[1:],
        "png through a text channel": picture("PNG").replace(b"\r\n", b"\n", 1),
    }
    yield from (Sent(name, content, "type") for name, content in heads.items())
    for kind in ("TIFF", "GIF", "BMP", "WEBP", "ICO"):
        yield Sent(kind, flat(kind, (240, 240)), "type")
    yield Sent("selfie as PDF", pdf(), "type", "selfie")
    yield Sent("digital licence as JPEG", picture(), "type", "cnh_digital")
    yield Sent("digital licence as PNG", picture("PNG"), "type", "cnh_digital")


def unreadable_pictures() -> Iterator[Sent]:
    """Pictures that are none, do not fit, or are something else as well."""
    jpeg, png = picture(), picture("PNG")
    noise = random.Random(7)
    cases = {
        "nothing at all": b"",
        "jpeg, first half": jpeg[: len(jpeg) // 2],
        "jpeg, head": jpeg[:200],
        "jpeg, three bytes": jpeg[:3],
        "png, first half": png[: len(png) // 2],
        "png, head": png[:40],
        "png, eight bytes": png[:8],
        "png, one wrong checksum": png[:60] + bytes([png[60] ^ 1]) + png[61:],
        "png of 65,535 squared": png_claiming(65_535, 65_535),
        "png of two thousand million squared": png_claiming(2**31 - 1, 2**31 - 1),
        "png of nothing": png_claiming(0, 0),
        "png with less than it claims": png_claiming(4_000, 4_000),
        "jpeg of 65,535 squared": jpeg_claiming(65_535, 65_535),
        "jpeg one pixel too wide": flat("JPEG", (8_001, 300)),
        "png one pixel too high": flat("PNG", (300, 8_001)),
        "jpeg one pixel too narrow": flat("JPEG", (199, 400)),
        "png of one pixel": flat("PNG", (1, 1)),
        "jpeg without its frame": jpeg[:20] + jpeg[400:],
        "jpeg of noise": b"\xff\xd8\xff\xe0" + noise.randbytes(5_000),
        "jpeg whose segment never ends": b"\xff\xd8\xff\xe1\xff\xff" + bytes(100),
        "png of noise": b"\x89PNG\r\n\x1a\n" + noise.randbytes(5_000),
        "png with a bomb for a text": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))),
        "png with a bomb for a profile": png_claiming(300, 300)[:33] + chunk(b"iCCP", b"a\0\0" + bytes(50)),
        "jpeg and zip": jpeg + zip_file(),
        "png and zip": png + zip_file(),
        "jpeg and page": jpeg + b"<html><script>alert(1)</script>",
        "jpeg and pdf": jpeg + pdf(),
        "png and rar": png + b"Rar!\x1a\x07\x00" + bytes(100),
        "jpeg with a program in its comment": picture(comment=b"<?php system($_GET[0]); ?>"),
        "png with a page in its text": png_with(chunk(b"tEXt", b"Comment\0<HTML><body onload=alert(1)>")),
        "jpeg with an archive of PHP": jpeg + b"<?php __HALT_COMPILER(); ?>",
    }
    yield from (Sent(name, content, "unreadable") for name, content in cases.items())


def unreadable_pdfs() -> Iterator[Sent]:
    """Documents that do something, carry something, cannot be read, or are too many pages."""
    whole = pdf()
    noise = random.Random(8)
    named = DictionaryObject({NameObject("/Names"): ArrayObject([TextStringObject("a"), SCRIPT])})
    cases = {
        "pdf, first half": whole[: len(whole) // 2],
        "pdf, head": b"%PDF-1.7\n",
        "pdf of noise": b"%PDF-1.7\n" + noise.randbytes(5_000),
        "pdf without a page": pdf(0),
        "pdf of eleven pages": pdf(11),
        "pdf of 5,000 pages": pdf(5_000),
        "pdf with a password": locked_pdf("secret"),
        "pdf with an empty password": locked_pdf(""),
        "pdf with a script on opening": pdf(change=on_open(SCRIPT)),
        "pdf with a script for a page": pdf(change=on_page(SCRIPT)),
        "pdf with a named script": pdf(
            change=lambda w: w._root_object.__setitem__(
                NameObject("/Names"), DictionaryObject({NameObject("/JavaScript"): named})
            )
        ),
        "pdf with a script on closing": pdf(
            change=lambda w: w._root_object.__setitem__(
                NameObject("/AA"), DictionaryObject({NameObject("/WC"): SCRIPT})
            )
        ),
        "pdf with a script nothing leads to": pdf(change=with_orphan),
        "pdf with a script in other letters": pdf(change=on_open(SCRIPT)).replace(b"/JavaScript", b"/J#61vaScript"),
        "pdf with a script behind another action": pdf(
            change=on_open(action("GoTo", D=TextStringObject("a"), Next=SCRIPT))
        ),
        "pdf with an attachment": pdf(change=lambda w: w.add_attachment("a.exe", b"MZ")),
        "pdf with an attachment on its page": pdf(change=annotated("FileAttachment")),
        "pdf that starts a program": pdf(change=on_open(action("Launch", F=TextStringObject("cmd.exe")))),
        "pdf that opens another": pdf(change=on_open(action("GoToR", F=TextStringObject("a.pdf")))),
        "pdf that sends a form": pdf(change=on_open(action("SubmitForm", F=TextStringObject("http://a")))),
        "pdf that fetches data": pdf(change=on_open(action("ImportData", F=TextStringObject("a.fdf")))),
        "pdf with an XFA form": pdf(change=lambda w: with_form(w, XFA=TextStringObject("<xdp/>"))),
        "pdf with a film": pdf(change=annotated("Movie")),
        "pdf with rich media": pdf(change=annotated("RichMedia")),
        "pdf with a scene": pdf(change=annotated("3D")),
        "pdf that inflates": pdf(change=with_inflating_content),
        "pdf whose pages are their own": pdf(change=with_loop),
        "pdf and zip": whole + zip_file(),
        "pdf and page": whole + b"<html><script>alert(1)</script></html>",
    }
    yield from (Sent(name, content, "unreadable") for name, content in cases.items())


def tolerated() -> Iterator[Sent]:
    """What honest people send; nothing of it but what it shows is kept."""
    frames = [Image.new("RGB", (320, 240), colour) for colour in ("red", "green", "blue")]
    animation = BytesIO()
    frames[0].save(animation, "PNG", save_all=True, append_images=frames[1:], duration=100)
    several = BytesIO()
    frames[0].save(several, "MPO", save_all=True, append_images=frames[1:])
    linked = Link(rect=(0, 0, 50, 50), url=f"https://example.com/{CANARY}")
    cases = {
        "jpeg": picture(),
        "png": picture("PNG"),
        "jpeg that tells where": picture(exif=exif(), comment=CANARY),
        "jpeg held sideways": picture(exif=exif(6)),
        "jpeg of a printer": picture(mode="CMYK"),
        "jpeg in grey": picture(mode="L"),
        "jpeg in passes": picture(progressive=True),
        "jpeg with a profile": picture(icc_profile=CANARY.encode() * 20),
        "jpeg with a tail": picture() + bytes(500),
        "png with texts": picture("PNG", pnginfo=notes(), exif=exif()),
        "png with a palette": picture("PNG", mode="P", transparency=3),
        "png with transparency": picture("PNG", mode="RGBA"),
        "png of sixteen bits": picture("PNG", mode="I;16"),
        "png of one bit": picture("PNG", mode="1"),
        "animation": animation.getvalue(),
        "several pictures": several.getvalue(),
        "jpeg as small as may be": picture(size=(200, 200)),
        "jpeg as large as may be": flat("JPEG", (8_000, 8_000)),
        "png as large as may be": flat("PNG", (8_000, 8_000), "RGBA"),
        "jpeg as large as may be, held sideways": flat("JPEG", (8_000, 7_000), exif=exif(8)),
        "pdf": pdf(),
        "pdf of ten pages": pdf(10),
        "pdf with a title": pdf(change=lambda w: w.add_metadata({"/Title": CANARY, "/Author": CANARY})),
        "pdf with a link": pdf(change=lambda w: w.add_annotation(0, linked)),
        "pdf with a form": pdf(change=with_form),
        "pdf with a photo": pdf(change=with_photo),
    }
    yield from (Sent(name, content, "kept") for name, content in cases.items())
    yield Sent("digital licence", pdf(2), "kept", "cnh_digital")


def every_file() -> list[Sent]:
    """All of them."""
    return [*no_such_type(), *unreadable_pictures(), *unreadable_pdfs(), *tolerated()]


def page_count(content: bytes) -> int:
    """How many pages a stored PDF has."""
    return len(PdfReader(BytesIO(content)).pages)
