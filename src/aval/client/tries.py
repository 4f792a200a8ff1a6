"""Which tries are repeated, and when; and what the last one means. No clock, no connection."""

import re
from dataclasses import dataclass
from decimal import Decimal
from random import SystemRandom
from typing import Any

import msgspec

from aval.client.answers import Pix, Ted
from aval.client.call import Call, Lost, Reply, Result
from aval.client.errors import AnswerNotUnderstood, ArgumentNotValid, Ending, NoAnswer, Problem, Refused

TRIES_MAX = 10

_SECONDS = re.compile("[0-9]{1,6}")
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
        told = _retry_after_s(outcome)
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
    elif (problem := _problem(outcome)) is not None:
        raise Refused(tries.ending(), problem)
    raise AnswerNotUnderstood(tries.ending(), outcome.status)


class _Body(msgspec.Struct):
    code: str
    title: str
    description: str
    translation: str
    extra_fields: dict[str, Any]


class _Snapshots(msgspec.Struct):
    pix_transfer_data: Pix | None = None
    ted_data: Ted | None = None


class _Told(msgspec.Struct):
    extra_fields: _Snapshots


_decode_body = msgspec.json.Decoder(_Body, float_hook=Decimal).decode
_decode_told = msgspec.json.Decoder(_Told).decode


def _problem(reply: Reply) -> Problem | None:
    try:
        body = _decode_body(reply.body)
    except msgspec.DecodeError:
        return None
    return Problem(
        status=reply.status,
        code=body.code,
        title=body.title,
        description=body.description,
        translation=body.translation,
        extra_fields=body.extra_fields,
        snapshot=_snapshot(reply.body),
        retry_after_s=_retry_after_s(reply),
    )


def _snapshot(body: bytes) -> Pix | Ted | None:
    try:
        told = _decode_told(body).extra_fields
    except msgspec.DecodeError:  # a snapshot of another shape stays in extra_fields
        return None
    return told.pix_transfer_data or told.ted_data


def _is_unknown(reply: Reply) -> bool:
    return reply.status in _OUTCOME_UNKNOWN and _NOTHING_CHANGED not in reply.body


def _retry_after_s(reply: Reply) -> int | None:
    text = reply.headers.get("retry-after", "")
    return int(text) if _SECONDS.fullmatch(text) else None
