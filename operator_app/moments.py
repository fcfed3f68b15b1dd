"""Arithmetic on moments that cannot overflow."""

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
