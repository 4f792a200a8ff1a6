"""Proof of WH1, WH2, WH3 and WH5 (T22): webhooks are not lost, not doubled under another name, in order, and signed.

Real API and worker processes tell a receiver in this process. It fails three requests in ten in six ways while workers
are killed and the secret is rotated; what it saw is judged against what was done to the operations, not against Aval's
own list of events. Signatures are verified by the `standardwebhooks` library.
Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.factories import Party, Reply, make_party
from tests.proof.deployment import RunningAval, figure, live_tokens, running_deployment

pytestmark = pytest.mark.proof

EVENTS = figure(500, 10_000)
KILLS_MIN = figure(5, 50)
FAILING = 0.3
TIMEOUT_S = 1
LEASE_S = 2
LANES = 12
PATIENCE_S = 120.0
QUICK = {
    "AVAL_WORKER_LEASE": str(LEASE_S),
    "AVAL_WEBHOOK_TIMEOUT": str(TIMEOUT_S),
    "AVAL_WEBHOOK_RETRY_SECONDS": "0.2,0.2,0.5,0.5,1,1,1",
}
# What is done to an operation, how often, and the states its webhooks tell in turn (centavos: transfers.md §10).
DEEDS: dict[str, tuple[int, str, str, list[str]]] = {
    "sent": (4, "pix_transfer", "01", ["sent"]),
    "refused": (1, "pix_transfer", "99", ["rejected"]),
    "returned": (3, "ted", "95", ["sent", "rejected"]),
    "cancelled": (2, "ted", "01", ["cancelled"]),
    "batch": (1, "pix_transfer_batch", "01", ["sent", "sent", "sent", "approved"]),  # its items, and then itself
}
GAPS_S = (60, 300, 900, 3_600, 10_800, 21_600, 43_200)  # transfers.md §7.2
COMPRESSED_S = 4.0  # what each of these gaps takes here
CALLBACKS = 10
OVERLAP_S = 24 * 3_600


@dataclass(frozen=True)
class Arrival:
    """One request that came, and whether it was answered in time with success."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    is_taken: bool

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Listens on loopback; `failing` is the share of requests to a path that fails, in one way or another."""

    chance: random.Random
    url: str = ""
    failing: dict[str, float] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)

    def on(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path == path]

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        body, at = await request.read(), time.monotonic()
        is_taken = self.chance.random() >= self.failing.get(request.path, 0.0)
        self.arrivals.append(Arrival(request.path, headers, body, at, is_taken))
        return web.Response(status=204) if is_taken else await self._failed(request)

    async def _failed(self, request: web.Request) -> web.StreamResponse:
        match self.chance.choice(["500", "503", "404", "redirect", "reset", "late"]):
            case "redirect":
                return web.Response(status=302, headers={"Location": str(request.url)})
            case "reset":
                assert request.transport is not None
                request.transport.close()
                return web.Response(status=204)
            case "late":
                await asyncio.sleep(TIMEOUT_S + 0.5)
                return web.Response(status=204)
            case status:
                return web.Response(status=int(status))


@asynccontextmanager
async def receiving(chance: random.Random) -> AsyncIterator[Receiver]:
    receiver = Receiver(chance)
    app = web.Application()
    app.router.add_post("/{name}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Endpoint:
    """A registered target and every secret it has had."""

    key: str
    path: str
    secrets: list[str]


class Desk:
    """An integrator who makes operations and hears of them."""

    def __init__(self, aval: RunningAval, party: Party, receiver: Receiver) -> None:
        self.aval, self.party, self.receiver = aval, party, receiver
        self.batch_of: dict[str, str] = {}  # by item

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        answer = await self.aval.call(method, path, body, key=self.party.api_key)
        assert answer.status < 300, (path, answer)
        return answer

    async def listen(self, path: str) -> Endpoint:
        made = (await self.call("POST", "/webhook_endpoints", {"url": self.receiver.url + path})).json
        return Endpoint(made["webhook_endpoint_key"], path, [made["secret"]])

    async def rotate(self, endpoint: Endpoint) -> None:
        answer = await self.call("POST", f"/webhook_endpoints/{endpoint.key}/rotate_secret")
        endpoint.secrets.append(answer.json["secret"])

    async def operate(self, deed: str) -> str:
        """Make an operation and end it as told; answers its key."""
        _, kind, centavos, _ = DEEDS[deed]
        path = f"/account/{self.party.account.key}/{kind}"
        key = str((await self.call("POST", path, self._body(deed, centavos))).json[f"{kind}_key"])
        if deed == "batch":
            items = (await self.call("GET", f"{path}/{key}/pix_transfers")).json["data"]
            self.batch_of |= {item["pix_transfer_key"]: key for item in items}
        if deed == "cancelled":
            await self.call("PATCH", f"{path}/{key}/cancel")
        else:
            token = (await live_tokens(self.aval.db, [UUID(key)]))[UUID(key)]
            await self.call("PUT", f"{path}/{key}/validate_token", {"token": token.text})
        return key

    def _body(self, deed: str, centavos: str) -> dict[str, Any]:
        single = self.party.pix(transaction_amount=float(f"1.{centavos}"))
        if DEEDS[deed][1] == "ted":
            del single["pix_transfer_type"]
        if deed != "batch":
            return single
        tfa_info = single.pop("tfa_info")
        items = [{**single, "request_control_key": str(uuid4())} for _ in DEEDS[deed][3][1:]]
        return {"request_control_key": str(uuid4()), "pix_transfers": items, "tfa_info": tfa_info}

    def place(self, arrival: Arrival) -> tuple[str, int]:
        """The operation and the sequence of a webhook; items count in their batch."""
        data, sequence = arrival.told["data"], arrival.told["sequence"]
        key = data.get("ted_key") or data.get("pix_transfer_batch_key") or data["pix_transfer_key"]
        return self.batch_of.get(key, key), sequence

    async def log(self, **wanted: str) -> list[dict[str, Any]]:
        """The delivery log, all pages."""
        rows: list[dict[str, Any]] = []
        for page in range(1, EVENTS):
            answer = (await self.call("GET", f"/notification/events?{urlencode({**wanted, 'page': page})}")).json
            rows += answer["data"]
            if answer["pagination"]["next_page"] is None:
                break
        return rows


@asynccontextmanager
async def desk_of(chance: random.Random, *, workers: int = 1, **settings: str) -> AsyncIterator[Desk]:
    async with (
        receiving(random.Random(chance.getrandbits(32))) as receiver,
        running_deployment(apis=1, workers=workers, **settings) as aval,
    ):
        party = await make_party(
            aval.db, settlement_mode="async", ted_hours=False, budgets=False, requests_per_second=None
        )
        yield Desk(aval, party, receiver)


async def until_settled(desk: Desk, events: int, patience_s: float = PATIENCE_S) -> None:
    """Wait until so many events were promised and none is on its way."""
    question = (
        "select (select count(*) from aval.events), (select count(*) from aval.callbacks where status = 'pending')"
    )
    ends_at = time.monotonic() + patience_s
    while True:
        async with desk.aval.db.connection() as connection:
            promised, pending = await connection.fetchrow(question)
        if promised >= events and not pending:
            return
        assert time.monotonic() < ends_at, f"{promised} of {events} events, {pending} callbacks not ended"
        await asyncio.sleep(0.1)


def is_verified(secret: str, arrival: Arrival) -> bool:
    """Judge a signature with the library, never with our own code."""
    try:
        Webhook(secret).verify(arrival.body, arrival.headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


async def test_every_event_is_delivered_or_parked_and_replayable(
    chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    async with desk_of(chance, workers=2, **QUICK) as desk:
        flaky, dead, steady = [await desk.listen(path) for path in ("/flaky", "/dead", "/steady")]
        desk.receiver.failing |= {"/flaky": FAILING, "/dead": 1.0}
        done = await storm(desk, chance, flaky)
        events = sum(len(DEEDS[deed][3]) for deed in done.values())
        await until_settled(desk, events)
        first = Counter(callback["callback_status"] for row in await desk.log() for callback in row["callbacks"])
        desk.receiver.failing.clear()
        await replay_failed(desk, dead, events)
        await until_settled(desk, events)
        check_nothing_lost(desk, done, [flaky, dead, steady])
        check_order(desk, done)
        unsigned = [arrival for arrival in desk.receiver.arrivals if not _is_signed(arrival, flaky, dead, steady)]
        assert unsigned == []
        await check_log(desk, events)
        with capsys.disabled():
            seen = len(desk.receiver.arrivals)
            print(f"hooks: {events} events, {seen} requests, all verified; before the replay {dict(first)}")


def _is_signed(arrival: Arrival, *endpoints: Endpoint) -> bool:
    (endpoint,) = [endpoint for endpoint in endpoints if endpoint.path == arrival.path]
    return any(is_verified(secret, arrival) for secret in reversed(endpoint.secrets))


async def storm(desk: Desk, chance: random.Random, rotated: Endpoint) -> dict[str, str]:
    """Make the events while workers are killed and a secret changes; answers what was done to each operation."""
    todo, done = iter(_plan(chance)), dict[str, str]()

    async def lane() -> None:
        for deed in todo:
            done[await desk.operate(deed)] = deed

    async with asyncio.TaskGroup() as group:
        making = [group.create_task(lane()) for _ in range(LANES)]
        group.create_task(_kill_workers(desk, chance, rotated, making))
    return done


def _plan(chance: random.Random) -> list[str]:
    plan: list[str] = []
    while sum(len(DEEDS[deed][3]) for deed in plan) < EVENTS:
        plan += chance.choices(list(DEEDS), [weight for weight, *_ in DEEDS.values()])
    return plan


async def _kill_workers(
    desk: Desk, chance: random.Random, rotated: Endpoint, making: Sequence[asyncio.Task[None]]
) -> None:
    """Kill one after another as long as events are made, and longer on a machine that makes them quickly."""
    kills = 0
    while kills < KILLS_MIN or not all(task.done() for task in making):
        await asyncio.sleep(chance.uniform(0.3, 1.0))
        worker = chance.choice(desk.aval.workers)
        worker.kill()
        kills += 1
        await worker.start()
        if kills % 3 == 0:
            await desk.rotate(rotated)


async def replay_failed(desk: Desk, dead: Endpoint, events: int) -> None:
    """Everything that was given up is told as failed, and sent again when it is asked for."""
    failed = [
        callback["callback_key"]
        for row in await desk.log(callback_status="failed")
        for callback in row["callbacks"]
        if callback["callback_status"] == "failed"
    ]
    assert len(failed) >= events, "the endpoint that takes nothing has every event parked"
    ids = {arrival.event_id for arrival in desk.receiver.on(dead.path)}
    assert len(ids) == events, "given up without a try"
    lanes = asyncio.Semaphore(LANES)

    async def replay(key: str) -> None:
        async with lanes:
            answer = await desk.call("POST", f"/notification/callback/{key}/resend")
            assert (answer.status, answer.json) == (202, {"callback_key": key, "callback_status": "pending"})

    await asyncio.gather(*map(replay, failed))


def check_nothing_lost(desk: Desk, done: dict[str, str], endpoints: Sequence[Endpoint]) -> None:
    """Each endpoint took each webhook that the operations have earned; every repetition is the very same."""
    earned = {(key, place + 1): state for key, deed in done.items() for place, state in enumerate(DEEDS[deed][3])}
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for arrival in desk.receiver.arrivals:
        bodies[arrival.event_id].add(arrival.body)
        assert arrival.told["event_id"] == arrival.event_id
    assert {event_id for event_id, seen in bodies.items() if len(seen) > 1} == set()
    for endpoint in endpoints:
        taken = {
            desk.place(arrival): _state(arrival) for arrival in desk.receiver.on(endpoint.path) if arrival.is_taken
        }
        assert taken == earned, endpoint.path


def check_order(desk: Desk, done: dict[str, str]) -> None:
    """WH2: sequences of an operation rise by one from 1, and none has two event ids."""
    names: dict[tuple[str, int], set[str]] = defaultdict(set)
    for arrival in desk.receiver.arrivals:
        names[desk.place(arrival)].add(arrival.event_id)
    assert [place for place, ids in names.items() if len(ids) != 1] == []
    assert len({event_id for ids in names.values() for event_id in ids}) == len(names)
    for key in done:
        told = sorted(sequence for operation, sequence in names if operation == key)
        assert told == [*range(1, len(told) + 1)], key


async def check_log(desk: Desk, events: int) -> None:
    """GET /notification/events tells every event once, and that each endpoint has it."""
    rows = await desk.log()
    assert len(rows) == len({row["event_key"] for row in rows}) == events
    assert {row["event_key"] for row in rows} == {arrival.event_id for arrival in desk.receiver.arrivals}
    assert {tuple(callback["callback_status"] for callback in row["callbacks"]) for row in rows} == {("sent",) * 3}
    assert await desk.log(callback_status="failed") == []


def _state(arrival: Arrival) -> str:
    data = arrival.told["data"]
    return str(data.get("pix_transfer_status") or data.get("pix_transfer_batch_status") or data["ted_status"])


async def test_retries_come_at_their_gaps_and_then_end(
    chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default gaps; after each failed try the time left is compressed, whatever Aval thinks it is."""
    async with desk_of(chance, AVAL_WEBHOOK_TIMEOUT=str(TIMEOUT_S)) as desk:
        endpoint = await desk.listen("/dead")
        desk.receiver.failing["/dead"] = 1.0
        gaps = await asyncio.gather(*[_gaps_of(desk, await desk.operate("cancelled")) for _ in range(CALLBACKS)])
        for place, gap in enumerate(GAPS_S):
            measured = [each[place] for each in gaps]
            assert all(0.9 * gap <= each <= 1.1 * gap for each in measured), (gap, measured)
        failed = await desk.log(callback_status="failed")
        assert len(failed) == CALLBACKS
        tries = Counter(arrival.event_id for arrival in desk.receiver.arrivals)
        assert set(tries.values()) == {len(GAPS_S) + 1}
        desk.receiver.failing.clear()
        for row in failed:
            await desk.call("POST", f"/notification/callback/{row['callbacks'][0]['callback_key']}/resend")
        await until_settled(desk, CALLBACKS)
        taken = [arrival.event_id for arrival in desk.receiver.arrivals if arrival.is_taken]
        assert sorted(taken) == sorted(tries) and all(_is_signed(each, endpoint) for each in desk.receiver.arrivals)
    with capsys.disabled():
        medians = [sorted(each[place] for each in gaps)[CALLBACKS // 2] for place in range(len(GAPS_S))]
        print("hooks: gaps of " + ", ".join(f"{gap:.0f}" for gap in medians) + " s")


async def _gaps_of(desk: Desk, operation_key: str) -> list[float]:
    """Seconds between the tries at the only webhook of an operation, as they would be without compression."""
    gaps: list[float] = []
    came = await _try_at(desk, operation_key, 0)
    for number, gap in enumerate(GAPS_S, start=1):
        factor = gap / COMPRESSED_S
        compressed_at = await _compress(desk, operation_key, number, factor)
        next_came = await _try_at(desk, operation_key, number)
        gaps.append(compressed_at - came + (next_came - compressed_at) * factor)
        came = next_came
    await _recorded(desk, operation_key, "failed", len(GAPS_S) + 1)
    return gaps


async def _try_at(desk: Desk, operation_key: str, number: int) -> float:
    async with asyncio.timeout(COMPRESSED_S * 5):
        while True:
            came = [arrival.at for arrival in desk.receiver.arrivals if desk.place(arrival)[0] == operation_key]
            if len(came) > number:
                return came[number]
            await asyncio.sleep(0.02)


async def _compress(desk: Desk, operation_key: str, number: int, factor: float) -> float:
    """Once the try is written down, make the time left so many times shorter."""
    await _recorded(desk, operation_key, "pending", number)
    async with desk.aval.db.connection() as connection:
        await connection.execute(_COMPRESS, UUID(operation_key), factor)
    return time.monotonic()


async def _recorded(desk: Desk, operation_key: str, status: str, number: int) -> None:
    async with asyncio.timeout(COMPRESSED_S * 5):
        while True:
            async with desk.aval.db.connection() as connection:
                if await connection.fetchval(_RECORDED, UUID(operation_key), status, number):
                    return
            await asyncio.sleep(0.02)


# A try is written down when its row has moved on since it was claimed: the lease ends 30 s after that, every gap later.
_CALLBACK = "from aval.callbacks c join aval.events e using (integrator_id, event_id) where e.operation_id = $1"
_RECORDED = f"""
select count(*) = 1 {_CALLBACK} and c.status = $2 and c.claim_count = $3
   and (c.status = 'failed' or c.due_at > clock_timestamp() + interval '45 seconds')
"""
_COMPRESS = """
update aval.callbacks c set due_at = clock_timestamp() + (c.due_at - clock_timestamp()) / $2::float
  from aval.events e where e.operation_id = $1 and (e.integrator_id, e.event_id) = (c.integrator_id, c.event_id)
"""


async def test_signatures_verify_through_a_rotation_for_24_hours(chance: random.Random) -> None:
    async with desk_of(chance, **QUICK) as desk:
        endpoint = await desk.listen("/steady")
        assert await _signers(desk, endpoint) == [0]
        await desk.rotate(endpoint)
        assert await _signers(desk, endpoint) == [0, 1]
        await _pass(desk, OVERLAP_S - 60)
        assert await _signers(desk, endpoint) == [0, 1]
        await _pass(desk, 120)
        assert await _signers(desk, endpoint) == [1]
        await desk.rotate(endpoint)
        await desk.rotate(endpoint)
        assert await _signers(desk, endpoint) == [2, 3]
        assert len(set(endpoint.secrets)) == len(endpoint.secrets)


async def _signers(desk: Desk, endpoint: Endpoint) -> list[int]:
    """Which of the endpoint's secrets sign now; every signature of a request is of one of them."""
    begun, key = len(desk.receiver.arrivals), await desk.operate("cancelled")
    await until_settled(desk, 1)
    (arrival,) = desk.receiver.arrivals[begun:]
    assert desk.place(arrival) == (key, 1)
    assert abs(time.time() - int(arrival.headers["webhook-timestamp"])) < PATIENCE_S
    signing = [number for number, secret in enumerate(endpoint.secrets) if is_verified(secret, arrival)]
    assert len(arrival.headers["webhook-signature"].split(" ")) == len(signing)
    tampered = Arrival(arrival.path, arrival.headers, arrival.body + b" ", arrival.at, arrival.is_taken)
    renamed = Arrival(arrival.path, {**arrival.headers, "webhook-id": key}, arrival.body, arrival.at, arrival.is_taken)
    assert not any(is_verified(secret, forged) for secret in endpoint.secrets for forged in (tampered, renamed))
    return signing


async def _pass(desk: Desk, seconds: float) -> None:
    """Let the overlap come so much nearer to its end."""
    async with desk.aval.db.connection() as connection:
        moved = await connection.execute(
            "update aval.webhook_endpoints set former_secret_until = former_secret_until - make_interval(secs => $1)",
            math.floor(seconds),
        )
    assert moved == "UPDATE 1"
