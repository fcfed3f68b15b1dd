"""The row of a job, which two processes may want to write: the operator, and a child of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from operator_app.models.transactions import unlocked

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob


def store(job: OperationJob) -> None:
    """Write the row as it stands: one UPDATE if there is one, one INSERT if not; both, and a query
    more at the first time, where another process may have inserted it.
    """
    with job.storing:
        if job.has_row or job.ran_apart:
            # The row may have been rolled back together with what run() did.
            _update(job)
        if job.has_row:
            return
        try:
            _insert(job)
        except IntegrityError:
            # Somebody else was quicker; what is written here is added to that.
            if not (job.ran_apart and _update(job)):
                raise


def store_stack(job: OperationJob, text: str) -> bool:
    """Write where the run is, from another thread than its own: nothing else of the row, in a
    transaction. An INSERT, or a SELECT and an UPDATE; both, where another process has the run, and
    there the INSERT may wait for a transaction that has inserted the same row.

    Returns:
        False if the row is in a transaction of the run, where nobody else can write it.
    """
    job.stack = text
    if job.has_row or job.ran_apart:
        if unlocked(_rows(job)) and _rows(job).update(stack=text):
            return True
        if job.has_row or _rows(job).exists():
            return False
    try:
        _insert(job)
    except IntegrityError:
        if not job.ran_apart:
            raise
        return False  # It has just been inserted, and can be written at the next look.
    return True


def _rows(job: OperationJob) -> QuerySet[OperationJob]:
    """Return its row, whoever has inserted it."""
    rows = type(job).objects.using(job.alias)
    return rows.filter(operation=job.operation_id, number=job.number)


def _update(job: OperationJob) -> bool:
    known = job.has_row
    job.has_row = bool(_rows(job).update(**_own_values(job)))
    if job.has_row and not known:
        job.pk = _rows(job).values_list("pk", flat=True).get()
    return job.has_row


def _insert(job: OperationJob) -> None:
    job.pk = None
    if job.ran_apart:
        # Within a savepoint: on PostgreSQL a refused INSERT ends the transaction around it, which
        # may be the run's.
        with transaction.atomic(using=job.alias):
            job.save(using=job.alias, force_insert=True)
    else:
        job.save(using=job.alias, force_insert=True)
    job.has_row = True


def _own_values(job: OperationJob) -> dict[str, object]:
    """Return what is written over. A stack only where it is known: another process may tell."""
    fixed = {"id", "operation", "number"} | (set() if job.stack else {"stack"})
    fields = [field for field in job._meta.concrete_fields if field.name not in fixed]
    return {field.attname: getattr(job, field.attname) for field in fields}
