"""Structured log lines: only fields on the list, no line breaks, no values from exceptions (promises.md §5).

Aval's own lines go through structlog. Libraries log through the standard library; of theirs only the name, the level
and the type of an exception are kept, for their texts may hold anything.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

VALUE_CHARACTERS_MAX = 500
FIELDS = frozenset(
    """
    event level timestamp name places dropped correlation_id method route status ms error failure work audience reason
    integrator integrator_key credential operation operation_key account_key approver_key item_no generation
    message_key event_key endpoint_key callback_key rail_reference topic channel outcome detail state tries count
    batch migration kid purpose actor action age_seconds lag_seconds process
    """.split()
)
_LINE_BREAKING = dict.fromkeys([*range(32), *map(ord, "\x7f\x85\u2028\u2029")], " ")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logs(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send log lines to stderr (or another stream), as JSON or for people."""
    stream = stream or sys.stderr
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        only_listed,
        neutralised,
        _renderer(form, is_terminal=stream.isatty()),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [*(each for each in root.handlers if not isinstance(each, _Forwarder)), _Forwarder()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))


def only_listed(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Drop every field that is not on the list, and name what was dropped."""
    dropped = sorted(set(entry) - FIELDS)
    kept = {name: value for name, value in entry.items() if name in FIELDS}
    if dropped:
        kept["dropped"] = dropped
    return kept


def neutralised(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Keep a line one line, whatever a value holds."""
    return {name: _plain(value) for name, value in entry.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return str(value).translate(_LINE_BREAKING)[:VALUE_CHARACTERS_MAX]


def _renderer(form: str, *, is_terminal: bool) -> Any:
    if form == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=is_terminal, pad_event_to=24)


class _Forwarder(logging.Handler):
    """Tells that a library logged something, without its words."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        fields = {"error": error} if error else {}
        log = structlog.get_logger(record.name)
        log.log(
            record.levelno, "library message", name=record.name, places=[f"{record.module}:{record.lineno}"], **fields
        )
