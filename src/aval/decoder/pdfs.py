"""PDF documents: read whole, refused if they do anything, and written anew with their pages alone."""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from pypdf import PdfReader, PdfWriter
from pypdf.errors import PyPdfError
from pypdf.filters import decode_stream_data
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject, StreamObject

from aval.decoder.verdict import Unreadable
from aval.domain.identity_document import PDF_PAGES_MAX

OBJECTS_MAX = 20_000
CONTENT_BYTES_MAX = 64 * 1024 * 1024

# What a document does, carries or fetches; none of it is looked at closer.
_ACTIVE_KEYS = frozenset(
    {"/JavaScript", "/JS", "/EmbeddedFiles", "/EF", "/XFA", "/RichMediaContent", "/RichMediaSettings", "/Launch"}
)
_ACTIVE_NAMES = frozenset(
    {"/JavaScript", "/Launch", "/EmbeddedFile", "/RichMedia", "/Rendition", "/Movie", "/Sound", "/3D", "/Screen"}
    | {"/FileAttachment", "/GoToE", "/GoToR", "/ImportData", "/SubmitForm", "/Filespec", "/PS"}
)
_NAMING_KEYS = ("/S", "/Subtype", "/Type")
_ELSEWHERE = "/F"  # of a stream: the file its bytes are to be fetched from
_PHOTO_FILTERS = ("/DCTDecode", "/DCT")
_PAGE_KEYS = frozenset({"/Type", "/Parent", "/MediaBox", "/CropBox", "/Rotate", "/Resources", "/Contents", "/UserUnit"})
_NOTES = ("/Metadata", "/PieceInfo", "/LastModified", "/AA", "/A", "/OpenAction", "/Annots", "/Thumb", "/StructParents")
_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA  # of a JPEG
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # neither what a scan escapes, nor its restarts, nor room
_METADATA_MARKERS = frozenset({*range(0xE1, 0xE2), *range(0xE3, 0xEE), 0xEF, 0xFE})  # APPn but 0, 2 and 14; comments


def rewrite_pdf(source: BinaryIO, target: BinaryIO) -> None:
    """Read a PDF and write its pages; raises Unreadable."""
    try:
        reader = PdfReader(source, strict=False)
        if reader.is_encrypted or not 1 <= _page_count(reader) <= PDF_PAGES_MAX:
            raise Unreadable
        if any(_is_active(each) for each in _all_objects(reader)):
            raise Unreadable
        _pages_of(reader).write(target)
    except (PyPdfError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError):
        raise Unreadable from None
    except (OSError, EOFError, RecursionError, MemoryError, OverflowError, NotImplementedError):
        raise Unreadable from None


def _page_count(reader: PdfReader) -> int:
    count = 0
    for count, _page in enumerate(reader.pages, 1):  # by walking: what the tree claims is only a claim
        if count > PDF_PAGES_MAX:
            break
    return count


def _all_objects(reader: PdfReader) -> Iterator[Any]:
    """Every object of the file, whether anything leads to it or not."""
    numbers = [(number, generation) for generation, found in reader.xref.items() for number in found]
    numbers += [(number, 0) for number in reader.xref_objStm]
    if len(numbers) > OBJECTS_MAX:
        raise Unreadable
    yield reader.trailer
    for number, generation in numbers:
        yield reader.get_object(IndirectObject(number, generation, reader))


def _is_active(root: Any) -> bool:
    waiting, looks = [root], 0
    while waiting:
        each = waiting.pop()
        looks += 1
        if looks > OBJECTS_MAX:
            raise Unreadable
        if isinstance(each, DictionaryObject):
            if _ACTIVE_KEYS & each.keys() or any(_name(each, key) in _ACTIVE_NAMES for key in _NAMING_KEYS):
                return True
            if isinstance(each, StreamObject) and _ELSEWHERE in each:
                return True
            waiting += [value for value in map(each.raw_get, each) if _is_container(value)]
        elif isinstance(each, ArrayObject):
            waiting += filter(_is_container, list.__iter__(each))
    return False


def _is_container(value: Any) -> bool:
    return isinstance(value, DictionaryObject | ArrayObject)


def _name(holder: DictionaryObject, key: str) -> str:
    value = _member(holder, key)
    return str(value) if isinstance(value, NameObject) else ""


def _member(holder: DictionaryObject, key: str) -> Any:
    value = holder.get(key)
    return value.get_object() if isinstance(value, IndirectObject) else value


def _pages_of(reader: PdfReader) -> PdfWriter:
    writer = PdfWriter()
    for page in reader.pages:
        contents = page.get_contents()
        if contents is not None and len(contents.get_data()) > CONTENT_BYTES_MAX:
            raise Unreadable
        for key in [key for key in page if key not in _PAGE_KEYS]:
            del page[key]
        writer.add_page(page)
    for each in writer._objects:  # noqa: SLF001 – the writer lists its objects nowhere else
        if _is_active(each):  # the parser also finds objects that no table of the file lists
            raise Unreadable
        _forget_notes(each)
    writer.metadata = None
    return writer


def _forget_notes(each: Any) -> None:
    if isinstance(each, DictionaryObject):
        for note in _NOTES:
            each.pop(NameObject(note), None)
    if isinstance(each, StreamObject) and _filters(each)[-1] in _PHOTO_FILTERS:
        _strip(each)


def _filters(stream: StreamObject) -> list[str]:
    found = _member(stream, "/Filter")
    return [str(each) for each in found] if isinstance(found, ArrayObject) and found else [str(found)]


def _strip(photo: StreamObject) -> None:
    """Take a photo out of whatever else it is packed in, and its metadata away."""
    data, outer = photo._data, _filters(photo)[:-1]  # noqa: SLF001 – as stored: get_data would decode the photo, too
    parameters = _member(photo, "/DecodeParms")
    if outer:
        packed = StreamObject()
        packed._data = data  # noqa: SLF001
        packed[NameObject("/Filter")] = ArrayObject(map(NameObject, outer))
        if isinstance(parameters, ArrayObject):
            packed[NameObject("/DecodeParms")] = ArrayObject(parameters[:-1])
        data = decode_stream_data(packed)
    photo[NameObject("/Filter")] = NameObject(_PHOTO_FILTERS[0])
    if isinstance(parameters, ArrayObject):
        photo[NameObject("/DecodeParms")] = parameters[-1]
    photo._data = _without_metadata(data)  # noqa: SLF001


def _without_metadata(data: bytes) -> bytes:
    """A JPEG inside the document without what tells where and by whom it was taken, or comes after its end."""
    kept, at = bytearray(_START), max(data.find(_START), 0) + len(_START)
    while (found := _MARKER.search(data, at)) is not None and found.group() != _END:
        at, marker = found.start(), found.group()[1]
        end = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
        if marker == _SCAN:
            following = _MARKER.search(data, end)
            end = len(data) if following is None else following.start()
        if marker not in _METADATA_MARKERS:
            kept += data[at:end]
        at = end
    return bytes(kept + _END)
