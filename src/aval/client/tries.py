"""Which tries are repeated, and when; and what the last one means. No clock, no connection."""

from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import msgspec

from aval.client.call import Call, Lost, Reply, Result
from aval.client.errors import AnswerNotUnderstood, ArgumentNotValid, Ending, NoAnswer, Refused
from aval.client.problem import read_problem

TRIES_MAX = 10

_NOTHING_CHANGED = b'"QIT000944"'  # spec transfers.md §6.1; any other 503 may come from something between
_OUTCOME_UNKNOWN = {500, 502, 503, 504}
_REPEATED = {502, 503, 504}
_chance = SystemRandom()


@dataclass(frozen=True, slots=True)
class Retry:
    """How patient a call is. Pauses double from the first to the longest, each shortened at random by up to a half.

    A `Retry-After` beyond the longest pause is not waited for: the call ends with its refusal.
    """

    tries_max: int = 4
    pause_first_s: float = 0.1
    pause_max_s: float = 5.0

    def __post_init__(self) -> None:
        if not (1 <= self.tries_max <= TRIES_MAX and 0 < self.pause_first_s <= self.pause_max_s):
            raise ArgumentNotValid("retry", "out_of_range")


DEFAULT_RETRY = Retry()


class Tries:
    """The tries of one logical call."""

    def __init__(self, call: Call[Any], retry: Retry) -> None:
        self._call = call
        self._retry = retry
        self.count = 0
        self.may_have_happened = False

    def pause_after(self, outcome: Reply | Lost) -> float | None:
        """Seconds until the next try; None if this one was the last."""
        self.count += 1
        is_unknown = outcome.was_sent if isinstance(outcome, Lost) else _is_unknown(outcome)
        self.may_have_happened |= is_unknown
        if self.count >= self._retry.tries_max or (is_unknown and not self._call.is_repeatable):
            return None
        if isinstance(outcome, Lost):
            return self._backoff()
        told = outcome.retry_after_s
        if told is not None and told > self._retry.pause_max_s:
            return None
        if outcome.status == 429:
            return None if told is None else told + self._backoff()
        return (told or 0) + self._backoff() if outcome.status in _REPEATED else None

    def ending(self) -> Ending:
        """How the call ended after the tries so far."""
        return Ending(
            call=self._call.name, ids=self._call.ids, tries=self.count, may_have_happened=self.may_have_happened
        )

    def _backoff(self) -> float:
        longest = min(self._retry.pause_first_s * 2 ** (self.count - 1), self._retry.pause_max_s)
        return _chance.uniform(longest / 2, longest)


def result_of(call: Call[Result], outcome: Reply | Lost, tries: Tries) -> Result:
    """Read the last outcome; raises NoAnswer, Refused or AnswerNotUnderstood."""
    if isinstance(outcome, Lost):
        raise NoAnswer(tries.ending(), outcome.cause)
    is_good = 200 <= outcome.status < 300
    if call.method == "DELETE" and outcome.status == 404 and tries.may_have_happened:
        is_good = True  # an earlier try removed it, and its answer was lost
    if is_good:
        try:
            return call.read(outcome.body)
        except msgspec.DecodeError:
            tries.may_have_happened = True
    elif (problem := read_problem(outcome)) is not None:
        raise Refused(tries.ending(), problem)
    raise AnswerNotUnderstood(tries.ending(), outcome.status)


def _is_unknown(reply: Reply) -> bool:
    return reply.status in _OUTCOME_UNKNOWN and _NOTHING_CHANGED not in reply.body
