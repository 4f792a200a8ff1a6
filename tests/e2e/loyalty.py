"""A loyalty programme as its people see it: operator, application, participant with a phone, and what all were told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from uuid import UUID

import aiohttp
from PIL import Image
from standardwebhooks import Webhook

from aval.domain.caller import APPLICATION_SCOPES, BACK_OFFICE_SCOPES
from aval.operations.create_admin_key import create_admin_key
from aval.operations.fresh import new_cpf, new_phone
from tests.factories import AUTHOR, Reply, make_keyring, numbers
from tests.oidc_issuer import Issuer
from tests.proof.deployment import RunningAval
from tests.receiver import Receiver
from tests.sms_gateway import SmsGateway
from tests.stage import until

Json = dict[str, Any]


@dataclass
class Loyalty:
    """One live campaign with one participant, over a running deployment."""

    aval: RunningAval
    issuer: Issuer
    gateway: SmsGateway
    receiver: Receiver
    session: aiohttp.ClientSession = field(repr=False)
    operator_key: str = field(repr=False)
    campaign: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # headers of the application
    webhook_secret: str = field(default="", repr=False)
    person: Json = field(default_factory=dict, repr=False)
    number: str = field(default_factory=new_phone, repr=False)

    @classmethod
    async def opened(
        cls,
        aval: RunningAval,
        issuer: Issuer,
        gateway: SmsGateway,
        receiver: Receiver,
        session: aiohttp.ClientSession,
    ) -> "Loyalty":
        """The campaign, its application and the participant, each made over HTTP."""
        name = f"operator {next(numbers)}"
        _, key = await create_admin_key(
            aval.db, name=name, scopes=BACK_OFFICE_SCOPES, keyring=make_keyring(), author=AUTHOR
        )
        made = cls(aval, issuer, gateway, receiver, session, key, f"clube-{next(numbers)}")
        await made._found()
        return made

    async def _found(self) -> None:
        campaign = {
            "id": self.campaign,
            "name": "Clube Horizonte",
            "client_id": "horizonte",
            "catalogs": [{"id": "gold", "name": "Ouro"}],
            "vendors": [{"id": "loja-sol", "name": "Loja Sol"}],
            "oidc": self.issuer.oidc,
        }
        await self.operate("POST", "/campaigns", campaign, expect=201)
        application = {
            "name": "Aplicativo",
            "scopes": APPLICATION_SCOPES,
            "webhook_url": f"{self.receiver.url}/204",
        }
        told = await self.operate("POST", f"/campaigns/{self.campaign}/applications", application, expect=201)
        self.webhook_secret = told["webhook_secret"]
        self.keys = {
            "Authorization": f"Bearer {told['api_key']}",
            "Ocp-Apim-Subscription-Key": told["subscription_key"],
        }
        person = {
            "name": "Helena Prado Martins",
            "username": "helena.prado",
            "document_number": new_cpf(),
            "person_type": "INDIVIDUAL",
            "status": "ACTIVE",
            "catalog_id": "gold",
            "emails": [{"email": "helena@example.com", "type": "PERSONAL"}],
        }
        self.person = (await self.ask("POST", "/participants", person, headers=self.keys)).json

    @property
    def helena(self) -> UUID:
        return UUID(self.person["id"])

    def as_helena(self, **token: Any) -> dict[str, str]:
        """Headers of the participant, with a token of the campaign's issuer."""
        signed = self.issuer.token(self.helena, self.campaign, **token)
        return {**self.keys, "Authorization": f"Bearer {signed}"}

    async def operate(self, method: str, path: str, body: Any = None, *, expect: int = 200, **headers: str) -> Any:
        """A call of the back office, which has to succeed."""
        sent = {"Authorization": f"Bearer {self.operator_key}", **headers}
        reply = await self.ask(method, path, body, headers=sent)
        assert reply.status == expect, reply.body
        return reply.json

    async def act(self, method: str, path: str, body: Any = None, *, expect: int, **headers: str) -> Any:
        """A call of the participant, which has to end with this status."""
        reply = await self.ask(method, path, body, headers={**self.as_helena(), **headers})
        assert reply.status == expect, reply.body
        return reply.json

    async def ask(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str]) -> Reply:
        """One call; `body` is encoded unless it is a form."""
        content = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body} if body is not None else {}
        url = f"{self.aval.apis[0].url}{path}"
        async with self.session.request(method, url, headers=headers, **content) as answer:
            told = {name.lower(): text for name, text in answer.headers.items()}
            return Reply(answer.status, told, await answer.read())

    async def document(self, kind: str, *sides: str) -> str:
        """Send a document and submit it."""
        path, document = "/participants/me/documents", ""
        for side in sides:
            if document:
                await self.act("PUT", f"{path}/{document}/files/{side}", form(file=photo()), expect=200)
            else:
                made = await self.act("POST", path, form(type=kind, side=side, file=photo()), expect=201)
                document = made["id"]
        submitted = await self.act("POST", f"{path}/{document}/submit", expect=200)
        assert submitted["status"] == "pending"
        return document

    async def token(self, after: int = 0) -> str:
        """The token of the next message to the participant's phone, `after` so many that came before."""

        async def arrived() -> str | None:
            texts = self.texts()
            return texts[after][-6:] if len(texts) > after else None

        return await until(arrived)

    def texts(self) -> list[str]:
        """All messages the gateway took for this phone, in their order."""
        return self.gateway.texts(self.number)

    async def told(self) -> dict[UUID, list[tuple[int, str]]]:
        """What the application was told once nothing is left to tell, by subject: sequence and type, in order.

        Each webhook was signed; each event of the campaign came.
        """
        subjects = await self._subjects()

        async def all_of_it() -> list[Json] | None:
            secret = Webhook(self.webhook_secret)
            heard = [secret.verify(each.body, each.headers) for each in self.receiver.on("/204")]
            once = {event["event_id"]: event for event in heard}
            return list(once.values()) if set(once) == {str(key) for key in subjects} else None

        told = defaultdict(list)
        for event in await until(all_of_it):
            told[subjects[UUID(event["event_id"])]].append((event["sequence"], event["webhook_type"]))
        return {subject: sorted(events) for subject, events in told.items()}

    async def _subjects(self) -> dict[UUID, UUID]:
        async with self.aval.db.connection() as connection:
            rows = await connection.fetch(
                "select event_id, operation_id from aval.events join aval.campaigns using (integrator_id)"
                " where campaign_id = $1",
                self.campaign,
            )
        return {row["event_id"]: row["operation_id"] for row in rows}

    async def lose(self, path: str, body: Json, until_then: Callable[[], Awaitable[Any]], **headers: str) -> None:
        """POST something as the participant; the API is killed (-9) before its answer is read, and started again."""
        api, content = self.aval.apis[0], json.dumps(body).encode()
        given = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(content))}
        lines = "".join(f"{name}: {text}\r\n" for name, text in {**given, **self.as_helena(), **headers}.items())
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        await until_then()
        api.kill()
        writer.transport.abort()
        await api.start()


def photo() -> bytes:
    """A JPEG of nothing in particular."""
    jpeg = BytesIO()
    Image.linear_gradient("L").resize((640, 400)).convert("RGB").save(jpeg, "JPEG")
    return jpeg.getvalue()


def form(*, file: bytes, **fields: str) -> aiohttp.FormData:
    """A form with a file."""
    parts = aiohttp.FormData(fields)
    parts.add_field("file", file, filename="foto.jpg")
    return parts
