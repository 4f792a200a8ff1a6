"""Operations that a registered device approves or denies, through the API."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.devices.authenticator import signed_body
from tests.devices.registering import Enrollment
from tests.factories import Reply
from tests.transfers import Wire

KINDS = ("pix_transfer", "ted", "pix_transfer_batch", "ted_batch")


@dataclass
class Signing:
    """One operation by device, from its request to validate_token; every step may be taken out of turn."""

    enrollment: Enrollment
    kind: str = "pix_transfer"
    session_id: UUID = field(default_factory=uuid4)
    key: UUID = field(default_factory=lambda: UUID(int=0))

    @property
    def wire(self) -> Wire:
        """The integrator's calls."""
        return Wire(self.enrollment.world, self.enrollment.party, self.kind)

    @property
    def tfa_info(self) -> dict[str, str]:
        """What a request says of its approver, by device."""
        document = self.enrollment.party.document_number
        told = {"approver_document_number": document, "contact_type": "device", "session_id": str(self.session_id)}
        return told

    async def create(self, **change: Any) -> Reply:
        """POST the operation."""
        reply = await self.wire.create(**({"tfa_info": self.tfa_info} | change))
        if reply.status == 202:
            self.key = UUID(reply.json[f"{self.kind}_key"])
        return reply

    async def requested(self, **change: Any) -> "Signing":
        """The operation, which waits for its device."""
        reply = await self.create(**change)
        assert reply.status == 202, reply.body
        return self

    async def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Reply:
        """Call below the session's own path, without a credential."""
        path = f"/device_sessions/{self.session_id}{path}"
        return await self.enrollment.world.call(method, path, body, key=None, **more)

    async def open(self) -> dict[str, Any]:
        """GET the session."""
        reply = await self.call("GET")
        assert reply.status == 200, reply.body
        return dict(reply.json)

    def signed(self, session: dict[str, Any], decision: str = "approve", **change: Any) -> dict[str, Any]:
        """The body of approve or deny."""
        return signed_body(self.enrollment.device, self.enrollment.device_key, session, decision, **change)

    async def sign(self, decision: str = "approve", session: dict[str, Any] | None = None, **change: Any) -> Reply:
        """Open the session, unless one is given, and send the signature."""
        session = session or await self.open()
        return await self.call("POST", f"/{decision}", self.signed(session, decision, **change))

    async def validate(self, body: Any = None, **headers: str) -> Reply:
        """PUT validate_token with `{}`."""
        return await self.wire.validate(self.key, {} if body is None else body, **headers)


async def request_by_device(enrollment: Enrollment, kind: str = "pix_transfer", **change: Any) -> Signing:
    """An operation that waits for this device."""
    return await Signing(enrollment, kind).requested(**change)
