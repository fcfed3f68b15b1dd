"""The rates: how much was done lately, how much of it failed, how long it took, how late it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from operator_app.models.tallies import FINEST, Summary, series, total
from operator_app.moments import in_words

SPANS: Final = {"minute": 60, "hour": 3_600, "day": 86_400}
"""The times that rates are told of, in seconds, up to now."""
MEDIAN: Final = 0.5
TAIL: Final = 0.95


@dataclass(frozen=True)
class Rate:
    """What was done in a time up to now. Durations in seconds, None where there are none."""

    seconds: int
    ended: int
    """How many operations finished, failed or were cancelled."""
    finished: int
    failed: int
    retried: int
    crashed: int
    per_second: float
    """How many operations ended, in the mean."""
    failure_rate: float | None
    """The share of attempts that failed."""
    duration: float | None
    """How long runs took, in the middle."""
    duration_p95: float | None
    late: float | None
    """How long after `should_run_at` runs began, in the middle."""
    late_p95: float | None

    @property
    def run_time(self) -> str:
        """How long runs took, for people: the median and the 95th percentile; empty for none."""
        return _pair(self.duration, self.duration_p95)

    @property
    def lateness(self) -> str:
        """How late they began, likewise."""
        return _pair(self.late, self.late_p95)

    @classmethod
    def of(cls, found: Summary, seconds: int) -> Rate:
        """Return the rate of what has happened in so many seconds. No queries."""
        return cls(
            seconds=seconds,
            ended=found.ended,
            finished=found.finished,
            failed=found.failed,
            retried=found.retried,
            crashed=found.crashed,
            per_second=found.ended / seconds,
            failure_rate=found.failure_rate,
            duration=found.durations.percentile(MEDIAN),
            duration_p95=found.durations.percentile(TAIL),
            late=found.delays.percentile(MEDIAN),
            late_p95=found.delays.percentile(TAIL),
        )


def rates(alias: str, now: datetime) -> dict[str, Rate]:
    """Return what was done in the last minute, hour and day. Two queries, of tallies only.

    Operators write what they did every ten seconds, so the minute is that up to ten seconds ago.

    Args:
        alias: the database.
        now: its time.
    """
    found: dict[str, Rate] = {}
    day = series(alias, now - timedelta(seconds=SPANS["day"]), now, 300)
    recent = series(alias, now - timedelta(seconds=SPANS["minute"] + FINEST), now, FINEST)
    for name, seconds in SPANS.items():
        steps = recent if name == "minute" else day
        since = now - timedelta(seconds=seconds + (FINEST if name == "minute" else 0))
        found[name] = Rate.of(total(each for start, each in steps if start >= since), seconds)
    return found


def _pair(median: float | None, tail: float | None) -> str:
    return "" if median is None or tail is None else f"{in_words(median)} / {in_words(tail)}"
