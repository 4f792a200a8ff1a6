"""Proof of DV4 (T8): no request, however altered, sends a message anywhere but to the approver's registered contact.

Creates, resends, validates and cancels of every kind are altered: first every name a contact may have, as a field at
every depth; then by chance also other values, doubled members, headers, queries, others' approvers and operations.
Messages are counted where they arrive: at an SMS gateway and a mail server of our own.
Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import copy
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, product
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from aval.operations.fresh import new_cpf, new_phone
from aval.storage.database import Database
from tests.chaos.parties import control, rail_secret_of
from tests.factories import Party, Reply, make_approver, make_party
from tests.proof.deployment import RunningAval, figure, free_port, running_deployment
from tests.rails.core_process import running_core

pytestmark = pytest.mark.proof

REQUESTS = figure(1_000, 10_000)
LANES = 8
PATIENCE_S = 90.0
KINDS = {"pix_transfer": None, "ted": None, "pix_transfer_batch": "pix_transfers", "ted_batch": "teds"}
NAMES = """
destination destinations phone phone_number mobile mobile_number email email_address contact contacts contact_key
contact_id contact_value recipient recipients to cc bcc sms send_to notify address masked_destination approver_phone
approver_email approver_contact tfa_destination channel_destination destination_sealed approval approver reply_to
""".split()
HEADERS = (
    "To Cc Bcc X-To X-Destination X-Recipient X-Contact X-Phone X-Approver-Contact X-Forwarded-To Reply-To".split()
)


class Mailbox:
    """A mail server that takes everything and keeps whom it was for."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.recipients += envelope.rcpt_tos
        return "250 taken"


@dataclass
class Request:
    """What will be sent, and the address it smuggles."""

    method: str
    path: str
    body: Any
    evil_phone: str
    evil_email: str
    raw: bytes | None = None
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Scene:
    """A deployment, an integrator who may be robbed, a colleague of the approver, and a stranger with own contacts."""

    aval: RunningAval
    party: Party
    colleague: dict[str, str]  # CPF, phone, email: registered, without powers over the account
    stranger: Party
    mails: list[str]
    operations: list[tuple[str, str]] = field(default_factory=list)  # kind, key: accepted and of this party
    named: dict[str, str] = field(default_factory=dict)  # request_control_key: CPF the accepted request named
    evil: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def sms(self) -> list[str]:
        return [message["destination"] for message in self.aval.sms]

    @property
    def account(self) -> str:
        return f"/account/{self.party.account.key}"


@asynccontextmanager
async def running_scene(chance: random.Random) -> AsyncIterator[Scene]:
    mailbox, port = Mailbox(), free_port()
    mail_server = Controller(mailbox, hostname="127.0.0.1", port=port)
    mail_server.start()
    settings = {"AVAL_SMTP_URL": f"smtp://127.0.0.1:{port}"}
    try:
        with running_core(by_centavos=True, seed=chance.getrandbits(32)) as core_url:
            async with running_deployment(apis=2, workers=1, **settings) as aval:
                party, stranger = [await _live_party(aval, core_url) for _ in range(2)]
                colleague = {"cpf": new_cpf(), "phone": new_phone(), "email": "bia@example.com"}
                await make_approver(
                    aval.db,
                    party.key,
                    document_number=colleague["cpf"],
                    phone=colleague["phone"],
                    email=colleague["email"],
                )
                async with aiohttp.ClientSession() as session:
                    await control(session, core_url, secret=rail_secret_of(party))
                yield Scene(aval, party, colleague, stranger, mailbox.recipients)
    finally:
        mail_server.stop()


async def _live_party(aval: RunningAval, core_url: str) -> Party:
    free: dict[str, Any] = {"budgets": False, "ted_hours": False, "requests_per_second": None}
    return await make_party(aval.db, mode="live", rail_url=core_url, **free)


