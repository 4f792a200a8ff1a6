"""Proof of TN3 beyond the catalogue: whatever arrives, nothing answers 5xx or undocumented, no refusal changes state.

Every route gets good requests that chance has damaged: members left out, doubled, swapped, of another type, out of
range; text with whatever Unicode has; bytes of the body, the path, the query and the headers cut, flipped, repeated.
What is accepted in spite of it counts as a good request. The p99 is told, and compared with no clock.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from aval.http.edge import Route
from tests.factories import Reply
from tests.proof.cases import clubhouse, household, values
from tests.proof.cases.clubhouse import Clubhouse, make_clubhouse
from tests.proof.cases.household import Household, make_household
from tests.proof.deployment import figure
from tests.redemption_stage import RedemptionStage
from tests.redemption_stage import issuer as issuer
from tests.redemption_stage import redemptions as redemptions
from tests.world import World

pytestmark = pytest.mark.proof

REQUESTS = figure(5_000, 75_000)  # of each half: transfers and redemptions
SNAPSHOT_EVERY = 25  # refusals looked at with the eyes of the database; each look reads every table
DAMAGES_MAX = 3

NUMBERS = (0, -1, 1, 2**31, 2**53 + 1, 10**30, 0.1, 1e308, -0.0, 999_999_999_999, 1_000_000_000_000, 32_768, 101)
WORDS = (
    *(
        "",
        " ",
        "a",
        "a" * 300,
        "me",
        "null",
        "../../etc/passwd",
        "' or 1=1 --",
        "<script>",
        "[token]",
        "{{7*7}}",
        "%s%n",
    ),
    *("\u0000", "\u202e", "\u200d", "ſ", "ı", "１２３", "\ud7ff", "😀" * 40, "é" * 200, "\n\r", "\x7f", "A" * 5_000),
    *("2026-02-30", "0000-00-00", "9999-12-31", "2026-13-01T25:61:61Z", "E" * 32, "+5511999999999", "52998224725"),
    *values.NO_PIX_KEYS[:10],
)
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": {"b": [1]}}, *NUMBERS, *WORDS)


@dataclass
class Damage:
    """Damages copies of good things, by chance alone."""

    chance: random.Random = field(repr=False)

    def body(self, good: Any) -> bytes:
        """A body that was good."""
        if isinstance(good, bytes):
            return self.raw(good)
        damaged = json.loads(json.dumps(good))
        for _ in range(self.chance.randint(1, DAMAGES_MAX)):
            damaged = self.value(damaged)
        content = json.dumps(damaged, ensure_ascii=self.chance.random() < 0.5).encode("utf-8", "surrogatepass")
        return self.raw(content) if self.chance.random() < 0.1 else content

    def value(self, value: Any) -> Any:
        """A JSON value, changed in one place."""
        if isinstance(value, dict) and value and self.chance.random() < 0.85:
            return self._members(dict(value))
        if isinstance(value, list) and value and self.chance.random() < 0.85:
            return self._elements(list(value))
        if isinstance(value, str) and self.chance.random() < 0.4:
            return self.text(value)
        if isinstance(value, int) and not isinstance(value, bool) and self.chance.random() < 0.4:
            return value + self.chance.choice((-1, 1, 10**6, -(10**6)))
        return self.chance.choice(ODD)

    def _members(self, members: dict[str, Any]) -> dict[str, Any]:
        name = self.chance.choice(list(members))
        match self.chance.randrange(6):
            case 0:
                del members[name]
            case 1:
                members[self.text(name)] = self.chance.choice(ODD)
            case 2:
                other = self.chance.choice(list(members))
                members[name], members[other] = members[other], members[name]
            case _:
                members[name] = self.value(members[name])
        return members

    def _elements(self, elements: list[Any]) -> list[Any]:
        place = self.chance.randrange(len(elements))
        match self.chance.randrange(4):
            case 0:
                del elements[place]
            case 1:
                elements += [elements[place]] * self.chance.choice((1, 100, 1_001))
            case _:
                elements[place] = self.value(elements[place])
        return elements

    def text(self, text: str) -> str:
        """A text, changed in one place."""
        place = self.chance.randrange(len(text) + 1)
        piece = self.chance.choice((*WORDS, chr(self.chance.randrange(0xD800)), chr(self.chance.randrange(128))))
        return self.chance.choice((text[:place] + piece + text[place:], text[:place], text.upper(), text * 2, piece))

    def raw(self, content: bytes) -> bytes:
        """Bytes, changed in one place."""
        place = self.chance.randrange(len(content) + 1)
        piece = bytes(self.chance.randrange(256) for _ in range(self.chance.randint(1, 4)))
        return self.chance.choice((content[:place], content[:place] + piece + content[place + 1 :], content + content))

    def target(self, path: str) -> str:
        """An address, changed in one place: a segment, or a query it does not expect."""
        segments = path.split("/")
        place = self.chance.randrange(1, len(segments))
        match self.chance.randrange(4):
            case 0:
                segments[place] = quote(self.text(segments[place]), safe="")
                return "/".join(segments)[:3_000]
            case 1:
                return "/".join([*segments[:place], *segments[place + 1 :]]) or "/"
            case 2:
                name = self.chance.choice(("page", "limit", "offset", "date_from", "status", "_limit", "x"))
                return f"{path}?{name}={quote(str(self.chance.choice(ODD)), safe='')[:1_000]}"
            case _:
                return path

    def headers(self) -> dict[str, str]:
        """Headers nobody asked for, or another value of one that matters."""
        name = self.chance.choice(
            ("x-correlation-id", "idempotency-key", "content-type", "accept", "participantid", "x")
        )
        word = self.chance.choice([word for word in WORDS if word.isascii() and word.isprintable()])
        return {name: word[:1_000]} if self.chance.random() < 0.3 else {}


@dataclass
class Fuzzed:
    """What came of it."""

    answers: Counter[str] = field(default_factory=Counter)
    changed: list[tuple[str, str, bytes]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def told(self, name: str) -> str:
        slowest = sorted(self.seconds)[int(len(self.seconds) * 0.99)]
        common = ", ".join(f"{code} {count}" for code, count in self.answers.most_common(12))
        return f"fuzz: {len(self.seconds)} requests to {name}, p99 {slowest * 1000:.0f} ms; {common}"


Ask = Callable[[Route, str, bytes | None, Mapping[str, str]], Awaitable[Reply]]
Snapshot = Callable[[], Awaitable[dict[str, str]]]


async def fuzz(
    routes: list[tuple[Route, Callable[[], Any]]],
    path_of: Callable[[str], str],
    ask: Ask,
    snapshot: Snapshot,
    chance: random.Random,
) -> Fuzzed:
    """Send damaged requests to routes in turn by chance; a refusal now and then is looked at by the database."""
    damage, fuzzed = Damage(chance), Fuzzed()
    for number in range(REQUESTS):
        route, good = chance.choice(routes)
        target = damage.target(path_of(route.path)) if chance.random() < 0.4 else path_of(route.path)
        body = good()
        content = None if body is None else damage.body(body)
        before = await snapshot() if number % SNAPSHOT_EVERY == 0 else None
        started = time.perf_counter()
        reply = await ask(route, target, content, damage.headers())
        fuzzed.seconds.append(time.perf_counter() - started)
        fuzzed.answers[f"{reply.status} {reply.code or ''}".strip()] += 1
        is_remembered = route.path.endswith("/validate_token")  # a wrong token is counted, an expired window closed
        if before is not None and 400 <= reply.status < 500 and not is_remembered and await snapshot() != before:
            fuzzed.changed.append((route.method, target, content or b""))
    return fuzzed


@pytest.fixture(scope="module")
async def home(module_world: World) -> Household:
    return await make_household(module_world)


@pytest.fixture(scope="module")
async def club(redemptions: RedemptionStage) -> Clubhouse:
    return await make_clubhouse(redemptions)


async def test_damaged_requests_on_transfers(world: World, home: Household, chance: random.Random) -> None:
    def good(route: Route) -> Callable[[], Any]:
        return lambda: household.body_of(home, route.method, route.path)

    async def ask(route: Route, target: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        named = {name.replace("-", "_"): text for name, text in headers.items()}
        return await world.call(route.method, target, raw=content, key=home.credential(route.path), **named)

    routes = [(route, good(route)) for route in world.routes if f"{route.method} {route.path}" != household.RAIL]
    fuzzed = await fuzz(routes, home.path, ask, world.snapshot, chance)
    print(fuzzed.told("transfers"))
    assert fuzzed.changed == []


async def test_damaged_requests_on_redemptions(
    redemptions: RedemptionStage, club: Clubhouse, chance: random.Random
) -> None:
    def good(route: Route) -> Callable[[], Any]:
        return lambda: clubhouse.body_of(club, route.method, route.path)

    async def ask(route: Route, target: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        kinds = [kind for kind in club.callers if route.access is not None and getattr(route.access, kind) is not None]
        sent = dict(club.callers[chance.choice(kinds)]) if kinds else {}
        sent |= {"content-type": clubhouse.TYPE if route.media == "multipart" else clubhouse.JSON}
        if route.path.endswith("/credits"):
            sent["idempotency-key"] = uuid4().hex
        return await redemptions.call(route.method, target, raw=content, headers={**sent, **headers})

    async def snapshot() -> dict[str, str]:
        rows = await redemptions.fetch("select tablename from pg_tables where schemaname = 'aval'")
        union = " union all ".join(
            f"select '{table}', md5(coalesce(string_agg(t::text, '\n' order by t::text), '')) from aval.{table} t"
            for (table,) in rows
            if not table.startswith("schema_") and table != "document_objects"  # what is to be thrown away of a refusal
        )
        return dict(await redemptions.fetch(union))

    fuzzed = await fuzz([(route, good(route)) for route in redemptions.routes], club.path, ask, snapshot, chance)
    print(fuzzed.told("redemptions"))
    assert fuzzed.changed == []
    assert sorted(set(redemptions.faults)) == []
