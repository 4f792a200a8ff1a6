"""Kills and stops of real processes, and a keeper that starts again what was killed, as an init system would."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.proof.deployment import AvalProcess, RunningAval

STOP_S = 10.0  # promises.md TK3
LONG_OUTAGE_S = 5.0
KEEPER_LOOK_S = 0.1
SETTLED_S = 2.0  # a worker that lives this long has probably passed its gate
PAUSE_S = 0.3


@dataclass(slots=True)
class Outage:
    """PostgreSQL was dead or stopped from `started_at`, and took connections again at `ended_at` at the latest."""

    how: str
    started_at: float
    mended_at: float = float("inf")  # before it, nobody can have reached it
    ended_at: float = float("inf")


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A process of ours could not answer in this time, and not through the fault of PostgreSQL."""

    process: AvalProcess
    started_at: float
    ended_at: float


class Faults:
    """Breaks a deployment by plan and mends it."""

    def __init__(self, aval: RunningAval, chance: random.Random, violations: list[str]) -> None:
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.outages: list[Outage] = []
        self.disturbances: list[Disturbance] = []
        self._aval = aval
        self._chance = chance
        self._violations = violations
        self._started_at: dict[AvalProcess, float] = {}
        self._away: set[AvalProcess] = set()  # being started, or stopped
        self._tasks: set[asyncio.Task[None]] = set()

    def is_down(self, process: AvalProcess) -> bool:
        """Whether a process is stopped, or not up again."""
        return process in self._away

    async def run(self, plan: Iterable[str], *, pause_s: tuple[float, float], stopping: asyncio.Event) -> None:
        """Carry the plan out until told to stop, a fault after the other: `kill api`, `stop postgres` …"""
        for step in plan:
            if stopping.is_set():
                return
            await asyncio.sleep(self._chance.uniform(*pause_s))
            how, what = step.split()
            if what == "postgres":
                await (self._kill_postgres() if how == "kill" else self._stop_postgres())
            else:
                await self._hit(how, self._aval.apis if what == "api" else self._aval.workers, what)

    async def keep(self) -> None:
        """Start again what ended by itself, until cancelled; only a start without PostgreSQL may end so."""
        while True:
            await asyncio.sleep(KEEPER_LOOK_S)
            for process in self._aval.processes:
                if process not in self._away and not process.is_running:
                    if not any(outage.ended_at > self._started_at.get(process, 0.0) for outage in self.outages):
                        self._violations.append(f"a process ended by itself: {process.log.read_text()[-2000:]}")
                    self._begin(process, self._bring_back(process))

    async def mend(self) -> None:
        """Wait until everything runs again."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _hit(self, how: str, processes: Sequence[AvalProcess], what: str) -> None:
        while not (standing := [process for process in processes if process not in self._away]):  # noqa: ASYNC110
            await asyncio.sleep(KEEPER_LOOK_S)
        process = self._chance.choice(standing)
        if how == "kill":
            process.kill()
            self.kills[what] += 1
            self._begin(process, self._bring_back(process))
        else:
            process.freeze()
            self.stops[what] += 1
            self._begin(process, self._thaw_later(process))

    def _begin(self, process: AvalProcess, work: object) -> None:
        self._away.add(process)
        task: asyncio.Task[None] = asyncio.ensure_future(self._disturbed(process, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _disturbed(self, process: AvalProcess, work: object) -> None:
        started_at = time.monotonic()
        await work  # type: ignore[misc]
        self.disturbances.append(Disturbance(process, started_at, time.monotonic()))
        self._away.discard(process)

    async def _bring_back(self, process: AvalProcess) -> None:
        """Start it until it stays: while PostgreSQL is away the gate refuses."""
        while True:
            self._started_at[process] = time.monotonic()
            with suppress(AssertionError, TimeoutError):
                await process.start()
                await asyncio.sleep(SETTLED_S if process.url is None else 0)
                if process.is_running:
                    return
            process.kill()
            await asyncio.sleep(PAUSE_S)

    async def _thaw_later(self, process: AvalProcess) -> None:
        await asyncio.sleep(STOP_S)
        process.thaw()
        await asyncio.sleep(0.5)  # it has its backlog to answer

    async def _kill_postgres(self) -> None:
        self.kills["postgres"] += 1
        is_long = self.kills["postgres"] % 3 == 1
        outage = self._outage("killed")
        self._aval.kill_postgres()
        await asyncio.sleep(LONG_OUTAGE_S if is_long else self._chance.uniform(0, 1))
        outage.mended_at = time.monotonic()
        await self._aval.revive_postgres()
        outage.ended_at = time.monotonic()

    async def _stop_postgres(self) -> None:
        self.stops["postgres"] += 1
        outage = self._outage("stopped")
        stopped = freeze_tree(self._aval.postgres_pid)
        try:
            await asyncio.sleep(STOP_S)
        finally:
            outage.mended_at = time.monotonic()
            for pid in reversed(stopped):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        outage.ended_at = time.monotonic()

    def _outage(self, how: str) -> Outage:
        outage = Outage(how, time.monotonic())
        self.outages.append(outage)
        return outage


def freeze_tree(root: int) -> list[int]:
    """Stop a process and then its children, so that it makes no new ones; answers who was stopped."""
    os.kill(root, signal.SIGSTOP)
    stopped = [root]
    for child in children_of(root):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)
            stopped.append(child)
    return stopped


def children_of(parent: int) -> list[int]:
    """The processes a process has started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, ppid in pairs if int(ppid) == parent]
