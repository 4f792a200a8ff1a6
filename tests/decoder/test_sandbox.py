"""The process a file is decoded in: what it makes of a file, and what it cannot do (promises.md DV9)."""

import asyncio
import tempfile
from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image

from aval.decoder import sandbox
from aval.decoder.sandbox import SandboxedDecoder
from aval.domain.file_type import media_type_of
from aval.domain.identity_document import JPEG, PNG
from aval.ports import DecoderBusy
from tests.hostile_files import CANARY, exif, flat, pdf, picture, png_claiming, with_inflating_content


async def rewritten(content: bytes, decoder: SandboxedDecoder | None = None) -> bytes | None:
    """What becomes of a file; None if it is refused."""
    media_type = media_type_of(content)
    assert media_type is not None
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(content)
        source.flush()
        if not await (decoder or SandboxedDecoder()).rewrite(source, target, media_type):
            return None
        target.seek(0)
        return target.read()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_a_picture_keeps_what_it_shows_and_nothing_else(kind: str):
    kept = await rewritten(picture(kind, exif=exif(), comment=CANARY))
    assert kept is not None
    assert CANARY.encode() not in kept
    shown = Image.open(BytesIO(kept))
    assert (shown.format, shown.size, dict(shown.getexif())) == (kind, (320, 240), {})


async def test_a_picture_held_sideways_stands_upright():
    kept = await rewritten(picture(exif=exif(6)))
    assert kept is not None
    assert Image.open(BytesIO(kept)).size == (240, 320)


async def test_the_pages_of_a_document_stay():
    kept = await rewritten(pdf(3))
    assert kept is not None
    assert kept.startswith(b"%PDF-")
    assert kept.count(b"/Type /Page\n") == 3


@pytest.mark.parametrize(
    "content",
    [pdf(change=with_inflating_content), png_claiming(65_535, 65_535), picture()[:300], picture() + b"<script>"],
    ids=["inflates", "claims", "truncated", "polyglot"],
)
async def test_what_cannot_be_read_is_refused(content: bytes):
    assert await rewritten(content) is None


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch):
    """Run other words in the child, after it has left the world."""

    def say(*words: str) -> None:
        program = "from aval.decoder import child, rewrite\nrewrite.practise()\nchild._leave_the_world()\n"
        monkeypatch.setattr(sandbox, "_CHILD", [sandbox.sys.executable, "-s", "-P", "-c", program + "\n".join(words)])

    return say


TRIES: Sequence[tuple[str, str]] = [
    ("a file to read", "open('/etc/hostname')"),
    ("a file to write", "open('/tmp/aval-hostile', 'w')"),
    ("a socket", "_socket.socket()"),
    ("a process", "os.posix_spawn('/bin/true', ['true'], {})"),
    ("another user", "os.setuid(0)"),
]


@pytest.mark.parametrize("attempt", [attempt for _, attempt in TRIES], ids=[name for name, _ in TRIES])
async def test_a_child_that_reads_a_file_can_reach_nothing_else(child, attempt: str):
    child(
        "import os, _socket",
        "os.write(1, b'tried')",
        "try:",
        f"    {attempt}",
        "except OSError:",
        "    os._exit(0)",
        "os._exit(9)",
    )
    assert await rewritten(picture()) == b"tried"


@pytest.mark.parametrize(
    "words",
    [("while True: pass",), ("import time", "time.sleep(60)"), ("import os", "os.kill(os.getpid(), 11)")],
    ids=["busy", "asleep", "crashed"],
)
async def test_a_child_that_does_not_end_well_is_a_refusal_and_the_next_file_is_read(child, words, monkeypatch):
    decoder = SandboxedDecoder(places=1, patience_s=1.5)
    child(*words)
    assert await rewritten(picture(), decoder) is None
    monkeypatch.undo()
    assert await rewritten(picture("PNG"), decoder) is not None


async def test_a_child_ends_with_the_call_that_waits_for_it(child):
    child("import time", "time.sleep(60)")
    decoder = SandboxedDecoder(places=1)
    waiting = asyncio.create_task(rewritten(picture(), decoder))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not decoder._places.locked()


async def test_more_files_than_may_wait_are_turned_away(child):
    child("import time", "time.sleep(60)")
    decoder = SandboxedDecoder(places=1, waiting_max=1, patience_s=1)
    first, second = (asyncio.create_task(rewritten(picture(), decoder)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(DecoderBusy):
        await rewritten(picture(), decoder)
    assert [await first, await second] == [None, None]


async def test_the_largest_pictures_fit_into_the_memory_of_a_child():
    for content in (flat("JPEG", (8_000, 8_000), "CMYK"), flat("PNG", (8_000, 8_000), "RGBA")):
        kept = await rewritten(content)
        assert kept is not None
        assert media_type_of(kept) in (JPEG, PNG)
