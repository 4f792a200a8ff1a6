from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.calendar import (
    BRASILIA,
    DEFAULT_HOLIDAYS,
    brasilia_day,
    day_began_at,
    day_bounds_utc,
    is_ted_open,
    limit_window,
    national_holidays,
    parse_date,
    wire_datetime,
    zone_of,
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BRASILIA)


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-11-23T02:59:59.999", date(2026, 11, 22)),
        ("2026-11-23T03:00:00", date(2026, 11, 23)),
        ("2027-01-01T02:00:00", date(2026, 12, 31)),
        ("2024-02-29T03:00:00", date(2024, 2, 29)),
    ],
)
def test_a_day_begins_at_midnight_in_brasilia(at: str, day: date) -> None:
    assert brasilia_day(utc(at)) == day


def test_a_range_of_days_includes_both_ends() -> None:
    start_at, end_at = day_bounds_utc(date(2026, 11, 22), date(2026, 11, 23))
    assert (start_at, end_at) == (utc("2026-11-22T03:00:00"), utc("2026-11-24T03:00:00"))


@pytest.mark.parametrize(
    ("date_from", "date_to", "open_ends"),
    [(None, None, (True, True)), (date(2026, 1, 1), None, (False, True)), (None, date(2026, 1, 1), (True, False))],
)
def test_a_range_may_be_open(date_from: date | None, date_to: date | None, open_ends: tuple[bool, bool]) -> None:
    start_at, end_at = day_bounds_utc(date_from, date_to)
    assert (start_at is None, end_at is None) == open_ends


def test_the_first_and_last_day_of_all_are_no_error() -> None:
    start_at, end_at = day_bounds_utc(date.min, date.max)
    assert start_at is not None and start_at.year == 1
    assert end_at is None


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("America/Manaus", "2026-11-22T04:00:00", "2026-11-23T04:00:00"),
        ("Asia/Tokyo", "2026-11-21T15:00:00", "2026-11-22T15:00:00"),
        ("UTC", "2026-11-22T00:00:00", "2026-11-23T00:00:00"),
    ],
)
def test_a_day_is_the_one_of_its_zone(zone: str, start: str, end: str) -> None:
    known = zone_of(zone)
    assert known is not None
    assert day_bounds_utc(date(2026, 11, 22), date(2026, 11, 22), known) == (utc(start), utc(end))
    assert day_began_at(utc(start), known) == utc(start)
    assert day_began_at(utc(end) - timedelta(microseconds=1), known) == utc(start)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_first_and_last_day_are_no_error_in_any_zone(zone: str) -> None:
    known = zone_of(zone)
    assert known is not None
    assert day_bounds_utc(date.min, date.max, known)[0] is not None
    assert day_bounds_utc(None, date.max - timedelta(days=1), known)[1] is not None


@pytest.mark.parametrize(
    "name", ["", "America", "../etc/passwd", "localtime", "Factory", "Nope/Zone", "posix/UTC", "ç"]
)
def test_a_zone_is_one_of_the_iana_names(name: str) -> None:
    assert zone_of(name) is None


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-23T07:00:00", True),
        ("2026-11-23T06:59:59.999999", False),
        ("2026-11-23T16:59:59.999999", True),
        ("2026-11-23T17:00:00", False),
        ("2026-11-27T12:00:00", True),
        ("2026-11-28T12:00:00", False),
        ("2026-11-29T12:00:00", False),
        ("2026-11-20T12:00:00", False),
        ("2026-12-25T12:00:00", False),
    ],
)
def test_a_ted_leaves_in_working_hours_of_brasilia(at: str, expected: bool) -> None:
    assert is_ted_open(local(at).astimezone(UTC), DEFAULT_HOLIDAYS) is expected


def test_the_deployment_decides_its_holidays() -> None:
    assert is_ted_open(local("2026-12-25T12:00:00"), frozenset())


