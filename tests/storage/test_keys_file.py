import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from aval.domain.keyring import OPTIONAL, KeyMissing, Purpose
from aval.storage.keys_file import KeyringSource, KeysFault, KeysFile, KeysFileError


def _file(folder: Path) -> KeysFile:
    return KeysFile(folder / "keys.json")


def _entry(purpose: str, secret: bytes, kid: str = "k1") -> dict[str, str]:
    key = base64.b64encode(secret).decode()
    return {"purpose": purpose, "kid": kid, "key": key, "created_at": "2026-11-23T12:00:00+00:00"}


def _written(folder: Path, content: Any, mode: int = 0o600) -> KeysFile:
    file = _file(folder)
    file.path.write_text(content if isinstance(content, str) else json.dumps({"keys": content}))
    file.path.chmod(mode)
    return file


def _good() -> list[dict[str, str]]:
    return [_entry(purpose, os.urandom(32)) for purpose in Purpose]


def _faults(file: KeysFile) -> list[tuple[KeysFault, str]]:
    with pytest.raises(KeysFileError) as refused:
        file.load()
    return [(finding.fault, finding.subject) for finding in refused.value.findings]


def test_a_fresh_file_holds_one_key_for_each_purpose_and_is_private(tmp_path: Path) -> None:
    made = _file(tmp_path / "new").create()
    file = _file(tmp_path / "new")
    assert file.path.stat().st_mode & 0o777 == 0o600
    loaded = file.load()
    for purpose in Purpose:
        assert loaded.current(purpose).secret == made.current(purpose).secret
    assert len({key.secret for key in file.entries()}) == len(Purpose)
    assert os.listdir(file.path.parent) == ["keys.json"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    file = _written(tmp_path, "precious")
    with pytest.raises(KeysFileError) as refused:
        file.create()
    assert refused.value.findings[0].fault == KeysFault.EXISTS
    assert file.path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["keys.json"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert _faults(_file(tmp_path)) == [(KeysFault.MISSING, "")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    assert _faults(_written(tmp_path, _good(), mode)) == [(KeysFault.WRONG_MODE, "")]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": [{}]}', '{"keys": [1]}', "not json", '{"keys": 3}'])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: str) -> None:
    assert _faults(_written(tmp_path, content)) == [(KeysFault.UNREADABLE, "")]


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        ([], [(KeysFault.PURPOSE_MISSING, "token")]),
        ([_entry("token", os.urandom(31))], [(KeysFault.KEY_SHORT, "token k1")]),
        ([_entry("token", b"")], [(KeysFault.KEY_SHORT, "token k1")]),
        ([_entry("token", bytes(32))], [(KeysFault.KEY_DEFAULT, "token k1")]),
        ([_entry("token", b"changeme" * 4)], [(KeysFault.KEY_DEFAULT, "token k1")]),
        (
            [_entry("token", os.urandom(32)), _entry("token", os.urandom(32))],
            [(KeysFault.KID_USED_TWICE, "token k1"), (KeysFault.KID_USED_TWICE, "token k1")],
        ),
    ],
)
def test_an_unsafe_key_is_refused_by_name(
    tmp_path: Path, changed: list[dict[str, str]], faults: list[tuple[KeysFault, str]]
) -> None:
    others = [entry for entry in _good() if entry["purpose"] != "token"]
    assert _faults(_written(tmp_path, changed + others)) == faults


def test_one_key_for_two_purposes_is_refused(tmp_path: Path) -> None:
    secret = os.urandom(32)
    entries = [entry | {"key": base64.b64encode(secret).decode()} for entry in _good()[:2]] + _good()[2:]
    assert [fault for fault, _ in _faults(_written(tmp_path, entries))] == [KeysFault.KEY_USED_TWICE] * 2


def test_a_rotation_adds_a_key_and_keeps_the_old_one(tmp_path: Path) -> None:
    file = _file(tmp_path)
    old = file.create().current(Purpose.TOKEN)
    kid = file.rotate(Purpose.TOKEN)
    keyring = file.load()
    assert keyring.current(Purpose.TOKEN).kid == kid != old.kid
    assert keyring.find(Purpose.TOKEN, old.kid).secret == old.secret
    assert file.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.INDEX])
