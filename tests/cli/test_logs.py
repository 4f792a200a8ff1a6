import io
import json
import logging

import pytest
import structlog

from aval.cli.logs import configure_logs


@pytest.fixture
def lines() -> io.StringIO:
    """Where the test logs to."""
    return io.StringIO()


def test_only_listed_fields_are_written_and_the_others_are_named(lines: io.StringIO) -> None:
    configure_logs("info", "json", lines)
    structlog.get_logger("aval.http").info("request", status=200, token="7K3M9Q", body="secret")
    told = json.loads(lines.getvalue())
    assert told["event"] == "request" and told["status"] == 200 and told["level"] == "info"
    assert told["dropped"] == ["body", "token"]
    assert "7K3M9Q" not in lines.getvalue() and "secret" not in lines.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("breaker", ["\n", "\r\n", "\x1b[2J", "\u2028", "\x85"])
def test_a_line_stays_one_line(form: str, breaker: str, lines: io.StringIO) -> None:
    configure_logs("info", form, lines)
    structlog.get_logger("aval.http").info("request", correlation_id=f"a{breaker}forged level=error")
    assert len(lines.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in lines.getvalue()


def test_a_library_tells_its_name_and_its_exception_but_no_words(lines: io.StringIO) -> None:
    configure_logs("info", "json", lines)
    try:
        raise KeyError("11144477735")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("payload %s", "7K3M9Q")
    told = json.loads(lines.getvalue())
    assert (told["name"], told["error"], told["level"]) == ("uvicorn.error", "KeyError", "error")
    assert "7K3M9Q" not in lines.getvalue() and "11144477735" not in lines.getvalue()


def test_the_level_is_the_least_that_is_written(lines: io.StringIO) -> None:
    configure_logs("warning", "json", lines)
    structlog.get_logger("aval.http").info("request")
    structlog.get_logger("aval.http").warning("unwell")
    assert [json.loads(line)["event"] for line in lines.getvalue().splitlines()] == ["unwell"]