@pytest.mark.parametrize(
    ("at", "name", "start", "end"),
    [
        ("2026-11-23T06:00:00", "daily", "2026-11-23T06:00:00", "2026-11-23T20:00:00"),
        ("2026-11-23T19:59:59.999999", "daily", "2026-11-23T06:00:00", "2026-11-23T20:00:00"),
        ("2026-11-23T20:00:00", "nightly", "2026-11-23T20:00:00", "2026-11-24T06:00:00"),
        ("2026-11-23T23:59:59.999999", "nightly", "2026-11-23T20:00:00", "2026-11-24T06:00:00"),
        ("2026-11-24T00:00:00", "nightly", "2026-11-23T20:00:00", "2026-11-24T06:00:00"),
        ("2026-11-24T05:59:59.999999", "nightly", "2026-11-23T20:00:00", "2026-11-24T06:00:00"),
        ("2027-01-01T01:00:00", "nightly", "2026-12-31T20:00:00", "2027-01-01T06:00:00"),
    ],
)
def test_limits_add_up_over_a_day_or_one_night(at: str, name: str, start: str, end: str) -> None:
    window = limit_window(local(at).astimezone(UTC))
    assert window == (name, local(start).astimezone(UTC), local(end).astimezone(UTC))
    assert window.start_at.tzinfo is UTC and window.end_at.tzinfo is UTC


@given(st.integers(min_value=0, max_value=25 * 366 * 86400))
def test_every_moment_lies_in_its_limit_window(seconds: int) -> None:
    at = utc("2015-01-01") + timedelta(seconds=seconds)
    window = limit_window(at)
    assert window.start_at <= at < window.end_at
    assert limit_window(window.start_at) == window
    assert limit_window(window.end_at).start_at == window.end_at


@pytest.mark.parametrize("text", ["2026-11-23", "2024-02-29", "0001-01-01", "9999-12-31"])
def test_real_days_are_read(text: str) -> None:
    assert str(parse_date(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "2026-02-30", "2025-02-29", "0000-01-01", "2026-13-01", "20261123", "2026-W48-1", "2026-11-3", "23/11/2026"]
    + ["2026-11-23T00:00:00Z", " 2026-11-23", "2026-11-23\n", "2026-11-2\u0663", "-026-11-23"],
)
def test_other_texts_are_no_day(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (utc("2026-11-23T14:30:23.459999"), "2026-11-23T14:30:23.459Z"),
        (utc("2026-11-23T14:30:23"), "2026-11-23T14:30:23.000Z"),
        (utc("2026-12-31T23:59:59.999999"), "2026-12-31T23:59:59.999Z"),
        (datetime(2026, 11, 23, 11, 30, tzinfo=timezone(timedelta(hours=-3))), "2026-11-23T14:30:00.000Z"),
    ],
)
def test_times_are_written_in_utc_cut_to_milliseconds(at: datetime, expected: str) -> None:
    assert wire_datetime(at) == expected


@pytest.mark.parametrize(
    ("year", "good_friday", "carnival", "corpus_christi"),
    [
        (1954, date(1954, 4, 16), date(1954, 3, 2), date(1954, 6, 17)),
        (1981, date(1981, 4, 17), date(1981, 3, 3), date(1981, 6, 18)),
        (2025, date(2025, 4, 18), date(2025, 3, 4), date(2025, 6, 19)),
        (2026, date(2026, 4, 3), date(2026, 2, 17), date(2026, 6, 4)),
        (2027, date(2027, 3, 26), date(2027, 2, 9), date(2027, 5, 27)),
        (2028, date(2028, 4, 14), date(2028, 2, 29), date(2028, 6, 15)),
        (2029, date(2029, 3, 30), date(2029, 2, 13), date(2029, 5, 31)),
        (2030, date(2030, 4, 19), date(2030, 3, 5), date(2030, 6, 20)),
        (2038, date(2038, 4, 23), date(2038, 3, 9), date(2038, 6, 24)),
    ],
)
def test_moving_holidays_follow_easter(year: int, good_friday: date, carnival: date, corpus_christi: date) -> None:
    holidays = national_holidays(year)
    assert {good_friday, carnival, carnival - timedelta(days=1), corpus_christi} <= holidays
    assert len(holidays) == 13


def test_the_default_list_has_the_national_days_of_six_years() -> None:
    assert {day.year for day in DEFAULT_HOLIDAYS} == set(range(2025, 2031))
    fixed = ["01-01", "04-21", "05-01", "09-07", "10-12", "11-02", "11-15", "11-20", "12-25"]
    assert {date.fromisoformat(f"2026-{day}") for day in fixed} <= DEFAULT_HOLIDAYS
    assert date(2026, 12, 24) not in DEFAULT_HOLIDAYS
