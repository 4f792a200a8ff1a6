"""Callbacks of an integrator's core: signed, repeatable, and no way to tell one integrator from another."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from standardwebhooks.webhooks import Webhook

from aval.channels.outbound import OutboundHttp
from aval.http import rail
from aval.operations.change_integrator import change_integrator
from aval.operations.settle_transfer import take_callback
from aval.ports import OutboundCall
from aval.rails.http import RailRegistry
from aval.storage.integrators import find_integrator
from tests.factories import AUTHOR, Client, Party, Reply, make_keyring
from tests.rails.core_process import running_core
from tests.stage import Stage, until, working

TRANSACTION = "c41f8b7d-9a20-4e65-b3d7-08f2a6c95e13"
RETURN = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}


@dataclass
class Core:
    """An integrator with a core of its own, and the secret that core signs with."""

    stage: Stage
    party: Party
    secret: str

    async def approved(self, kind: str = "ted", **change: Any) -> UUID:
        key = await self.stage.request(self.party, kind, **change)
        assert (await self.stage.approve(self.party, key, kind)).status == 202
        return key

    async def tell(
        self,
        body: Any,
        *,
        secret: str | None = None,
        at: datetime | None = None,
        altered: bytes | None = None,
        path: str | None = None,
        **headers: str,
    ) -> Reply:
        """One callback; `altered` is sent in place of the body that was signed."""
        at, message_id = at or datetime.now(UTC), f"core_{uuid4()}"
        text = body if isinstance(body, str) else json.dumps(body)
        signed = {
            "webhook_id": message_id,
            "webhook_timestamp": str(int(at.timestamp())),
            "webhook_signature": Webhook(secret or self.secret).sign(message_id, at, text),
        }
        target = path or f"/rail/{self.party.key}/callbacks"
        call = Client(self.stage.apps[0])
        return await call("POST", target, raw=altered or text.encode(), **signed | headers)


async def make_core(stage: Stage, url: str = "https://core.example.com/aval", **settings: Any) -> Core:
    party = await stage.party(mode="live", ted_hours=False, budgets=False, **settings)
    _, secret = await change_integrator(
        stage.db,
        integrator_key=party.key,
        changes={"rail_url": url},
        keyring=make_keyring(),
        is_production=False,
        author=AUTHOR,
    )
    assert secret is not None
    return Core(stage, party, secret)


@pytest.fixture
async def core(stage: Stage) -> Core:
    return await make_core(stage)


def sent(key: UUID) -> dict[str, str]:
    return {"rail_reference": str(key), "settlement_status": "sent", "transaction_key": TRANSACTION}


async def test_a_confirmation_is_taken_and_so_is_its_repetition(core: Core):
    key = await core.approved()
    for _ in range(3):
        answer = await core.tell(sent(key))
        assert (answer.status, answer.body) == (204, b"")
    assert await core.stage.status(key) == ("sent", None)
    assert await core.stage.events(key) == [(1, "baas.ted.outgoing_ted")]
    told = (await core.stage.call(core.party, "GET", f"ted/{key}/outgoing")).json
    assert (told["ted_status"], told["transaction_key"]) == ("sent", TRANSACTION)


async def test_a_refusal_re_credits_and_a_return_keeps_the_fee(core: Core):
    await core.stage.execute(
        "update accounts set ted_fee_centavos = 1000 where account_id = $1", core.party.account.key
    )
    before = await core.stage.balance(core.party)
    refused, returned = await core.approved(), await core.approved()
    word = {"rail_reference": str(refused), "settlement_status": "rejected", "rejection_reason": "rail_refused"}
    assert (await core.tell(word)).status == 204
    assert await core.stage.balance(core.party) == before - 202_01 - 10_00
    back = {"rail_reference": str(returned), "settlement_status": "returned", **RETURN}
    assert [(await core.tell(body)).status for body in (sent(returned), back, back)] == [204] * 3
    assert await core.stage.balance(core.party) == before - 10_00
    told = (await core.stage.call(core.party, "GET", f"ted/{returned}/outgoing")).json
    assert (told["ted_status"], told["refusal_reason"]) == ("rejected", RETURN)


async def test_a_late_or_lower_word_moves_nothing_back(core: Core):
    key = await core.approved()
    words = [
        sent(key),
        {"rail_reference": str(key), "settlement_status": "pending"},
        {"rail_reference": str(key), "settlement_status": "rejected", "rejection_reason": "rail_refused"},
    ]
    assert [(await core.tell(word)).status for word in words] == [204] * 3
    assert await core.stage.status(key) == ("sent", None)


async def test_an_unknown_reference_is_not_found_and_so_is_a_foreign_one(core: Core):
    other = await make_core(core.stage)
    foreign = await other.approved()
    waiting = await core.stage.request(core.party)
    for key in (uuid4(), foreign, waiting):
        answer = await core.tell(sent(key))
        assert (answer.status, answer.code) == (404, "QIT000404")
    assert await core.stage.status(foreign) == ("pending", None)


async def test_only_the_core_itself_is_believed(core: Core):
    other, sandbox = await make_core(core.stage), await core.stage.party()
    key = await core.approved()
    now = datetime.now(UTC)
    answers = {
        "other secret": await core.tell(sent(key), secret=other.secret),
        "altered body": await core.tell(sent(uuid4()), altered=json.dumps(sent(key)).encode()),
        "too old": await core.tell(sent(key), at=now - timedelta(minutes=5, seconds=2)),
        "too new": await core.tell(sent(key), at=now + timedelta(minutes=5, seconds=5)),
        "unsigned": await core.tell(sent(key), webhook_signature="v1,"),
        "other path": await core.tell(sent(key), path=f"/rail/{other.party.key}/callbacks"),
        "no core": await core.tell(sent(key), path=f"/rail/{sandbox.key}/callbacks"),
        "nobody": await core.tell(sent(key), path=f"/rail/{uuid4()}/callbacks"),
    }
    assert {name: (a.status, a.code) for name, a in answers.items()} == dict.fromkeys(answers, (401, "GDF000014"))
    assert len({answer.body for answer in answers.values()}) == 1
    assert await core.stage.status(key) == ("pending", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "QIT000753"),
        ('{"rail_reference": 1, "settlement_status": "sent"}', "QIT000001"),
        ({"rail_reference": TRANSACTION, "settlement_status": "sent"}, "QIT000001"),
        ({"rail_reference": TRANSACTION, "settlement_status": "lost"}, "QIT000001"),
        ({"rail_reference": TRANSACTION, "settlement_status": "returned"}, "QIT000001"),
        ({"rail_reference": TRANSACTION, "settlement_status": "pending", "extra": 1}, "QIT000001"),
        (f'{{"rail_reference": "{TRANSACTION}", "rail_reference": "{TRANSACTION}"}}', "QIT000753"),
    ],
)
async def test_what_is_no_callback_is_refused(core: Core, body: Any, code: str):
    answer = await core.tell(body)
    assert (answer.status, answer.code) == (400, code)


async def test_many_words_of_one_core_leave_connections_to_others(core: Core, monkeypatch: pytest.MonkeyPatch):
    """Words on items of a batch wait for one another; each would hold a connection meanwhile."""
    at_once: list[int] = []
    under_way = 0

    async def taking(*given: Any, **named: Any) -> bool:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        try:
            return await take_callback(*given, **named)
        finally:
            under_way -= 1

    monkeypatch.setattr(rail, "take_callback", taking)
    keys = [await core.approved(transaction_amount=amount) for amount in range(1, 13)]
    answers = await asyncio.gather(*(core.tell(sent(key)) for key in keys))
    assert [answer.status for answer in answers] == [204] * 12
    assert max(at_once) == rail.AT_ONCE_MAX


async def test_words_that_come_together_share_looks_at_their_integrators_and_take_one_connection(
    core: Core, monkeypatch: pytest.MonkeyPatch
):
    """Ten thousand items tell their end at once; each with a connection of its own, they would shut out the readers."""
    looks, under_way, at_once = 0, 0, []

    async def looking(*given: Any) -> Any:
        nonlocal looks, under_way
        looks, under_way = looks + 1, under_way + 1
        at_once.append(under_way)
        try:
            return await find_integrator(*given)
        finally:
            under_way -= 1

    monkeypatch.setattr(rail, "find_integrator", looking)
    key = await core.approved()
    other = await make_core(core.stage)
    words = [core.tell(sent(key)) for _ in range(40)] + [core.tell(sent(key), secret=other.secret) for _ in range(40)]
    answers = await asyncio.gather(*words)
    assert [answer.status for answer in answers] == [204] * 40 + [401] * 40
    assert looks < 40 and max(at_once) == 1


@pytest.mark.parametrize("hidden", ["\x00", "\u202e", "\x1b[2J"])
async def test_a_return_is_not_described_by_hidden_characters(core: Core, hidden: str):
    key = await core.approved()
    assert (await core.tell(sent(key))).status == 204
    word = {"rail_reference": str(key), "settlement_status": "returned", **RETURN}
    answer = await core.tell(word | {"description": f"closed{hidden}"})
    assert (answer.status, answer.code) == (400, "QIT000001")
    assert await core.stage.status(key) == ("sent", None)


async def test_a_real_core_settles_each_item_once_though_it_answers_badly(own_stage: Stage):
    """Half of its answers are lost after it has accepted, or are a 500; what it executed is told by its own ledger."""
    core = await make_core(own_stage)
    faults: dict[str, Any] = {"accept_then_timeout": 0.3, "accept_then_500": 0.3, "duplicate_callbacks": 0.3}
    with running_core(secret=core.secret, hold_s=0.05, seed=1207, **faults) as url:
        await own_stage.execute("update integrators set rail_url = $1, version = version + 1", url)
        keys = [await core.approved(transaction_amount=amount) for amount in range(1, 16)]
        outbound = OutboundHttp([], True)
        async with working(await own_stage.worker(outbound=outbound, rails=RailRegistry(outbound))):

            async def are_sent() -> bool:
                return await own_stage.value("select count(*) from challenges where status = 'sent'") == len(keys)

            await until(are_sent)
            ledger = json.loads((await outbound.call(_get(f"{url}/ledger"))).body)
    executed = {entry["rail_reference"]: entry["body"]["transaction_amount"] for entry in ledger["entries"]}
    assert executed == {str(key): str(amount) for key, amount in zip(keys, range(1, 16), strict=True)}
    assert ledger["bad_signatures"] == 0
    assert not any(entry["conflicting_posts"] or entry["stale_posts"] for entry in ledger["entries"])
    assert ledger["queries"] > 0 and max(entry["posts"] for entry in ledger["entries"]) == 1
    await own_stage.balance(core.party)


def _get(url: str) -> OutboundCall:
    return OutboundCall("GET", url, {}, b"", timedelta(seconds=5))
