"""Reads an upload as it arrives: a few small fields and one file, never more than a piece of it in memory.

What the parts say of the file – its name, its type – is dropped; its first bytes decide (promises.md §4.7).
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from aval.domain.caller import Caller
from aval.domain.errors import Refusal, schema_refusal
from aval.domain.file_type import HEAD_BYTES, media_type_of
from aval.domain.identity_document import FILE_BYTES_MAX
from aval.http.edge import Call
from aval.http.limits import closing
from aval.http.rates import CallsInProgress, Turns
from aval.operations.store_file import ReceivedFile, busy, lent_space

ENVELOPE_BYTES_MAX = 65_536  # boundaries, headers of parts – names of files among them – and the small fields
UPLOAD_BYTES_MAX = FILE_BYTES_MAX + ENVELOPE_BYTES_MAX
FIELD_BYTES_MAX = 64
PART_HEADERS_MAX, PART_HEADER_BYTES_MAX = 8, 16_384
UPLOADS_MAX = 128  # in one process at once; each is a file on disk, not memory
UPLOADS_OF_ONE_MAX = 4  # of one participant; who lets bodies drip takes no place from the others, further ones wait
UPLOADS_OF_CAMPAIGN_MAX = 96  # and no campaign, whose participants are many, takes the last one
TURN_WAIT = timedelta(seconds=15)  # of a participant's fifth, before a byte of it is read
FILE = "file"

_CONTENT_TYPE = re.compile(r"multipart/form-data[ \t]*(?:;.*)?", re.IGNORECASE)  # on one line: not sent twice
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PLAIN = frozenset({b"", b"7bit", b"8bit", b"binary"})


class Malformed(Exception):
    """The body is no form of the parts that belong here."""


@dataclass(slots=True)
class Part:
    """One part of the form, as far as it has arrived."""

    name: str = ""
    header: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Form:
    """Takes the parts in turn: fields into `fields`, the file into `pending`, from where it goes to disk."""

    def __init__(self, names: frozenset[str], boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.pending: list[memoryview] = []  # pieces of what was fed, never copies
        self.is_whole = False
        self._names = names
        self._seen: set[str] = set()
        self._part = Part()
        self._field = bytearray()
        self._size = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header_name,
                "on_header_value": self._take_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=PART_HEADERS_MAX,
            max_header_size=PART_HEADER_BYTES_MAX,
        )
        self._name, self._value = bytearray(), bytearray()

    @property
    def has_file(self) -> bool:
        """Whether the part with the file has begun."""
        return FILE in self._seen

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body; raises Malformed, or the refusal of a file that is too large."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise Malformed from None

    def _begin(self) -> None:
        self._part = Part()
        self._field.clear()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = bytes(self._name).lower()
        if name in self._part.headers:
            raise Malformed
        self._part.headers[name] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        headers = self._part.headers
        kind, options = parse_options_header(headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("latin-1")
        is_nested = headers.get(b"content-type", b"").strip().lower().startswith(b"multipart/")
        is_plain = headers.get(b"content-transfer-encoding", b"").strip().lower() in _PLAIN
        if kind != b"form-data" or name not in self._names or name in self._seen or is_nested or not is_plain:
            raise Malformed
        self._part.name = name
        self._seen.add(name)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == FILE:
            self._size += end - start
            if self._size > FILE_BYTES_MAX:
                raise closing("rdm.too_large")
            self.pending.append(memoryview(data)[start:end])
            return
        self._field += data[start:end]
        if len(self._field) > FIELD_BYTES_MAX:
            raise Malformed

    def _end(self) -> None:
        if self._part.name != FILE:
            self.fields[self._part.name] = self._field.decode("latin-1")

    def _finish(self) -> None:
        self.is_whole = True


@dataclass(frozen=True, slots=True)
class Received:
    """A form with its file, which is gone when the form is let go."""

    fields: dict[str, str]
    content: BinaryIO = field(repr=False)
    size: int
    sha256: bytes
    head: bytes = field(repr=False)

    def file_for(self, formats: frozenset[str]) -> ReceivedFile:
        """The file as one of these types; raises Refusal."""
        if not self.size:
            raise Refusal("rdm.file_unreadable")
        media_type = media_type_of(self.head)
        if media_type not in formats:
            raise Refusal("rdm.file_type")
        return ReceivedFile(self.content, self.size, self.sha256, media_type)


class Reception:
    """Receives uploads, no more at once than this process takes on."""

    def __init__(self, spool: Path | None, *, uploads_max: int = UPLOADS_MAX) -> None:
        self._spool = spool
        self._places = uploads_max
        self._of_one = Turns(UPLOADS_OF_ONE_MAX, TURN_WAIT)
        self._of_campaign = CallsInProgress(UPLOADS_OF_CAMPAIGN_MAX)

    @asynccontextmanager
    async def received(self, call: Call, names: frozenset[str]) -> AsyncIterator[Received]:
        """Read the form of a call with the file and exactly these fields; raises Refusal."""
        form = Form(names | {FILE}, _boundary_of(call))
        sender = call.redeemer
        assert sender.participant_key is not None
        async with self._of_one.turn(sender.participant_key):
            with self._place(sender), lent_space(self._spool) as content:
                yield await self._read(call, form, names, content)

    async def _read(self, call: Call, form: Form, names: frozenset[str], content: BinaryIO) -> Received:
        try:
            size, digest = await _poured(call, form, content)
        except Malformed:
            raise schema_refusal(("body", "invalid_form")) from None
        if not form.is_whole or not form.has_file or form.fields.keys() != names:
            missing = sorted((names | {FILE}) - form.fields.keys() - ({FILE} if form.has_file else set()))
            raise schema_refusal(*((name, "missing") for name in missing or ["body"]))
        content.seek(0)
        return Received(form.fields, content, size, digest, content.read(HEAD_BYTES))

    @contextmanager
    def _place(self, sender: Caller) -> Iterator[None]:
        if not self._places:
            raise busy()
        leave = self._of_campaign.enter(sender.tenant.key)
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1
            leave()


async def _poured(call: Call, form: Form, content: BinaryIO) -> tuple[int, bytes]:
    """Let the body run through the form onto the disk; the file's size and hash."""
    size, digest = 0, hashlib.sha256()

    def pour(pieces: list[memoryview]) -> int:
        for piece in pieces:
            content.write(piece)
            digest.update(piece)
        return sum(map(len, pieces))

    if call.chunks is not None:
        async for chunk in call.chunks:
            form.feed(chunk)
            if form.pending:
                size += await asyncio.to_thread(pour, form.pending)
                form.pending.clear()
            del chunk  # a quarter of a megabyte, not to be kept until the next one has come
    content.flush()
    return size, digest.digest()


def _boundary_of(call: Call) -> bytes:
    given = call.headers.get("content-type", "")
    if call.headers.get("content-encoding", "identity").lower() != "identity" or not _CONTENT_TYPE.fullmatch(given):
        raise Refusal("qit.unsupported_media_type")
    _, options = parse_options_header(given)
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise schema_refusal(("boundary", "missing"))
    return boundary
