"""What happens in an attempt: load, run, decide; and the hooks around it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync
from django.db import DatabaseError, connections, transaction
from django.db.models import F

from operator_app import clock, log
from operator_app.decision import Past, decide
from operator_app.exceptions import OperationRetried, OperationStarted
from operator_app.models import kinds
from operator_app.outcomes import RELEASED_AFTER, Finished, Outcome, Released
from operator_app.policy import BUILT_IN, Policy
from operator_app.reports import ErrorReport

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation


def attempt(job: OperationJob, *, interruptible: bool, final: bool) -> Outcome:
    """Load the operation of a job, run it, decide: see `OperationJob.run()`."""
    policy = BUILT_IN
    try:
        model = kinds.model_of(job.operation.kind_id, job.alias)
        if model is None:
            reason = f"this process does not know the class {job.display_name}"
            return Released(reason, delay=RELEASED_AFTER)
        policy = model.resolved_policy()
        if final:
            policy = replace(policy, max_attempts=1)
        _call_run(job.load(), job.alias)
    except BaseException as error:
        error.__traceback__ = _users_part(error.__traceback__)
        return _judge(job, error, policy, interruptible=interruptible)
    return Finished()


def _judge(
    job: OperationJob, error: BaseException, policy: Policy, *, interruptible: bool
) -> Outcome:
    if job.instance is None and isinstance(error, DatabaseError):
        # Its table is older or newer than its class, or the database is away: another process, or
        # this one later, can load it.
        job.could_not_be_loaded = True
        return Released(f"could not be loaded: {ErrorReport.of(error)}", delay=RELEASED_AFTER)
    job.error = error
    if interruptible and isinstance(error, KeyboardInterrupt):
        return Released("interrupted", delay=RELEASED_AFTER)
    past = Past(failures=job.operation.failures, stops=job.operation.stops)
    return decide(error, job.instance, past, policy)


def claim_by_hand(job: OperationJob) -> None:
    """Claim the operation of a job for no operator, unless it is claimed. One UPDATE.

    Raises:
        OperationStarted: if somebody else was quicker, or it has ended.
    """
    from operator_app.models.operation import Operation

    row = job.operation
    if row.started_run_at is not None and job.number is not None:
        return
    now = clock.now(job.alias)
    pending = Operation.all_objects.using(job.alias).filter(pk=row.pk).pending()
    claimed = pending.update(
        started_run_at=now, begun_run_at=now, attempts=F("attempts") + 1, abort_requested_at=None
    )
    if not claimed:
        raise OperationStarted(f"{row} has been claimed or has ended, so it cannot be run by hand.")
    row.refresh_from_db()
    job.number, job.started_at = row.attempts, now


def call_queued(job: OperationJob) -> None:
    """Call the hook `queued()` of the job's operation, if its kind has one."""
    model = kinds.model_of(job.operation.kind_id, job.alias)
    if model is None or not kinds.overrides(model, "queued"):
        return
    try:
        job.load().queued()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _log_hook_error("queued", job, error)


def has_ending_hook(job: OperationJob) -> bool:
    """Whether the kind of a job's operation has a hook for the way it ended. No queries."""
    return _ending_hook(job) is not None


def call_ending_hook(job: OperationJob) -> None:
    """Call `succeeded()` or `errored()` of the job's operation, if its kind has it."""
    name, operation, outcome = _ending_hook(job), job.instance, job.ending
    if name is None or operation is None or outcome is None:
        return
    try:
        if name == "succeeded":
            operation.succeeded()
        elif job.error is not None:
            operation.errored(job.error, not outcome.ended)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _log_hook_error(name, job, error)


def _ending_hook(job: OperationJob) -> str | None:
    if job.instance is None or job.ending is None:
        return None
    if isinstance(job.ending, Finished):
        name = "succeeded"
    elif job.ending.report is not None:
        name = "errored"
    else:
        return None
    return name if kinds.overrides(type(job.instance), name) else None


def unexpected(job: OperationJob) -> BaseException | None:
    """Return the error of a job that error trackers should see: not one asked for by `retry()`."""
    if job.ending is None or job.ending.report is None or isinstance(job.error, OperationRetried):
        return None
    return job.error


def _call_run(operation: Operation, alias: str) -> None:
    if not connections[alias].in_atomic_block:
        _run(operation)
        return
    # Inside somebody's transaction (dispatch_now in a view, a test): an error of the database
    # leaves that transaction unusable on PostgreSQL, so it is rolled back to here. Any other error
    # leaves what was written, as it would outside.
    other_error: BaseException | None = None
    with transaction.atomic(using=alias):
        try:
            _run(operation)
            if connections[alias].needs_rollback:
                raise DatabaseError(
                    "run() went on after an error of the database inside a transaction, so what it "
                    "wrote is lost. Put the statement that may fail into atomic()."
                )
        except DatabaseError:
            raise
        except BaseException as error:
            other_error = error
    if other_error is not None:
        raise other_error


def _run(operation: Operation) -> None:
    result = operation.run()
    if inspect.isawaitable(result):
        async_to_sync(_finish)(result)


async def _finish(result: Awaitable[object]) -> None:
    await result


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this file at its start, which say nothing."""
    part = trace
    while part is not None and part.tb_frame.f_code.co_filename == __file__:
        part = part.tb_next
    return part or trace


def _log_hook_error(name: str, job: OperationJob, error: BaseException) -> None:
    log.logger.error(
        "%s: its hook %s() raised %s; the outcome stands.",
        job,
        name,
        ErrorReport.of(error),
        exc_info=error,
        extra=log.facts(f"{name}_raised", job),
    )