def test_a_file_older_than_a_purpose_gets_its_first_key(tmp_path: Path, purpose: Purpose) -> None:
    file = _written(tmp_path, [entry for entry in _good() if entry["purpose"] != purpose])
    if purpose in OPTIONAL:
        assert file.load().all_of(purpose) == [] and file.prune(set()) == []
    else:
        assert _faults(file) == [(KeysFault.PURPOSE_MISSING, purpose)]
    kid = file.rotate(purpose)
    assert file.load().current(purpose).kid == kid


def test_only_the_missing_purpose_can_be_rotated_in(tmp_path: Path) -> None:
    file = _written(tmp_path, [entry for entry in _good() if entry["purpose"] != Purpose.EVIDENCE])
    with pytest.raises(KeysFileError):
        file.rotate(Purpose.TOKEN)


def test_the_index_key_cannot_be_rotated(tmp_path: Path) -> None:
    file = _file(tmp_path)
    file.create()
    with pytest.raises(KeysFileError) as refused:
        file.rotate(Purpose.INDEX)
    assert refused.value.findings[0].fault == KeysFault.NOT_ROTATED


def test_pruning_keeps_current_and_needed_keys(tmp_path: Path) -> None:
    file = _file(tmp_path)
    first = file.create().current(Purpose.TOKEN).kid
    second = file.rotate(Purpose.TOKEN)
    third = file.rotate(Purpose.TOKEN)
    assert [key.kid for key in file.prune({(Purpose.TOKEN, first)})] == [second]
    assert [key.kid for key in file.load().all_of(Purpose.TOKEN)] == [third, first]
    assert file.prune({(Purpose.TOKEN, first)}) == []


def test_a_running_process_takes_over_a_rotation_within_a_second(tmp_path: Path) -> None:
    file = _file(tmp_path)
    file.create()
    now = [0.0]
    clock = [datetime.now(UTC) + timedelta(hours=1)]
    source = KeyringSource(file, monotonic=lambda: now[0], now=lambda: clock[0])
    before = source.current().current(Purpose.TOKEN)
    kid = file.rotate(Purpose.TOKEN)
    with pytest.raises(KeyMissing):
        source.current().find(Purpose.TOKEN, kid)
    now[0] += 1.0
    assert source.current().find(Purpose.TOKEN, kid)
    assert source.current().current(Purpose.TOKEN).kid == kid
    assert source.current().find(Purpose.TOKEN, before.kid) == before


def test_a_new_key_is_used_once_every_process_knows_it(tmp_path: Path) -> None:
    """Another process had looked at the file just before the rotation, and could not judge tokens of the new key."""
    file = _file(tmp_path)
    file.create()
    now, clock = [0.0], [datetime.now(UTC)]
    source = KeyringSource(file, monotonic=lambda: now[0], now=lambda: clock[0])
    before = source.current().current(Purpose.CREDENTIAL)
    kid = file.rotate(Purpose.CREDENTIAL)
    now[0], clock[0] = 1.0, clock[0] + timedelta(seconds=1)
    young = source.current()
    assert young.current(Purpose.CREDENTIAL) == before
    assert [key.kid for key in young.all_of(Purpose.CREDENTIAL)] == [before.kid, kid]
    now[0], clock[0] = 7.0, clock[0] + timedelta(seconds=6)
    assert source.current().current(Purpose.CREDENTIAL).kid == kid


def test_a_file_that_broke_meanwhile_is_not_taken_over(tmp_path: Path) -> None:
    file = _file(tmp_path)
    file.create()
    now = [0.0]
    source = KeyringSource(file, monotonic=lambda: now[0])
    kid = source.current().current(Purpose.TOKEN).kid
    file.path.write_text("broken")
    now[0] += 2.0
    assert source.current().current(Purpose.TOKEN).kid == kid


def test_keys_never_print(tmp_path: Path) -> None:
    file = _file(tmp_path)
    secret = file.create().current(Purpose.TOKEN).secret
    assert repr(secret)[2:-1] not in repr(file.entries())


def test_the_key_of_access_tokens_is_a_private_key_fit_for_them(tmp_path: Path) -> None:
    file = _file(tmp_path)
    found = load_der_private_key(file.create().current(Purpose.ACCESS_TOKEN).secret, None)
    assert isinstance(found, RSAPrivateKey) and found.key_size == 2048
    assert file.load().current(Purpose.ACCESS_TOKEN).secret != b""
