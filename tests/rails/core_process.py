"""An integrator's core as a program of its own: the other end of the HTTP rail, with a ledger that tells the truth.

Started by the contract tests and by the chaos harness: `python tests/rails/core_process.py --secret whsec_…`. It
prints one JSON line with its `url` when it listens. It checks and makes signatures with the `standardwebhooks`
library, not with ours. An item is executed once per `rail_reference`, however often it is posted; every post, fence
and callback is written down.

    GET /ledger    what it has seen and done       PUT /control    change any of `Behaviour` while it runs
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

CALLBACK_TRIES_MAX = 400
CALLBACK_PAUSE_S = 0.25
RETURNED = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}


@dataclass
class Behaviour:
    """What the core does to its callers; rates are between 0 and 1."""

    secret: str = ""
    callback_url: str = ""  # empty: it never calls
    accept_then_timeout: float = 0.0
    accept_then_500: float = 0.0
    duplicate_callbacks: float = 0.0
    late_callbacks: float = 0.0  # answers pending, confirms later, then tells "pending" once more, out of order
    stalls: float = 0.0  # a post, query or callback waits up to `hold_s` before anything is done
    hold_s: float = 12.0  # how long a time-out holds the line before it hangs up; Aval waits 10 s
    later_s: float = 2.0
    by_centavos: bool = False  # the table of transfers.md §10


@dataclass
class Entry:
    """One settlement, from first post to last callback."""

    rail_reference: str
    body: dict[str, Any]
    settlement_status: str
    transaction_key: str | None = None
    rejection_reason: str | None = None
    posts: int = 0
    duplicate_posts: int = 0
    stale_posts: int = 0
    conflicting_posts: int = 0
    fences: list[int] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    callbacks: list[list[Any]] = field(default_factory=list)  # [status told, HTTP status or null]

    def word(self) -> dict[str, Any]:
        return {
            "settlement_status": self.settlement_status,
            "transaction_key": self.transaction_key,
            "rejection_reason": self.rejection_reason,
        }

    def becomes(self, status: str, reason: str | None = None) -> None:
        self.settlement_status, self.rejection_reason = status, reason
        self.statuses.append(status)
        if status == "sent":
            self.transaction_key = self.transaction_key or str(uuid.uuid4())


class Core:
    """The program: routes, faults and the ledger."""

    def __init__(self, behaviour: Behaviour, seed: int) -> None:
        self.behaviour = behaviour
        self.chance = random.Random(seed)
        self.entries: dict[str, Entry] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = {"bad_signatures": 0, "queries": 0, "lookups": 0, "dropped_posts": 0}
        self.fences: dict[str, set[int]] = {}  # of the posts of each reference, accepted or not
        self.denials: Counter[str] = Counter()  # how often it told of a reference that it has never seen it
        self.blind_posts: list[str] = []  # posted again under another lease without having been denied before
        self.dropped: set[str] = set()  # number 96: posted once, not accepted
        self.mute: set[str] = set()  # number 97
        self.session: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/settlements", self.settle)
        app.router.add_get("/settlements/{rail_reference}", self.query)
        app.router.add_post("/pix_keys", self.look_up)
        app.router.add_get("/ledger", self.tell_ledger)
        app.router.add_get("/tasks", self.tell_tasks)  # a ledger of ten thousand is no question to ask often
        app.router.add_put("/control", self.control)
        return app

    async def settle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await self._verified(request), parse_float=str)  # an amount is its text
        body["transaction_amount"] = str(body["transaction_amount"])
        self._note_blindness(body["rail_reference"], body["fence"])
        await self._stall()
        number = self._number(body)
        reference = body["rail_reference"]
        if number == 97 or (number == 96 and reference not in self.dropped):
            (self.mute if number == 97 else self.dropped).add(reference)
            self.counts["dropped_posts"] += 1
            return await self._hang_up(request)
        entry = self.entries.get(reference)
        if entry is None:
            entry = self.entries[reference] = Entry(reference, body, "pending", posts=1, fences=[body["fence"]])
            self._execute(entry, number)
        else:
            self._note_repetition(entry, body)
        if number == 94 or self._happens(self.behaviour.accept_then_timeout):
            return await self._hang_up(request)
        if self._happens(self.behaviour.accept_then_500):
            return web.Response(status=500)
        return web.json_response(entry.word())

    async def query(self, request: web.Request) -> web.StreamResponse:
        await self._verified(request)
        await self._stall()
        self.counts["queries"] += 1
        reference = request.match_info["rail_reference"]
        if reference in self.mute:
            return await self._hang_up(request)
        entry = self.entries.get(reference)
        if entry is None:
            self.denials[reference] += 1
            return web.Response(status=404)
        return web.json_response(entry.word())

    async def look_up(self, request: web.Request) -> web.StreamResponse:
        key = json.loads(await self._verified(request))["target_pix_key"]
        self.counts["lookups"] += 1
        if key == "sem.resposta@example.com":
            return await self._hang_up(request)
        if key == "nao.existe@example.com":
            return web.Response(status=404)
        account = {
            **{"account_branch": "0001", "account_number": "1234567", "account_digit": "8", "ispb": "87654321"},
            **{"account_type": "checking_account", "owner_document_number": "52998224725"},
            "owner_name": "Favorecido Teste",
        }
        return web.json_response({"target_account": account, "financial_institution_name": "Banco Teste"})

    async def tell_ledger(self, _: web.Request) -> web.Response:
        entries = [asdict(entry) for entry in self.entries.values()]
        return web.json_response(
            {"entries": entries, "tasks": len(self.tasks), "blind_posts": self.blind_posts, **self.counts}
        )

    async def tell_tasks(self, _: web.Request) -> web.Response:
        return web.json_response(len(self.tasks))

    async def control(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            assert name in {known.name for known in fields(Behaviour)}, name
            setattr(self.behaviour, name, value)
        return web.json_response(asdict(self.behaviour))

    def _execute(self, entry: Entry, number: int) -> None:
        if number in (93, 99):
            entry.becomes("rejected", "target_account_not_found" if number == 93 else "rail_refused")
            self._start(self._tell(entry))
        elif number in (91, 92) or self._happens(self.behaviour.late_callbacks):
            entry.becomes("pending")
            self._start(self._finish_later(entry, number))
        else:
            entry.becomes("sent")
            self._start(self._tell(entry, repeated=number == 98))
            if number == 95 and entry.body["operation"].startswith("ted"):
                self._start(self._return_later(entry))

    def _note_blindness(self, reference: str, fence: int) -> None:
        self.fences.setdefault(reference, set()).add(fence)
        if len(self.fences[reference]) - 1 > self.denials[reference]:
            self.blind_posts.append(reference)

    def _note_repetition(self, entry: Entry, body: dict[str, Any]) -> None:
        entry.posts += 1
        entry.duplicate_posts += 1
        entry.stale_posts += body["fence"] < max(entry.fences)
        entry.conflicting_posts += {**body, "fence": 0} != {**entry.body, "fence": 0}
        entry.fences.append(body["fence"])

    async def _finish_later(self, entry: Entry, number: int) -> None:
        await asyncio.sleep(self.behaviour.later_s * self.chance.uniform(0.5, 1))
        before = entry.word()
        if number == 92:
            entry.becomes("rejected", "rail_refused")
        else:
            entry.becomes("sent")
        await self._tell(entry)
        if number not in (91, 92):
            await self._call_back(entry, before)

    async def _return_later(self, entry: Entry) -> None:
        await asyncio.sleep(self.behaviour.later_s)
        entry.statuses.append("returned")
        await self._call_back(entry, {"settlement_status": "returned", **RETURNED})

    async def _tell(self, entry: Entry, *, repeated: bool = False) -> None:
        word = entry.word()
        await self._stall()
        await self._call_back(entry, word)
        if repeated or self._happens(self.behaviour.duplicate_callbacks):
            await self._call_back(entry, word)

    async def _call_back(self, entry: Entry, word: dict[str, Any]) -> None:
        """Repeat until it is taken: a callback may arrive before Aval has committed, or while Aval is down."""
        if not self.behaviour.callback_url:
            return
        body = json.dumps({"rail_reference": entry.rail_reference, **word})
        told: list[Any] = [word["settlement_status"], None]
        entry.callbacks.append(told)
        session = self._opened_session()
        for _ in range(CALLBACK_TRIES_MAX):
            now, message_id = datetime.now(UTC), f"core_{uuid.uuid4()}"
            headers = {
                **{"webhook-id": message_id, "webhook-timestamp": str(int(now.timestamp()))},
                "webhook-signature": Webhook(self.behaviour.secret).sign(message_id, now, body),
                "Content-Type": "application/json",
            }
            try:
                async with session.post(self.behaviour.callback_url, data=body, headers=headers) as answer:
                    told[1] = answer.status
            except (aiohttp.ClientError, TimeoutError):
                told[1] = None
            if told[1] == 204:
                return
            await asyncio.sleep(CALLBACK_PAUSE_S)

    def _opened_session(self) -> aiohttp.ClientSession:
        """One for all callbacks: a connection for each of ten thousand costs more than what it brings."""
        if self.session is None:
            every_call_at_once = aiohttp.TCPConnector(limit=0)
            self.session = aiohttp.ClientSession(connector=every_call_at_once, timeout=aiohttp.ClientTimeout(total=10))
        return self.session

    async def _verified(self, request: web.Request) -> bytes:
        body = await request.read()
        try:
            Webhook(self.behaviour.secret).verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            self.counts["bad_signatures"] += 1
            raise web.HTTPUnauthorized from None
        return body

    async def _stall(self) -> None:
        if self._happens(self.behaviour.stalls):
            await asyncio.sleep(self.behaviour.hold_s * self.chance.random())

    async def _hang_up(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.behaviour.hold_s)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # reaches nobody

    def _number(self, body: dict[str, Any]) -> int:
        if not self.behaviour.by_centavos:
            return 0
        ispb = (body["target_account"] or {}).get("ispb", "")
        _, _, fraction = body["transaction_amount"].partition(".")
        return int(ispb[-2:] if ispb.startswith("999999") else fraction.ljust(2, "0"))

    def _happens(self, rate: float) -> bool:
        return self.chance.random() < rate

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def _serve(behaviour: Behaviour, seed: int, port: int) -> None:
    runner = web.AppRunner(Core(behaviour, seed).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}", "seed": seed}), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    for known in fields(Behaviour):
        flag = "--" + known.name.replace("_", "-")
        if known.type is bool:
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=known.type, default=known.default)
    given = vars(parser.parse_args())
    port, seed = given.pop("port"), given.pop("seed")
    asyncio.run(_serve(Behaviour(**given), seed, port))


@contextmanager
def running_core(**given: object) -> Iterator[str]:
    """Start the program with these settings of `Behaviour`, `port` or `seed`; gives its URL and ends it."""
    flags = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
        if value is not False
    ]
    process = subprocess.Popen([sys.executable, str(Path(__file__)), *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    main()
