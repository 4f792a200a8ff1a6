"""Proof of ST2 (T7): what settles equals, in canonical bytes, what was shown and approved; anything else is refused.

Operations of every kind, by token and by device, are approved and settled; what the rail was asked to do is put back
into the form of the details and compared. Then every field is edited, moved, added, removed and replaced by its
look-alike: in what a device signs, and behind Aval's back in the rows themselves.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.device import DeviceDecision
from aval.domain.device_proof import device_challenge
from aval.domain.masks import masked_document
from aval.domain.transfer import Payee, canonical, details_of
from aval.operations.settle_transfer import DIGEST_MISMATCH, ask_rail
from aval.ports import RailAnswer, RailTarget, SettlementOrder
from aval.rails.sandbox import SandboxRail
from aval.storage.requests import read_operation
from aval.storage.settlements import claim_settlements
from tests.devices.authenticator import AppKey
from tests.devices.registering import Enrollment, registered
from tests.devices.signing import KINDS, Signing, request_by_device
from tests.factories import make_keyring, make_party
from tests.transfers import Wire
from tests.world import RETRY, World, item_body

pytestmark = pytest.mark.proof

OPERATIONS = 10_000 if os.environ.get("AVAL_PROOF_NIGHTLY") else 1_000
BATCH_ITEMS_MAX = 4
LEASE = timedelta(hours=1)  # nothing is recorded here, so nothing comes twice
LETTERS = "aeioAÉçãñ ßøЖ日本語\"\\/&.-'😀0123456789"
COMPARED = ("operation", "operation_key", "account_key", "amount", "target", "payee_name", "payee_document_masked")


class Recorder:
    """The sandbox rail, and what it was asked to do."""

    def __init__(self) -> None:
        self.orders: dict[UUID, SettlementOrder] = {}

    def rail_of(self, target: RailTarget) -> SandboxRail:
        recorder = self

        class Rail(SandboxRail):
            async def settle(self, order: SettlementOrder) -> RailAnswer:
                assert order.operation_key not in recorder.orders
                recorder.orders[order.operation_key] = order
                return await super().settle(order)

        return Rail()


async def settled(world: World, recorder: Recorder) -> dict[UUID, str | None]:
    """Ask the rail for every job that is due; why each was not sent, or None."""
    found: dict[UUID, str | None] = {}
    while True:
        async with world.db.connection() as connection:
            jobs = await claim_settlements(connection, most=200, lease=LEASE)
        if not jobs:
            return found
        for job in jobs:
            said = await ask_rail(world.db, job=job, rails=recorder, keyring=make_keyring(), policy=RETRY)
            assert said is not None
            found[job.transfer.key] = said.answer.rejection_reason


def name(chance: random.Random, characters_max: int) -> str:
    """A name as people and attackers have them."""
    made = "".join(chance.choice(LETTERS) for _ in range(chance.randint(1, characters_max)))
    return made.strip() or "Ana"


def request(enrollment: Enrollment, kind: str, chance: random.Random) -> dict[str, Any]:
    """A request of a kind with a payee and an amount of its own."""
    if kind.endswith("batch"):
        single = kind.removesuffix("_batch")
        items = [_item(enrollment, single, chance) for _ in range(chance.randint(1, BATCH_ITEMS_MAX))]
        return {"pix_transfers" if single == "pix_transfer" else "teds": items}
    made = _item(enrollment, kind, chance)
    return {field: made.get(field) for field in (*made, "target_account")}


def _item(enrollment: Enrollment, kind: str, chance: random.Random) -> dict[str, Any]:
    made = item_body(enrollment.party, kind, transaction_amount=chance.randrange(1, 500_00) / 100)
    if kind == "pix_transfer" and chance.random() < 0.5:
        made.pop("target_account")
        key = f"{chance.getrandbits(40):x}@example.com"
        end_to_end_id = f"E12345678202611231430{chance.getrandbits(44):011x}"
        return made | {"pix_transfer_type": "key", "target_pix_key": key, "end_to_end_id": end_to_end_id}
    longest = 50 if kind == "ted" else 150
    made["target_account"] = made["target_account"] | {
        "owner_name": name(chance, longest),
        "owner_document_number": chance.choice(["11222333000181", "12ABC34501DE35", "52998224725"]),
        "account_number": str(chance.randrange(10**12)),
    }
    return made


async def approved(world: World, enrollment: Enrollment, kind: str, chance: random.Random) -> list[dict[str, Any]]:
    """Request and approve one operation; what was shown of each of its items."""
    change = request(enrollment, kind, chance)
    if chance.random() < 0.5:
        signing = await request_by_device(enrollment, kind, **change)
        session = await signing.open()
        assert (await signing.sign(session=session)).status == 200
        assert (await signing.validate()).status in (201, 202)
        return _as_items(session["details"], session["items"])
    wire = Wire(world, enrollment.party, kind)
    key = await wire.new(**change)
    async with world.db.connection() as connection:
        found = await read_operation(connection, enrollment.party.key, key)
    assert found is not None
    digest = await world.fetch("select details_digest from operations where operation_id = $1", key)
    assert digest[0]["details_digest"] == found[0].details_digest  # what the token is derived over
    reply = await wire.approve(key)
    assert reply.status in (201, 202), reply.body
    return [] if kind.endswith("batch") else _as_items(details_of(found[0]), None)


def _as_items(details: dict[str, Any], items: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if items is None:
        return [{field: details[field] for field in COMPARED}]
    return items


async def as_shown(world: World, order: SettlementOrder) -> dict[str, Any]:
    """The order of a rail in the words of the details; the payee of a key is what the look-up said."""
    account = dict(order.target_account or {})
    if order.target_pix_key is not None:
        found = await SandboxRail().find_pix_key(order.target_pix_key)
        assert found is not None
        account = dict(found.target_account)
    payee = Payee("", target_account=account, target_pix_key=order.target_pix_key)
    return {
        "operation": order.operation,
        "operation_key": str(order.operation_key),
        "account_key": str(order.account_key),
        "amount": order.amount.details(),
        "target": payee.target,
        "payee_name": account["owner_name"],
        "payee_document_masked": masked_document(account["owner_document_number"]),
    }


@pytest.fixture(scope="module")
async def enrollment(module_world: World) -> Enrollment:
    return await registered(module_world, await make_party(module_world.db), AppKey())


async def test_what_settles_is_what_was_shown(world: World, enrollment: Enrollment, chance: random.Random) -> None:
    shown: dict[str, dict[str, Any]] = {}
    for number in range(OPERATIONS):
        for item in await approved(world, enrollment, KINDS[number % len(KINDS)], chance):
            control_key = item.get("request_control_key")
            shown[str(control_key or item["operation_key"])] = item
    recorder = Recorder()
    reasons = await settled(world, recorder)
    assert not any(reason == DIGEST_MISMATCH for reason in reasons.values())
    rows = await world.fetch(
        "select operation_id, request_control_key from operations where integrator_id = $1", enrollment.party.key
    )
    control_keys = {row["operation_id"]: str(row["request_control_key"]) for row in rows}
    compared = 0
    for key, order in recorder.orders.items():
        told = await as_shown(world, order)
        if (item := shown.get(str(key)) or shown.get(control_keys[key])) is None:
            continue  # an item of a batch by token, which shows its total and its largest payee
        names = [field for field in COMPARED if field in item]
        assert canonical({field: told[field] for field in names}) == canonical({field: item[field] for field in names})
        compared += 1
    print(f"{len(recorder.orders)} orders, {compared} compared with what was shown")
    assert compared >= OPERATIONS // 2


Change = Callable[[dict[str, Any], str], bytes]
LOOK_ALIKE = str.maketrans({"a": "\u0430", "e": "\u0435", "o": "\u043e", "0": "O", "1": "l", ".": ","})


def _edited(details: dict[str, Any], field: str) -> bytes:
    value = details[field]
    return canonical(details | {field: value + 1 if isinstance(value, int) else f"{value or ''}0"})


def _look_alike(details: dict[str, Any], field: str) -> bytes:
    value = details[field]
    same = value.translate(LOOK_ALIKE) if isinstance(value, str) else value
    return canonical(details | {field: f"{same}\u2060" if same == value else same})


CHANGES: dict[str, Change] = {
    "edited": _edited,
    "moved": lambda details, field: json.dumps({field: details[field], **details}, separators=(",", ":")).encode(),
    "twice": lambda details, field: canonical(details).replace(b"{", b"{" + json.dumps(field).encode() + b":null,", 1),
    "beside another": lambda details, field: canonical(details | {f"{field}_2": details[field]}),
    "gone": lambda details, field: canonical({each: value for each, value in details.items() if each != field}),
    "nothing": lambda details, field: canonical(details | {field: None if details[field] is not None else ""}),
    "a look-alike": _look_alike,
}


def lies(session: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    details = session["details"]
    for field in details:
        for change, make in CHANGES.items():
            yield f"{field} {change}", make(details, field)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_signature_over_anything_else_is_refused(world: World, enrollment: Enrollment, kind: str) -> None:
    signing = await request_by_device(enrollment, kind)
    session, tried = await signing.open(), 0
    before = await world.snapshot()
    honest = canonical(session["details"])
    for lie, text in lies(session):
        if text == honest:
            continue  # the first field is where it was
        body = signing.signed(session) | _signed_over(enrollment, session, text)
        reply = await signing.call("POST", "/approve", body)
        assert (reply.status, reply.code) == (400, "OBD000924"), lie
        tried += 1
    assert await world.snapshot() == before
    assert tried >= 6 * len(session["details"])
    assert (await signing.call("POST", "/approve", signing.signed(session))).status == 200


def _signed_over(enrollment: Enrollment, session: dict[str, Any], text: bytes) -> dict[str, str]:

    head = f"aval-device-v1\napprove\n{session['nonce']}\n".encode()
    honest = device_challenge(DeviceDecision.APPROVE, session["nonce"], session["details"])
    assert hashlib.sha256(head + canonical(session["details"])).digest() == honest
    proof = enrollment.device.get_assertion(hashlib.sha256(head + text).digest())
    return {"signature": proof["signature"]}


FORGERIES: dict[str, str] = {
    "amount": "amount_centavos = amount_centavos + 1",
    "fee": "fee_centavos = fee_centavos + 1",
    "kind": "kind = case kind when 'ted' then 'pix_transfer' else 'ted' end",
    "account": "account_id = $2",
    "payee": "facts = jsonb_set(facts, '{payee_name}', '\"Outra Pessoa\"')",
    "payee look-alike": "facts = jsonb_set(facts, '{payee_name}', to_jsonb((facts ->> 'payee_name') || chr(8288)))",
    "document": "facts = jsonb_set(facts, '{payee_document}', '\"39053344705\"')",
    "no document": "facts = facts - 'payee_document'",
    "number": "facts = jsonb_set(facts, '{target_account,account_number}', '\"999\"')",
    "branch": "facts = jsonb_set(facts, '{target_account,account_branch}', '\"0009\"')",
    "digit": "facts = jsonb_set(facts, '{target_account,account_digit}', '\"9\"')",
    "bank": "facts = jsonb_set(facts, '{target_account,ispb}', '\"11111111\"')",
    "a key beside": 'facts = facts || \'{"target_pix_key": "evil@example.com"}\'',
    "digest": "details_digest = decode(repeat('00', 32), 'hex')",
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("kind", ["pix_transfer", "ted"])
async def test_what_was_changed_behind_our_back_is_not_settled(
    world: World, enrollment: Enrollment, kind: str, forgery: str
) -> None:
    await settled(world, Recorder())
    signing = await request_by_device(enrollment, kind)
    assert (await signing.sign()).status == 200
    assert (await signing.validate()).status == 202
    await _forge(world, signing, forgery)
    recorder = Recorder()
    assert await settled(world, recorder) == {signing.key: DIGEST_MISMATCH}
    assert recorder.orders == {}


async def _forge(world: World, signing: Signing, forgery: str) -> None:
    """What somebody with the owner's rights on the tables could do."""
    statement = f"update operations set {FORGERIES[forgery]} where operation_id = $1"
    account = await world.fetch(
        "select account_id from accounts where integrator_id <> $1 limit 1", signing.enrollment.party.key
    )
    other = account[0]["account_id"] if account else uuid4()
    await world.execute("alter table operations disable trigger all")
    await world.execute(statement, signing.key, *([other] if "$2" in statement else []))
    await world.execute("alter table operations enable trigger all")