def body_of(scene: Scene, kind: str, chance: random.Random) -> dict[str, Any]:
    """A request that is right."""
    party, items = scene.party, KINDS[kind]
    tfa_info = {**party.tfa_info, "contact_type": chance.choice(["sms", "email"])}
    single = party.pix(transaction_amount=1.01, tfa_info=tfa_info)
    if kind.startswith("pix") and chance.random() < 0.3:
        single |= {"pix_transfer_type": "key", "target_pix_key": new_cpf(), "end_to_end_id": _end_to_end_id(chance)}
        del single["target_account"]
    if kind.startswith("ted"):
        del single["pix_transfer_type"]
    if items is None:
        return single
    del single["tfa_info"]
    many = [copy.deepcopy(single) for _ in range(2)]
    for item in many:
        item["request_control_key"] = str(uuid4())
        if "end_to_end_id" in item:
            item["end_to_end_id"] = _end_to_end_id(chance)
    return {"request_control_key": str(uuid4()), items: many, "tfa_info": tfa_info}


def _end_to_end_id(chance: random.Random) -> str:
    suffix = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=11))
    return f"E12345678{time.strftime('%Y%m%d%H%M', time.gmtime())}{suffix}"


def request_of(scene: Scene, chance: random.Random) -> Request:
    """A right request of some kind, before it is altered."""
    step = chance.choices(["create", "resend", "validate_token", "cancel"], [50, 40, 6, 4])[0]
    if step == "create" or not scene.operations:
        kind = chance.choice(list(KINDS))
        return Request("POST", f"{scene.account}/{kind}", body_of(scene, kind, chance), **_evil())
    kind, key = chance.choice(scene.operations)
    call = "resend_token" if step == "resend" else step
    bodies: dict[str, Any] = {"validate_token": {"token": "UUUUUU"}, "cancel": {}}
    body = bodies.get(call, chance.choice([{}, {"contact_type": "sms"}, {"contact_type": "email"}]))
    method = "PUT" if call == "validate_token" else "PATCH"
    return Request(method, f"{scene.account}/{kind}/{key}/{call}", dict(body), **_evil())


def _evil() -> dict[str, str]:
    return {"evil_phone": new_phone(), "evil_email": f"mallory.{uuid4().hex[:12]}@example.com"}


Mutation = Callable[[Scene, Request, random.Random], None]


