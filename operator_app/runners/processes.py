"""Jobs in child processes: each crash costs only the operation that caused it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from pebble import ProcessExpired, ProcessPool

from operator_app import child
from operator_app.decision import decide_crash
from operator_app.exceptions import OperatorLost
from operator_app.models import OperationJob, kinds
from operator_app.models.attempts import past
from operator_app.models.connections import reset, tidy
from operator_app.outcomes import RELEASED_AFTER, Failed, Outcome, Released
from operator_app.reports import ErrorReport
from operator_app.runners.base import Done, Runner

RECYCLED_AFTER = 1000
"""How many jobs a child runs before a new one takes its place, so that leaks stay small."""


class ProcessRunner(Runner):
    """Runs up to `capacity` jobs at once, each in a child process that is reused while it lives.

    Children are spawned, not forked: they share no connection, lock or thread with the operator.
    They run operations and record nothing; the parent does that, under its own fence.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        self._pool: ProcessPool | None = None
        self._lifeline: Connection | None = None
        # Reentrant: `done` may ask whether the runner is idle, and must hear that it is not yet.
        self._lock = threading.RLock()
        self._jobs: dict[int, tuple[OperationJob, Future[child.Ending]]] = {}

    @property
    def free(self) -> int:
        """The children that have nothing to do, or that could be started."""
        with self._lock:
            return max(0, self.capacity - len(self._jobs))

    @property
    def running(self) -> list[OperationJob]:
        """The jobs that children are running. Asked once a second by the heartbeat, which is when
        those are given back that a broken pool has forgotten.
        """
        self._give_back_forgotten()
        with self._lock:
            return [job for job, future in self._jobs.values() if future.running()]

    @property
    def held(self) -> list[OperationJob]:
        """The jobs that wait for a child or have one."""
        with self._lock:
            return [job for job, _ in self._jobs.values()]

    def submit(self, job: OperationJob) -> None:
        """Hand the job to a child; the first one starts it."""
        claim = (job.alias, job.operation_id, job.number, job.operation.operator_id)
        try:
            future = self._usable_pool().schedule(child.run, args=claim)
        except (RuntimeError, OSError) as error:
            reason = f"no child process could be started: {ErrorReport.of(error)}"
            job.end_as(Released(reason, delay=RELEASED_AFTER))
            self.done(job)
            return
        with self._lock:
            self._jobs[id(job)] = (job, future)
        future.add_done_callback(lambda done: self._take(job, done))

    def call(self, work: Callable[[], None]) -> None:
        """Do the work here: it is short, and what it needs is in this process."""
        try:
            work()
        finally:
            tidy()

    def take_back(self) -> list[OperationJob]:
        """Nothing: a job that was handed over may begin at any moment, and its child says so late.
        Given back now, it could run here and elsewhere at once.
        """
        return []

    def abandon(self) -> list[OperationJob]:
        """Kill the children; return the jobs that they were running."""
        with self._lock:
            taken = list(self._jobs.values())
            self._jobs.clear()
        self._stop()
        return [job for job, _ in taken]

    def close(self) -> None:
        """End the children, whatever they do."""
        self._stop()
        if self._pool is not None:
            self._pool.join()
            self._pool = None

    @property
    def is_idle(self) -> bool:
        """Whether no job is under way."""
        with self._lock:
            return not self._jobs

    def _usable_pool(self) -> ProcessPool:
        """Return the pool. One that lost a child which had nothing to do is of no use any more."""
        if self._pool is not None and not self._pool.active:
            self.close()
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            other_end, self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPool(
                max_workers=self.capacity,
                max_tasks=RECYCLED_AFTER,
                initializer=child.start,
                initargs=(os.getpid(), other_end),
                context=context,
            )
        return self._pool

    def _give_back_forgotten(self) -> None:
        """Release what was handed to the pool in the very moment in which it broke.

        Pebble ends the tasks that a broken pool knows of, but one that is just on its way from the
        queue to its books is never ended.
        """
        if self._pool is None or self._pool.active:
            return
        with self._lock:
            forgotten = [(job, future) for job, future in self._jobs.values() if not future.done()]
        for _, future in forgotten:
            future.set_exception(BrokenProcessPool("the pool of child processes broke"))

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None

    def _take(self, job: OperationJob, future: Future[child.Ending]) -> None:
        with self._lock:
            if id(job) not in self._jobs:
                return
        try:
            ending = future.result()
        except ProcessExpired as error:
            job.error = _as_crash(error)
            job.end_as(_outcome_of(job))
        except BaseException as error:
            # Its claim was lost, the database was away, no child could start: it did not run.
            reason = f"its child process could not run it: {ErrorReport.of(error)}"
            job.end_as(Released(reason, delay=RELEASED_AFTER))
        else:
            for name, value in ending.fields.items():
                setattr(job, name, value)
            job.has_row, job.is_recorded = ending.has_row, ending.is_recorded
            job.error = ending.error
            job.could_not_be_loaded = ending.could_not_be_loaded
            job.end_as(ending.outcome, at=ending.ended_at)
        with self._lock:
            # In one step, so that a job is at every moment either here or handed over.
            if self._jobs.get(id(job), (None, None))[1] is future:
                try:
                    self.done(job)
                finally:
                    del self._jobs[id(job)]
        # This is one of the pool's threads, after which nobody tidies up.
        reset()


def _as_crash(error: ProcessExpired) -> OperatorLost:
    code = error.exitcode
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return OperatorLost(f"its child process was ended by {name}")
    return OperatorLost(f"its child process ended with exit code {code}")


def _outcome_of(job: OperationJob) -> Outcome:
    model = kinds.model_of(job.operation.kind_id, job.alias)
    error = job.error
    assert error is not None
    if model is None:
        return Released("its class is unknown here", delay=RELEASED_AFTER)
    policy = model.resolved_policy()
    decided = decide_crash(error, job.operation, past(job.operation), policy)
    # on_stuck="leave" is for a person to look at a dead operator's work; this operator lives.
    return decided or Failed(str(error), error=ErrorReport.of(error), crashed=True)
