"""How often and how much at once a caller may call, counted in this process."""

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from aval.domain.errors import Refusal

CREDENTIALS_WATCHED_MAX = 100_000
MINUTE_S = 60.0


def too_many_requests(reason: str, seconds: float) -> Refusal:
    """Make the refusal QIT000943; the wait is told in whole seconds, at least one."""
    wait = max(1, math.ceil(seconds))
    return Refusal(
        "qit.too_many_requests", extra_fields={"reason": reason}, headers={"retry-after": str(wait)}, seconds=wait
    )


class RateLimiter:
    """Lets a credential make so many requests a second, and as many at once (a token bucket of one second).

    Of each bucket only the moment at which it will be full again is kept.
    """

    def __init__(self) -> None:
        self._full_at: OrderedDict[UUID, float] = OrderedDict()

    def check(self, credential: UUID, per_second: int | None, now: float) -> None:
        """Count one request at a monotonic time in seconds; raises the refusal if the bucket is empty."""
        if per_second is None:
            return
        cost = 1.0 / per_second
        full_at = max(self._full_at.get(credential, now), now) + cost
        if full_at - now > 1.0 + cost / 2:
            raise too_many_requests("requests_per_second", full_at - now - 1.0)
        self._full_at[credential] = full_at
        self._full_at.move_to_end(credential)
        if len(self._full_at) > CREDENTIALS_WATCHED_MAX:
            self._full_at.popitem(last=False)


class MinuteRates:
    """Lets each of many take so many requests a minute, however they are spread over it."""

    def __init__(self) -> None:
        self._taken_at: OrderedDict[UUID, deque[float]] = OrderedDict()

    def check(self, who: UUID, per_minute: int | None, now: float) -> None:
        """Count one request at a monotonic time in seconds; raises the refusal if the last minute is full."""
        if per_minute is None:
            return
        taken_at = self._taken_at.setdefault(who, deque())
        self._taken_at.move_to_end(who)
        while taken_at and taken_at[0] <= now - MINUTE_S:
            taken_at.popleft()
        if len(taken_at) >= per_minute:
            raise too_many_requests("requests_per_minute", taken_at[0] + MINUTE_S - now)
        taken_at.append(now)
        if len(self._taken_at) > CREDENTIALS_WATCHED_MAX:
            self._taken_at.popitem(last=False)


class SessionRates:
    """Lets each device session take the same number of requests a minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._rates = MinuteRates()

    def check(self, session_id: UUID, now: float) -> None:
        """Count one request at a monotonic time in seconds; raises the refusal if the last minute is full."""
        self._rates.check(session_id, self._per_minute, now)


class CallsInProgress:
    """Counts the calls of each integrator that are under way, and refuses beyond a maximum."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._count: dict[UUID, int] = {}

    def enter(self, integrator: UUID) -> Callable[[], None]:
        """Count a call until what is returned is called, more than once if need be; raises the refusal when busy."""
        count = self._count.get(integrator, 0)
        if count >= self._calls_max:
            raise too_many_requests("busy", 1)
        self._count[integrator] = count + 1
        has_left = False

        def leave() -> None:
            nonlocal has_left
            if has_left:
                return
            has_left = True
            self._count[integrator] -= 1
            if not self._count[integrator]:
                del self._count[integrator]

        return leave


class Turns:
    """Lets each of many do so much at once; what comes on top waits for its turn, and is refused after a while."""

    def __init__(self, at_once_max: int, wait: timedelta) -> None:
        self._at_once_max = at_once_max
        self._wait = wait
        self._turns: dict[UUID, asyncio.Semaphore] = {}
        self._present: Counter[UUID] = Counter()

    @asynccontextmanager
    async def turn(self, who: UUID) -> AsyncIterator[None]:
        """Wait for a turn and hold it; raises the refusal when busy."""
        turns = self._turns.setdefault(who, asyncio.Semaphore(self._at_once_max))
        self._present[who] += 1
        try:
            try:
                async with asyncio.timeout(self._wait.total_seconds()):
                    await turns.acquire()
            except TimeoutError:
                raise too_many_requests("busy", 1) from None
            try:
                yield
            finally:
                turns.release()
        finally:
            self._present[who] -= 1
            if not self._present[who]:
                del self._present[who], self._turns[who]
