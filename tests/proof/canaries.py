"""Proof of PV1, PV2 and PV3 (T28): what identifies, opens or approves stays where it belongs.

A real deployment – API and worker processes at debug level, PostgreSQL of its own, SMS gateway, mail server, webhook
receivers – goes through stories of transfers and redemptions, good calls and bad ones. Every CPF, phone, e-mail, token,
key, Authorization and document byte that took part is then looked for, as it is and in base64, hex and URL encoding:
in logs, metrics, error bodies, webhooks, process lists; what is stored for contacts and documents, in the files of the
database and a dump. Figures are those of pull requests and nightly runs alike; AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import base64
import json
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from aval.domain.caller import BACK_OFFICE_SCOPES
from aval.domain.keyring import Purpose
from aval.operations.fresh import new_cpf, new_phone
from tests.buyers import Buyer
from tests.factories import KeyringHolder, Party, Reply, make_admin_key, make_credential, make_keyring, make_party
from tests.oidc_issuer import Issuer
from tests.proof.cases.canary import Aviary, told
from tests.proof.cases.clubhouse import make_clubhouse
from tests.proof.cases.places import at_rest, seen_outside
from tests.proof.cases.redeeming_story import FILE, FULL_NUMBER, DeployedStage, break_it, redeem
from tests.proof.deployment import RunningAval, free_port, live_tokens, running_deployment
from tests.receiver import Receiver, receiving
from tests.redemption_stage import RedemptionStage
from tests.redemption_stage import issuer as issuer
from tests.redemption_stage import redemptions as redemptions
from tests.signing import new_signing_key, pem_of, signed_headers
from tests.stage import until
from tests.world import ITEMS, body_of

pytestmark = pytest.mark.proof

MAIL_SERVER = Path(__file__).parents[1] / "channels" / "smtp_server.py"
MAIL_PASSWORD = "s3cret:/"
CALLERS = ("operator", "application", "impersonator", "participant")
GATEWAY_KEY = "gateway-key-5f1c9e7ab2"
KINDS = ("pix_transfer", "ted", *ITEMS)


@dataclass
class Stories:
    """A deployment, what takes part in it, and every answer it gave."""

    aval: RunningAval
    receiver: Receiver
    mails: list[str]
    aviary: Aviary = field(default_factory=Aviary)
    stored: Aviary = field(default_factory=Aviary)  # what must be unreadable at rest
    shown: Aviary = field(default_factory=Aviary)  # what no answer may show: where messages go
    answers: list[tuple[str, Reply]] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None, *, key: str, **headers: str) -> Reply:
        """One call; its answer is kept under its route."""
        sent = {name.replace("_", "-").title(): text for name, text in headers.items()}
        reply = await self.aval.call(method, path, body, key=key, headers=sent)
        self.answers.append((f"{method} {path.partition('?')[0]}", reply))
        return reply

    async def party(self, **settings: Any) -> Party:
        """A live integrator whose values are watched."""
        party = await make_party(self.aval.db, mode="live", budgets=False, ted_hours=False, **settings)
        self.aviary.keep("document", party.document_number)
        self.aviary.keep("phone", party.phone)
        self.aviary.keep("email", party.email)
        self.aviary.keep("key", party.api_key)
        for aviary in (self.stored, self.shown):
            aviary.keep("document", party.document_number)
            aviary.keep("phone", party.phone)
            aviary.keep("email", party.email)
        self.stored.keep("key", party.api_key)
        return party

    async def hear(self, party: Party, path: str) -> None:
        """Register a webhook target; its secret is a key, the headers it wants back are, too."""
        secret_header = uuid4().hex
        made = await self.call(
            "POST",
            "/webhook_endpoints",
            {"url": f"{self.receiver.url}{path}", "headers": {"X-Secret": secret_header}},
            key=party.api_key,
        )
        assert made.status == 201, made.body
        for aviary in (self.aviary, self.stored):
            aviary.keep("key", made.json["secret"])
        self.stored.keep("key", secret_header)

    async def token(self, key: UUID) -> str:
        """The live token, which from now on is watched wherever the worker and the API write."""
        text = (await live_tokens(self.aval.db, [key]))[key].text
        for aviary in (self.aviary, self.stored):
            aviary.keep("token", text)
        return text

    async def fetch(self, query: str, *values: object) -> list[Any]:
        async with self.aval.db.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *values)]

    async def execute(self, statement: str) -> None:
        async with self.aval.db.connection() as connection:
            await connection.execute(statement)


@pytest.fixture(scope="module")
async def stories() -> AsyncIterator[Stories]:
    port = free_port()
    mail = await asyncio.create_subprocess_exec(
        sys.executable,
        str(MAIL_SERVER),
        str(port),
        "login",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert mail.stdout is not None and mail.stdin is not None
    assert await mail.stdout.readline() == b"ready\n"
    mails: list[str] = []
    reading = asyncio.create_task(_read(mail.stdout, mails))
    variables = {
        "AVAL_LOG_LEVEL": "debug",
        "AVAL_LOG_FORMAT": "json",
        "AVAL_SMTP_URL": f"smtp://aval:s3cret%3A%2F@127.0.0.1:{port}",
        "AVAL_SMS_GATEWAY_KEY": GATEWAY_KEY,
    }
    try:
        async with receiving() as receiver, running_deployment(apis=1, workers=1, **variables) as aval:
            made = Stories(aval, receiver, mails)
            made.aviary.keep("key", MAIL_PASSWORD + "@", GATEWAY_KEY)
            made.aviary.keep("file", *_secrets_of_keys())
            made.stored.keep("file", *_secrets_of_keys())
            yield made
    finally:
        mail.stdin.close()
        await mail.wait()
        reading.cancel()


async def _read(lines: asyncio.StreamReader, mails: list[str]) -> None:
    while line := await lines.readline():
        mails.append(line.decode())


def _secrets_of_keys() -> list[bytes]:
    keyring = KeyringHolder(make_keyring()).current()
    return [key.secret for purpose in Purpose for key in keyring.all_of(purpose)]


async def test_nothing_of_a_transfer_escapes(stories: Stories, chance: random.Random) -> None:
    own, other = await stories.party(), await stories.party()
    await stories.hear(own, "/204/own")
    await stories.hear(other, "/204/other")
    for kind in KINDS:
        for method in ("sms", "email"):
            await approve(stories, own, kind, method, chance)
    await approve(stories, other, "pix_transfer", "sms", chance)
    await bad_calls(stories, own)
    await by_signature(stories, own)
    await by_administrator(stories)
    await faults(stories, own)
    await until(lambda: heard(stories, own, other))
    await escaped(stories)
    own_told = b"\n".join(each.body for each in stories.receiver.on("/204/own"))
    other_told = b"\n".join(each.body for each in stories.receiver.on("/204/other"))
    assert stories.aviary.found(own_told + other_told) == set()
    strangers = Aviary()
    strangers.keep("key", str(own.account.key))
    assert strangers.found(own_told)  # whoever owns it is told of it
    assert not strangers.found(other_told)


def test_every_spelling_of_a_value_is_found() -> None:
    """The harness sees: a value inside other bytes, as it is, in base64 wherever it begins, in hex, in a URL."""
    aviary, phone = Aviary(), "+5511987654321"
    aviary.keep("phone", phone)
    for offset in range(6):
        text = b"x" * offset + phone.encode() + b"tail"
        spelt = [text, base64.b64encode(text), base64.urlsafe_b64encode(text), text.hex(), quote(text)]
        spelt += [json.dumps({"to": text.decode()}), phone.replace("+55", "(11) ")]
        for spelling in spelt:
            assert aviary.found(spelling if isinstance(spelling, bytes) else spelling.encode()), spelling
    assert not aviary.found(b"+55 11 *****-4321 and 55119876")


async def test_nothing_of_a_redemption_escapes(stories: Stories, issuer: Issuer) -> None:
    aviaries = {"everywhere": stories.aviary, "at rest": stories.stored, "shown": stories.shown}
    nothing: Any = None
    stage = DeployedStage(
        *(stories.aval.db, nothing, [], nothing, issuer, nothing),
        aval=stories.aval,
        answers=stories.answers,
        aviary=stories.aviary,
    )
    buyer = await redeem(stage, f"{stories.receiver.url}/204/club", aviaries)
    await break_it(stage, buyer)
    await until(lambda: all_heard(stories, buyer.campaign.key))
    told_to_club = b"\n".join(each.body for each in stories.receiver.on("/204/club"))
    assert all(event in told_to_club for event in (b"device.activated", b"document.approved", b"order.reversed"))
    assert stories.aviary.found(told_to_club) == set()
    await escaped(stories)


async def test_every_route_masks_numbers_for_every_caller(redemptions: RedemptionStage) -> None:
    """PV2 by the route table: whoever asks what, no answer holds a registered number – but for the one scope.

    The inbox of the sandbox is left out: there it stands for the phone.
    """
    home = await make_clubhouse(redemptions)
    scopes = [scope for scope in BACK_OFFICE_SCOPES if scope != "devices.read_full"]
    callers = {**home.callers, "operator": await redemptions.operator(*scopes)}
    numbers = Aviary()
    for buyer in (home.member, home.neighbour):
        numbers.keep("phone", await number_of(redemptions, buyer))
    shown, asked = {}, 0
    routes = [route for route in redemptions.routes if route.path != "/sandbox/inbox"]
    routes.sort(key=lambda route: route.method != "GET")  # before anything is taken away
    for route in routes:
        for caller in CALLERS:
            if route.access is None or getattr(route.access, caller) is None:
                continue
            house = replace(home, callers=callers)
            reply = await house.send(caller, route.method, house.path(route.path), route.path)
            asked += 1
            if found := numbers.found(reply.body + repr(reply.headers).encode()):
                shown[caller, route.method, route.path] = found
    assert shown == {}
    assert asked > 90


async def test_the_one_scope_sees_the_number(redemptions: RedemptionStage) -> None:
    """Else the test above would see nothing at all."""
    home, numbers = await make_clubhouse(redemptions), Aviary()
    numbers.keep("phone", await number_of(redemptions, home.member))
    path = "/devices/{device_id}"
    reply = await home.send("operator", "GET", home.path(path), path)
    assert numbers.found(reply.body)


async def number_of(stage: RedemptionStage, buyer: Buyer) -> str:
    key = UUID(str(buyer.device["id"]))
    sealed = await stage.value("select destination_sealed from contacts where contact_id = $1", key)
    return make_keyring().opened(sealed, associated=f"contacts/{key}")


async def all_heard(stories: Stories, tenant: UUID) -> bool:
    return not await stories.fetch(
        "select 1 from aval.callbacks where integrator_id = $1 and status <> 'sent' limit 1", tenant
    )


async def test_what_is_stored_is_unreadable_without_the_keys(stories: Stories) -> None:
    """PV3, after all the above was written: heap, indexes, WAL, dump; a marker that is clear is found, so it looks."""
    places = await at_rest(stories.aval, "COPY aval.contacts")
    assert told(places, stories.stored) == {}
    marker = Aviary()
    marker.keep("document", b"Maria Souza")
    assert "dump" in told(places, marker)
    assert any(name.startswith("data/pg_wal") or "pg_wal" in name for name in told(places, marker))


async def escaped(stories: Stories) -> None:
    """PV1 and PV2 over everything that happened so far."""
    places = await seen_outside(stories.aval)
    assert len(places) >= 6 and any(b'"route"' in data for name, data in places.items() if name.startswith("log api"))
    assert told(places, stories.aviary) == {}
    bodies = {
        f"{route} {reply.status} {number}": reply.body + repr(reply.headers).encode()
        for number, (route, reply) in enumerate(stories.answers)
    }
    errors = {
        name: body
        for (name, body), (_, reply) in zip(bodies.items(), stories.answers, strict=True)
        if reply.status >= 400
    }
    assert len(errors) >= 20
    assert told(errors, stories.aviary) == {}
    exempt = {number for number, (route, _) in enumerate(stories.answers) if route in (FULL_NUMBER, FILE)}
    assert (
        told({name: body for name, body in bodies.items() if int(name.split()[-1]) not in exempt}, stories.shown) == {}
    )


async def approve(stories: Stories, party: Party, kind: str, method: str, chance: random.Random) -> None:
    """A wrong token, a malformed one, a resend, the right one; the messages came, so the tokens were real."""
    account = f"/account/{party.account.key}/{kind}"
    body = body_of(party, kind, tfa_info={**party.tfa_info, "contact_type": method})
    made = await stories.call("POST", account, body, key=party.api_key, idempotency_key=uuid4().hex)
    assert made.status == 202, made.body
    key = UUID(made.json[f"{kind}_key"])
    first = await stories.token(key)
    path = f"{account}/{key}"
    wrong = "".join(chance.choices("GHJKMNPQRSTVWXYZ", k=6))
    stories.aviary.keep("token", wrong)
    for token in (wrong, f"{first}0", list(first), {"token": first}):
        await stories.call("PUT", f"{path}/validate_token", {"token": token}, key=party.api_key)
    await stories.call("PUT", f"{path}/validate_token?token={first}", {}, key=party.api_key)
    await stories.call("PATCH", f"{path}/resend_token", {}, key=party.api_key)
    token = await stories.token(key)
    destination = party.phone if method == "sms" else party.email
    assert token in await until(lambda: message_with(stories, destination, token))
    done = await stories.call("PUT", f"{path}/validate_token", {"token": token}, key=party.api_key)
    assert done.status in (201, 202), done.body


async def message_with(stories: Stories, destination: str, token: str) -> str | None:
    texts = [each["text"] for each in stories.aval.sms if each["destination"] == destination]
    texts += [mail for mail in stories.mails if destination in mail]
    return next((text for text in texts if token in text), None)


async def bad_calls(stories: Stories, party: Party) -> None:
    """Values in places where they do not belong: each call is refused, and nobody writes down what it held."""
    document, phone, email, key = new_cpf(), new_phone(), f"canario.{uuid4().hex[:8]}@example.com", party.api_key
    stories.aviary.keep("document", document)
    stories.aviary.keep("phone", phone)
    stories.aviary.keep("email", email)
    credential = f"Bearer aval_live_{uuid4().hex}{uuid4().hex[:11]}"
    stories.aviary.keep("authorization", credential.removeprefix("Bearer "))
    path = f"/account/{party.account.key}/pix_transfer"
    bodies: list[Any] = [
        party.pix(approver=document),
        party.pix(transaction_amount=phone),
        party.pix(**{document: 1}),
        party.pix(tfa_info={"approver_document_number": document, "contact_type": email}),
        party.pix(tfa_info={**party.tfa_info, "destination": phone}),
        party.pix(target_account={"owner_name": email}),
        f'{{"token": "{document}"'.encode(),
        f'{{"{email}": "{phone}", "{email}": 1}}'.encode(),
        f'["{document}"]'.encode(),
        b"\xff" + phone.encode(),
    ]
    for body in bodies:
        assert (await stories.call("POST", path, body, key=key)).status == 400
    for target in (f"/account/{document}/pix_transfer", f"/account/{email}", f"/{phone}", f"{path}?cpf={document}"):
        assert (await stories.call("GET", target.replace("+", "%2B"), key=key)).status in (400, 404, 405)
    for header in ("x_correlation_id", "idempotency_key"):
        await stories.call("POST", path, party.pix(), key=key, **{header: f"{document} {email}"})
    for authorization in (credential, f"Basic {document}", credential.replace("Bearer", "Token")):
        assert (await stories.call("GET", f"{path}s", key=key, authorization=authorization)).status in (400, 401)


async def by_signature(stories: Stories, party: Party) -> None:
    """A signed request, good and replayed: its JWT proves who asks, so it is a credential."""
    private = new_signing_key()
    made = await make_credential(stories.aval.db, party.key, public_key=pem_of(private))
    target = f"/account/{party.account.key}"
    headers = signed_headers(private, made.credential.api_client_key, "GET", target)
    stories.aviary.keep("authorization", headers["authorization"], headers["authorization"].rpartition(".")[2])
    for status in (200, 401):
        sent = {name.replace("-", "_"): text for name, text in headers.items()}
        assert (await stories.call("GET", target, key="", **sent)).status == status


async def by_administrator(stories: Stories) -> None:
    """What is made by an administrator is shown once or masked; a refusal repeats nothing of it."""
    admin, party = await make_admin_key(stories.aval.db), await stories.party()
    stories.aviary.keep("key", admin)
    stories.stored.keep("key", admin)
    base = f"/admin/integrators/{party.key}"
    document, phone = new_cpf(), new_phone()
    for aviary in (stories.aviary, stories.stored, stories.shown):
        aviary.keep("document", document)
        aviary.keep("phone", phone)
    body = {"document_number": document, "name": "Ana Canária"}
    made = await stories.call("POST", f"{base}/approvers", body, key=admin)
    assert made.status == 201, made.body
    assert (await stories.call("POST", f"{base}/approvers", body, key=admin)).status == 409
    contacts = f"{base}/approvers/{made.json['approver_key']}/contacts"
    contact = {"contact_type": "sms", "destination": phone}
    assert (await stories.call("POST", contacts, contact, key=admin)).status == 201
    wrong = {"contact_type": "sms", "destination": phone[:-1]}
    assert (await stories.call("POST", contacts, wrong, key=admin)).status == 400
    for path in (f"{base}/approvers", contacts, f"{base}/approvers/{made.json['approver_key']}"):
        assert (await stories.call("GET", path, key=admin)).status == 200
    credential = await stories.call(
        "POST", f"{base}/credentials", {"type": "bearer", "scopes": ["transfers:read"]}, key=admin
    )
    assert credential.status == 201, credential.body
    for aviary in (stories.aviary, stories.stored):
        aviary.keep("key", credential.json["api_key"])


async def faults(stories: Stories, party: Party) -> None:
    """What nobody foresaw: a table is gone for a moment. Its 500s are logged with file and line, never with a body."""
    key = UUID(
        (await stories.call("POST", f"/account/{party.account.key}/pix_transfer", party.pix(), key=party.api_key)).json[
            "pix_transfer_key"
        ]
    )
    path, token = f"/account/{party.account.key}/pix_transfer/{key}", await stories.token(key)
    await stories.execute("alter table aval.challenges rename to challenges_away")
    try:
        for method, target, body in (
            ("POST", path.rpartition("/")[0], party.pix()),
            ("PUT", f"{path}/validate_token", {"token": token}),
            ("GET", f"{path}/outgoing", None),
        ):
            reply = await stories.call(method, target, body, key=party.api_key)
            assert reply.status == 500, reply.body
    finally:
        await stories.execute("alter table aval.challenges_away rename to challenges")


async def heard(stories: Stories, *parties: Party) -> bool:
    """Whether all webhooks of these parties were delivered."""
    left = await stories.fetch(
        "select 1 from aval.callbacks where integrator_id = any($1) and status <> 'sent' limit 1",
        [party.key for party in parties],
    )
    return not left and bool(stories.receiver.on("/204/other"))
