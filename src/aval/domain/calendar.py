"""Days, hours and holidays of Brasília, days of any time zone, and how times are written on the wire."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

BRASILIA = ZoneInfo("America/Sao_Paulo")
TED_OPENS, TED_CLOSES = time(7), time(17)  # spec transfers.md §3.1
DAY_BEGINS, NIGHT_BEGINS = time(6), time(20)  # spec transfers.md §8.2
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]{1,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")
_NO_ZONES = frozenset({"Factory"})
_FIRST_DAY = date.min + timedelta(days=1)  # whose midnight exists in UTC, too, wherever the zone lies
_FIXED_HOLIDAYS = ((1, 1), (4, 21), (5, 1), (9, 7), (10, 12), (11, 2), (11, 15), (11, 20), (12, 25))
# Days from Easter: Carnival Monday and Tuesday, Good Friday, Corpus Christi; banks are closed on all four.
_MOVING_HOLIDAYS = (-48, -47, -2, 60)


class LimitWindow(NamedTuple):
    """The stretch of time over which a limit adds amounts up: start included, end not."""

    name: Literal["daily", "nightly"]
    start_at: datetime
    end_at: datetime


def brasilia_day(at: datetime) -> date:
    """Tell which day it is in Brasília."""
    return at.astimezone(BRASILIA).date()


def zone_of(name: str) -> ZoneInfo | None:
    """Find a time zone by its IANA name; None if there is none, or if the name is one machine's own."""
    if not _ZONE.fullmatch(name) or name in _NO_ZONES:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is an OSError
        return None


def day_bounds_utc(
    date_from: date | None, date_to: date | None, zone: ZoneInfo = BRASILIA
) -> tuple[datetime | None, datetime | None]:
    """Turn an inclusive range of a zone's days into UTC: start included, end not; None where it is open."""
    start_at = _utc(max(date_from, _FIRST_DAY), time(0), zone) if date_from else None
    end_at = _utc(date_to + timedelta(days=1), time(0), zone) if date_to and date_to < date.max else None
    return start_at, end_at


def day_began_at(at: datetime, zone: ZoneInfo = BRASILIA) -> datetime:
    """Find the midnight of a zone that a moment comes after."""
    return _utc(at.astimezone(zone).date(), time(0), zone)


def is_ted_open(at: datetime, holidays: frozenset[date]) -> bool:
    """Tell whether a TED may leave: Monday to Friday 07:00 to before 17:00 in Brasília, holidays excepted."""
    local = at.astimezone(BRASILIA)
    return local.weekday() < 5 and TED_OPENS <= local.time() < TED_CLOSES and local.date() not in holidays


def limit_window(at: datetime) -> LimitWindow:
    """Find the day (06:00 to 20:00 in Brasília) or the night across midnight that a moment belongs to."""
    local = at.astimezone(BRASILIA)
    today, clock = local.date(), local.time()
    if DAY_BEGINS <= clock < NIGHT_BEGINS:
        return LimitWindow("daily", _utc(today, DAY_BEGINS), _utc(today, NIGHT_BEGINS))
    evening = today if clock >= NIGHT_BEGINS else today - timedelta(days=1)
    return LimitWindow("nightly", _utc(evening, NIGHT_BEGINS), _utc(evening + timedelta(days=1), DAY_BEGINS))


def parse_date(text: str) -> date | None:
    """Read a real day written `YYYY-MM-DD`; None for every other text."""
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def wire_datetime(at: datetime) -> str:
    """Write `YYYY-MM-DDTHH:MM:SS.mmmZ`; what is finer than a millisecond is cut off."""
    in_utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    text = msgspec.json.encode(in_utc)  # `"…SS.mmmmmmZ"`, five times as quick as isoformat; a whole second has no point
    return (text[1:24] if in_utc.microsecond else text[1:20] + b".000").decode() + "Z"


def national_holidays(year: int) -> frozenset[date]:
    """List the national days on which banks are closed, by the law of 2024."""
    easter = _easter(year)
    fixed = {date(year, month, day) for month, day in _FIXED_HOLIDAYS}
    return frozenset(fixed | {easter + timedelta(days=days) for days in _MOVING_HOLIDAYS})


def _easter(year: int) -> date:
    """Easter Sunday: the first after the paschal full moon, which falls 0 to 28 days after 21 March."""
    assert 1900 <= year < 2200  # the constant 24 is theirs
    golden = year % 19
    days = (19 * golden + 24) % 30
    if days == 29 or (days == 28 and golden > 10):
        days -= 1
    full_moon = date(year, 3, 21) + timedelta(days=days)
    return full_moon + timedelta(days=6 - full_moon.weekday() or 7)


def _utc(day: date, clock: time, zone: ZoneInfo = BRASILIA) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)


DEFAULT_HOLIDAYS = frozenset().union(*(national_holidays(year) for year in range(2025, 2031)))
