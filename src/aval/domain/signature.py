"""Standard Webhooks signatures: what Aval signs for its receivers, and checks of an integrator's core.

Own code on purpose: the `standardwebhooks` library signs text for one secret and reads a clock of its own. The tests
hold every signature here to that library.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32  # spec transfers.md §7.2
SECRETS_MAX = 2  # the new one and, for 24 h after a rotation, the old one
SIGNATURES_MAX = 8  # of an inbound call; bounds the work of refusing it
TOLERANCE = timedelta(minutes=5)  # spec transfers.md §8.4

_MESSAGE_ID = re.compile("[!-~]{1,128}")
_SECONDS = re.compile("[0-9]{1,12}")


def new_secret(entropy: bytes) -> str:
    """Write 32 random bytes as a `whsec_` secret."""
    assert len(entropy) == SECRET_BYTES
    return SECRET_PREFIX + base64.b64encode(entropy).decode()


def signed_headers(secrets: Sequence[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Make the three headers of a signed message; during a rotation there are two secrets and two signatures."""
    assert 1 <= len(secrets) <= SECRETS_MAX
    seconds = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_signature(secret, message_id, seconds, body) for secret in secrets),
    }


def is_signed(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Tell whether one of the secrets signed this message at most 5 minutes from now; header names in lower case."""
    message_id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ")
    if not _MESSAGE_ID.fullmatch(message_id) or not _SECONDS.fullmatch(seconds) or len(given) > SIGNATURES_MAX:
        return False
    if abs(now.timestamp() - int(seconds)) > TOLERANCE.total_seconds():
        return False
    known = [_signature(secret, message_id, seconds, body).encode() for secret in secrets]
    return any(hmac.compare_digest(text.encode(errors="replace"), right) for text in given for right in known)


def _signature(secret: str, message_id: str, seconds: str, body: bytes) -> str:
    signed = b"%s.%s.%s" % (message_id.encode(), seconds.encode(), body)
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise AssertionError("a stored secret is no base64") from None
