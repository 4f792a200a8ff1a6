import json

import pytest

from aval.cli import keyring
from aval.domain.keyring import Purpose
from aval.storage.keys_file import KeysFile


def test_keys_are_made_once(command, keys: KeysFile) -> None:
    assert command("admin", "keyring", "create").exit_code == 0
    made = keys.path.read_bytes()
    again = command("admin", "keyring", "create")
    assert (again.exit_code, "never overwritten" in again.stderr) == (2, True)
    assert keys.path.read_bytes() == made


def test_a_rotation_shows_in_the_list_and_no_key_does(command, keys: KeysFile) -> None:
    keys.create()
    rotated = command("admin", "keyring", "rotate", "token")
    kid = keys.load().current(Purpose.TOKEN).kid
    assert kid in rotated.stdout
    listed = command("admin", "keyring", "list").stdout
    assert sum("current" in line for line in listed.splitlines()) == len(Purpose)
    told = json.loads(command("admin", "keyring", "list", "--json").stdout)
    assert {"purpose": "token", "kid": kid, "state": "current"}.items() <= told[0].items()
    text = keys.path.read_text()
    assert all(line.split('"')[3] not in listed for line in text.splitlines() if '"key"' in line)


def test_the_index_key_is_not_rotated(command, keys: KeysFile) -> None:
    keys.create()
    ended = command("admin", "keyring", "rotate", "index")
    assert (ended.exit_code, "never rotated" in ended.stderr) == (2, True)


def test_a_key_just_rotated_away_stays(command, keys: KeysFile) -> None:
    keys.create()
    command("admin", "keyring", "rotate", "token")
    assert command("admin", "keyring", "prune").stdout == "Every key is still needed.\n"


def test_pruning_drops_what_no_row_names(command, keys: KeysFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "TAKEN_OVER_AFTER", -keyring.TAKEN_OVER_AFTER)
    old = keys.create()
    for purpose in (Purpose.TOKEN, Purpose.CREDENTIAL, Purpose.SEAL):
        command("admin", "keyring", "rotate", purpose)
    pruned = command("admin", "keyring", "prune").stdout.splitlines()
    assert sorted(pruned[:-1]) == sorted(
        f"Dropped {purpose} {old.current(purpose).kid}" for purpose in (Purpose.TOKEN, Purpose.SEAL)
    )
    assert len(keys.load().all_of(Purpose.CREDENTIAL)) == 2


def test_pruning_keeps_what_opens_a_sealed_contact(command, keys: KeysFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "TAKEN_OVER_AFTER", -keyring.TAKEN_OVER_AFTER)
    keys.create()
    assert command("sandbox", "seed", "--json").exit_code == 0
    sealing = keys.load().current(Purpose.SEAL)
    command("admin", "keyring", "rotate", "seal")
    assert command("admin", "keyring", "prune").stdout == "Every key is still needed.\n"
    assert keys.load().find(Purpose.SEAL, sealing.kid).secret == sealing.secret
