"""Out by record: outcomes are written only where the attempt still holds its claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from django.db import InterfaceError, OperationalError
from django.db.models import F

from operator_app import log
from operator_app.models import attempts
from operator_app.models.job import OperationJob
from operator_app.models.transactions import in_transaction

STATEMENT_SIZE: Final = 1_000_000
"""Characters of job rows in one INSERT; MySQL refuses statements above `max_allowed_packet`."""


def record(jobs: Sequence[OperationJob], *, alias: str) -> list[OperationJob]:
    """Write how these jobs ended; return those whose claim still held.

    One transaction for all of them: one guarded UPDATE per job, in the order of the operations'
    ids so that two recorders cannot deadlock, then the job rows that are kept, inserted together.
    If a row cannot be stored, each job gets a transaction of its own, so that one that cannot
    be written takes no other with it. A job whose claim was lost is logged and changes nothing.

    Args:
        jobs: jobs whose `run()` has returned.
        alias: the database of their operations.

    Raises:
        OperationalError, InterfaceError: if the database is away.
    """
    ordered = sorted(jobs, key=lambda job: job.operation_id)
    if not ordered:
        return []
    try:
        held = in_transaction(alias, lambda: _write(ordered, alias))
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        # A traceback or a `meta` that cannot be stored: find out whose it is.
        held = _one_by_one(ordered, alias)
    _log(ordered, held)
    return held


def _one_by_one(jobs: Sequence[OperationJob], alias: str) -> list[OperationJob]:
    held: list[OperationJob] = []
    for job in jobs:
        try:
            held += in_transaction(alias, lambda job=job: _write([job], alias))  # type: ignore[misc]
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.logger.exception(
                "%s: its history could not be stored, its outcome is.",
                job,
                extra=log.facts("history_lost", job),
            )
            if in_transaction(alias, lambda job=job: _end(job, alias)):  # type: ignore[misc]
                held.append(job)
    return held


def _write(jobs: Sequence[OperationJob], alias: str) -> list[OperationJob]:
    held = [job for job in jobs if _end(job, alias)]
    kept = [job for job in held if job.is_worth_a_row]
    # After the guard, so that a lost claim leaves no history of an attempt that does not count.
    new = [job for job in kept if not job.has_row]
    for job in new:
        job.pk = None
    for group in _groups(new):
        OperationJob.objects.using(alias).bulk_create(group)
    for job in kept:
        if job.has_row:
            job.store()
    return held


def _groups(jobs: Sequence[OperationJob]) -> Iterator[list[OperationJob]]:
    """Split jobs so that the text of each group fits into one statement of any database."""
    group: list[OperationJob] = []
    size = 0
    for job in jobs:
        length = len(job.traceback) + len(job.message) + len(job.log)
        if group and size + length > STATEMENT_SIZE:
            yield group
            group, size = [], 0
        group.append(job)
        size += length
    if group:
        yield group


def _end(job: OperationJob, alias: str) -> bool:
    from operator_app.models.operation import Operation

    outcome = job.ending
    assert outcome is not None and job.ended_at is not None, f"{job} has not been run"
    changes = outcome.changes(job.ended_at)
    if outcome.counter is not None:
        changes[outcome.counter] = F(outcome.counter) + 1
    claim = Operation.all_objects.using(alias).started()
    fence = claim.filter(
        pk=job.operation_id, attempts=job.number, operator_id=job.operation.operator_id
    )
    return bool(fence.update(**changes))


def _log(jobs: Sequence[OperationJob], held: Sequence[OperationJob]) -> None:
    holders = {id(job) for job in held}
    for job in jobs:
        if id(job) not in holders:
            log.transition("lost", job)
        elif job.ending is not None:
            log.transition(job.ending.name, job, error=attempts.unexpected(job))
