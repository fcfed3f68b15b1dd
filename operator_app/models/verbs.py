"""Verbs: what changes operations from outside, race-safe against operators and against each other.

A queryset only says which operations are meant. Its ids are read once; the change itself is made on
the common table, in chunks, with the state that the verb needs in the WHERE. So a row that was
claimed in between is left, and counted as such: what a verb reports is what has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.db import IntegrityError, transaction
from django.db.models import Q

from operator_app import clock
from operator_app.models import arguments, states
from operator_app.models.changed import Changed
from operator_app.models.transactions import in_transaction
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.reports import REASON_LIMIT, shortened, text_of

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

CHUNK: Final = 1_000
"""How many operations are changed with one UPDATE, in a transaction of its own."""

_Rows: TypeAlias = "OperationQuerySet[Operation]"
_OVER: Final = Q(failed_run_at__isnull=False) | Q(cancelled_at__isnull=False)


def cancel(chosen: OperationQuerySet[Any], reason: str, *, delete: bool) -> Changed:
    """Cancel or delete the pending ones: see `OperationQuerySet.cancel()`."""
    why = shortened(text_of(reason), REASON_LIMIT)

    def hide(rows: _Rows) -> dict[str, int]:
        now = clock.now(rows.db)
        return {
            "cancelled": rows.pending().update(cancelled_at=now, reason=why, active_key=None),
        }

    def remove(rows: _Rows) -> dict[str, int]:
        # Under a lock, since what is deleted with them takes many statements.
        locked = list(rows.pending().select_for_update().values_list("pk", flat=True))
        _all(rows.db).filter(pk__in=locked).delete()
        return {"deleted": len(locked)}

    return _change(chosen, remove if delete else hide)


def retry(chosen: OperationQuerySet[Any]) -> Changed:
    """Let failed and cancelled ones begin anew: see `OperationQuerySet.retry()`."""

    def renew(rows: _Rows) -> dict[str, int]:
        fresh = _fresh(clock.now(rows.db))
        over = rows.filter(_OVER)
        keyed = list(over.filter(unique_key__isnull=False).values_list("pk", "unique_key"))
        retried = over.filter(unique_key__isnull=True).update(**fresh)
        taken = 0
        for pk, key in keyed:
            one = _all(rows.db).filter(_OVER, pk=pk)
            try:
                with transaction.atomic(using=rows.db):
                    retried += one.update(active_key=arguments.digest(key), **fresh)
            except IntegrityError:  # The unique key is all that this UPDATE can violate.
                taken += 1
        return {"retried": retried, "key_taken": taken}

    return _change(chosen, renew)


def run_now(chosen: OperationQuerySet[Any]) -> Changed:
    """Let scheduled ones be due: see `OperationQuerySet.run_now()`."""

    def hasten(rows: _Rows) -> dict[str, int]:
        now = clock.now(rows.db)
        return {"rescheduled": rows.scheduled(now).update(should_run_at=now)}

    return _change(chosen, hasten)


def reschedule(chosen: OperationQuerySet[Any], when: datetime | timedelta) -> Changed:
    """Let pending ones be due at another time: see `OperationQuerySet.reschedule()`."""
    chosen = _for_write(chosen)
    moment = arguments.moment(when, chosen.db)

    def move(rows: _Rows) -> dict[str, int]:
        return {"rescheduled": rows.pending().update(should_run_at=moment)}

    return _change(chosen, move)


def release(chosen: OperationQuerySet[Any]) -> Changed:
    """Give back what lost operators hold: see `OperationQuerySet.release()`."""
    from operator_app.models import records
    from operator_app.models.rescues import take_over_rows

    def give_back(rows: _Rows) -> dict[str, int]:
        deserted = rows.deserted(clock.now(rows.db)).select_related("operator")
        # Told apart here: as a filter it would make an inner join, without operators that are gone.
        jobs = [_released(row) for row in deserted if row.operator_id is not None]
        take_over_rows(jobs, rows.db)
        # By record, whose fence holds: who has been claimed again meanwhile is let alone.
        held = records.record(jobs, alias=rows.db)
        for job in held:
            if job.has_ending_hook:
                transaction.on_commit(job.call_hooks, using=rows.db)
        return Counter(job.outcome or "" for job in held)

    return _change(chosen, give_back)


def _released(row: Operation) -> OperationJob:
    """Return the job of an operation whose operator is lost, ended as a release by hand."""
    from operator_app.models.job import OperationJob

    reason = f"released by hand: {states.stuck_reason(row)}"
    job = OperationJob.of(row, operator=states.operator_name(row))
    job.end_as(Released(reason, delay=0.0 if row.begun_run_at is None else RELEASED_AFTER))
    return job


def _fresh(now: datetime) -> dict[str, Any]:
    """Return what makes an operation that is over look as if it had just been scheduled."""
    null = dict.fromkeys((*states.ENDINGS, "started_run_at", "begun_run_at", "times_out_at"))
    counters = dict.fromkeys(("failures", "crashes", "stops"), 0)
    more = {"operator": None, "abort_requested_at": None, "reason": "", "should_run_at": now}
    return {**null, **counters, **more}


def _change(chosen: OperationQuerySet[Any], change: Callable[[_Rows], dict[str, int]]) -> Changed:
    """Apply a change to the chosen operations, chunk by chunk; return what came of it."""
    chosen = _for_write(chosen)
    alias = chosen.db
    ids = _ids(chosen)
    parts: Counter[str] = Counter()
    for chunk in _chunks(ids):
        rows = _all(alias).filter(pk__in=chunk).order_by("pk")
        parts.update(in_transaction(alias, lambda rows=rows: change(rows)))  # type: ignore[misc]
    return Changed.of(**parts, left=len(ids) - sum(parts.values()))


def _ids(chosen: OperationQuerySet[Any]) -> list[int]:
    """Return the ids of a queryset, sorted: whoever locks many rows does so in this order."""
    return sorted(set(chosen.values_list("pk", flat=True)))


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]


def _for_write(chosen: OperationQuerySet[Any]) -> OperationQuerySet[Any]:
    """Return a queryset of the database that is written to: a replica may lag behind."""
    copy: OperationQuerySet[Any] = chosen._chain()  # type: ignore[attr-defined]
    copy._for_write = True  # type: ignore[attr-defined]
    return copy.using(copy.db)


def _all(alias: str) -> _Rows:
    from operator_app.models.operation import Operation

    return Operation.all_objects.using(alias)
