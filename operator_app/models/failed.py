"""What has failed for good lately: by exception and age, and by the sort of error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db import connections
from django.db.models import Count, F, FilteredRelation, Max, Min, Q

from operator_app.models import kinds
from operator_app.models.job import OperationJob

if TYPE_CHECKING:
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

LOOKED_AT: Final = 10_000
"""How many failures are looked at: the newest ones."""
SHOWN: Final = 50
"""How many exceptions, and how many sorts of errors, are told apart."""
AGES: Final = (
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=24),
    timedelta(days=3),
    timedelta(days=7),
)
"""How old a failure is at most, in the columns before the last one, which has them all."""


@dataclass
class Exceptions:
    """The failures with one class of exception.

    Args:
        name: its dotted path; empty if there was none.
        counts: how many are as young as each of `AGES`, and how many there are at all.
    """

    name: str
    counts: list[int] = field(default_factory=lambda: [0] * (len(AGES) + 1))


@dataclass
class Sort:
    """The failures whose errors are of one sort.

    Args:
        fingerprint: what they share; empty if it is not known.
        exception: the dotted path of the class; empty if there was none.
        count: how many there are.
        first: when the first of them has failed.
        last: when the last one has.
        by_kind: how many by the id of the kind.
        sample_id: the primary key of the newest job; None if none was kept.
        sample: that job, with its operation; without its traceback and log.
    """

    fingerprint: str
    exception: str
    count: int
    first: datetime
    last: datetime
    by_kind: Counter[int]
    sample_id: int | None
    sample: OperationJob | None = None


@dataclass(frozen=True)
class Failures:
    """What has failed.

    Args:
        total: how many were looked at, of these kinds.
        is_all: whether there are no older ones.
        exceptions: by class, those with most failures first; `SHOWN` at most.
        sorts: those that came up last first; `SHOWN` at most.
        more_exceptions: how many classes there are besides.
        more_sorts: how many sorts there are besides.
    """

    total: int
    is_all: bool
    exceptions: list[Exceptions]
    sorts: list[Sort]
    more_exceptions: int
    more_sorts: int


def look(alias: str, now: datetime, kind_ids: Collection[int] | None = None) -> Failures:
    """Return what has failed. Three queries, of `LOOKED_AT` rows at most.

    Args:
        alias: the database.
        now: the database's time.
        kind_ids: of which kinds, by their content types; None for all.
    """
    rows, is_all = _newest(alias)
    if kind_ids is not None:
        rows = rows.filter(kind_id__in=kind_ids)
    groups = list(_groups(rows, now))
    exceptions = sorted(_by_exception(groups), key=lambda each: -each.counts[-1])
    sorts = sorted(_by_sort(groups), key=lambda each: each.last, reverse=True)
    _add_samples(sorts[:SHOWN], alias)
    return Failures(
        total=sum(group["count"] for group in groups),
        is_all=is_all,
        exceptions=exceptions[:SHOWN],
        sorts=sorts[:SHOWN],
        more_exceptions=max(0, len(exceptions) - SHOWN),
        more_sorts=max(0, len(sorts) - SHOWN),
    )


def _newest(alias: str) -> tuple[OperationQuerySet[Operation], bool]:
    """Return those that are looked at, and whether these are all."""
    rows = kinds.operations(alias).failed()
    if not connections[alias].features.supports_partial_indexes:
        # Nothing that has failed has finished: so says the beginning of the index that is there.
        rows = rows.filter(finished_run_at__isnull=True)
    places = rows.order_by("-failed_run_at", "-pk").values_list("failed_run_at", "pk")
    at_the_end = list(places[LOOKED_AT - 1 : LOOKED_AT + 1])
    if len(at_the_end) < 2:
        return rows, True
    moment, pk = at_the_end[0]
    # Many may have failed at one instant. The first condition is that of the index.
    younger = Q(failed_run_at__gt=moment) | Q(pk__gte=pk)
    return rows.filter(younger, failed_run_at__gte=moment), False


def _groups(rows: OperationQuerySet[Operation], now: datetime) -> Iterable[dict[str, Any]]:
    """Return how many there are of each exception, fingerprint and kind, by age."""
    # Claimed once for each attempt, so this is the last one. Its row may be missing.
    last = FilteredRelation("jobs", condition=Q(jobs__number=F("attempts")))
    ages = {
        f"younger_{place}": Count("pk", filter=Q(failed_run_at__gte=now - age))
        for place, age in enumerate(AGES)
    }
    named = rows.annotate(last=last).order_by()
    grouped = named.values("last__exception_class", "last__fingerprint", "kind_id")
    found: Iterable[Any] = grouped.annotate(
        count=Count("pk"),
        first=Min("failed_run_at"),
        latest=Max("failed_run_at"),
        sample=Max("last__pk"),
        **ages,
    )
    return found


def _by_exception(groups: Iterable[dict[str, Any]]) -> Iterable[Exceptions]:
    found: dict[str, Exceptions] = {}
    for group in groups:
        name = group["last__exception_class"] or ""
        counts = found.setdefault(name, Exceptions(name)).counts
        for place in range(len(AGES)):
            counts[place] += group[f"younger_{place}"]
        counts[-1] += group["count"]
    return found.values()


def _by_sort(groups: Iterable[dict[str, Any]]) -> Iterable[Sort]:
    found: dict[tuple[str, str], Sort] = {}
    for group in groups:
        exception, mark = group["last__exception_class"] or "", group["last__fingerprint"] or ""
        sort = found.get((exception, mark))
        if sort is None:
            sort = Sort(mark, exception, 0, group["first"], group["latest"], Counter(), None)
            found[exception, mark] = sort
        sort.count += group["count"]
        sort.by_kind[group["kind_id"]] += group["count"]
        sort.first, sort.last = min(sort.first, group["first"]), max(sort.last, group["latest"])
        sort.sample_id = max(sort.sample_id or 0, group["sample"] or 0) or None
    return found.values()


def _add_samples(sorts: Iterable[Sort], alias: str) -> None:
    wanted = [sort.sample_id for sort in sorts if sort.sample_id is not None]
    jobs = OperationJob.objects.using(alias).defer("traceback", "log", "stack", "meta")
    found = jobs.in_bulk(wanted)
    for sort in sorts:
        sort.sample = found.get(sort.sample_id)
