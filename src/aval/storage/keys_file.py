"""The keys file: a JSON list of secrets, mode 600, read by every process and changed only by `aval admin keyring`."""

import base64
import binascii
import json
import os
import secrets
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aval.domain.keyring import KEY_BYTES_MIN, OPTIONAL, Key, Keyring, Purpose

DISTINCT_BYTES_MIN = 16  # of 32 random bytes fewer differ with probability below 1e-16: not a random key
FILE_BYTES_MAX = 1_048_576
RSA_BITS = 2_048
RSA_EXPONENT = 65_537
LOOK_AGAIN_SECONDS = 1.0
SETTLES_AFTER = timedelta(seconds=5)  # more than a process takes to look
ROTATABLE = frozenset(Purpose) - {Purpose.INDEX}


class KeysFault(StrEnum):
    """What is wrong with a keys file; promises.md D19."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    WRONG_MODE = "wrong_mode"
    PURPOSE_MISSING = "purpose_missing"
    KEY_SHORT = "key_short"
    KEY_DEFAULT = "key_default"
    KEY_USED_TWICE = "key_used_twice"
    KID_USED_TWICE = "kid_used_twice"
    EXISTS = "exists"
    NOT_WRITABLE = "not_writable"
    NOT_ROTATED = "not_rotated"


@dataclass(frozen=True, slots=True)
class KeysFinding:
    """One fault; `subject` names the key by purpose and kid, never by its secret."""

    fault: KeysFault
    subject: str


class KeysFileError(Exception):
    """The keys file cannot be used; every fault found in it."""

    def __init__(self, path: Path, findings: list[KeysFinding]) -> None:
        super().__init__(str(path), [f"{finding.fault} {finding.subject}".strip() for finding in findings])
        self.path = path
        self.findings = findings


class KeysFile:
    """The file at one path. Writing replaces it as a whole, so that a reader never meets half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Keyring:
        """Every key; raises KeysFileError."""
        return Keyring(self.entries())

    def entries(self) -> list[Key]:
        """Every key as written down, checked; raises KeysFileError."""
        keys = self._parsed(self._text())
        findings = key_findings(keys)
        if findings:
            raise KeysFileError(self.path, findings)
        return keys

    def create(self) -> Keyring:
        """Make the file with one fresh key for each purpose; raises KeysFileError if it is there already."""
        keys = [_fresh_key(purpose) for purpose in Purpose]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            raise self._error(KeysFault.NOT_WRITABLE) from None
        with self._written_aside(keys) as whole:
            try:
                os.link(whole, self.path)  # refuses to overwrite
            except FileExistsError:
                raise self._error(KeysFault.EXISTS) from None
        return Keyring(keys)

    def rotate(self, purpose: Purpose) -> str:
        """Add a fresh key that new things are made with from now on; the old ones stay. Answers its kid.

        It may be the first of its purpose, in a file that was made before there was such a purpose.
        """
        if purpose not in ROTATABLE:
            raise self._error(KeysFault.NOT_ROTATED, purpose)
        keys = self._parsed(self._text())
        findings = [each for each in key_findings(keys) if each != KeysFinding(KeysFault.PURPOSE_MISSING, purpose)]
        if findings:
            raise KeysFileError(self.path, findings)
        key = _fresh_key(purpose)
        self._replace([*keys, key])
        return key.kid

    def prune(self, still_needed: Collection[tuple[Purpose, str]]) -> list[Key]:
        """Drop every key that is neither the current one of its purpose nor still needed; answers what went."""
        keys = self.entries()
        keyring = Keyring(keys)
        newest = (keyring.all_of(purpose)[:1] for purpose in Purpose)
        keep = {(key.purpose, key.kid) for found in newest for key in found} | set(still_needed)
        gone = [key for key in keys if (key.purpose, key.kid) not in keep]
        if gone:
            self._replace([key for key in keys if key not in gone])
        return gone

    def _error(self, fault: KeysFault, subject: str = "") -> KeysFileError:
        return KeysFileError(self.path, [KeysFinding(fault, subject)])

    def _text(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            raise self._error(KeysFault.MISSING) from None
        except OSError:
            raise self._error(KeysFault.UNREADABLE) from None
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise self._error(KeysFault.WRONG_MODE)
            return file.read(FILE_BYTES_MAX)

    def _parsed(self, text: bytes) -> list[Key]:
        try:
            return [_key(entry) for entry in json.loads(text)["keys"]]
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise self._error(KeysFault.UNREADABLE) from None

    def _replace(self, keys: list[Key]) -> None:
        with self._written_aside(keys) as whole:
            if os.geteuid() == 0:
                owner = self.path.stat()  # root rotates for the account that runs Aval
                os.chown(whole, owner.st_uid, owner.st_gid)
            os.replace(whole, self.path)

    @contextmanager
    def _written_aside(self, keys: list[Key]) -> Iterator[str]:
        try:
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 600
        except OSError:
            raise self._error(KeysFault.NOT_WRITABLE) from None
        try:
            _fill(descriptor, keys)
            yield name
        finally:
            Path(name).unlink(missing_ok=True)


def key_findings(keys: list[Key]) -> list[KeysFinding]:
    """What promises.md D19 refuses in a set of keys."""
    present = {key.purpose for key in keys}
    secrets_seen = Counter(key.secret for key in keys)
    kids_seen = Counter((key.purpose, key.kid) for key in keys)
    missing = [purpose for purpose in Purpose if purpose not in present | OPTIONAL]
    findings = [KeysFinding(KeysFault.PURPOSE_MISSING, purpose) for purpose in missing]
    for key in keys:
        name = f"{key.purpose} {key.kid}"
        checks = {
            KeysFault.KEY_SHORT: len(key.secret) < KEY_BYTES_MIN,
            KeysFault.KEY_DEFAULT: len(set(key.secret)) < DISTINCT_BYTES_MIN <= len(key.secret),
            KeysFault.KEY_USED_TWICE: secrets_seen[key.secret] > 1,
            KeysFault.KID_USED_TWICE: kids_seen[key.purpose, key.kid] > 1,
        }
        findings += [KeysFinding(fault, name) for fault, is_found in checks.items() if is_found]
    return findings


class KeyringSource:
    """The keyring as the file has it now: a rotation reaches a running process within a second, without a restart.

    A new key is at hand at once, and made things with from `settles_after` on: by then every process knows it. A file
    that has become unusable is not taken over; the process goes on with the keys it has.
    """

    def __init__(
        self,
        file: KeysFile,
        *,
        settles_after: timedelta = SETTLES_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._file = file
        self._settles_after = settles_after
        self._monotonic = monotonic
        self._now = now
        self._stamp = self._stamp_now()
        self._keys = file.entries()
        self._keyring, self._is_settled = self._arranged()
        self._looked_at = monotonic()

    def current(self) -> Keyring:
        """The keys; looks at the file at most once a second."""
        now = self._monotonic()
        if now - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = now
            if self._stamp_now() != self._stamp:
                self._take_over()
            elif not self._is_settled:
                self._keyring, self._is_settled = self._arranged()
        return self._keyring

    def _take_over(self) -> None:
        stamp = self._stamp_now()
        try:
            self._keys = self._file.entries()
        except KeysFileError:
            return
        self._keyring, self._is_settled = self._arranged()
        self._stamp = stamp

    def _arranged(self) -> tuple[Keyring, bool]:
        settled_until = self._now() - self._settles_after
        is_settled = all(key.created_at <= settled_until for key in self._keys)
        return Keyring(self._keys, settled_until=settled_until), is_settled

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            found = self._file.path.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_ino, found.st_size)


def _fresh_key(purpose: Purpose) -> Key:
    now = datetime.now(UTC)
    kid = f"{now:%Y%m%d}-{secrets.token_hex(4)}"
    return Key(
        purpose=purpose,
        kid=kid,
        secret=_fresh_private_key() if purpose is Purpose.ACCESS_TOKEN else secrets.token_bytes(KEY_BYTES_MIN),
        created_at=now,
    )


def _fresh_private_key() -> bytes:
    key = generate_private_key(RSA_EXPONENT, RSA_BITS)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _key(entry: dict[str, Any]) -> Key:
    created_at = datetime.fromisoformat(entry["created_at"]).astimezone(UTC)
    secret = base64.b64decode(entry["key"], validate=True)
    return Key(purpose=Purpose(entry["purpose"]), kid=str(entry["kid"]), secret=secret, created_at=created_at)


def _fill(descriptor: int, keys: list[Key]) -> None:
    entries = [
        {
            "purpose": key.purpose,
            "kid": key.kid,
            "key": base64.b64encode(key.secret).decode(),
            "created_at": key.created_at.isoformat(),
        }
        for key in keys
    ]
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"keys": entries}, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
