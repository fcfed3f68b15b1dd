"""Arithmetic on moments that cannot overflow, and times in words."""

from __future__ import annotations

from datetime import datetime, timedelta


def later(moment: datetime, seconds: float) -> datetime:
    """Return `moment` plus `seconds`, or the last moment that a datetime can name.

    >>> later(datetime(2026, 1, 1), 1e30)
    datetime.datetime(9998, 12, 31, 23, 59, 59, 999999)
    """
    # A year short of the end, so that no time zone's offset leads past it.
    last = datetime.max.replace(year=9998, tzinfo=moment.tzinfo)
    try:
        result = moment + timedelta(seconds=seconds)
    except OverflowError:
        return last
    return min(result, last)


def in_words(seconds: float) -> str:
    """Return a duration for people, in the unit that needs two digits or so.

    >>> in_words(0.25), in_words(75), in_words(720), in_words(10_000), in_words(300_000)
    ('0.25 s', '75 s', '12 min', '2.8 h', '3.5 days')
    """
    for unit, size, least in (("days", 86_400, 2), ("h", 3_600, 2), ("min", 60, 2)):
        if seconds >= least * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"
