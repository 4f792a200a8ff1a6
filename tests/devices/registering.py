"""Devices of a party, registered through the API."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from aval.domain.device_proof import from_base64url
from tests.devices.authenticator import ORIGIN, RP_ID, AppKey, Device, Passkey
from tests.factories import Party, Reply, make_party
from tests.world import World

PASSKEYS = {"rp_id": RP_ID, "origins": (ORIGIN,)}


async def passkey_party(world: World, **settings: Any) -> Party:
    """An integrator that takes passkeys."""
    return await make_party(world.db, **PASSKEYS, **settings)


@dataclass
class Enrollment:
    """One device on its way to be registered; every step may be taken out of turn."""

    world: World
    party: Party
    device: Device = field(default_factory=Passkey)
    device_key: UUID = field(default_factory=uuid4)
    session_id: UUID = field(default_factory=uuid4)
    nonce: bytes = b""

    @property
    def base(self) -> str:
        """The path of devices on the party's account."""
        return f"/account/{self.party.account.key}/device"

    async def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Reply:
        """Call below the device's own path."""
        return await self.world.call(
            method, f"{self.base}/{self.device_key}{path}", body, key=self.party.api_key, **more
        )

    async def challenge(self, **change: Any) -> Reply:
        """POST device/challenge."""
        body = {"session_id": str(self.session_id), "approver_document_number": self.party.document_number} | change
        reply = await self.world.call("POST", f"{self.base}/challenge", body, key=self.party.api_key)
        if reply.status == 201:
            self.nonce = from_base64url(reply.json["challenge"]) or b""
        return reply

    def body(self, **change: Any) -> dict[str, Any]:
        """The body of POST device; a change to None takes the member out."""
        made = {
            "device_key": str(self.device_key),
            "session_id": str(self.session_id),
            "device_name": "Celular da Ana",
            "tfa_info": self.party.tfa_info,
            "credential": self.device.make_credential(self.nonce, self.device_key),
        }
        return {name: value for name, value in (made | change).items() if value is not None}

    async def create(self, **change: Any) -> Reply:
        """POST device."""
        return await self.world.call("POST", self.base, self.body(**change), key=self.party.api_key)

    async def requested(self, **change: Any) -> Reply:
        """Challenge and POST."""
        assert (await self.challenge()).status == 201
        return await self.create(**change)

    async def validate(self, token: Any = None, **headers: str) -> Reply:
        """PUT validate, with the live token unless another is given."""
        body = {"token": token or await self.world.token(self.party, self.device_key)}
        return await self.call("PUT", "/validate", body, **headers)

    async def registered(self) -> "Enrollment":
        """All of it."""
        reply = await self.requested()
        assert reply.status == 202, reply.body
        reply = await self.validate()
        assert reply.status == 201, reply.body
        return self


async def registered(world: World, party: Party, device: Device | None = None) -> Enrollment:
    """An active device of the party's approver."""
    return await Enrollment(world, party, device or Passkey()).registered()


__all__ = ["AppKey", "Enrollment", "Passkey", "passkey_party", "registered"]
