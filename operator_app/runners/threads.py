"""Jobs in a pool of threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from operator_app import log
from operator_app.models import OperationJob
from operator_app.models.connections import freshen, reset, tidy
from operator_app.models.watchdog import watching
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.runners.base import Done, Runner

Work = Callable[[], None]


class ThreadRunner(Runner):
    """Runs up to `capacity` jobs at once, each in a thread that keeps its database connections.

    Not a `ThreadPoolExecutor`: its threads cannot close their connections at their end, and the
    interpreter waits for them at its own, which an operator whose grace is over must not.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        # Reentrant: `done` may ask whether the runner is idle, and must hear that it is not yet.
        self._lock = threading.RLock()
        # By identity: a job that has no row yet has no hash.
        self._waiting: dict[int, OperationJob] = {}
        self._running: dict[int, OperationJob] = {}
        self._calls = 0
        self._busy = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"operation-{number}", daemon=True)
            for number in range(1, capacity + 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def free(self) -> int:
        """The threads that have nothing to do."""
        with self._lock:
            return max(0, self.capacity - len(self._waiting) - len(self._running))

    @property
    def running(self) -> list[OperationJob]:
        """The jobs that threads are running."""
        with self._lock:
            return list(self._running.values())

    @property
    def held(self) -> list[OperationJob]:
        """The jobs that wait for a thread or have one."""
        with self._lock:
            return [*self._waiting.values(), *self._running.values()]

    def submit(self, job: OperationJob) -> None:
        """Hand the job to a free thread."""
        with self._lock:
            self._waiting[id(job)] = job
        self._work.put(lambda: self._run(job))

    def call(self, work: Work) -> None:
        """Do the work on one of the threads."""
        with self._lock:
            self._calls += 1
        self._work.put(lambda: self._call(work))

    def take_back(self) -> list[OperationJob]:
        """Return the jobs that no thread has begun."""
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

    def close(self) -> None:
        """Let each thread close its connections and end, once it has nothing to do. Waits for that
        if none is busy, and for none that is.
        """
        for _ in self._threads:
            self._work.put(None)
        with self._lock:
            busy = self._busy
        for thread in self._threads if not busy else ():
            thread.join()

    @property
    def is_idle(self) -> bool:
        """Whether no job and no hook is under way."""
        with self._lock:
            return not (self._waiting or self._running or self._calls)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            with self._lock:
                self._busy += 1
            try:
                with watching():
                    freshen()
                work()
                with watching():
                    tidy()
            except BaseException:
                # Jobs and hooks catch their own errors: this one is the engine's, and the thread
                # must outlive it.
                log.logger.exception("A runner's thread met an error of its own.")
                reset()
            with self._lock:
                self._busy -= 1
        reset()

    def _run(self, job: OperationJob) -> None:
        with self._lock:
            if self._waiting.pop(id(job), None) is None:
                return
            self._running[id(job)] = job
        try:
            if job.begin():
                job.run()
        except BaseException:
            # What run() raises is an outcome; this is an error of the engine.
            log.logger.exception("%s could not be run; it is released.", job)
            job.end_as(Released("the engine met an error of its own", delay=RELEASED_AFTER))
        with self._lock:
            # In one step, so that a job is at every moment either here or handed over.
            if id(job) in self._running:
                self.done(job)
                del self._running[id(job)]

    def _call(self, work: Work) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._calls -= 1
