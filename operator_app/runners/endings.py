"""What the end of a job in a child process means for the job."""

from __future__ import annotations

import pickle

from django.db import Error

from operator_app.child import Ending
from operator_app.decision import decide_crash
from operator_app.exceptions import OperationLost, OperatorLost
from operator_app.models import OperationJob
from operator_app.models.attempts import interrupted, past
from operator_app.models.connections import freshen
from operator_app.models.watchdog import watching
from operator_app.outcomes import RELEASED_AFTER, Failed, Released
from operator_app.policy import BUILT_IN, Policy
from operator_app.reports import ErrorReport


class ChildTraceback(Exception):
    """Where in the child process an error was raised, as text: the cause of the error here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def tell(job: OperationJob, ending: Ending) -> None:
    """End the job as its child says that it ended. No queries."""
    for name, value in ending.fields.items():
        setattr(job, name, value)
    job.has_row, job.is_recorded = ending.has_row, ending.is_recorded
    # Somebody has asked where it was, and so there is a row that the child may not know of.
    job.ran_apart = bool(job.stack)
    job.could_not_be_loaded, job.committing = ending.could_not_be_loaded, ending.committing
    job.error = _error_of(ending)
    job.end_as(ending.outcome, at=ending.ended_at)


def crash(job: OperationJob, error: BaseException) -> None:
    """End the job as the crash that the end of its child is."""
    error = OperatorLost(f"operator {job.operator}: {error}") if job.operator else error
    decided = decide_crash(error, job.operation, past(job.operation), _policy(job))
    # on_stuck="leave" is for a person to look at a dead operator's work; this operator lives.
    outcome = decided or Failed(str(error), error=ErrorReport.of(error), crashed=True)
    job.error = error
    job.end_as(outcome)


def interrupt(job: OperationJob, error: BaseException) -> None:
    """End the job as if its `run()` had ended because it was asked to. At most one query: a backoff
    may be the user's own function, which gets the operation.
    """
    try:
        with watching(job.alias):
            freshen()
            job.load()
    except (Error, OperationLost):
        pass  # The database is away, or the row is gone: nothing is known of it but what is here.
    job.end_as(interrupted(job, error, _policy(job)))


def release(job: OperationJob, reason: str) -> None:
    """End the job as one that did not begin."""
    job.end_as(Released(reason, delay=RELEASED_AFTER))


def _policy(job: OperationJob) -> Policy:
    """Return the policy of the job's kind, or the built-in one if that cannot be found out now."""
    try:
        return job.policy
    except Error:
        return BUILT_IN


def _error_of(ending: Ending) -> BaseException | None:
    if ending.error is None:
        return None
    report = ending.outcome.report
    trace = "" if report is None else report.traceback
    try:
        error: BaseException = pickle.loads(ending.error)
        # Pickle leaves tracebacks behind; as its cause, error trackers show it with the error.
        error.__cause__ = ChildTraceback(trace) if trace else None
    except BaseException as second:
        return RuntimeError(
            f"{report or 'An error'} (lost on its way here: {ErrorReport.of(second)})"
        )
    return error
