"""What happens in an attempt: load, run, decide."""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError
from django.db.models import F

from operator_app import clock
from operator_app.decision import Past, decide, interrupt_in
from operator_app.exceptions import (
    OperationAborted,
    OperationCancelled,
    OperationLost,
    OperationRetried,
    OperationStarted,
    OperationStopped,
    OperationTimedOut,
    OperatorLost,
)
from operator_app.models import kinds, runs
from operator_app.models.begun import timeout_of
from operator_app.models.connections import answers
from operator_app.models.transactions import is_away
from operator_app.moments import later
from operator_app.outcomes import RELEASED_AFTER, Cancelled, Finished, Outcome, Released
from operator_app.policy import BUILT_IN, Policy
from operator_app.reports import ErrorReport, text_of

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation


_OWN_WISH: Final = (OperationStopped, OperationCancelled, OperationRetried, OperationLost)
"""What `run()` may end with after its time is up, and it is taken at its word."""


class Attempt:
    """Loads the operation of a job, and judges what came of its run.

    Args:
        job: of a claimed operation.
        interruptible: whether a KeyboardInterrupt is Ctrl-C: see `OperationJob.run()`.
        final: whether an error is for good, whatever the policy says.
    """

    def __init__(self, job: OperationJob, *, interruptible: bool = False, final: bool = False):
        self.outcome: Outcome = Finished()
        self._job = job
        self._interruptible = interruptible
        self._final = final
        self._policy = BUILT_IN

    @property
    def policy(self) -> Policy:
        """The policy of the operation's kind, once it is open."""
        return self._policy

    def open(self) -> bool:
        """Load the operation; return whether it is to be run. At most one query."""
        job = self._job
        if job.kind is None:
            reason = f"this process does not know the class {job.display_name}"
            self.outcome = Released(reason, delay=RELEASED_AFTER)
            return False
        self._policy = job.policy
        if self._final:
            self._policy = replace(self._policy, max_attempts=1)
        expired = _expired(job.operation, self._policy)
        if expired is not None:
            self.outcome = expired
            return False
        runs.load(job)
        return True

    def judge(self, error: BaseException) -> Outcome:
        """Return what it means that `open()`, or the run, has raised an error. No queries, but for
        a ping if the operation could not be loaded, and what a backoff callable does.
        """
        if isinstance(error, runs.ClaimLost):
            # The record will find the claim lost, too, and say so.
            return Finished()
        if isinstance(error, runs.NotBegun):
            reason = f"its transaction could not begin: {error}"
            return Released(reason, delay=RELEASED_AFTER)
        error.__traceback__ = _users_part(error.__traceback__)
        return _judge(self._job, error, self._policy, interruptible=self._interruptible)


def attempt(job: OperationJob, *, interruptible: bool, final: bool) -> Outcome:
    """Load the operation of a job, run it, decide: see `OperationJob.run()`."""
    this = Attempt(job, interruptible=interruptible, final=final)
    try:
        if this.open():
            runs.run(job, this.policy)
    except BaseException as error:
        return this.judge(error)
    return this.outcome


def past(row: Operation) -> Past:
    """Return what had happened to an operation when its row was read."""
    return Past(failures=row.failures, stops=row.stops, crashes=row.crashes)


def claim_by_hand(job: OperationJob) -> None:
    """Claim the operation of a job for no operator, unless it is claimed. One UPDATE.

    Raises:
        OperationStarted: if somebody else was quicker, or it has ended.
    """
    row = job.operation
    if row.started_run_at is not None and job.number is not None:
        return
    now, limit = clock.now(job.alias), timeout_of(row)
    pending = kinds.operations(job.alias).filter(pk=row.pk).pending()
    claimed = pending.update(
        started_run_at=now,
        begun_run_at=now,
        times_out_at=None if limit is None else later(now, limit),
        attempts=F("attempts") + 1,
        abort_requested_at=None,
    )
    if not claimed:
        raise OperationStarted(f"{row} has been claimed or has ended, so it cannot be run by hand.")
    row.refresh_from_db()
    job.number, job.started_at = row.attempts, now


def unexpected(job: OperationJob) -> BaseException | None:
    """Return the error of a job that error trackers should see: not one asked for by `retry()`."""
    if job.ending is None or job.ending.report is None or isinstance(job.error, OperationRetried):
        return None
    return job.error


def _judge(
    job: OperationJob, error: BaseException, policy: Policy, *, interruptible: bool
) -> Outcome:
    if job.instance is None and isinstance(error, DatabaseError):
        # Its table is older or newer than its class, or the database is away: another process, or
        # this one later, can load it.
        job.could_not_be_loaded = not is_away(error) or answers(job.alias)
        return Released(f"could not be loaded: {ErrorReport.of(error)}", delay=RELEASED_AFTER)
    error = interrupt_in(error)
    if isinstance(error, CancelledError) and job.interruption is not None:
        # Its task was cancelled, because it was asked to end.
        error = OperationAborted(text_of(job.interruption)).with_traceback(error.__traceback__)
    if interruptible and isinstance(error, KeyboardInterrupt):
        job.error = error
        return Released("interrupted", delay=RELEASED_AFTER)
    if isinstance(error, OperationAborted) and isinstance(job.interruption, OperatorLost):
        # Nobody wanted it to end for good. Others are about to run it, or do already.
        return Released(str(job.interruption), delay=RELEASED_AFTER)
    job.error = error = _as_timeout(job, error)
    return decide(error, job.instance, past(job.operation), policy)


def interrupted(job: OperationJob, error: BaseException, policy: Policy) -> Outcome:
    """Return the outcome of a job whose process was killed to end it: see `Runner.interrupt()`."""
    job.interruption = error
    lost = isinstance(error, OperatorLost)
    return _judge(job, OperationAborted() if lost else error, policy, interruptible=False)


def _as_timeout(job: OperationJob, error: BaseException) -> BaseException:
    """Return what an error counts as: after the job's time is up, that it timed out.

    Not if a person had asked it to abort, and it did.
    """
    until = job.operation.times_out_at
    if until is None or clock.now(job.alias) < until or isinstance(error, _OWN_WISH):
        return error
    if isinstance(error, OperationAborted) and isinstance(job.interruption, OperationAborted):
        return error
    if isinstance(error, OperationTimedOut):
        return error
    timed_out = OperationTimedOut(job.overran)
    timed_out.__cause__ = error
    return timed_out


def _expired(row: Operation, policy: Policy) -> Cancelled | None:
    limit = policy.expires_after
    if not isinstance(limit, (int, float)) or row.failures or row.stops or row.crashes:
        return None
    now = clock.now(row._alias)
    if now <= later(row.should_run_at, limit) or _has_begun_before(row):
        return None
    return Cancelled(f"expired: it could not begin within {limit:g} s of when it should have run")


def _has_begun_before(row: Operation) -> bool:
    """Whether an earlier attempt had begun and was released, which nothing else tells. One query,
    if there was one.
    """
    from operator_app.models.job import OperationJob

    earlier = OperationJob.objects.using(row._alias).filter(operation=row.pk)
    return row.attempts > 1 and earlier.filter(begun_at__isnull=False).exists()


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the engine's frames at its start, which say nothing."""
    part = trace
    while part is not None and part.tb_frame.f_code.co_filename in (__file__, runs.__file__):
        part = part.tb_next
    return part or trace
