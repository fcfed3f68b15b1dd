"""That a job has begun, until when it may run, and whether it was asked to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import Error
from django.db.models import Q

from operator_app import clock
from operator_app.exceptions import OperationLost, OperatorError, OperatorLost
from operator_app.models import kinds, states
from operator_app.models.among import Among
from operator_app.models.transactions import in_transaction, unlocked
from operator_app.models.watchdog import watching
from operator_app.moments import later
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.policy import Policy

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation
    from operator_app.models.querysets import OperationQuerySet

FENCED: Final = 200
"""For how many jobs one statement has a fence at most: a condition each, of which SQLite takes a
thousand and no more.
"""
_ASKED: Final = (
    "attempts",
    "operator_id",
    "abort_requested_at",
    "reason",
    "stack_requested_at",
    *states.ENDINGS,
)


def claims_of(jobs: Iterable[OperationJob], alias: str) -> OperationQuerySet[Operation]:
    """Return the operations of these jobs whose claim still holds: the fence. For up to `FENCED`
    jobs.
    """
    held = Q(pk__in=())
    for job in jobs:
        held |= Q(pk=job.operation_id, attempts=job.number, operator=job.holder_id)
    return kinds.operations(alias).started().filter(held)


def begin(job: OperationJob) -> bool:
    """Write down that a job begins, if that has to be known before it does.

    That is so for suspects, one of which may kill this process, and for kinds with a timeout. One
    UPDATE for these, none for others, which the operator marks at its next look.

    Returns:
        Whether it may be run. If not, it has ended: its claim is lost, or the database is away.
    """
    operation = job.operation
    limit = _seconds(job.policy)
    if limit is None and not operation.crashes:
        return True
    # The operator may have marked it, as it does all that runs, and knows nothing of a timeout.
    if operation.begun_run_at is not None and (limit is None or operation.times_out_at is not None):
        return True
    now = clock.now(job.alias)
    until = None if limit is None else later(now, limit)
    try:
        with watching(job.alias):
            held = claims_of([job], job.alias).update(begun_run_at=now, times_out_at=until)
    except Error as error:
        reason = f"that it begins could not be written down: {error}"
        job.end_as(Released(reason, delay=RELEASED_AFTER))
        return False
    if not held:
        job.end_as(Released("its claim was lost before it had begun"))
        return False
    operation.begun_run_at, operation.times_out_at = now, until
    return True


def mark_begun(jobs: Sequence[OperationJob], alias: str) -> int:
    """Write down that these jobs have begun: see `OperationQuerySet.mark_begun`."""
    now = clock.now(alias)
    count = 0
    for start in range(0, len(jobs), FENCED):
        group = jobs[start : start + FENCED]
        held = claims_of(group, alias)
        marked = in_transaction(alias, lambda held=held: _mark(held, now))  # type: ignore[misc]
        count += len(marked)
        for job in group:
            if job.operation_id in marked:
                job.operation.begun_run_at = now
    return count


def _mark(held: OperationQuerySet[Operation], now: datetime) -> set[int]:
    """Mark those that nobody has locked; return their ids.

    A `run()` may lock its own row for as long as it takes, and this is the heartbeat's thread,
    which must not wait for it.
    """
    free = {operation.pk for operation in unlocked(held)}
    if free:
        held.filter(pk__in=free).update(begun_run_at=now)
    return free


class Request(NamedTuple):
    """What is wanted of a running job."""

    job: OperationJob
    lost: OperatorError | None
    """Why what it does counts no more; None if its claim holds."""
    abort: str | None
    """Why a person wants it to end; None if nobody does."""
    stack: bool
    """Whether to tell where it is in its code."""


def requests(jobs: Sequence[OperationJob], alias: str) -> list[Request]:
    """Return what is wanted of these jobs, those of which nothing is left out. One query.

    By the ids alone, however many there are: the claims are compared here. A claim is committed
    before its job runs, so that a row that is not there was deleted; one that the `run()` itself
    has deleted is there until that is committed.
    """
    ids = [job.operation_id for job in jobs]
    rows = kinds.operations(alias).filter(Among(ids))
    found = {row["pk"]: row for row in rows.values("pk", *_ASKED)}
    made = (_request(job, found.get(job.operation_id)) for job in jobs)
    return [request for request in made if request.lost or request.abort or request.stack]


def _request(job: OperationJob, row: dict[str, Any] | None) -> Request:
    if row is None:
        return Request(job, OperationLost("its row was deleted"), None, False)
    if (row["attempts"], row["operator_id"]) != (job.number, job.holder_id):
        lost = OperatorLost("its claim was lost, and others may be running it")
        return Request(job, lost, None, False)
    if any(row[ending] for ending in states.ENDINGS):
        # The run has recorded its end itself (`Policy.atomic`), and is just about to return.
        return Request(job, None, None, False)
    asked = (row["reason"] or "asked to abort") if row["abort_requested_at"] else None
    return Request(job, None, asked, row["stack_requested_at"] is not None)


def timeout_of(operation: Operation) -> float | None:
    """Return the seconds that the `run()` of an operation may take; None for no limit."""
    model = kinds.model_of(operation.kind_id, operation._alias)
    return None if model is None else _seconds(model.resolved_policy())


def _seconds(policy: Policy) -> float | None:
    return policy.timeout if isinstance(policy.timeout, (int, float)) else None
