"""The keyed digest of an approval changes with everything it is made of, and only the key makes it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.decision_mac import decision_mac, is_decision_intact
from aval.domain.keyring import Key, Keyring, Purpose
from aval.domain.transfer import Kind
from tests.domain.test_evidence_check import KEY, transfer_of

AT = datetime(2026, 11, 23, 13, 0, 0, 5, tzinfo=UTC)
RING = Keyring([KEY])
TRANSFER = transfer_of(Kind.TED)
TOLD = {"status": "pending", "method": "sms", "generation": 2, "comparison": "right", "details_digest": "ab"}


def keyed(ring: Keyring = RING) -> dict[str, object]:
    return TOLD | {"mac": decision_mac(ring, TRANSFER, TOLD, "credential:a", AT)}


def test_what_was_written_is_intact_also_after_a_rotation() -> None:
    newer = Key(Purpose.EVIDENCE, "evidence-2", bytes(range(7, 39)), KEY.created_at + timedelta(days=1))
    rotated = Keyring([KEY, newer])
    for told in (keyed(), keyed(rotated)):
        assert is_decision_intact(rotated, TRANSFER, told, "credential:a", AT)
    assert str(keyed(rotated)["mac"]).startswith("evidence-2:")


@pytest.mark.parametrize("name", TOLD)
def test_another_row_of_audit_has_another_digest(name: str) -> None:
    for other in ("x", 1, None):
        assert not is_decision_intact(RING, TRANSFER, keyed() | {name: other}, "credential:a", AT)


@pytest.mark.parametrize(
    "change",
    [{"key": UUID(int=99)}, {"integrator_key": UUID(int=99)}, {"approver_key": UUID(int=99)}, {"details_digest": b"x"}],
)
def test_another_operation_has_another_digest(change: dict[str, object]) -> None:
    assert not is_decision_intact(RING, replace(TRANSFER, **change), keyed(), "credential:a", AT)


def test_another_actor_moment_or_key_has_another_digest() -> None:
    assert not is_decision_intact(RING, TRANSFER, keyed(), "credential:b", AT)
    assert not is_decision_intact(RING, TRANSFER, keyed(), "credential:a", AT + timedelta(microseconds=1))
    stranger = Keyring([Key(Purpose.EVIDENCE, KEY.kid, bytes(range(9, 41)), KEY.created_at)])
    assert not is_decision_intact(stranger, TRANSFER, keyed(), "credential:a", AT)


def test_without_a_key_there_is_no_digest_and_nothing_is_intact() -> None:
    assert decision_mac(Keyring([]), TRANSFER, TOLD, "credential:a", AT) is None
    assert not is_decision_intact(Keyring([]), TRANSFER, keyed(), "credential:a", AT)
    for told in (TOLD, TOLD | {"mac": None}, TOLD | {"mac": ""}, TOLD | {"mac": "evidence-1"}):
        assert not is_decision_intact(RING, TRANSFER, told, "credential:a", AT)
