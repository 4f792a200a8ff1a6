"""Plays participants and reviewers of identity documents over the API of redemptions."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aval.domain.campaign import Campaign
from aval.operations.create_application import NewApplication
from tests.factories import Client, Reply
from tests.hostile_files import picture
from tests.redemption_stage import Headers, Person, RedemptionStage

BOUNDARY = "aval-tests-boundary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, *headers: str, filename: str | None = None) -> bytes:
    """One part of a form."""
    told = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    lines = [f"Content-Disposition: {told}", *headers]
    return f"--{BOUNDARY}\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def document_form(document_type: str, side: str, content: bytes) -> bytes:
    """What POST …/documents takes."""
    return form(
        part("type", document_type.encode()),
        part("side", side.encode()),
        part("file", content, "Content-Type: image/jpeg", filename="frente.jpg"),
    )


@dataclass
class Sender:
    """A participant of a campaign who sends documents, and the reviewer who decides on them."""

    stage: RedemptionStage
    campaign: Campaign
    application: NewApplication
    person: Person
    headers: Headers
    reviewer: Headers

    @classmethod
    async def make(cls, stage: RedemptionStage, campaign: Campaign | None = None, **policy: Any) -> "Sender":
        """One in a campaign of their own unless one is named."""
        campaign = campaign or await stage.campaign()
        if policy:
            await stage.policy(campaign, **policy)
        application, person = await stage.application(campaign), await stage.participant(campaign)
        headers = stage.as_participant(application, campaign, person)
        return cls(stage, campaign, application, person, headers, await stage.operator())

    async def post(self, document_type: str = "passport", side: str = "single", content: bytes | None = None) -> Reply:
        """Begin a document."""
        body = document_form(document_type, side, picture() if content is None else content)
        return await self.upload("POST", "/participants/me/documents", body)

    async def put(self, document: str, side: str, content: bytes | None = None) -> Reply:
        """Add or replace a side."""
        path = f"/participants/me/documents/{document}/files/{side}"
        return await self.upload("PUT", path, form(part("file", picture() if content is None else content)))

    async def upload(self, method: str, path: str, body: bytes, content_type: str = TYPE) -> Reply:
        """Send a form."""
        return await self.stage.call(method, path, raw=body, headers=self.headers, content_type=content_type)

    async def submit(self, document: str) -> Reply:
        return await self.stage.call("POST", f"/participants/me/documents/{document}/submit", headers=self.headers)

    async def submitted(self, document_type: str = "passport", *sides: str) -> str:
        """A document that waits for its review."""
        first, *others = sides or ("single",)
        made = await self.post(document_type, first)
        assert made.status == 201, made.body
        key = str(made.json["id"])
        for side in others:
            assert (await self.put(key, side)).status == 200
        told = await self.submit(key)
        assert told.status == 200, told.body
        return key

    async def decide(self, document: str, decision: str, reason_code: str | None = None, **more: Any) -> Reply:
        body = {"decision": decision, "reason_code": reason_code} | more
        return await self.stage.call("POST", f"/documents/{document}/decision", body, headers=self.reviewer)

    async def decided(self, document: str, decision: str, reason_code: str | None = None, **more: Any) -> Any:
        """The document after a decision that was taken."""
        told = await self.decide(document, decision, reason_code, **more)
        assert told.status == 200, told.body
        return told.json

    async def view(self, document: str, side: str = "single") -> Reply:
        """Look at a file; the answer is no JSON."""
        sent = {name.lower(): text for name, text in self.reviewer.items()}
        return await Client(self.stage.app)("GET", f"/documents/{document}/files/{side}", **sent)

    async def onboarding(self) -> Any:
        told = await self.stage.call("GET", "/participants/me/onboarding", headers=self.headers)
        assert told.status == 200, told.body
        return told.json

    async def status(self, document: str) -> tuple[str, int]:
        """Status and attempt as they are stored."""
        (row,) = await self.stage.fetch(
            "select status, attempt from identity_documents where document_id = $1", UUID(document)
        )
        return row

    async def events(self, document: str) -> list[str]:
        """Types of the webhooks about a document, in their order."""
        rows = await self.stage.fetch(
            "select event_type, sequence from events where operation_id = $1 order by sequence", UUID(document)
        )
        assert [sequence for _, sequence in rows] == list(range(1, len(rows) + 1))
        return [event_type for event_type, _ in rows]

    async def acts(self, document: str) -> list[str]:
        """Actions of the audit about a document, in their order."""
        rows = await self.stage.fetch(
            "select action from audit where details ->> 'key' = $1 order by at, audit_id", document
        )
        return [action for (action,) in rows]
