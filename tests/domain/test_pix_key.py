from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.pix_key import (
    ENTROPY_BYTES,
    PixKey,
    PixKeyKind,
    generated_end_to_end_id,
    is_end_to_end_id,
    is_receiver_conciliation_id,
    pix_key_of,
)

RANDOM_KEY = "0d9f1a52-7c3e-4b8a-9e21-6a4f3c2d1b08"


@pytest.mark.parametrize(
    ("text", "kind", "normalized"),
    [
        (RANDOM_KEY, PixKeyKind.RANDOM, RANDOM_KEY),
        (RANDOM_KEY.upper(), PixKeyKind.RANDOM, RANDOM_KEY),
        ("+5511987654321", PixKeyKind.PHONE, "+5511987654321"),
        ("+12", PixKeyKind.PHONE, "+12"),
        ("+123456789012345", PixKeyKind.PHONE, "+123456789012345"),
        ("Maria@Example.com", PixKeyKind.EMAIL, "maria@example.com"),
        ("nao.existe@example.com", PixKeyKind.EMAIL, "nao.existe@example.com"),
        ("a@b12345678.c", PixKeyKind.EMAIL, "a@b12345678.c"),
        ("52998224725", PixKeyKind.CPF, "52998224725"),
        ("11222333000181", PixKeyKind.CNPJ, "11222333000181"),
        ("12abc34501de35", PixKeyKind.CNPJ, "12ABC34501DE35"),
        ("m" * 65 + "@example.com", PixKeyKind.EMAIL, "m" * 65 + "@example.com"),
    ],
)
def test_a_key_is_read_by_the_first_shape_that_matches(text: str, kind: PixKeyKind, normalized: str) -> None:
    assert pix_key_of(text) == PixKey(kind, normalized)


@pytest.mark.parametrize(
    "text",
    [
        *["", "maria", "52998224724", "11111111111", "11222333000180", "12ABC34501DE05", "5511987654321"],
        *["+1", "+0123456789", "+1234567890123456", "+55119876a4321", "+55 11987654321", "+\u0661\u0662"],
        *[RANDOM_KEY.replace("-4b8a", "-1b8a"), RANDOM_KEY.replace("-", ""), f"urn:uuid:{RANDOM_KEY}"],
        *["m" * 66 + "@example.com", "@", "a@", "@b", "a@b@c", "a b@example.com", "joão@example.com", "a@b\n"],
        *["529.982.247-25", "11.222.333/0001-81"],
    ],
)
def test_other_texts_are_no_pix_key(text: str) -> None:
    assert pix_key_of(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("E12345678202611231430aB3dE5fG7h9", True),
        ("E00000000202402292359aB3dE5fG7h9", True),
        ("e12345678202611231430aB3dE5fG7h9", False),
        ("D12345678202611231430aB3dE5fG7h9", False),
        ("E12345678202602291430aB3dE5fG7h9", False),
        ("E12345678202613231430aB3dE5fG7h9", False),
        ("E12345678202611232400aB3dE5fG7h9", False),
        ("E12345678202611231460aB3dE5fG7h9", False),
        ("E12345678000011231430aB3dE5fG7h9", False),
        ("E1234567A202611231430aB3dE5fG7h9", False),
        ("E12345678202611231430aB3dE5fG7h", False),
        ("E12345678202611231430aB3dE5fG7h90", False),
        ("E12345678202611231430aB3dE5fG7h_", False),
        ("E12345678202611231430aB3dE5fG7h\u0661", False),
        ("E12345678202611231430aB3dE5fG7h9\n", False),
    ],
)
def test_an_end_to_end_id_names_a_bank_and_a_real_minute(text: str, expected: bool) -> None:
    assert is_end_to_end_id(text) is expected


def test_a_generated_end_to_end_id_has_the_minute_in_utc() -> None:
    at = datetime(2026, 11, 23, 21, 30, 59, tzinfo=timezone(timedelta(hours=-3)))
    assert generated_end_to_end_id("12345678", at, bytes(ENTROPY_BYTES)) == "E1234567820261124003000000000000"


@given(st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES))
def test_generated_end_to_end_ids_are_valid(entropy: bytes) -> None:
    assert is_end_to_end_id(generated_end_to_end_id("00000000", datetime(2026, 1, 2, 3, 4, tzinfo=UTC), entropy))


def test_other_entropy_gives_another_id() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    made = {generated_end_to_end_id("12345678", at, n.to_bytes(ENTROPY_BYTES)) for n in range(1000)}
    assert len(made) == 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("REC00000000000000000000000000001207", True), ("", False), ("a" * 36, False), ("a-b", False)]
    + [("é", False), ("a\n", False)],
)
def test_a_conciliation_id_is_35_letters_or_digits_at_most(text: str, expected: bool) -> None:
    assert is_receiver_conciliation_id(text) is expected
