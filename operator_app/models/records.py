"""Out by record: outcomes are written only where the attempt still holds its claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.db import connections, transaction
from django.db.models import F

from operator_app import log
from operator_app.models import attempts
from operator_app.models.among import Among
from operator_app.models.announcements import announce_pending
from operator_app.models.begun import claims_of
from operator_app.models.connections import reset
from operator_app.models.finishes import finish
from operator_app.models.job import OperationJob
from operator_app.models.kinds import operations
from operator_app.models.notice import give_notice
from operator_app.models.transactions import in_transaction, is_away, is_locked, lock_in_order
from operator_app.outcomes import Finished

SUSPICIOUS: Final = 3
"""How often the write of an outcome may fail before it is tried without its neighbours."""
STATEMENT_SIZE: Final = 1_000_000
"""Characters of job rows in one INSERT; MySQL refuses statements above `max_allowed_packet`."""


def record(jobs: Sequence[OperationJob], *, alias: str) -> list[OperationJob]:
    """Write how these jobs ended; return those whose claim still held.

    One transaction for all of them, in the order of the operations' ids so that two recorders
    cannot deadlock: one guarded UPDATE for all that have finished and one for each other, then the
    job rows that are kept, inserted together. If a claim was lost, all of it is done anew with one
    UPDATE for each; if a row cannot be stored, with a transaction for each, so that one that cannot
    be written takes no other with it, and without its history where that is at fault. A job whose
    claim was lost is logged and changes nothing.

    Args:
        jobs: jobs whose `run()` has returned.
        alias: the database of their operations.

    Raises:
        OperationalError, InterfaceError: if the database is away; or if somebody has locked one of
            the operations, and this thread is impatient (`transactions.impatient()`).
    """
    ordered = sorted(jobs, key=lambda job: job.operation_id)
    held = [job for job in ordered if job.is_recorded]
    rest = [job for job in ordered if not job.is_recorded]
    if rest:
        held += _record(rest, alias)
    for job in held:
        job.write_tried = 0
    _log(ordered, held)
    return held


class _ClaimLost(Exception):
    """Rolls back what was to be written together: one of the claims does not hold."""


def _record(ordered: Sequence[OperationJob], alias: str) -> list[OperationJob]:
    try:
        try:
            return in_transaction(alias, lambda: write(ordered, alias, together=True))
        except _ClaimLost:
            return in_transaction(alias, lambda: write(ordered, alias))
    except Exception as error:
        if is_locked(error):
            raise
        _raise_if_away(error, ordered, alias)
        # A traceback or a `meta` that cannot be stored: find out whose it is.
        return [job for job in ordered if _record_alone(job, alias)]


def _record_alone(job: OperationJob, alias: str) -> bool:
    """Write how one job ended, without its history if that cannot be stored; return whether its
    claim still held.
    """

    def whole() -> bool:
        return bool(write([job], alias))

    try:
        return in_transaction(alias, whole)
    except Exception as error:
        _raise_if_away(error, [job], alias)
    # An outage may end at any moment: the history is at fault only if it fails between two writes
    # without it that do not. This one raises if the database is away indeed.
    in_transaction(alias, lambda: _try_bare(job, alias))
    try:
        return in_transaction(alias, whole)
    except Exception as error:
        if is_away(error):
            reset()
        held = in_transaction(alias, lambda: _write_bare(job, alias))
        log.logger.exception(
            "%s: its history could not be stored, its outcome is.",
            job,
            extra=log.facts("history_lost", job),
        )
        return held


def _raise_if_away(error: Exception, jobs: Sequence[OperationJob], alias: str) -> None:
    """Raise an error that says that the database is away, unless one of these jobs is suspected to
    be at fault; then go on with a new connection.
    """
    if is_away(error):
        if not _is_suspicious(jobs, alias):
            raise error
        reset()


def _is_suspicious(jobs: Sequence[OperationJob], alias: str) -> bool:
    """Whether what looks like an outage may be the fault of a job: it looked so too often, and only
    once an outcome was being written. A `meta` above `max_allowed_packet` ends a MySQL session.
    """
    if connections[alias].in_atomic_block:
        return False
    return max(job.write_tried for job in jobs) >= SUSPICIOUS


def write(
    jobs: Sequence[OperationJob], alias: str, *, together: bool = False
) -> list[OperationJob]:
    """Write how jobs ended, inside the caller's transaction; return those whose claim still held.

    One guarded UPDATE per job, one INSERT for the job rows that are kept; if only some are written
    together, a SELECT that locks all of them, but on SQLite; two more if some have
    failed for good and somebody is to be told; a SELECT more if child processes were killed; on
    PostgreSQL one to tell the operators of what is due again soon.

    Args:
        jobs: in the order of the operations' ids.
        alias: the database of their operations.
        together: whether those that finished are written by one UPDATE.

    Raises:
        _ClaimLost: if one of these has lost its claim: the transaction is to be rolled back.
    """
    ended, landed = _write_endings(jobs, alias, together=together)
    # What has landed has its row already: both were in one transaction. After the guard, so that a
    # lost claim leaves no history of an attempt that does not count.
    _write_history([job for job in ended if job.is_worth_a_row], alias)
    give_notice(ended, alias)
    announce_pending(ended, alias)
    return ended + landed


def _write_endings(
    jobs: Sequence[OperationJob], alias: str, *, together: bool
) -> tuple[list[OperationJob], list[OperationJob]]:
    """Write how jobs ended; return those whose claim held, and those that were written before."""
    ended = [job for job in jobs if together and _has_finished(job)]
    rest = [job for job in jobs if not _has_finished(job)] if ended else jobs
    if ended and rest:
        # What is written below does not come in their order.
        ids = [job.operation_id for job in jobs]
        lock_in_order(operations(alias).filter(Among(ids)))
    if ended and not finish(ended, alias):
        raise _ClaimLost
    landed: list[OperationJob] = []
    for job in rest:
        if _end(job, alias):
            ended.append(job)
        elif _has_landed(job, alias):
            landed.append(job)
    return ended, landed


def _write_history(kept: Sequence[OperationJob], alias: str) -> None:
    from operator_app.models.rescues import take_over_rows

    # A child process that was killed could not say whether it has shown progress.
    take_over_rows([job for job in kept if job.ran_apart], alias)
    new = [job for job in kept if not job.has_row]
    for job in new:
        job.pk = None
    for group in _groups(new):
        OperationJob.objects.using(alias).bulk_create(group)
    for job in kept:
        if job.has_row:
            job.store()


def _try_bare(job: OperationJob, alias: str) -> None:
    """Write how a job ended without its history, and take it back with its transaction."""
    _end(job, alias)
    transaction.set_rollback(True, using=alias)


def _write_bare(job: OperationJob, alias: str) -> bool:
    """Write how a job ended without its history; return whether its claim still held."""
    if _end(job, alias):
        give_notice([job], alias)
        announce_pending([job], alias)
        return True
    return _has_landed(job, alias)


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


def _has_finished(job: OperationJob) -> bool:
    return isinstance(job.ending, Finished) and job.holder_id is not None


def _end(job: OperationJob, alias: str) -> bool:
    """Write the ending of a job where its claim holds; return whether it did.

    One UPDATE; where an abort was asked for, which not every ending survives, a SELECT and an
    UPDATE more.
    """
    outcome = job.ending
    job.write_tried += 1
    assert outcome is not None and job.ended_at is not None, f"{job} has not been run"
    fence = claims_of([job], alias)
    if outcome.if_aborted("") is None:
        return bool(fence.update(**_changes(job)))
    if fence.filter(abort_requested_at__isnull=True).update(**_changes(job)):
        return True
    asked = fence.filter(abort_requested_at__isnull=False).values_list("reason", flat=True).first()
    if asked is None:
        return False
    instead = outcome.if_aborted(asked or "asked to abort")
    assert instead is not None
    job.end_as(instead, at=job.ended_at)
    return bool(fence.update(**_changes(job)))


def _changes(job: OperationJob) -> dict[str, Any]:
    outcome = job.ending
    assert outcome is not None and job.ended_at is not None
    changes = outcome.changes(job.ended_at)
    if outcome.counter is not None:
        changes[outcome.counter] = F(outcome.counter) + 1
    return changes


def _has_landed(job: OperationJob, alias: str) -> bool:
    """Whether an earlier try to write how this attempt ended was committed, unheard."""
    if job.committing and _ended_with(job, {Finished.column: job.committing}, alias):
        # What seemed to end it was the lost answer to the COMMIT of an atomic run.
        job.error, job.exception_class, job.traceback, job.fingerprint = None, "", "", None
        job.end_as(Finished(), at=job.committing)
        return True
    if job.write_tried < 2 or job.ending is None or job.ended_at is None:
        return False
    if job.is_worth_a_row:
        history = OperationJob.objects.using(alias).filter(ended_at=job.ended_at)
        own = history.filter(operation_id=job.operation_id, number=job.number, outcome=job.outcome)
        if own.exists():
            return True
    values = {name: value for name, value in job.ending.changes(job.ended_at).items() if value}
    # A release at the old time leaves nothing behind but its history.
    return bool(values) and _ended_with(job, values, alias)


def _ended_with(job: OperationJob, values: dict[str, Any], alias: str) -> bool:
    row = operations(alias).filter(pk=job.operation_id, attempts=job.number)
    return row.filter(**values).exists()


def _log(jobs: Sequence[OperationJob], held: Sequence[OperationJob]) -> None:
    holders = {id(job) for job in held}
    for job in jobs:
        if id(job) not in holders:
            log.transition("lost", job)
        elif job.ending is not None:
            log.transition(job.ending.name, job, error=attempts.unexpected(job))
