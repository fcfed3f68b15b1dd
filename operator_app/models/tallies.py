"""What has happened, added up: in by `write()`, thinned out by `compact()`, out by `summary()`.

Spans are ten seconds when an operator writes them, and grow as they grow old: fewer rows tell the
same, no less exactly, in longer spans.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from operator_app.histogram import Histogram
from operator_app.models.among import Among
from operator_app.models.job import OperationJob
from operator_app.models.tally import COUNTED, Tally
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.outcomes import Finished, Released

FINEST: Final = 10
"""Seconds of a span as it is written."""
LEVELS: Final = ((10, 120), (60, 4_500), (1_800, 93_600), (3_600, 7_776_000))
"""The seconds of a span, and the age in seconds at which spans of that length are made longer, or
at last deleted: minutes are there for 75 minutes, half-hours for 26 hours, hours for 90 days.
"""
DELETED: Final = 1_000
"""How many rows are deleted at once."""

_LENGTHS: Final = tuple(seconds for seconds, _age in LEVELS)


class Key(NamedTuple):
    """What is counted apart."""

    kind_id: int
    queue: str


@dataclass(slots=True)
class Summary:
    """How many attempts ended how, how long they ran and how late they began."""

    finished: int = 0
    stopped: int = 0
    cancelled: int = 0
    retried: int = 0
    failed: int = 0
    aborted: int = 0
    released: int = 0
    crashed: int = 0
    """Those whose operator died, which are among the retried, failed or aborted ones, too."""
    durations: Histogram = field(default_factory=Histogram)
    """Seconds from the begin of `run()` to its end; without crashed and released attempts."""
    delays: Histogram = field(default_factory=Histogram)
    """Seconds from `should_run_at` to the begin of `run()`, of the same."""

    def add(self, job: OperationJob) -> None:
        """Count an attempt that has been recorded. No queries."""
        outcome = job.ending
        assert outcome is not None and job.ended_at is not None, f"{job} has not ended"
        if type(outcome) is Finished:
            self.finished += 1  # What happens most, and is not to cost much.
        else:
            self._count(outcome.name, 1)
        if outcome.counter == "crashes":
            self.crashed += 1
        elif job.begun_at is not None and outcome.name != Released.name:
            self.durations.add((job.ended_at - job.begun_at).total_seconds())
            self.delays.add((job.begun_at - job.due_at).total_seconds())

    def merge(self, other: Summary) -> None:
        """Count what another one has counted. No queries."""
        for name in COUNTED:
            self._count(name, getattr(other, name))
        self.durations.merge(other.durations)
        self.delays.merge(other.delays)

    @classmethod
    def of(cls, row: Tally) -> Summary:
        """Return what a row says. No queries."""
        counts = {name: getattr(row, name) for name in COUNTED}
        return cls(**counts, durations=Histogram(row.durations), delays=Histogram(row.delays))

    def row(self, key: Key, start: datetime, seconds: int) -> Tally:
        """Return what is to be stored. No queries."""
        return Tally(
            start=start,
            seconds=seconds,
            kind_id=key.kind_id,
            queue=key.queue,
            durations=self.durations.stored,
            delays=self.delays.stored,
            **{name: getattr(self, name) for name in COUNTED},
        )

    @property
    def ended(self) -> int:
        """How many operations were over after the attempt."""
        return self.finished + self.failed + self.cancelled + self.aborted

    @property
    def failure_rate(self) -> float | None:
        """The share of attempts that failed, retried ones included, among those that failed or
        finished; None if there were none.
        """
        failures = self.failed + self.retried
        runs = failures + self.finished
        return failures / runs if runs else None

    def _count(self, name: str, number: int) -> None:
        setattr(self, name, getattr(self, name) + number)


def write(counted: Mapping[Key, Summary], now: datetime, alias: str) -> None:
    """Store what was counted until now. One INSERT, in a transaction, for some hundred kinds and
    queues.

    Args:
        counted: what, by kind and queue.
        now: the database's time.
        alias: the database.
    """
    start = _floor(now, FINEST)
    rows = [summary.row(key, start, FINEST) for key, summary in counted.items()]
    Tally.objects.using(alias).bulk_create(rows, batch_size=500)


def compact(now: datetime, alias: str) -> bool:
    """Do one step of what is due: make the oldest spans of one length longer, or delete what is too
    old. Any number of processes may be at it.

    At most two queries for each length of which nothing is due; then a transaction with a SELECT
    that locks, an INSERT and a DELETE.

    Args:
        now: the database's time.
        alias: the database.

    Returns:
        Whether something was done, and there may be more.
    """
    rows = Tally.objects.using(alias)
    for (seconds, age), longer in zip(LEVELS, _LENGTHS[1:], strict=False):
        limit = _floor(now - timedelta(seconds=age), longer)
        old = rows.filter(seconds=seconds, start__lt=limit)
        if (oldest := old.order_by("start").values_list("start", flat=True).first()) is not None:
            start = _floor(oldest, longer)
            return in_transaction(alias, partial(_add_up, seconds, start, longer, alias))
    longest, age = LEVELS[-1]
    old = rows.filter(seconds=longest, start__lt=now - timedelta(seconds=age))
    ids = list(old.order_by("start").values_list("pk", flat=True)[:DELETED])
    return bool(ids) and bool(rows.filter(pk__in=ids).delete()[0])


def summary(
    alias: str,
    since: datetime,
    until: datetime,
    *,
    by: Literal["kind", "queue"],
    kind_ids: Collection[int] | None = None,
) -> dict[Any, Summary]:
    """Return what has happened in a time, by kind (the id of its content type) or by queue. One
    query.

    Args:
        alias: the database.
        since: the time's begin; spans that begin before it are left out.
        until: its end.
        by: what is told apart.
        kind_ids: of which kinds; None for all.
    """
    found: dict[Any, Summary] = defaultdict(Summary)
    rows = _rows(alias, since, until)
    if kind_ids is not None:
        rows = rows.filter(kind_id__in=kind_ids)
    _merge(rows, "kind_id" if by == "kind" else "queue", lambda key: found[key])
    return dict(found)


def series(
    alias: str,
    since: datetime,
    until: datetime,
    seconds: int,
    *,
    kind_id: int | None = None,
    queue: str | None = None,
) -> list[tuple[datetime, Summary]]:
    """Return what has happened in each of the steps of a time, the oldest first. One query.

    A step below the length of the spans that are kept of that time (`LEVELS`) shows all of a span
    in the step in which it begins.

    Args:
        alias: the database.
        since: the time's begin; the first step begins at a multiple of `seconds` not after it.
        until: its end; the last step may reach beyond it.
        seconds: how long a step is.
        kind_id: of which kind; None for all.
        queue: of which queue; None for all.
    """
    first = _floor(since, seconds)
    steps: list[tuple[datetime, Summary]] = []
    moment = first
    while moment < until:
        steps.append((moment, Summary()))
        moment += timedelta(seconds=seconds)
    rows = _rows(alias, first, until)
    if kind_id is not None:
        rows = rows.filter(kind_id=kind_id)
    if queue is not None:
        rows = rows.filter(queue=queue)

    def step_of(start: datetime) -> Summary:
        return steps[int((start - first).total_seconds() // seconds)][1]

    _merge(rows, "start", step_of)
    return steps


def total(summaries: Iterable[Summary]) -> Summary:
    """Return all of them added up. No queries."""
    whole = Summary()
    for each in summaries:
        whole.merge(each)
    return whole


def _rows(alias: str, since: datetime, until: datetime) -> QuerySet[Tally]:
    # By the length, too, so that the index serves it.
    return Tally.objects.using(alias).filter(
        seconds__in=_LENGTHS, start__gte=since, start__lt=until
    )


def _merge(rows: QuerySet[Tally], column: str, whole_of: Callable[[Any], Summary]) -> None:
    """Add rows up, each to what its column tells. Past the ORM's instances and its JSON, which take
    as long again: a day of two hundred kinds has some 25,000 rows.
    """
    texts = [Cast(name, TextField()) for name in ("durations", "delays")]
    for key, durations, delays, *counts in rows.values_list(column, *texts, *COUNTED):
        whole = whole_of(key)
        for name, number in zip(COUNTED, counts, strict=True):
            if number:
                setattr(whole, name, getattr(whole, name) + number)
        whole.durations.merge_stored(json.loads(durations))
        whole.delays.merge_stored(json.loads(delays))


def _add_up(seconds: int, start: datetime, longer: int, alias: str) -> bool:
    """Replace the rows of one span by those of a longer one; return whether there were any that
    nobody else is adding up.
    """
    rows = Tally.objects.using(alias)
    end = start + timedelta(seconds=longer)
    span = rows.filter(seconds=seconds, start__gte=start, start__lt=end)
    found = unlocked(span.order_by("pk"))
    summaries: dict[Key, Summary] = defaultdict(Summary)
    for row in found:
        summaries[Key(row.kind_id, row.queue)].merge(Summary.of(row))
    rows.bulk_create(
        [each.row(key, start, longer) for key, each in summaries.items()], batch_size=500
    )
    rows.filter(Among(row.pk for row in found)).delete()
    return bool(found)


def _floor(moment: datetime, seconds: int) -> datetime:
    """Return the last moment not after this one that is a whole number of spans after the epoch."""
    epoch = datetime(1970, 1, 1, tzinfo=moment.tzinfo)
    return moment - (moment - epoch) % timedelta(seconds=seconds)
