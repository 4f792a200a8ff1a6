"""Work that gives way: it goes on when this process has rested long enough for what it computed (docs/adr/0044)."""

import time
from collections.abc import Callable
from datetime import timedelta

WAIT_MAX = timedelta(milliseconds=100)  # so that a process that never rests does such work as well


class ProcessorShare:
    """Lets work take turns as long as the whole process computes less than a share of one processor."""

    def __init__(
        self,
        percent: int,
        *,
        read_clock: Callable[[], float] = time.monotonic,
        read_computed: Callable[[], float] = time.process_time,
    ) -> None:
        self._share = percent / 100
        self._read_clock = read_clock
        self._read_computed = read_computed
        self._turn_at = read_clock()
        self._computed = read_computed()

    def takes_turn(self) -> bool:
        """Whether the work may go on now; what is computed from here on counts against its next turn."""
        now, computed = self._read_clock(), self._read_computed()
        waited = now - self._turn_at
        if computed - self._computed > self._share * waited and waited < WAIT_MAX.total_seconds():
            return False
        self._turn_at, self._computed = now, computed
        return True
