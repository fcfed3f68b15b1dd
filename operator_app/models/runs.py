"""How the `run()` of an operation is called."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from asgiref.sync import async_to_sync
from django.db import DatabaseError, connections, transaction

from operator_app import clock, log
from operator_app.exceptions import OperationAborted
from operator_app.models import hooks, kinds
from operator_app.models.begun import claims_of
from operator_app.models.transactions import Silence, is_away, writing
from operator_app.models.watchdog import watching
from operator_app.outcomes import Finished
from operator_app.policy import Policy
from operator_app.reports import ErrorReport

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob
    from operator_app.models.operation import Operation

READ_FOR: Final = 1.0
"""Seconds after which a row that was read is read again before it is run."""


class ClaimLost(Exception):
    """Ends an attempt whose claim was lost; rolls back an atomic one."""


class NotBegun(Exception):
    """The database was away or locked when the transaction of an atomic operation was to begin."""


def load(job: OperationJob) -> None:
    """Load the operation of a job, and tell who listens that it starts. No query if its row was
    read as an instance of the user's class a moment ago; otherwise at most two.

    Raises:
        ClaimLost: if the claim was lost.
        OperationAborted: if a person wanted it to end before it had begun.
        BaseException: whatever loading raises.
    """
    by_hand = job.holder_id is None
    is_old = job.read_at is None or time.monotonic() - job.read_at > READ_FOR
    if not by_hand and not is_old and type(job.operation) is not kinds.base():
        job.instance = job.operation
    else:
        with watching(job.alias):
            if is_old and not by_hand:
                _read_again(job)
            job.load()
    operation = job.load()
    if not _is_claim_of(job, operation):
        raise ClaimLost
    if operation.abort_requested_at is not None:
        raise OperationAborted(operation.reason or "asked to abort")
    hooks.started(job)
    job.begun_at = clock.now(job.alias)


def run(job: OperationJob, policy: Policy) -> None:
    """Call the `run()` of a loaded operation, in a transaction if the policy says so.

    Raises:
        ClaimLost: if the claim of an atomic run was lost meanwhile.
        NotBegun: if the transaction of an atomic run could not begin.
        BaseException: whatever `run()` raises.
    """
    operation = job.load()
    job.session, job.thread = connections[job.alias], threading.get_ident()
    if policy.atomic is True:
        _run_atomically(job, operation)
    elif connections[job.alias].in_atomic_block:
        _run_inside(operation, job.alias)
    else:
        _call(operation)


async def arun(job: OperationJob) -> BaseException | None:
    """Await the `run()` of a loaded operation; return what it raised."""
    try:
        result = job.load().run()
        if inspect.isawaitable(result):
            await result
    except BaseException as error:
        return error
    return None


def _read_again(job: OperationJob) -> None:
    """Read the row of an operation whose claim is not of this moment. Its process may have been
    paused since, taken for dead, and its work given to another.

    Raises:
        ClaimLost: if it is no longer what the job claimed.
    """
    row = claims_of([job], job.alias).first()
    if row is None:
        raise ClaimLost
    # What the operator has noted here since the claim, it has written there.
    job.operation, job.instance = row, None
    job.read_at = time.monotonic()


def _is_claim_of(job: OperationJob, operation: Operation) -> bool:
    """Whether the row as it was just loaded is still what the job claimed. Its process may
    have been paused in between, taken for dead, and its work given to another.
    """
    claim = (job.number, job.holder_id)
    return (operation.attempts, operation.operator_id) == claim


def _run_atomically(job: OperationJob, operation: Operation) -> None:
    """Run, and record the success in the same transaction, whose last statement is the fence."""
    from operator_app.models import records

    committed: list[bool] = []
    begun = False
    nested = connections[job.alias].in_atomic_block
    silence = Silence(job.alias)

    def note_commit() -> None:
        committed.append(True)
        silence.lift()

    try:
        with writing(job.alias):
            begun = True
            if not nested:
                # Before any callback of the user's, one of which may raise, or take its time.
                transaction.on_commit(note_commit, using=job.alias)
            _call(operation)
            _refuse_broken(job.alias)
            if not nested:
                # From the fence on others would wait for the row.
                silence.limit()
            job.end_as(Finished())
            if not records.write([job], job.alias):
                raise ClaimLost
            _complete_row(job)
            job.committing = job.ended_at
    except BaseException as error:
        silence.lift()
        by_hand = job.holder_id is None
        if not begun and not by_hand and is_away(error):
            # On SQLite another atomic run may hold the lock for longer than anybody waits.
            raise NotBegun(error) from None
        if not committed:
            raise
        log.logger.error(
            "%s: a callback given to on_commit() raised %s; the outcome stands.",
            job,
            ErrorReport.of(error),
            exc_info=error,
            extra=log.facts("on_commit_raised", job),
        )
    job.is_recorded = True


def _complete_row(job: OperationJob) -> None:
    """Write the end into the row that the operator has inserted for the run's stack, if it has and
    nothing else asked for a row. One query, in a child process only.
    """
    from operator_app.models import rescues

    # After the guard, whose lock the operator needs for that.
    if job.ran_apart and not job.has_row:
        for taken in rescues.take_over_rows([job], job.alias):
            taken.store()


def _run_inside(operation: Operation, alias: str) -> None:
    """Run inside somebody's transaction: `dispatch_now` in a view, a test.

    An error of the database leaves that transaction unusable on PostgreSQL, so it is rolled back to
    here. Any other error leaves what was written, as it would outside.
    """
    other_error: BaseException | None = None
    with transaction.atomic(using=alias):
        try:
            _call(operation)
            _refuse_broken(alias)
        except DatabaseError:
            raise
        except BaseException as error:
            other_error = error
    if other_error is not None:
        raise other_error


def _refuse_broken(alias: str) -> None:
    if connections[alias].needs_rollback:
        raise DatabaseError(
            "run() went on after an error of the database inside a transaction, so what it "
            "wrote is lost. Put the statement that may fail into atomic()."
        )


def _call(operation: Operation) -> None:
    result = operation.run()
    if result is not None and inspect.isawaitable(result):
        async_to_sync(_finish)(result)


async def _finish(result: Awaitable[object]) -> None:
    await result
