"""The deployment's keys: which one is used, what is hashed and sealed with it, and what never prints."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from aval.domain.keyring import SEAL_NONCE_BYTES, Key, KeyMissing, Keyring, Purpose

MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
NONCE = bytes(range(SEAL_NONCE_BYTES))
PLACE = "contacts/5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10"


def key(purpose: Purpose, kid: str, days: int = 0, fill: int = 1) -> Key:
    return Key(purpose, kid, bytes([fill]) * 32, MADE_AT + timedelta(days=days))


def seal_ring(*kids: str) -> Keyring:
    return Keyring(key(Purpose.SEAL, kid, days=day, fill=int(kid)) for day, kid in enumerate(kids))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_new_things_are_made_with_the_newest_key_of_their_purpose(order: list[int]) -> None:
    keys = [key(Purpose.TOKEN, "a", 0), key(Purpose.TOKEN, "b", 1), key(Purpose.SEAL, "c", 2)]
    ring = Keyring(keys[place] for place in order)
    assert ring.current(Purpose.TOKEN).kid == "b"
    assert [found.kid for found in ring.all_of(Purpose.TOKEN)] == ["b", "a"]
    assert ring.find(Purpose.TOKEN, "a") is keys[0]


def test_a_key_serves_one_purpose() -> None:
    ring = Keyring([key(Purpose.TOKEN, "a")])
    with pytest.raises(KeyMissing):
        ring.find(Purpose.SEAL, "a")
    with pytest.raises(KeyMissing):
        ring.current(Purpose.SEAL)
    assert list(ring.all_of(Purpose.SEAL)) == []


def test_a_credential_is_hashed_under_every_key_the_current_one_first() -> None:
    old, new = key(Purpose.CREDENTIAL, "a", 0, fill=1), key(Purpose.CREDENTIAL, "b", 1, fill=2)
    hashes = Keyring([old, new]).credential_hashes("aval_test_x")
    assert hashes == [hmac.new(one.secret, b"aval_test_x", hashlib.sha256).digest() for one in (new, old)]


def test_an_index_is_a_keyed_hash() -> None:
    ring = Keyring([key(Purpose.INDEX, "a")])
    assert ring.index_of("cpf:11144477735") == hmac.new(b"\x01" * 32, b"cpf:11144477735", hashlib.sha256).digest()
    assert ring.index_of("cpf:11144477735") != ring.index_of("cpf:52998224725")


def test_what_is_sealed_opens_at_its_place_through_rotation() -> None:
    sealed = seal_ring("1").sealed("+5511987651234 é", associated=PLACE, nonce=NONCE)
    assert seal_ring("1", "2").opened(sealed, associated=PLACE) == "+5511987651234 é"
    assert b"98765" not in sealed
    again = seal_ring("1", "2").sealed("+5511987651234 é", associated=PLACE, nonce=NONCE)
    assert (sealed[:2], again[:2]) == (b"\x011", b"\x012")


@pytest.mark.parametrize("place", [0, 1, 5, 20, -1])
def test_a_changed_byte_does_not_open(place: int) -> None:
    ring = seal_ring("1")
    sealed = bytearray(ring.sealed("+5511987651234", associated=PLACE, nonce=NONCE))
    sealed[place] ^= 1
    with pytest.raises(KeyMissing):
        ring.opened(bytes(sealed), associated=PLACE)


def test_a_value_moved_to_another_row_does_not_open() -> None:
    ring = seal_ring("1")
    sealed = ring.sealed("+5511987651234", associated=PLACE, nonce=NONCE)
    with pytest.raises(KeyMissing):
        ring.opened(sealed, associated=PLACE[:-1] + "1")


def test_without_its_key_nothing_opens() -> None:
    sealed = seal_ring("1").sealed("+5511987651234", associated=PLACE, nonce=NONCE)
    with pytest.raises(KeyMissing):
        seal_ring("2").opened(sealed, associated=PLACE)


def test_the_key_of_a_file_opens_under_document_keys_alone() -> None:
    data_key, fill = bytes(range(200, 232)), {"1": 1, "2": 2}
    keys = [key(Purpose.DOCUMENT, kid, days=day, fill=fill[kid]) for day, kid in enumerate(fill)]
    sealed = Keyring(keys[:1]).sealed_key(data_key, associated=PLACE, nonce=NONCE)
    assert Keyring(keys).opened_key(sealed, associated=PLACE) == data_key
    assert Keyring(keys).sealed_key(data_key, associated=PLACE, nonce=NONCE)[:2] == b"\x012"
    for ring, place in ((Keyring(keys), PLACE[:-1] + "1"), (Keyring(keys[1:]), PLACE), (seal_ring("1"), PLACE)):
        with pytest.raises(KeyMissing):
            ring.opened_key(sealed, associated=place)


@pytest.mark.parametrize("length", [11, 13])
def test_a_nonce_of_another_length_is_a_bug(length: int) -> None:
    with pytest.raises(AssertionError):
        seal_ring("1").sealed("x", associated=PLACE, nonce=bytes(length))


def test_a_secret_does_not_print() -> None:
    assert "\\x01" not in repr(key(Purpose.TOKEN, "a"))
