"""The forecast: how many operations are to begin in the next hours."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from django.db import connections

from operator_app.models import states
from operator_app.models.kinds import base
from operator_app.models.lanes import IN_LANE, Lane, lanes, moments
from operator_app.models.recurrence import Recurrence, aware, stored
from operator_app.models.sql import on_one_line
from operator_app.recurring import Rhythm

HOURS: Final = 24
HOUR: Final = timedelta(hours=1)
READ: Final = 20_000
"""How many scheduled operations are read, in all lanes together."""
LEAST: Final = 100
"""How many of a lane in any case."""
AT_ONCE: Final = 100
"""How many lanes one statement reads."""
SLOTS: Final = 1_500
"""How many slots of a recurrence are found one by one: each minute of a day. One that recurs more
often goes on as it began.
"""

_SCHEDULED: Final = """
SELECT {number}, should_run_at FROM (
    SELECT should_run_at FROM {table}
    WHERE {pending} AND {in_lane} AND should_run_at > %s AND should_run_at < %s
    ORDER BY should_run_at LIMIT {limit}
) AS lane_{number}
"""


@dataclass(frozen=True)
class Hour:
    """What is to begin in an hour of the clock, or in what is left of it."""

    start: datetime
    scheduled: int
    """Operations that are there."""
    recurring: int
    """Slots of recurrences, for which operations will be made."""


@dataclass(frozen=True)
class Forecast:
    """What is to begin in the next day."""

    hours: list[Hour]
    counted_until: datetime | None
    """Until when all scheduled operations were counted, if there were too many; None if all were.
    """

    @property
    def total(self) -> int:
        """How many operations are to begin, as far as they were counted."""
        return sum(hour.scheduled + hour.recurring for hour in self.hours)


def look_ahead(alias: str, now: datetime) -> Forecast:
    """Return what is to begin from now on, in this hour and the next 24.

    One query for the lanes, one for each 100 of them, one for the recurrences; 20,000 entries of an
    index are read at most.

    Args:
        alias: the database.
        now: its time.
    """
    first = now.replace(minute=0, second=0, microsecond=0)
    starts = [first + number * HOUR for number in range(HOURS + 1)]
    end = starts[-1] + HOUR
    found, counted_until = _scheduled(lanes(alias), now, end, alias)
    scheduled = _binned(found, starts)
    recurring = [0] * len(starts)
    for recurrence in Recurrence.objects.using(alias).enabled():
        for number, count in enumerate(_recurring(recurrence, now, starts)):
            recurring[number] += count
    hours = [Hour(*each) for each in zip(starts, scheduled, recurring, strict=True)]
    return Forecast(hours, counted_until)


def _scheduled(
    found: Sequence[Lane], now: datetime, end: datetime, alias: str
) -> tuple[list[datetime], datetime | None]:
    """Return when operations of these lanes are scheduled, and until when that is all of them."""
    limit = max(LEAST, READ // max(1, len(found)))
    times: list[datetime] = []
    counted_until: datetime | None = None
    for first in range(0, len(found), AT_ONCE):
        by_lane: dict[int, list[datetime]] = {}
        for number, moment in _read(found[first : first + AT_ONCE], now, end, limit, alias):
            by_lane.setdefault(number, []).append(moment)
        for mine in by_lane.values():
            times += mine
            if len(mine) == limit:
                last = max(mine)
                counted_until = last if counted_until is None else min(counted_until, last)
    return times, counted_until


def _read(
    some: Sequence[Lane], now: datetime, end: datetime, limit: int, alias: str
) -> Iterable[tuple[int, datetime]]:
    connection = connections[alias]
    span = [connection.ops.adapt_datetimefield_value(each) for each in (now, end)]
    facts = {
        "table": connection.ops.quote_name(base()._meta.db_table),
        "pending": states.PENDING_SQL,
        "in_lane": IN_LANE,
        "limit": limit,
    }
    parts: list[str] = []
    parameters: list[Any] = []
    for number, lane in enumerate(some):
        parts.append(on_one_line(_SCHEDULED.format(number=number, **facts)))
        parameters += [*lane[:3], *span]
    as_moment = moments(alias)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), parameters)
        return [(number, as_moment(moment)) for number, moment in cursor.fetchall()]


def _binned(times: Iterable[datetime], starts: Sequence[datetime]) -> list[int]:
    """Return how many of these lie in each hour, the last of which is an hour long, too."""
    counts = [0] * len(starts)
    for moment in times:
        counts[bisect_right(starts, moment) - 1] += 1
    return counts


def _recurring(recurrence: Recurrence, now: datetime, starts: Sequence[datetime]) -> Iterable[int]:
    """Return how many slots of a recurrence lie in each hour from now on."""
    end = starts[-1] + HOUR
    slots = [stored(slot) for slot in _slots(recurrence.rhythm, aware(starts[0]))]
    counts = _binned([slot for slot in slots if now < slot < end], starts)
    if len(slots) == SLOTS and slots[-1] < end:
        each = (slots[-1] - slots[0]).total_seconds() / (SLOTS - 1)
        at = bisect_right(starts, slots[-1]) - 1
        left = (starts[at] + HOUR - slots[-1]).total_seconds()
        counts[at] += round(left / each)
        for later in range(at + 1, len(starts)):
            counts[later] = round(HOUR.total_seconds() / each)
    return counts


@lru_cache(maxsize=512)
def _slots(rhythm: Rhythm, hour: datetime) -> tuple[datetime, ...]:
    """Return the first slots of a rhythm from an hour on, for a day: found once an hour, since that
    takes longer than all the queries.
    """
    end = hour + (HOURS + 1) * HOUR
    return tuple(islice(rhythm.between(hour, end), SLOTS))
