"""Who plays in the demo's redemption: a campaign with a policy, its application, a participant with points."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import uuid4

import msgspec
from PIL import Image, ImageDraw

from aval.cli.demo_calls import Caller, Receiver, bearing, until
from aval.client import InboxMessage

NAME = "Clube Horizonte"
VENDOR, VENDOR_NAME = "loja-sol", "Loja Sol"
PERSON = "Helena Prado Martins"
CPF = "31860492533"
PHONE = "+5511987659876"
POINTS = 20_000
SCOPES = [
    *("redemptions.read", "redemptions.write", "participants.read", "participants.write"),
    *("impersonate", "onboarding.write", "sandbox"),
]
PHOTO_PX = (640, 400)


@dataclass(frozen=True, slots=True)
class Club:
    """The campaign's application by itself, and as it acts for the participant."""

    campaign: str
    person: str
    application: Caller
    helena: Caller

    async def message(self, operation: str) -> InboxMessage:
        """The delivered message of an operation, from the campaign's inbox."""

        async def look() -> InboxMessage | None:
            """The message, once it is delivered."""
            rows = (await self.application.get(f"/sandbox/inbox?operation_key={operation}"))["data"]
            arrived = (row for row in rows if row["delivery_status"] == "delivered")
            return next((msgspec.convert(row, InboxMessage) for row in arrived), None)

        return await until("the message is delivered", look)

    async def balance(self) -> Any:
        """The participant's points."""
        return await self.helena.get("/participants/me/balance")


async def found_club(operator: Caller, receiver: Receiver) -> Club:
    """Make all of it through the API, in sandbox mode: no message leaves."""
    campaign = f"clube-{uuid4().hex[:8]}"
    path = f"/campaigns/{campaign}"
    body: dict[str, Any] = {"id": campaign, "name": NAME, "client_id": "banco-aurora", "mode": "sandbox"}
    body |= {"catalogs": [{"id": "gold", "name": "Ouro"}], "vendors": [{"id": VENDOR, "name": VENDOR_NAME}]}
    await operator.post("/campaigns", body)
    made = await operator.post(
        f"{path}/applications", {"name": "Aplicativo", "scopes": SCOPES, "webhook_url": receiver.url}
    )
    receiver.secret = made["webhook_secret"]
    keys = bearing(made["api_key"]) | {"Ocp-Apim-Subscription-Key": made["subscription_key"]}
    application = operator.acting(keys)
    person = await application.post("/participants", _person())
    headers = {
        "participantid": person["id"],
        "catalogId": "gold",
        "customerId": campaign,
        "impersonatorUser": "demo",
        "username": person["username"],
    }
    credit = {"type": "credit", "points": POINTS, "description": "Campanha de verão"}
    crediting = operator.acting({"Idempotency-Key": str(uuid4())})
    await crediting.post(f"/participants/{person['id']}/credits", credit)
    return Club(campaign, person["id"], application, application.acting(headers))


def _person() -> dict[str, Any]:
    return {
        "name": PERSON,
        "username": "helena.prado",
        "document_number": CPF,
        "person_type": "INDIVIDUAL",
        "status": "ACTIVE",
        "catalog_id": "gold",
        "emails": [{"email": "helena@example.com", "type": "PERSONAL"}],
    }


def photo_of(what: str) -> bytes:
    """A JPEG that says what it would show."""
    image = Image.linear_gradient("L").resize(PHOTO_PX).convert("RGB")
    ImageDraw.Draw(image).text((24, 24), f"{PERSON}\n{what}", fill="navy")
    jpeg = BytesIO()
    image.save(jpeg, "JPEG")
    return jpeg.getvalue()
