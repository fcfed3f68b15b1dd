"""What recurs: how it is declared on a kind, and which of its slots are to be made. Knows no
database.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from operator_app.cron import Cron, parse
from operator_app.moments import later
from operator_app.validation import check_priority, check_queue, is_number

MISSED: Final = ("skip", "once", "all")
OVERLAP: Final = ("allow", "skip", "queue")
DAY: Final = 86_400.0

ON_TIME: Final = 60.0
"""Seconds after which a slot that nobody has made counts as missed: an operator that is restarted
misses none.
"""
MOST: Final = 100
"""How many slots are made in one transaction at most."""


@dataclass(frozen=True)
class Recurring:
    """A recurrence that a kind declares: `recurrences = [Recurring("0 3 * * *")]`.

    Args:
        expression: when, as a cron expression (see `Cron`).
        name: unique in the project; by default the kind's "app.Model", which one of them can have.
        time_zone: where the clock hangs that the expression speaks of, as "Europe/Berlin"; by
            default the project's `TIME_ZONE`.
        fields: values for the kind's own columns; of a foreign key, the primary key.
        queue: in place of the policy's.
        priority: in place of the policy's.
        enabled: whether it is enabled when it is first seen; afterwards people decide.
        start_at: the first moment that may be a slot, aware.
        end_at: the last one.
        jitter: seconds by which operations are spread at random after their slot.
        missed: what becomes of slots for which no operator lived to make an operation: "skip"
            them, make the last of them "once", or make "all".
        window: seconds after which a missed slot is dropped whatever `missed` says.
        overlap: what becomes of a slot while the operation of an earlier one has not ended: "allow"
            both, "skip" the slot, or "queue" it until the other one has ended.

    Raises:
        ValueError, TypeError: for a bad value, naming it.
    """

    expression: str
    name: str = ""
    time_zone: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None
    priority: int | None = None
    enabled: bool = True
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: float = 0.0
    missed: str = "once"
    window: float = DAY
    overlap: str = "allow"

    def __post_init__(self) -> None:
        parse(self.expression)
        if self.time_zone:
            zone_of(self.time_zone)
        for name, known in (("missed", MISSED), ("overlap", OVERLAP)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
        for name in ("jitter", "window"):
            if not is_number(value := getattr(self, name)) or value < 0:
                raise ValueError(f"{name} must be a number of seconds >= 0, not {value!r}.")
        for name in ("start_at", "end_at"):
            moment = getattr(self, name)
            if moment is not None and moment.utcoffset() is None:
                raise ValueError(f"{name} must be an aware datetime, not {moment!r}.")
        if self.queue is not None:
            check_queue(self.queue)
        if self.priority is not None:
            check_priority(self.priority)


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its key.

    Raises:
        ValueError: if there is none.
    """
    try:
        return ZoneInfo(name)
    except Exception:  # Bad keys raise anything: KeyError, ValueError, OSError.
        raise ValueError(
            f"There is no time zone {name!r}. Write a key of the IANA database, as 'Europe/Berlin' "
            "or 'UTC'; on Windows and in small containers install tzdata."
        ) from None


class Rhythm(NamedTuple):
    """When something recurs."""

    cron: Cron
    zone: tzinfo
    start_at: datetime | None = None
    end_at: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """Return the first slot after a moment; None if there is none any more."""
        if self.start_at is not None:
            moment = max(moment, self.start_at - timedelta(microseconds=1))
        slot = self.cron.after(moment, self.zone)
        return None if self.end_at is not None and slot > self.end_at else slot

    def all_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the slots after a moment, in order."""
        slot = self.after(moment)
        while slot is not None:
            yield slot
            slot = self.after(slot)

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the slots from `first` to `last`, both included."""
        slots = self.all_after(first - timedelta(microseconds=1))
        return takewhile(lambda slot: slot <= last, slots)

    def upcoming(self, moment: datetime, count: int) -> list[datetime]:
        """Return the next slots after a moment, at most `count`, on the clock of the zone."""
        return [slot.astimezone(self.zone) for slot in islice(self.all_after(moment), count)]

    def last_between(self, first: datetime, last: datetime) -> datetime | None:
        """Return the last slot from `first` to `last`, both included; None if there is none. It
        looks back ever further, so that it costs little however many there are.
        """
        back = timedelta(minutes=1)
        while True:
            start = max(first, last - back)
            found = deque(self.between(start, last), maxlen=1)
            if found or start == first:
                return found[0] if found else None
            back *= 8


class Due(NamedTuple):
    """What is to be done about a recurrence now."""

    slots: tuple[datetime, ...]
    """For which an operation is to be made, in order."""
    next_at: datetime | None
    """The next slot; None if it is over. It may be due already, where there are many."""


def decide_due(
    rhythm: Rhythm, next_at: datetime, now: datetime, *, missed: str, window: float
) -> Due:
    """Return which slots from `next_at` to `now` are made, and when the next one is.

    A slot is late by up to `ON_TIME` without being missed. Of those that were missed, and are not
    older than `window`: with "all" each one is made, `MOST` at a time, with "once" the last one,
    with "skip" none; the last one of those on time is made in any case.

    Args:
        rhythm: when it recurs.
        next_at: the first slot that nobody has seen to.
        now: the time.
        missed: as in `Recurring`.
        window: seconds.
    """
    oldest = later(now, -(ON_TIME if missed == "skip" else max(window, ON_TIME)))
    first = max(next_at, oldest)
    if missed == "all":
        slots = tuple(islice(rhythm.between(first, now), MOST))
        return Due(slots, rhythm.after(slots[-1] if slots else now))
    last = rhythm.last_between(first, now)
    return Due(() if last is None else (last,), rhythm.after(now))


def spread(name: str, slot: datetime, jitter: float) -> datetime:
    """Return when the operation of a slot should run: up to `jitter` seconds later, the same for
    everyone who asks.
    """
    share = zlib.crc32(f"{name} {slot.astimezone(timezone.utc).isoformat()}".encode()) / 2**32
    return later(slot, jitter * share)