def _places(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _places(inner)


def _smuggled(request: Request, chance: random.Random) -> Any:
    address = chance.choice([request.evil_phone, request.evil_email])
    kind = "sms" if address.startswith("+") else "email"
    return chance.choice(
        [
            address,
            [address],
            {"contact_type": kind, "destination": address},
            [{"contact_type": kind, "destination": address}],
            {kind: address},
            f"{kind}:{address}",
        ]
    )


def every_name(scene: Scene, chance: random.Random) -> Iterator[Request]:
    """An address under each name, in each object of a create and in a resend, of each kind."""
    first = list(scene.operations)
    for name, (kind, key) in product(NAMES, first):
        right = body_of(scene, kind, chance)
        creates = [("POST", "", right, number) for number in range(len(list(_places(right))))]
        for method, end, body, number in [*creates, ("PATCH", f"/{key}/resend_token", {"contact_type": "sms"}, 0)]:
            request = Request(method, f"{scene.account}/{kind}{end}", copy.deepcopy(body), **_evil())
            place = list(_places(request.body))[number]
            is_email = place.get("contact_type") == "email"
            place[name] = request.evil_email if is_email else request.evil_phone
            yield request


def by_chance(scene: Scene, chance: random.Random) -> Iterator[Request]:
    """Altered requests without end."""
    while True:
        request = request_of(scene, chance)
        (mutation,) = chance.choices(list(MUTATIONS), list(MUTATIONS.values()))
        mutation(scene, request, chance)
        yield request


def extra_field(_scene: Scene, request: Request, chance: random.Random) -> None:
    place = chance.choice(list(_places(request.body)))
    place[chance.choice(NAMES)] = _smuggled(request, chance)


def extra_fields_everywhere(_scene: Scene, request: Request, chance: random.Random) -> None:
    for place in list(_places(request.body)):
        place[chance.choice(NAMES)] = _smuggled(request, chance)


def spoilt_contact_type(_scene: Scene, request: Request, chance: random.Random) -> None:
    place = request.body.get("tfa_info", request.body)
    known = place.get("contact_type", "sms")
    smuggled = _smuggled(request, chance)
    place["contact_type"] = chance.choice([smuggled, f"{known} {request.evil_phone}", known.upper(), [known, smuggled]])


def other_approver(scene: Scene, request: Request, chance: random.Random) -> None:
    if "tfa_info" not in request.body:
        return extra_field(scene, request, chance)
    cpf = chance.choice([scene.colleague["cpf"], scene.stranger.document_number, new_cpf(), request.evil_phone])
    request.body["tfa_info"]["approver_document_number"] = cpf


def two_approvers(scene: Scene, request: Request, chance: random.Random) -> None:
    if "tfa_info" not in request.body:
        request.body = [request.body, {"contact_type": request.evil_phone}]
        return
    tfa_info = request.body["tfa_info"]
    others = {**tfa_info, "approver_document_number": scene.stranger.document_number}
    request.body["tfa_info"] = chance.choice([[tfa_info, others], [others], {"0": tfa_info, "1": others}])


def doubled_member(scene: Scene, request: Request, chance: random.Random) -> None:
    text = json.dumps(request.body)
    members = {
        "contact_type": [request.evil_phone, "sms", "email"],
        "approver_document_number": [scene.stranger.document_number, scene.colleague["cpf"]],
        "tfa_info": [{**scene.stranger.tfa_info}],
    }
    present = [name for name in members if f'"{name}": ' in text]
    if not present:
        return extra_field(scene, request, chance)
    name = chance.choice(present)
    double = f'"{name}": {json.dumps(chance.choice(members[name]))}, '
    request.raw = text.replace(f'"{name}": ', f'{double}"{name}": ', 1).encode()


def in_the_query(_scene: Scene, request: Request, chance: random.Random) -> None:
    request.query = f"?{chance.choice(NAMES)}={quote(chance.choice([request.evil_phone, request.evil_email]))}"


def in_a_header(_scene: Scene, request: Request, chance: random.Random) -> None:
    request.headers[chance.choice(HEADERS)] = chance.choice([request.evil_phone, request.evil_email])


def in_a_right_field(_scene: Scene, request: Request, chance: random.Random) -> None:
    """Addresses where they may stand: the payee's own Pix key and name, and the message of a Pix."""
    for place in list(_places(request.body)):
        if "target_pix_key" in place:
            place["target_pix_key"] = chance.choice([request.evil_phone, request.evil_email])
        if "owner_name" in place:
            place["owner_name"] = f"Maria {chance.choice([request.evil_phone, request.evil_email])}"[:50]
        if "pix_transfer_type" in place:
            place["pix_message"] = f"token: {request.evil_phone} {request.evil_email}"


def another_operation(scene: Scene, request: Request, _chance: random.Random) -> None:
    """The path of somebody else's account."""
    request.path = request.path.replace(str(scene.party.account.key), str(scene.stranger.account.key))


def repeated_key(scene: Scene, request: Request, chance: random.Random) -> None:
    """An earlier request's key with another approver or channel."""
    if "request_control_key" not in request.body or not scene.named:
        return extra_field(scene, request, chance)
    request.body["request_control_key"] = chance.choice(list(scene.named))
    request.body["tfa_info"]["approver_document_number"] = scene.colleague["cpf"]


MUTATIONS: dict[Mutation, int] = {
    extra_field: 24,
    extra_fields_everywhere: 6,
    spoilt_contact_type: 10,
    other_approver: 8,
    two_approvers: 5,
    doubled_member: 10,
    in_the_query: 6,
    in_a_header: 8,
    in_a_right_field: 8,
    another_operation: 4,
    repeated_key: 5,
}


async def test_no_message_leaves_the_registry(chance: random.Random, capsys: pytest.CaptureFixture[str]) -> None:
    async with running_scene(chance) as scene:
        for kind in KINDS:  # one of each, so that there is something to resend
            await send(scene, Request("POST", f"{scene.account}/{kind}", body_of(scene, kind, chance), "", ""))
        assert len(scene.operations) == len(KINDS), scene.statuses
        before = await registry(scene.aval.db)
        await alter(scene, chance)
        await until_delivered(scene.aval.db)
        with capsys.disabled():
            counted = f"{len(scene.sms)} SMS, {len(scene.mails)} e-mails"
            print(f"recipients: {REQUESTS} requests, {counted}; {dict(scene.statuses)}")
        assert {*scene.sms, *scene.mails} <= {scene.party.phone, scene.party.email}
        assert not scene.evil & {*scene.sms, *scene.mails}
        assert await registry(scene.aval.db) == before
        await check_counts(scene)


async def alter(scene: Scene, chance: random.Random) -> None:
    """The altered requests, several at once; an unaltered one now and then."""
    requests = islice(chain(every_name(scene, chance), by_chance(scene, chance)), REQUESTS)

    async def lane() -> None:
        for request in requests:
            await send(scene, request)
            if chance.random() < 0.2:
                await send(scene, request_of(scene, chance))

    await asyncio.gather(*(lane() for _ in range(LANES)))


async def send(scene: Scene, request: Request) -> None:
    """Send it, and note what an accepted one has named; a resend finds its cooldown over."""
    scene.evil |= {request.evil_phone, request.evil_email} - {""}
    if request.path.endswith("resend_token"):
        await _end_cooldown(scene.aval.db, UUID(request.path.split("/")[-2]))
    content = request.raw if request.raw is not None else json.dumps(request.body).encode()
    key, path = scene.party.api_key, request.path + request.query
    answer = await scene.aval.call(request.method, path, content, key=key, headers=request.headers)
    assert answer.status < 500, (request, answer)
    step = request.path.rpartition("/")[2] if request.method != "POST" else "create"
    scene.statuses[f"{step} {answer.status}"] += 1
    if step == "create" and answer.status == 202:
        _note(scene, request, answer)


def _note(scene: Scene, request: Request, answer: Reply) -> None:
    kind = request.path.rpartition("/")[2]
    told = answer.json["request_control_key"]
    if "idempotent-replayed" not in answer.headers:
        scene.named[told] = request.body["tfa_info"]["approver_document_number"]
        scene.operations.append((kind, answer.json[f"{kind}_key"]))


async def _end_cooldown(db: Database, key: UUID) -> None:
    async with db.connection() as connection:
        await connection.execute(
            "update aval.challenges set can_resend_at = issued_at, resends_left = greatest(resends_left, 1)"
            " where operation_id = $1 and status = 'pending_2fa_approval'",
            key,
        )


async def registry(db: Database) -> list[Any]:
    """Every contact there is, as it is stored."""
    async with db.connection() as connection:
        rows = await connection.fetch("select c.*, c.xmin::text from aval.contacts c order by contact_id")
    return [tuple(row.values()) for row in rows]


async def until_delivered(db: Database) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        async with db.connection() as connection:
            waiting = await connection.fetchval("select count(*) from aval.outbox where state = 'ready'")
        if not waiting:
            return
        assert time.monotonic() < ends_at, f"{waiting} messages wait"
        await asyncio.sleep(0.1)


async def check_counts(scene: Scene) -> None:
    """Each promised message came to the contact of the approver whom its request named, once, and no other came."""
    async with scene.aval.db.connection() as connection:
        rows = await connection.fetch(_MESSAGES)
    assert {row["state"] for row in rows} <= {"delivered", "void"}
    assert {str(row["request_control_key"]) for row in rows} == set(scene.named)
    assert set(scene.named.values()) == {scene.party.document_number}
    assert {row["approver_id"] for row in rows} == {scene.party.approver.key}
    sent = Counter(row["channel"] for row in rows if row["state"] == "delivered")
    assert (len(scene.sms), len(scene.mails)) == (sent["sms"], sent["email"])
    assert min(sent["sms"], sent["email"]) > REQUESTS // 20, "hardly a message was sent"
    assert max(row["generation"] for row in rows) > 1


_MESSAGES = """
select m.channel, m.state, m.generation, m.approver_id, o.request_control_key
  from aval.outbox m left join aval.operations o using (integrator_id, operation_id)
"""
