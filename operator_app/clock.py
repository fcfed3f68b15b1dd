"""The time: the database's, carried from one measurement to the next by the monotonic clock.

Operators on hosts whose clocks differ agree about what is due and who lives, because all of them
ask the same database. `Now()` in queries would do so too, but it means the session's time zone on
MySQL and UTC text on SQLite, and a value that Python does not know.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone as timezone_of_django

MEASURED_FOR: Final = 60.0
"""Seconds after which a measurement is too old to be carried on."""

FIRST_ANSWERS: Final = 3
"""How often a database is asked for its time before anything is known of it."""

TOLERANCE: Final = 0.05
"""Seconds by which the database's time may be off before it is taken to have jumped."""

EPOCH_OF_POSTGRESQL: Final = "EXTRACT(EPOCH FROM clock_timestamp())"
_EPOCH_SQL: Final = {
    "postgresql": f"SELECT {EPOCH_OF_POSTGRESQL}",
    # UNIX_TIMESTAMP(NOW(6)) would go through the session's time zone, which is ambiguous in autumn.
    "mysql": "SELECT UNIX_TIMESTAMP() + MICROSECOND(NOW(6)) / 1000000",
}

_stopped_at: ContextVar[datetime | None] = ContextVar("operator_app_clock", default=None)


@dataclass(frozen=True)
class _Measurement:
    taken: float
    """When, by the monotonic clock."""
    offset: float
    """The database's epoch seconds minus the monotonic clock."""
    host_offset: float
    """The host's epoch seconds minus the monotonic clock: it jumps where the host was asleep."""


_measurements: dict[str, _Measurement] = {}


def now(alias: str = DEFAULT_DB_ALIAS) -> datetime:
    """Return the time of the database `alias`: aware, or naive local time with USE_TZ=False.

    At most one short query a minute and process, and three at first, on the raw connection, so that
    they show neither in `assertNumQueries` nor in the query log; none on SQLite, whose time is the
    host's.
    """
    if (moment := _stopped_at.get()) is not None:
        return moment
    if _is_hosts(alias):
        return from_epoch(time.time())
    measurement = _measurements.get(alias)
    if measurement is None or not _still_good(measurement):
        measurement = measure(alias)
    return from_epoch(time.monotonic() + measurement.offset)


def measure(alias: str) -> _Measurement:
    """Ask the database for its time and remember how far it is from ours. One query; three where
    nothing is known yet, of which the quickest answer counts: it leaves the least room for error
    (as with NTP's clock filter, RFC 5905, section 10).

    Where the database cannot answer now (a failed transaction, an outage), the last measurement is
    kept, or the host's clock is taken.
    """
    known = _measurements.get(alias)
    before = time.monotonic()
    host_offset = time.time() - before
    try:
        answers = [_ask(connections[alias]) for _ in range(FIRST_ANSWERS if known is None else 1)]
    except Exception:
        # Whatever the reason, the caller's own query is about to meet it and to say so better.
        return known or _Measurement(before, host_offset, host_offset)
    error, offset = min(answers)
    if known is not None and abs(offset - known.offset) <= error:
        # The answer may be of any moment of the round trip, so it confirms what was known. A new
        # value would let the time jump back by a little, and what was just due not be due yet.
        offset = known.offset
    measurement = _Measurement(time.monotonic(), offset, host_offset)
    _measurements[alias] = measurement
    return measurement


def confirm(alias: str, epoch: float, asked: float, heard: float) -> bool:
    """Whether the database's time still is what `now()` takes it for. No queries if so; otherwise
    it is measured anew, with one.

    Args:
        alias: the database.
        epoch: its time, told with the answer to a statement.
        asked, heard: when that was sent and answered, by the monotonic clock. What a statement
            waits for lies between them, so its answer confirms a measurement and is none itself.
    """
    measurement = _measurements.get(alias)
    if measurement is not None:
        first, last = asked + measurement.offset, heard + measurement.offset
        if first - TOLERANCE <= epoch <= last + TOLERANCE:
            return True
    measure(alias)
    return False


@contextmanager
def at(moment: datetime | None) -> Iterator[None]:
    """Let `now()` return `moment` in the block (in this thread or task); None changes nothing."""
    token = _stopped_at.set(moment if moment is not None else _stopped_at.get())
    try:
        yield
    finally:
        _stopped_at.reset(token)


def from_epoch(seconds: float) -> datetime:
    """Return the moment as the ORM wants it: aware in UTC, naive local time with USE_TZ=False."""
    if settings.USE_TZ:
        return datetime.fromtimestamp(seconds, tz=timezone.utc)
    return datetime.fromtimestamp(seconds)  # noqa: DTZ006  (what USE_TZ=False means)


def local(moment: datetime) -> datetime:
    """Return a moment from the database as a clock on the wall shows it where the project is."""
    return timezone_of_django.localtime(moment) if moment.tzinfo is not None else moment


@lru_cache
def _is_hosts(alias: str) -> bool:
    """Whether a database has no clock but that of this host."""
    return connections[alias].vendor not in _EPOCH_SQL


def _ask(connection: Any) -> tuple[float, float]:
    """Return by how much the answer may be wrong, and how far the database's clock is from ours."""
    connection.ensure_connection()
    before = time.monotonic()
    epoch = _epoch(connection)
    after = time.monotonic()
    return (after - before) / 2, epoch - (before + after) / 2


def _epoch(connection: Any) -> float:
    connection.ensure_connection()
    with connection.connection.cursor() as cursor:
        cursor.execute(_EPOCH_SQL[connection.vendor])
        (epoch,) = cursor.fetchone()
    return float(epoch)


def _still_good(measurement: _Measurement) -> bool:
    elapsed = time.monotonic() - measurement.taken
    jump = abs(time.time() - time.monotonic() - measurement.host_offset)
    return elapsed < MEASURED_FOR and jump < 1
