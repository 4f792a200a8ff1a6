from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.http import rates
from aval.http.rates import SessionRates

SESSION = uuid4()


def wait(limiter: SessionRates, session_id: UUID, now: float) -> int | None:
    """Seconds to wait, or None if the request was let through."""
    try:
        limiter.check(session_id, now)
    except Refusal as refusal:
        return int(refusal.headers["retry-after"])
    return None


def test_ten_requests_fit_into_any_minute() -> None:
    limiter = SessionRates(10)
    assert [wait(limiter, SESSION, now) for now in range(10)] == [None] * 10
    assert wait(limiter, SESSION, 10.0) == 50
    assert wait(limiter, SESSION, 59.5) == 1
    assert wait(limiter, SESSION, 60.0) is None
    assert wait(limiter, SESSION, 60.5) == 1
    assert wait(limiter, uuid4(), 60.5) is None


@pytest.fixture
def watched_max() -> Iterator[int]:
    usual, rates.CREDENTIALS_WATCHED_MAX = rates.CREDENTIALS_WATCHED_MAX, 2
    yield 2
    rates.CREDENTIALS_WATCHED_MAX = usual


def test_the_longest_unseen_session_is_forgotten(watched_max: int) -> None:
    limiter, others = SessionRates(1), [uuid4() for _ in range(watched_max)]
    assert wait(limiter, SESSION, 0.0) is None
    assert wait(limiter, SESSION, 0.0) == 60
    assert [wait(limiter, other, 1.0) for other in others] == [None, None]
    assert wait(limiter, SESSION, 2.0) is None
