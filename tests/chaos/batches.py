"""Batches that settle while their worker is killed again and again; then rows, rail, webhooks and money agree."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from aval.storage.database import Database
from tests.chaos.parties import Integrator, told
from tests.proof.deployment import AvalProcess, RunningAval, live_tokens

# Weights of the centavos that tell the core what to do (transfers.md §10); not 97, of which nothing ever ends.
CENTAVOS = {"01": 80, "91": 4, "92": 4, "93": 3, "95": 2, "98": 4, "99": 3}
ITEMS_OF = {"pix_transfer_batch": "pix_transfers", "ted_batch": "teds"}

ITEMS = """
select o.operation_id, o.batch_id, c.status, c.rejection_reason, o.amount_centavos, o.fee_centavos, j.jobs,
       e.told, e.events
  from aval.operations o join aval.challenges c using (integrator_id, operation_id)
  left join (select operation_id, count(*) as jobs from aval.settlement_jobs group by 1) j using (operation_id)
  left join (select item_id, count(*) as told, array_agg(event_id) as events from aval.events
              where item_id is not null group by 1) e on e.item_id = o.operation_id
 where o.batch_id = any($1)
"""
BATCHES = """
select o.operation_id, o.amount_centavos, o.fee_centavos, c.status, c.event_sequence,
       e.numbers, e.finished, l.debits
  from aval.operations o join aval.challenges c using (integrator_id, operation_id)
  left join (select operation_id, array_agg(sequence order by sequence) as numbers,
                    count(*) filter (where event_type like 'aval.%.finished') as finished
               from aval.events group by 1) e using (operation_id)
  left join (select source_id, sum(amount_centavos) as debits from aval.ledger_entries
              where direction = 'debit' group by 1) l on l.source_id = o.operation_id
 where o.operation_id = any($1)
"""
MONEY = """
select a.balance_centavos as balance,
       (select coalesce(sum(case direction when 'debit' then amount_centavos else -amount_centavos end), 0)::bigint
          from aval.ledger_entries where account_id = $1 and entry_type <> 'credit') as debited
  from aval.accounts a where account_id = $1
