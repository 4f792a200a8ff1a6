"""A story of redemptions for the canaries: phone, documents, purchases, reversal – good calls and bad ones."""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from aval.domain.participant import Email, Profile
from aval.operations.fresh import new_cpf, new_phone
from tests.buyers import Buyer, a_purchase
from tests.document_actors import Sender
from tests.factories import Reply
from tests.hostile_files import CANARY, exif, picture
from tests.proof.cases.canary import Aviary
from tests.proof.deployment import RunningAval
from tests.redemption_stage import Headers, RedemptionStage

FORM = "application/x-www-form-urlencoded"
POLICY = {"enabled": True, "required_documents": ["identity"], "risk": {"max_pending_purchases": None}}
FULL_NUMBER = "GET full number"  # the one answer that shows it (redemptions.md §3.1)
FILE = "GET file"
ONCE = "POST credentials"  # shown this once


@dataclass
class DeployedStage(RedemptionStage):
    """The same stage over a real deployment: whoever plays on it calls over a socket, and every answer is kept."""

    aval: RunningAval | None = None
    answers: list[tuple[str, Reply]] = field(default_factory=list)
    aviary: Aviary = field(default_factory=Aviary)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Headers | None = None,
        raw: bytes | None = None,
        **more: str,
    ) -> Reply:
        sent = {**(headers or {}), **{name.replace("_", "-"): text for name, text in more.items()}}
        sent = {name.replace("_", "-").title(): text for name, text in sent.items()}
        self.aviary.keep("authorization", sent.get("Authorization", "").removeprefix("Bearer ")[-40:])
        assert self.aval is not None
        reply = await self.aval.call(method, path, raw if raw is not None else body, key="", headers=sent)
        self.answers.append((_named(method, path), reply))
        return reply


def _named(method: str, path: str) -> str:
    parts = path.partition("?")[0].split("/")
    if method == "GET" and len(parts) == 3 and parts[1] == "devices":
        return FULL_NUMBER
    if method == "GET" and "files" in parts:
        return FILE
    is_credential = parts[1:2] == ["oauth2"] or parts[-1] in ("keys", "applications")
    return ONCE if is_credential else f"{method} {'/'.join(parts)}"


async def redeem(stage: DeployedStage, webhook_url: str, aviaries: dict[str, Aviary]) -> Buyer:
    """Everything a participant goes through; what must not be seen is told to the aviaries."""
    campaign = await stage.campaign(mode="live")
    await stage.policy(campaign, **POLICY)
    application = await stage.application(campaign, webhook_url=webhook_url)
    document, phone, email = new_cpf(), new_phone(), f"helena.{uuid4().hex[:10]}@example.com"
    person = await stage.participant(
        campaign, document_number=document, profile=Profile(emails=(Email(email),)), username=f"h.{uuid4().hex[:10]}"
    )
    for name in ("everywhere", "at rest"):
        aviaries[name].keep("document", document)
        aviaries[name].keep("phone", phone)
        aviaries[name].keep("email", email)
        aviaries[name].keep("key", application.api_key, application.subscription_key, application.client_secret)
        aviaries[name].keep("key", application.webhook_secret or application.client_secret)
    aviaries["shown"].keep("phone", phone)
    buyer = Buyer(stage, campaign, application, person)
    await _onboard(buyer, phone, aviaries)
    await buyer.credit(100_000)
    await _buy(buyer, aviaries)
    await _spoil(buyer, phone)
    await _credentials(buyer, aviaries)
    return buyer


async def _onboard(buyer: Buyer, phone: str, aviaries: dict[str, Aviary]) -> None:
    stage = buyer.stage
    made = await stage.call(
        "POST", "/participants/me/devices", {"type": "phone", "number": phone}, headers=buyer.headers
    )
    assert made.status == 202, made.body
    buyer.device = dict(made.json)
    token = await watched(buyer, made.json, aviaries)
    path = f"/participants/me/devices/{made.json['id']}/validate_token"
    assert (await stage.call("PUT", path, {"token": token}, headers=buyer.headers)).status == 201
    full = await stage.call("GET", f"/devices/{made.json['id']}", headers=await stage.operator())
    assert phone in full.body.decode()
    content = picture(exif=exif())
    sender = Sender(stage, buyer.campaign, buyer.application, buyer.person, buyer.headers, await stage.operator())
    sent = await sender.post("passport", "single", content)
    assert sent.status == 201, sent.body
    key = str(sent.json["id"])
    assert (await sender.submit(key)).status == 200
    kept = await stage.call("GET", f"/documents/{key}/files/single", headers=sender.reviewer)
    assert kept.status == 200 and CANARY.encode() not in kept.body
    await sender.decided(key, "approve")
    refused = await sender.post("selfie", "single", b"%PDF-1.7 " + content)
    assert refused.status == 415, refused.body
    for name in ("everywhere", "at rest"):
        aviaries[name].keep("file", CANARY, *_slices(content), *_slices(kept.body))


