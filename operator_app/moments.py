"""Arithmetic on moments that cannot overflow, and times in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime

EARLIEST_YEAR: Final = 1970
LATEST_YEAR: Final = 9998
"""From which year and up to which all time zones and databases have a name for a moment."""


def later(moment: datetime, seconds: float) -> datetime:
    """Return `moment` plus `seconds`, or the last moment that a datetime can name.

    >>> later(datetime(2026, 1, 1), 1e30)
    datetime.datetime(9998, 12, 31, 23, 59, 59, 999999)
    """
    # A year short of the end, so that no time zone's offset leads past it.
    last = datetime.max.replace(year=LATEST_YEAR, tzinfo=moment.tzinfo)
    try:
        result = moment + timedelta(seconds=seconds)
    except OverflowError:
        return last
    return min(result, last)


def moment_of(text: str) -> datetime:
    """Return the moment of an ISO 8601 text, on the project's clock where it names no time zone; as
    the ORM wants it, which is naive with USE_TZ=False.

    Raises:
        ValueError: if it is none, or before 1970 or after 9998; its words follow the name of what
            should be one.
    """
    try:
        found = parse_datetime(text)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from error
    if found is None:
        raise ValueError(f"is a moment as 2026-12-24T18:00, not {text!r}")
    if not EARLIEST_YEAR <= found.year <= LATEST_YEAR:
        raise ValueError(f"is in a year from {EARLIEST_YEAR} to {LATEST_YEAR}, not {text!r}")
    return as_stored(found)


def as_stored(moment: datetime) -> datetime:
    """Return a moment as the ORM wants it: naive and on the project's clock with USE_TZ=False, else
    aware. One that is naive is on that clock.
    """
    if settings.USE_TZ:
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return moment if timezone.is_naive(moment) else timezone.make_naive(moment)


def in_words(seconds: float) -> str:
    """Return a duration for people, in the unit that needs two digits or so.

    >>> in_words(0.25), in_words(75), in_words(720), in_words(10_000), in_words(300_000)
    ('0.25 s', '75 s', '12 min', '2.8 h', '3.5 days')
    """
    for unit, size, least in (("days", 86_400, 2), ("h", 3_600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"
