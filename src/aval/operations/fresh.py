"""What takes chance: keys of new things, credentials, secrets, seals."""

import secrets
import time
from base64 import b64encode
from datetime import datetime
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aval.domain.documents import is_cpf
from aval.domain.ids import ENTROPY_BYTES, time_prefixed_uuid
from aval.domain.keyring import SEAL_NONCE_BYTES, Keyring

SECRET_BYTES = 32
NONCE_BYTES = 16
AUTHORIZATION_SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
AUTHORIZATION_LENGTH = 12  # spec redemptions.md §4.1
AREA_CODES = ("11", "21", "31", "41", "51", "61", "71", "81", "85", "91")


def new_key(at: datetime) -> UUID:
    """Make the key of something stored now."""
    return time_prefixed_uuid(int(at.timestamp() * 1000), secrets.token_bytes(ENTROPY_BYTES))


def new_client_key() -> UUID:
    """Make the public name of a signing credential; it tells nothing, not even when it was made."""
    return uuid4()


def new_api_key(prefix: str) -> str:
    """Make a bearer secret: the prefix and 43 characters that hold 256 bits."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def new_webhook_secret() -> str:
    """Make a signing secret in the form of Standard Webhooks."""
    return "whsec_" + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sealed(keyring: Keyring, plaintext: str, *, associated: str) -> bytes:
    """Seal under a fresh nonce."""
    return keyring.sealed(plaintext, associated=associated, nonce=secrets.token_bytes(SEAL_NONCE_BYTES))


def new_signing_key() -> tuple[str, str]:
    """Make a P-521 key pair for signed requests: private and public PEM."""
    key = generate_private_key(SECP521R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def new_cpf() -> str:
    """Make a valid CPF that belongs to nobody in particular."""
    bases = iter(lambda: digits(9), "")
    return next(cpf for base in bases for check in range(100) if is_cpf(cpf := f"{base}{check:02d}"))


def new_phone() -> str:
    """Make a valid Brazilian mobile number, none that the sandbox treats specially (spec transfers.md §10)."""
    area = secrets.choice(AREA_CODES)
    return f"+55{area}9{secrets.randbelow(9) + 1}{digits(7)}"


def new_authorization_code() -> str:
    """Make the code that all lines of a purchase share, or one line of the operator has; unique in a campaign."""
    return new_authorization_codes(1)[0]


def new_authorization_codes(count: int) -> list[str]:
    """Make codes with one draw of chance for all."""
    return [_authorization_code(int.from_bytes(chance)) for chance in _draws(8, count)]  # 5 bits a symbol


def _authorization_code(number: int) -> str:
    return "".join([AUTHORIZATION_SYMBOLS[number >> shift & 31] for shift in range(0, 5 * AUTHORIZATION_LENGTH, 5)])


def digits(count: int) -> str:
    """Make a text of random digits."""
    return f"{secrets.randbelow(10**count):0{count}d}"


def fresh_key() -> UUID:
    """Make a key now, by this process's clock: it only decides where the key sorts."""
    return fresh_keys(1)[0]


def fresh_keys(count: int) -> list[UUID]:
    """Make keys now, with one look at the clock and one draw of chance for all."""
    milliseconds = time.time_ns() // 1_000_000
    return [time_prefixed_uuid(milliseconds, entropy) for entropy in _draws(ENTROPY_BYTES, count)]


def fresh_nonces(count: int) -> list[bytes]:
    """Make nonces of challenges, with one draw of chance for all."""
    return _draws(NONCE_BYTES, count)


def _draws(size: int, count: int) -> list[bytes]:
    """So many bytes of chance so many times; a draw of its own for each would ask the kernel each time."""
    chance = secrets.token_bytes(size * count)
    return [chance[place : place + size] for place in range(0, len(chance), size)]