def _slices(content: bytes) -> list[bytes]:
    """Stretches of a file that no other file has."""
    return [content[place : place + 32] for place in range(len(content) // 2, len(content) - 32, 4_000)]


async def watched(buyer: Buyer, told: Any, aviaries: dict[str, Aviary]) -> str:
    """The live token of a phone or a purchase, watched from now on."""
    token = await buyer.token(told)
    for name in ("everywhere", "at rest"):
        aviaries[name].keep("token", token)
    return token


async def _buy(buyer: Buyer, aviaries: dict[str, Aviary]) -> None:
    """Both kinds of purchase, with what identifies people in what is recorded only; a reversal of one."""
    owner, contact = new_cpf(), f"presente.{uuid4().hex[:10]}@example.com"
    for name in ("everywhere", "at rest"):
        aviaries[name].keep("document", owner)
        aviaries[name].keep("email", contact)
    private = {"customer": {"cpf": owner, "email": contact}, "parameters": {"para": contact}}
    bought = await buyer.bought(a_purchase(100, **private))
    for token in ("ZZZZZZ", "ZZZZZ", ["ZZZZZZ"]):
        await buyer.validate(bought, token)  # type: ignore[arg-type]
    await watched(buyer, bought, aviaries)
    validated = await buyer.validate(bought, await watched(buyer, bought, aviaries), idempotency_key=uuid4().hex)
    assert validated.status == 201, validated.body
    assert (await buyer.resend(bought)).status == 404
    authorized = await buyer.authorize(a_purchase(100, **private), headers=buyer.impersonated)
    await watched(buyer, authorized, aviaries)
    assert (await buyer.cancel(authorized)).status == 200
    order = bought["orders"][0]["id"]
    body = {"executeTotalRefund": True, "refundType": 1, "refundMotiveId": 16, "refundMotiveDescription": "desistiu"}
    operator = await buyer.stage.operator("reversals.write")
    assert (await buyer.stage.call("POST", f"/orders/{order}/reversals", body, headers=operator)).status == 201


async def _spoil(buyer: Buyer, phone: str) -> None:
    """Values in places where they do not belong."""
    stage, person = buyer.stage, buyer.person
    document = person.document_number
    again = {"name": "A", "username": "novo", "document_number": document, "status": "ACTIVE", "catalog_id": "gold"}
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/participants", again | {"emails": [{"email": f"{phone}@example.com"}]}),
        ("POST", "/participants", again | {"emails": [{"email": document}]}),
        ("POST", "/participants/me/devices", {"type": "phone", "number": phone[:-1]}),
        ("POST", "/participants/me/devices", {"type": "phone", "number": phone, document: 1}),
        ("POST", "/purchases", a_purchase(10, channel_type=document)),
        ("POST", "/purchases", a_purchase(10, destination=phone)),
        ("PUT", f"/purchases/{document}/validate_token", {"token": phone}),
        ("POST", f"/orders/{phone.replace('+', '%2B')}/reversals", {"refundMotiveId": document}),
    ]
    for headers in (buyer.headers, buyer.impersonated, buyer.of_application):
        for method, path, body in bodies:
            reply = await stage.call(method, path, body, headers=headers)
            assert 400 <= reply.status < 500, (method, path, reply.body)
    found = await stage.call("GET", f"/participants?document={document}", headers=buyer.of_application)
    assert found.status == 200 and len(found.json["items"]) == 1
    assert (await stage.call("GET", f"/participants?cpf={document}", headers=buyer.of_application)).status == 400
    await stage.call("GET", "/purchases/me", headers=buyer.impersonated | {"username": document})
    await stage.call("GET", "/purchases/me", headers=buyer.headers | {"authorization": f"Bearer {document}"})


async def _credentials(buyer: Buyer, aviaries: dict[str, Aviary]) -> None:
    """An access token by secret, right and wrong; a key that is shown once."""
    stage, application = buyer.stage, buyer.application
    client = application.application.key
    basic = b64encode(f"{client}:{application.client_secret}".encode()).decode()
    wrong = "segredo" + uuid4().hex
    aviaries["everywhere"].keep("authorization", basic)
    aviaries["everywhere"].keep("key", wrong)
    form = {"grant_type": "client_credentials", "scope": "redemptions.read"}
    sent = [
        ({"authorization": f"Basic {basic}"}, form, 200),
        ({}, form | {"client_id": str(client), "client_secret": wrong}, 401),
    ]
    for headers, body, status in sent:
        raw = urlencode(body).encode()
        reply = await stage.call("POST", "/oauth2/token", raw=raw, headers=headers, content_type=FORM)
        assert reply.status == status, reply.body
        if status == 200:
            access_token = reply.json["access_token"]
            for name in ("everywhere", "at rest"):
                aviaries[name].keep("authorization", access_token[-60:])
            bearer = {**buyer.of_application, "authorization": f"Bearer {access_token}"}
            assert (await stage.call("GET", "/purchases", headers=bearer)).status == 200
    path = f"/campaigns/{buyer.campaign.campaign_id}/applications/{client}/keys"
    made = await stage.call("POST", path, headers=await stage.operator("campaigns.write"))
    assert made.status == 201, made.body
    for name in ("everywhere", "at rest"):
        aviaries[name].keep("key", made.json["api_key"])


async def break_it(stage: DeployedStage, buyer: Buyer) -> None:
    """A table is gone for a moment: 500s tell nothing, and are logged by file and line alone."""
    bought = await buyer.bought(a_purchase(10))
    token = await buyer.token(bought)
    await stage.execute("alter table aval.purchases rename to purchases_away")
    try:
        private = a_purchase(10, customer={"cpf": buyer.person.document_number})
        assert (await buyer.buy(private)).status == 500
        assert (await buyer.validate(bought, token)).status == 500
    finally:
        await stage.execute("alter table aval.purchases_away rename to purchases")
    assert UUID(str(bought["id"]))
