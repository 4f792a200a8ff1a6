"""What a file is by its first bytes, and what else it is (promises.md §4.7)."""

import pytest

from aval.domain.file_type import CHUNK_BYTES, ZIP_END_BYTES, is_polyglot, media_type_of


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"%PDF-2.0", "application/pdf"),
        (b"%PDF-", None),
        (b"\xff\xd8", None),
        (b"\x89PNG\n\x1a\n", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_type(head: bytes, expected: str | None):
    assert media_type_of(head) == expected


@pytest.mark.parametrize("mark", [b"<HTML", b"<script", b"<?PhP", b"%PDF-1.7", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c"])
@pytest.mark.parametrize("at", [1, CHUNK_BYTES - 3, CHUNK_BYTES, 2 * CHUNK_BYTES + 9])
def test_a_mark_of_another_type_is_found_wherever_it_stands(mark: bytes, at: int):
    assert is_polyglot(bytes(at) + mark + bytes(100))


def test_its_own_mark_at_the_start_is_none():
    assert not is_polyglot(b"%PDF-1.7" + bytes(1_000))
    assert not is_polyglot(b"")


@pytest.mark.parametrize(("behind", "expected"), [(0, True), (ZIP_END_BYTES - 4, True), (ZIP_END_BYTES, False)])
def test_an_archive_is_found_by_its_end(behind: int, expected: bool):
    assert is_polyglot(bytes(10) + b"PK\x05\x06" + bytes(behind)) is expected
