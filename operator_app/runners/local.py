"""What runners have in common that run jobs beside each other in the operator's own process."""

from __future__ import annotations

import threading

from operator_app import log
from operator_app.models import OperationJob
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.runners.base import Done, Runner


class LocalRunner(Runner):
    """Keeps the books: which jobs wait, which run. A subclass runs them."""

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        # Reentrant: `done` may ask whether the runner is idle, and must hear that it is not yet.
        self._lock = threading.RLock()
        # By identity: a job that has no row yet has no hash.
        self._waiting: dict[int, OperationJob] = {}
        self._running: dict[int, OperationJob] = {}

    @property
    def free(self) -> int:
        """How many more jobs it would run at once."""
        with self._lock:
            return max(0, self.capacity - len(self._waiting) - len(self._running))

    @property
    def running(self) -> list[OperationJob]:
        """The jobs that have begun."""
        with self._lock:
            return list(self._running.values())

    @property
    def held(self) -> list[OperationJob]:
        """The jobs that wait, and those that have begun."""
        with self._lock:
            return [*self._waiting.values(), *self._running.values()]

    def take_back(self) -> list[OperationJob]:
        """Return the jobs that have not begun."""
        with self._lock:
            jobs = list(self._waiting.values())
            self._waiting.clear()
        return jobs

    def abandon(self) -> list[OperationJob]:
        """Return the jobs that are running, and forget them: a thread cannot be ended."""
        with self._lock:
            jobs = list(self._running.values())
            self._running.clear()
        return jobs

    def _add(self, job: OperationJob) -> None:
        """Let a job wait."""
        with self._lock:
            self._waiting[id(job)] = job

    def _start(self, job: OperationJob) -> bool:
        """Let a job that waits be running; return False if it was taken back."""
        with self._lock:
            if self._waiting.pop(id(job), None) is None:
                return False
            self._running[id(job)] = job
        return True

    def _release(self, job: OperationJob) -> None:
        """End a job whose running met an error; within an `except`."""
        # What run() raises is an outcome; this is an error of the engine. Nothing more is asked of
        # the job, which has to be released.
        log.logger.exception(
            "%s could not be run; it is released.", job, extra={"action": "engine_raised"}
        )
        job.end_as(Released("the engine met an error of its own", delay=RELEASED_AFTER))

    def _hand_over(self, job: OperationJob) -> None:
        """Hand over a job that has ended, unless it was abandoned."""
        with self._lock:
            # In one step, so that a job is at every moment either here or handed over.
            if id(job) in self._running:
                self.done(job)
                del self._running[id(job)]
