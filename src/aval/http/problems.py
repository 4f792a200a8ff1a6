"""What went wrong, as an answer: a refusal by the catalogue, anything else without a word about its cause."""

import msgspec
import structlog

from aval.domain.errors import Refusal, in_redemptions, problem_body
from aval.http.edge import Answer, StateUnknown, encoded
from aval.http.limits import BodyTooSlow
from aval.storage.database import DatabaseUnavailable, LockNotWon

_log = structlog.get_logger("aval.http")

_INTERNAL = msgspec.json.encode(problem_body("qit.internal_error"))
_UNAVAILABLE = msgspec.json.encode(problem_body("qit.service_unavailable"))
_REDEMPTIONS = {
    _INTERNAL: msgspec.json.encode(problem_body("rdm.internal")),
    _UNAVAILABLE: msgspec.json.encode(problem_body("rdm.unavailable")),
}


def problem_answer(error: Exception, correlation_id: str, route: str, *, is_of_redemptions: bool = False) -> Answer:
    """Turn what a handler or the edge raised into an answer; only the unexpected is logged, by type and place."""
    if isinstance(error, Refusal):
        told = in_redemptions(error) if is_of_redemptions else error
        return Answer(told.http, encoded(told.body()), told.headers)
    answer = _failure(error, correlation_id, route)
    if is_of_redemptions:
        answer.body = _REDEMPTIONS.get(answer.body, answer.body)
    return answer


def _failure(error: Exception, correlation_id: str, route: str) -> Answer:
    if isinstance(error, DatabaseUnavailable | LockNotWon):
        _log.warning("database unavailable", error=type(error).__name__, route=route, correlation_id=correlation_id)
        return Answer(503, _UNAVAILABLE, {"retry-after": "1"})
    if isinstance(error, StateUnknown):
        _log.warning("state unknown", route=route, correlation_id=correlation_id)
        return Answer(500, _INTERNAL)
    if isinstance(error, BodyTooSlow):
        return Answer(408, b"", {"connection": "close"})
    _log.error(
        "unexpected fault",
        error=type(error).__name__,
        places=_places(error),
        route=route,
        correlation_id=correlation_id,
    )
    return Answer(500, _INTERNAL)


def _places(error: BaseException) -> list[str]:
    """Where an exception passed, innermost last: file and line only, for its text may hold values of the request."""
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        places.append(f"{traceback.tb_frame.f_code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places[-20:]
