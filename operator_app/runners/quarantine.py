"""Suspects, one at a time, each alone in a child process: whoever it ran when it died is guilty."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from operator_app.models import OperationJob
from operator_app.runners.base import Done, Runner
from operator_app.runners.processes import ProcessRunner


class Quarantine(Runner):
    """Runs operations that were held by an operator when it died. One of them may have killed it.

    The first crash makes everything that the operator held a suspect, since nobody can tell who it
    was. Run one by one in a child process, the guilty one kills only the child, and only it is
    charged. That a suspect begins is written down before it does.
    """

    def __init__(self, done: Done) -> None:
        super().__init__(1, done)
        self._lock = threading.RLock()
        self._waiting: deque[OperationJob] = deque()
        self._current: OperationJob | None = None
        self._child = ProcessRunner(1, self._finished)

    @property
    def free(self) -> int:
        """One if there is no suspect at all; those that are claimed go first."""
        return int(self.is_idle)

    @property
    def running(self) -> list[OperationJob]:
        """The suspect in the child."""
        return self._child.running

    @property
    def held(self) -> list[OperationJob]:
        """The suspects that wait, and the one in the child."""
        with self._lock:
            current = [] if self._current is None else [self._current]
            return [*self._waiting, *current]

    def submit(self, job: OperationJob) -> None:
        """Run the job when those before it have ended."""
        with self._lock:
            self._waiting.append(job)
        self._next()

    def call(self, work: Callable[[], None]) -> None:
        """Do the work here."""
        self._child.call(work)

    def take_back(self) -> list[OperationJob]:
        """Return the suspects that have not been handed to the child."""
        with self._lock:
            jobs = list(self._waiting)
            self._waiting.clear()
        return jobs

    def abandon(self) -> list[OperationJob]:
        """Kill the child; return what it was running."""
        jobs = self._child.abandon()
        with self._lock:
            self._current = None
        return jobs

    def close(self) -> None:
        """End the child."""
        self._child.close()

    @property
    def is_idle(self) -> bool:
        """Whether no suspect is waiting or running."""
        with self._lock:
            return self._current is None and not self._waiting

    def _next(self) -> None:
        while True:
            with self._lock:
                if self._current is not None or not self._waiting:
                    return
                job = self._current = self._waiting.popleft()
            if job.begin():
                self._child.submit(job)
                return
            self._hand_over(job)

    def _hand_over(self, job: OperationJob) -> None:
        with self._lock:
            # In one step, so that a job is at every moment either here or handed over.
            self.done(job)
            self._current = None

    def _finished(self, job: OperationJob) -> None:
        self._hand_over(job)
        self._next()
