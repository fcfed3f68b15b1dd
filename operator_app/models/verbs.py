"""Verbs: what changes operations from outside, race-safe against operators and against each other.

A queryset only says which operations are meant. Its ids are read once; the change itself is made on
the common table, in chunks that are locked in the order of their ids, and only where the state is
what the verb needs. So a row that was claimed in between is left, and counted as such: what a verb
reports is what has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from django.db import IntegrityError, connections, transaction
from django.db.models import Q

from operator_app import clock
from operator_app.exceptions import OperatorLost
from operator_app.models import announcements, arguments, notify, states
from operator_app.models.changed import Changed
from operator_app.models.kinds import operations
from operator_app.models.transactions import in_transaction, lock_in_order
from operator_app.outcomes import RELEASED_AFTER, Failed, Released
from operator_app.reports import REASON_LIMIT, ErrorReport, shortened, text_of

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

CHUNK: Final = 1_000
"""How many operations are changed with one UPDATE, in a transaction of its own."""

_Rows: TypeAlias = "OperationQuerySet[Operation]"
_OVER: Final = Q(failed_run_at__isnull=False) | Q(cancelled_at__isnull=False)


def cancel(chosen: OperationQuerySet[Any], reason: str, *, abort: bool, delete: bool) -> Changed:
    """Cancel or delete the pending ones: see `OperationQuerySet.cancel()`."""
    why = _stored(reason)

    def end(rows: _Rows) -> dict[str, int]:
        # Under the lock of `_change()`, or one that is claimed in between would be in neither.
        done = _remove(rows) if delete else _hide(rows, why)
        return done | (_ask_to_end(rows, why) if abort else {})

    return _change(chosen, end)


def abort(chosen: OperationQuerySet[Any], reason: str) -> Changed:
    """Ask the started ones to end: see `OperationQuerySet.abort()`."""
    why = _stored(reason)
    return _change(chosen, lambda rows: _ask_to_end(rows, why))


def request_stack(chosen: OperationQuerySet[Any]) -> Changed:
    """Ask where running ones are: see `OperationQuerySet.request_stack()`."""

    def ask(rows: _Rows) -> dict[str, int]:
        return {"stack_requested": _ask(rows.started(), stack_requested_at=clock.now(rows.db))}

    return _change(chosen, ask)


def _hide(rows: _Rows, why: str) -> dict[str, int]:
    now = clock.now(rows.db)
    hidden = _update(rows.pending(), cancelled_at=now, reason=why, active_key=None)
    return {"cancelled": hidden}


def _remove(rows: _Rows) -> dict[str, int]:
    pending = list(rows.pending().values_list("pk", flat=True))
    operations(rows.db).filter(pk__in=pending).delete()
    return {"deleted": len(pending)}


def _ask_to_end(rows: _Rows, why: str) -> dict[str, int]:
    unasked = rows.started().filter(abort_requested_at__isnull=True)
    return {"abort_requested": _ask(unasked, abort_requested_at=clock.now(rows.db), reason=why)}


def _ask(rows: _Rows, **values: Any) -> int:
    """Write down what is wanted of running ones, and tell the operators; return of how many."""
    asked = _update(rows, **values)
    if asked:
        notify.requested(rows.db)
    return asked


def _stored(reason: str) -> str:
    return shortened(text_of(reason), REASON_LIMIT)


def retry(chosen: OperationQuerySet[Any]) -> Changed:
    """Let failed and cancelled ones begin anew: see `OperationQuerySet.retry()`."""

    def renew(rows: _Rows) -> dict[str, int]:
        now = clock.now(rows.db)
        fresh = _fresh(now)
        over = rows.filter(_OVER)
        keyed = list(over.filter(unique_key__isnull=False).values_list("pk", "unique_key"))
        retried = _update(over.filter(unique_key__isnull=True), **fresh)
        taken = 0
        for pk, key in keyed:
            one = operations(rows.db).filter(_OVER, pk=pk)
            try:
                with transaction.atomic(using=rows.db):
                    retried += one.update(active_key=arguments.digest(key), **fresh)
            except IntegrityError:  # The unique key is all that this UPDATE can violate.
                taken += 1
        if retried:
            announcements.announce(rows.db, now)
        return {"retried": retried, "key_taken": taken}

    return _change(chosen, renew)


def run_now(chosen: OperationQuerySet[Any]) -> Changed:
    """Let scheduled ones be due: see `OperationQuerySet.run_now()`."""

    def hasten(rows: _Rows) -> dict[str, int]:
        now = clock.now(rows.db)
        return {"rescheduled": _move(rows.scheduled(now), now)}

    return _change(chosen, hasten)


def reschedule(chosen: OperationQuerySet[Any], when: datetime | timedelta) -> Changed:
    """Let pending ones be due at another time: see `OperationQuerySet.reschedule()`."""
    chosen = _for_write(chosen)
    moment = arguments.moment(when, chosen.db)

    def move(rows: _Rows) -> dict[str, int]:
        return {"rescheduled": _move(rows.pending(), moment)}

    return _change(chosen, move)


def _move(rows: _Rows, moment: datetime) -> int:
    moved = _update(rows, should_run_at=moment)
    if moved:
        announcements.announce(rows.db, moment)
    return moved


def release(chosen: OperationQuerySet[Any]) -> Changed:
    """Give back what lost operators hold: see `OperationQuerySet.release()`."""
    return _end_deserted(chosen, _released)


def fail(chosen: OperationQuerySet[Any], reason: str) -> Changed:
    """Let what lost operators hold end as failed: see `OperationQuerySet.fail()`."""
    return _end_deserted(chosen, lambda row: _failed(row, reason))


def _end_deserted(
    chosen: OperationQuerySet[Any], end: Callable[[Operation], OperationJob | None]
) -> Changed:
    """End the attempts whose operator is lost, each as `end` says; None leaves it as it is."""
    from operator_app.models import records
    from operator_app.models.rescues import take_over_rows

    def apply(rows: _Rows) -> dict[str, int]:
        deserted = rows.deserted(clock.now(rows.db)).select_related("operator")
        jobs = [job for row in deserted if (job := end(row)) is not None]
        take_over_rows(jobs, rows.db)
        # By record, whose fence holds: who has been claimed again meanwhile is let alone.
        held = records.record(jobs, alias=rows.db)
        for job in held:
            if job.has_ending_hook:
                transaction.on_commit(job.call_hooks, using=rows.db)
        return Counter(job.outcome or "" for job in held)

    return _change(chosen, apply)


def _failed(row: Operation, reason: str) -> OperationJob:
    """Return the job of an operation that nobody runs any more, ended as a failure by hand."""
    from operator_app.models.job import OperationJob

    stuck = states.stuck_reason(row)
    job = OperationJob.of(row, operator=states.operator_name(row))
    job.error = error = OperatorLost(stuck)
    job.end_as(
        Failed(reason or f"failed by hand: {stuck}", error=ErrorReport.of(error), crashed=True)
    )
    return job


def _released(row: Operation) -> OperationJob | None:
    """Return the job of an operation whose operator is lost, ended as a release by hand; None if it
    was started by hand, and there is nobody to release it to.
    """
    from operator_app.models.job import OperationJob

    # Told apart here: as a filter it would make an inner join, without operators that are gone.
    if row.operator_id is None:
        return None
    reason = f"released by hand: {states.stuck_reason(row)}"
    job = OperationJob.of(row, operator=states.operator_name(row))
    job.end_as(Released(reason, delay=0.0 if row.begun_run_at is None else RELEASED_AFTER))
    return job


def _fresh(now: datetime) -> dict[str, Any]:
    """Return what makes an operation that is over look as if it had just been scheduled."""
    claim = ("started_run_at", "begun_run_at", "times_out_at", "stack_requested_at")
    null = dict.fromkeys((*states.ENDINGS, *claim))
    counters = dict.fromkeys(("failures", "crashes", "stops"), 0)
    more = {"operator": None, "abort_requested_at": None, "reason": "", "should_run_at": now}
    return {**null, **counters, **more}


def _change(chosen: OperationQuerySet[Any], change: Callable[[_Rows], dict[str, int]]) -> Changed:
    """Apply a change to the chosen operations, chunk by chunk; return what came of it."""
    chosen = _for_write(chosen)
    alias = chosen.db
    ids = _ids(chosen)
    parts: Counter[str] = Counter()

    def apply(chunk: list[int]) -> dict[str, int]:
        rows = operations(alias).filter(pk__in=chunk).order_by("pk")
        lock_in_order(rows)
        return change(rows)

    for chunk in _chunks(ids):
        parts.update(in_transaction(alias, lambda chunk=chunk: apply(chunk)))  # type: ignore[misc]
    return Changed.of(**parts, left=len(ids) - sum(parts.values()))


def _update(rows: _Rows, **values: Any) -> int:
    """Change some of the rows that `lock_in_order()` has locked; return how many these are.

    On MySQL and MariaDB by their ids alone, which takes a SELECT more: given a state, too, the
    server may look for that in an index, and lock what it finds there in the order of the index.
    """
    if connections[rows.db].vendor == "mysql":
        ids = list(rows.values_list("pk", flat=True))
        rows = operations(rows.db).filter(pk__in=ids).order_by("pk")
    return rows.update(**values)


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
