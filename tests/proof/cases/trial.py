"""What every row of the corpus promises: the stated answer, nothing echoed, nothing changed."""

import json
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs

from aval.domain.errors import CATALOGUE
from aval.domain.ids import parse_uuid
from tests.factories import Reply
from tests.world import World

ECHO_CHARACTERS_MIN = 6
TABLES_OF_A_GUESS = {"audit", "challenges", "comparisons"}

_OPEN = " ".join(f"{each.title} {each.description} {each.translation} {each.code}" for each in CATALOGUE.values())


@dataclass
class Trial:
    """Gathers what went otherwise; `done` says how many cases it judged."""

    world: World
    faults: list[str] = field(default_factory=list)
    done: int = 0
    logs: list[Any] = field(default_factory=list)
    needles: set[str] = field(default_factory=set)

    async def refused(self, note: object, call: Awaitable[Reply], status: int, code: str, *values: object) -> Reply:
        """The answer is this one, and none of the values is in it."""
        reply = await call
        self.done += 1
        said = (reply.status, reply.code)
        if said != (status, code):
            self.faults.append(f"{str(note)[:120]!r}: {said} instead of {(status, code)}: {reply.body[:300]!r}")
        needles = {text for value in values for text in _texts(value)}
        self.needles |= needles
        self.faults += [f"{note!r}: echoed {needle[:80]!r}" for needle in needles if needle in reply.body.decode()]
        return reply

    async def accepted(self, note: object, call: Awaitable[Reply], status: int) -> Reply:
        """The answer is a success."""
        reply = await call
        self.done += 1
        if reply.status != status:
            self.faults.append(
                f"{str(note)[:120]!r}: {reply.status} {reply.code} instead of {status}: {reply.body[:300]!r}"
            )
        return reply

    def expect(self, note: object, found: object, expected: object) -> None:
        if found != expected:
            self.faults.append(f"{str(note)[:120]!r}: {found!r} instead of {expected!r}")

    async def unchanged(self, before: dict[str, str], note: object = "", besides: frozenset[str] = frozenset()) -> None:
        """No table but these is another than before."""
        after = await self.world.snapshot()
        changed = {name for name in after if after[name] != before[name]}
        if changed != besides:
            self.faults.append(f"{note}: changed {sorted(changed)}, expected {sorted(besides)}")

    def judge(self, *, at_least: int) -> None:
        """Fail with everything that went otherwise."""
        told = json.dumps(self.logs, default=str)
        self.faults += [f"logged {needle[:80]!r}" for needle in self.needles if needle in told]
        assert not self.faults, "\n".join(self.faults[:50])
        assert self.done >= at_least, self.done


@contextmanager
def trial_of(world: World, *, at_least: int) -> Iterator[Trial]:
    """Watch the logs of a block of cases, and judge it at its end."""
    trial = Trial(world)
    with capture_logs() as logs:
        yield trial
    trial.logs = list(logs)
    trial.judge(at_least=at_least)


def _texts(value: object) -> Iterator[str]:
    """The strings of a value that could only come from the caller; a uuid may stand in a catalogue text."""
    if isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, str) and len(value) >= ECHO_CHARACTERS_MIN and value not in _OPEN and not parse_uuid(value):
        yield value