"""
PENDING = "select exists (select from aval.challenges where status = 'pending')"
CLAIMS = "select coalesce(sum(claim_count), 0) from aval.settlement_jobs"
UNSENT = "select exists (select from aval.callbacks where status = 'pending')"


@dataclass
class Killing:
    """A worker that is killed each time it has begun to work, and started again."""

    aval: RunningAval
    worker: AvalProcess
    chance: random.Random
    life_s: tuple[float, float]
    most: int
    kills: int = 0

    async def run(self) -> None:
        """Kill as often as wanted or until cancelled, each time a while after the worker has claimed something."""
        while self.kills < self.most:
            before = await value(self.aval.db, CLAIMS)
            while await value(self.aval.db, CLAIMS) == before:  # noqa: ASYNC110 – PostgreSQL is asked
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.chance.uniform(*self.life_s))
            self.worker.kill()
            self.kills += 1
            await self.worker.start()

    async def end(self, killer: "asyncio.Task[None]") -> None:
        """Kill no more, and leave a worker behind."""
        killer.cancel()
        with suppress(asyncio.CancelledError):
            await killer
        if not self.worker.is_running:
            await self.worker.start()


async def approved_batches(
    aval: RunningAval, integrator: Integrator, chance: random.Random, *, batches: int, items: int
) -> list[UUID]:
    """Request and approve batches of either kind, all through the API."""
    kinds = [list(ITEMS_OF)[number % 2] for number in range(batches)]
    bodies = [batch_body(integrator, chance, kind, items) for kind in kinds]
    made = (_approved(aval, integrator, kind, body) for kind, body in zip(kinds, bodies, strict=True))
    return list(await asyncio.gather(*made))


def batch_body(integrator: Integrator, chance: random.Random, kind: str, items: int) -> dict[str, Any]:
    """A request for a batch whose items the core treats in every way it knows."""
    party, singles = integrator.party, []
    for centavos in chance.choices(list(CENTAVOS), list(CENTAVOS.values()), k=items):
        single = party.pix(transaction_amount=float(f"{chance.randint(1, 9)}.{centavos}"))
        del single["tfa_info"]
        if kind == "ted_batch":
            del single["pix_transfer_type"]
        singles.append(single)
    return {"request_control_key": str(uuid4()), ITEMS_OF[kind]: singles, "tfa_info": party.tfa_info}


async def _approved(aval: RunningAval, integrator: Integrator, kind: str, body: dict[str, Any]) -> UUID:
    party = integrator.party
    made = await aval.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)
    assert made.status == 202, made.body
    key = UUID(made.json[f"{kind}_key"])
    token = (await live_tokens(aval.db, [key]))[key].text
    path = f"/account/{party.account.key}/{kind}/{key}/validate_token"
    answer = await aval.call("PUT", path, {"token": token}, key=party.api_key)
    assert answer.status == 201, answer.body
    return key


async def value(db: Database, query: str) -> Any:
    """One value of one row."""
    async with db.connection() as connection:
        return await connection.fetchval(query)


async def until_final(db: Database, killer: "asyncio.Task[None]", *, within_s: float) -> None:
    """Wait until no item is pending; a killer that fell over fails the test."""
    async with asyncio.timeout(within_s):
        while await value(db, PENDING):
            if killer.done():
                killer.result()
            await asyncio.sleep(0.1)


async def until_heard(db: Database, *, within_s: float) -> None:
    """Wait until every webhook is out."""
    async with asyncio.timeout(within_s):
        while await value(db, UNSENT):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def judge_batches(
    aval: RunningAval,
    session: aiohttp.ClientSession,
    integrator: Integrator,
    receiver_url: str,
    keys: Sequence[UUID],
) -> list[str]:
    """Every promise that was broken, a sentence each."""
    async with aval.db.connection() as connection:
        items = await connection.fetch(ITEMS, list(keys))
        batches = await connection.fetch(BATCHES, list(keys))
        money = await connection.fetchrow(MONEY, integrator.party.account.key)
    ledger = await told(session, f"{integrator.core_url}/ledger")
    seen = await told(session, f"{receiver_url}/seen")
    return [
        *_item_faults(items, ledger, seen["events"]),
        *(fault for batch in batches for fault in _batch_faults(batch, items)),
        *_money_faults(integrator, items, money),
    ]


def _item_faults(items: Sequence[Any], ledger: dict[str, Any], seen: dict[str, Any]) -> Iterator[str]:
    entries = {entry["rail_reference"]: entry for entry in ledger["entries"]}
    if ledger["blind_posts"]:
        yield f"ST1: sent again without asking: {ledger['blind_posts']}"
    if entries.keys() != {str(item["operation_id"]) for item in items}:
        yield f"ST1: the rail has {len(entries)} of {len(items)} items"
    for item in items:
        entry = entries.get(str(item["operation_id"]), {"statuses": [], "settlement_status": None})
        is_returned = "returned" in entry["statuses"]
        faults = {
            "it has not one settlement job": item["jobs"] != 1,
            "the rail was told different things": entry["statuses"].count("sent") > 1,
            "the rail says otherwise": item["status"] != ("rejected" if is_returned else entry["settlement_status"]),
            "it was not told once for each final state": item["told"] != 1 + is_returned,
            "a webhook of it never came": not {str(key) for key in item["events"] or ()} <= seen.keys(),
        }
        yield from (f"ST1: {fault}: {dict(item)}, {entry}" for fault, is_true in faults.items() if is_true)


def _batch_faults(batch: Any, items: Sequence[Any]) -> Iterator[str]:
    own = [item for item in items if item["batch_id"] == batch["operation_id"]]
    count = sum(item["told"] or 0 for item in own) + 1
    faults = {
        "its webhooks are not numbered without a gap": batch["numbers"] != list(range(1, count + 1)),
        "its sequence is not the number of its last webhook": batch["event_sequence"] != count,
        "its end was not told once": batch["finished"] != 1,
        "its items are not what was debited": batch["debits"]
        != sum(item["amount_centavos"] + item["fee_centavos"] for item in own),
    }
    yield from (f"D11 WH2: {fault}: {dict(batch)}" for fault, is_true in faults.items() if is_true)


def _money_faults(integrator: Integrator, items: Sequence[Any], money: Any) -> Iterator[str]:
    """Σ debits = Σ sent + fees: what was refused came back with its fee, what was returned without."""
    sent = sum(item["amount_centavos"] + item["fee_centavos"] for item in items if item["status"] == "sent")
    kept = sum(item["fee_centavos"] for item in items if item["rejection_reason"] == "conta_destinatario_encerrada")
    if not integrator.balance - money["balance"] == money["debited"] == sent + kept:
        yield f"ST6: {dict(money)}, at the start {integrator.balance}; sent {sent}, fees of returned items {kept}"
