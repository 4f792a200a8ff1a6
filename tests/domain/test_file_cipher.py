"""A stored file opens whole, under its own key and at its own place only."""

from collections.abc import Callable
from uuid import UUID

import pytest

from aval.domain.file_cipher import FileTampered, decrypted, encrypted, place_of_file, place_of_key

KEY, NONCE = bytes(range(32)), bytes(range(12))
TENANT, DOCUMENT, OBJECT = UUID(int=1), UUID(int=2), UUID(int=3)
PLACE = place_of_file(TENANT, DOCUMENT, "front", OBJECT)
TEXT = b"face and number" * 1_000


def stored(*chunks: bytes) -> bytes:
    return b"".join(encrypted(chunks, KEY, nonce=NONCE, associated=PLACE))


@pytest.mark.parametrize("chunks", [(TEXT,), (TEXT[:7], b"", TEXT[7:]), ()])
def test_what_was_encrypted_a_little_at_a_time_opens_whole(chunks: tuple[bytes, ...]) -> None:
    kept = stored(*chunks)
    assert decrypted(kept, KEY, associated=PLACE) == b"".join(chunks)
    assert b"number" not in kept and kept == stored(b"".join(chunks))


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept[:-1],
        lambda kept: kept + b"\x00",
        lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
        lambda kept: kept[:500] + bytes([kept[500] ^ 1]) + kept[501:],
        lambda kept: kept[:12],
        lambda kept: kept[:3],
        lambda kept: b"",
    ],
)
def test_a_file_that_was_changed_or_cut_does_not_open(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FileTampered):
        decrypted(change(stored(TEXT)), KEY, associated=PLACE)


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (bytes(32), PLACE),
        (KEY, place_of_file(UUID(int=9), DOCUMENT, "front", OBJECT)),
        (KEY, place_of_file(TENANT, UUID(int=9), "front", OBJECT)),
        (KEY, place_of_file(TENANT, DOCUMENT, "back", OBJECT)),
        (KEY, place_of_file(TENANT, DOCUMENT, "front", UUID(int=9))),
        (KEY, place_of_key(TENANT, DOCUMENT, "front", 1)),
    ],
)
def test_no_file_stands_in_for_another(key: bytes, place: str) -> None:
    with pytest.raises(FileTampered):
        decrypted(stored(TEXT), key, associated=place)


def test_each_version_of_a_files_key_has_a_place_of_its_own() -> None:
    assert place_of_key(TENANT, DOCUMENT, "front", 1) != place_of_key(TENANT, DOCUMENT, "front", 2)


@pytest.mark.parametrize(("key", "nonce"), [(KEY[:16], NONCE), (KEY, NONCE[:8])])
def test_a_shorter_key_or_nonce_is_a_bug(key: bytes, nonce: bytes) -> None:
    with pytest.raises(AssertionError):
        next(iter(encrypted([TEXT], key, nonce=nonce, associated=PLACE)))
