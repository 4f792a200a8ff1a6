"""An OIDC issuer on this machine: a process that serves its keys, and the tokens it would hand out."""

import asyncio
import base64
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

AUDIENCE = "loyalty-app"
Key = RSAKey | ECKey | OctKey | OKPKey


@cache
def _first_keys() -> dict[str, Key]:
    """Made once: RSA takes long, and a test is none the wiser."""
    return {"rsa-1": RSAKey.generate_key(2048), "ec-1": ECKey.generate_key("P-256")}


class Issuer:
    """`keys` are those it tells of, by kid; a token is signed by any key, also one it does not tell of."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self.url = url
        self.keys: dict[str, Key] = dict(_first_keys())
        self.tell()

    @property
    def oidc(self) -> dict[str, Any]:
        """The setting `oidc` of a campaign that trusts this issuer."""
        return {"issuer": self.url, "audience": AUDIENCE, "jwks_uri": f"{self.url}/jwks.json"}

    @property
    def requests(self) -> int:
        """How often its keys were asked for."""
        asked = self._directory / "requests"
        return len(asked.read_text().splitlines()) if asked.exists() else 0

    def tell(self, *more: Mapping[str, Any]) -> None:
        """Serve the public halves of `keys`, and whatever else."""
        told = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        self.serve(json.dumps({"keys": [*told, *more]}))

    def serve(self, text: str) -> None:
        """Serve any text in place of the keys."""
        draft = self._directory / "jwks.json.draft"
        draft.write_text(text)
        draft.rename(self._directory / "jwks.json")

    def rotate(self, kid: str, key: Key | None = None) -> None:
        """Tell of one new key and of no former one."""
        self.keys = {kid: key or ECKey.generate_key("P-256")}
        self.tell()

    def fail(self, how: str | None, text: str = "") -> None:
        """Begin to fail, in the way of the file's name; None ends it."""
        for name in ("status", "hang"):
            (self._directory / name).unlink(missing_ok=True)
        if how is not None:
            (self._directory / how).write_text(text)

    def claims(self, participant_id: object, campaign_id: str, **change: Any) -> dict[str, Any]:
        """What a token says; a change to None takes a claim out, `__` stands for the colon of a name."""
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "person-1",
            "iat": now,
            "exp": now + 300,
            "custom:participant_id": str(participant_id),
            "custom:campaign_id": campaign_id,
            "custom:catalog_id": "gold",
            "username": "helena",
        }
        said |= {name.replace("__", ":"): value for name, value in change.items()}
        return {name: value for name, value in said.items() if value is not None}

    def token(
        self,
        participant_id: object,
        campaign_id: str,
        *,
        kid: str | None = None,
        key: Key | None = None,
        header: Mapping[str, Any] | None = None,
        **change: Any,
    ) -> str:
        """A participant token, signed by the first key unless told otherwise."""
        kid = kid or next(iter(self.keys))
        key = key or self.keys[kid]
        head = {"alg": "RS256" if isinstance(key, RSAKey) else "ES256", "kid": kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        payload = json.dumps(self.claims(participant_id, campaign_id, **change))
        return jws.serialize_compact(head, payload, key, algorithms=[head["alg"]])


def hmac_signed(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes) -> str:
    """A JWT signed with HS256, whatever the secret is: libraries refuse a public key there."""
    segments = [_segment(json.dumps(each).encode()) for each in (header, claims)]
    signed = ".".join(segments)
    return f"{signed}.{_segment(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@asynccontextmanager
async def issuing(directory: Path) -> AsyncIterator[Issuer]:
    """Run the process on a free port of the loopback."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.oidc_server", str(directory), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield Issuer(directory, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()
