"""Arithmetic on moments that cannot overflow."""

from __future__ import annotations

from datetime import datetime, timedelta


def later(moment: datetime, seconds: float) -> datetime:
    """Return `moment` plus `seconds`, or the last moment that a datetime can name.

    >>> later(datetime(2026, 1, 1), 1e30)
    datetime.datetime(9999, 12, 30, 23, 59, 59, 999999)
    """
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        # A day short of the end, so that no time zone's offset leads past it.
        return datetime.max.replace(tzinfo=moment.tzinfo) - timedelta(days=1)
