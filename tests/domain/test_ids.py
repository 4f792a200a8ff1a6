from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.ids import ENTROPY_BYTES, PARTS_MAX, parse_uuid, part_key, time_prefixed_uuid, whole_key

KEY = "0d9f1a52-7c3e-4b8a-9e21-6a4f3c2d1b08"


@pytest.mark.parametrize("text", [KEY, KEY.upper(), "0D9f1a52-7c3e-4B8a-BE21-6a4f3c2d1b08"])
def test_version_4_is_read_in_any_case(text: str) -> None:
    assert str(parse_uuid(text)) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY.replace("-", ""),
        f"{{{KEY}}}",
        f"urn:uuid:{KEY}",
        f" {KEY}",
        f"{KEY}\n",
        KEY[:-1],
        f"{KEY}0",
        KEY.replace("-4b8a", "-1b8a"),
        KEY.replace("-4b8a", "-7b8a"),
        KEY.replace("-9e21", "-ce21"),
        KEY.replace("-9e21", "-7e21"),
        KEY.replace("0d9f", "0d9g"),
        KEY.replace("0d9f", "0d9\u0661"),
        KEY.replace("0d9f", "0d9\uff46"),
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_other_spellings_and_versions_are_refused(text: str) -> None:
    assert parse_uuid(text) is None


def test_time_prefixed_keys_begin_with_their_milliseconds() -> None:
    key = time_prefixed_uuid(0x018BCFE56800, bytes(ENTROPY_BYTES))
    assert str(key) == "018bcfe5-6800-4000-8000-000000000000"


def test_time_prefixed_keys_keep_74_bits_of_chance() -> None:
    key = time_prefixed_uuid(0, b"\xff" * ENTROPY_BYTES)
    assert str(key) == "00000000-0000-4fff-bfff-ffffffffffff"


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES))
def test_time_prefixed_keys_are_version_4_and_read_back(milliseconds: int, entropy: bytes) -> None:
    key = time_prefixed_uuid(milliseconds, entropy)
    assert (key.version, key.variant) == (4, RFC_4122)
    assert parse_uuid(str(key)) == key
    assert key.int >> 80 == milliseconds


@given(st.integers(0, (1 << 48) - 2))
def test_later_keys_sort_later(milliseconds: int) -> None:
    earlier = time_prefixed_uuid(milliseconds, b"\xff" * ENTROPY_BYTES)
    assert earlier < time_prefixed_uuid(milliseconds + 1, bytes(ENTROPY_BYTES))


def test_a_key_is_a_uuid_at_run_time() -> None:
    assert isinstance(time_prefixed_uuid(1, bytes(ENTROPY_BYTES)), UUID)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES))
def test_the_parts_of_a_whole_have_keys_of_their_own_that_lead_back_to_it(milliseconds: int, entropy: bytes) -> None:
    whole = whole_key(time_prefixed_uuid(milliseconds, entropy))
    keys = [whole, *(part_key(whole, number) for number in range(1, PARTS_MAX + 1))]
    assert (len(keys), keys) == (256, sorted(set(keys)))
    for key in keys:
        assert whole_key(key) == whole
        assert parse_uuid(str(key)) == key  # of version 4 as before
        assert key.int >> 80 == milliseconds


@given(st.uuids(version=4), st.uuids(version=4))
def test_keys_that_differ_before_their_last_byte_share_no_part(one: UUID, other: UUID) -> None:
    assert (whole_key(one) == whole_key(other)) == (one.bytes[:-1] == other.bytes[:-1])
    assert whole_key(whole_key(one)) == whole_key(one)


@pytest.mark.parametrize("number", [-1, 0, PARTS_MAX + 1])
def test_a_whole_has_no_part_of_another_number(number: int) -> None:
    with pytest.raises(AssertionError):
        part_key(whole_key(UUID(KEY)), number)


@pytest.mark.parametrize("last_byte", [1, PARTS_MAX])
def test_a_part_has_no_parts(last_byte: int) -> None:
    with pytest.raises(AssertionError):
        part_key(UUID(int=whole_key(UUID(KEY)).int | last_byte), 1)
