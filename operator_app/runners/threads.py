"""Jobs in a pool of threads."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from operator_app import log
from operator_app.models import OperationJob
from operator_app.models.connections import are_doubtful, are_untidy, freshen, reset, tidy
from operator_app.models.watchdog import watching
from operator_app.runners.base import Done
from operator_app.runners.local import LocalRunner
from operator_app.runners.pace import SHORT, Pace

ENDING: Final = 5.0
"""Seconds that its threads get to close their connections and end."""
LATE: Final = 1.0
"""Seconds without a thread that has come free, after which what waits for one is given back."""

Work = Callable[[], None]


class ThreadRunner(LocalRunner):
    """Runs up to `capacity` jobs at once, each in a thread that keeps its database connections.

    Not a `ThreadPoolExecutor`: its threads cannot close their connections at their end, and the
    interpreter waits for them at its own, which an operator whose grace is over must not.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        self._pace = Pace()
        self._began: dict[int, float] = {}
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._calls = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"operation-{number}", daemon=True)
            for number in range(1, capacity + 1)
        ]
        for thread in self._threads:
            thread.start()

    def room(self, kind_ids: Collection[int]) -> int:
        """The free threads; and if nothing takes long, as many more as run in a tenth of a second,
        once half of these have begun.
        """
        with self._lock:
            free, waiting = self.free, len(self._waiting)
            oldest = min(self._began.values(), default=math.inf)
        ahead = self._pace.ahead(kind_ids, self.capacity)
        if waiting > ahead // 2 or time.monotonic() - oldest >= SHORT:
            return free
        return max(free, ahead - waiting)

    @property
    def has_waiting(self) -> bool:
        """Whether jobs wait that were claimed ahead of their turn."""
        return bool(self._waiting)

    def is_quick(self, kind_id: int) -> bool:
        """Whether its runs are known to be short."""
        return self._pace.is_short(kind_id)

    def take_back_late(self) -> list[OperationJob]:
        """Return all that wait for their turn, if no thread has come free for so long that what
        runs must take longer than such operations do: others could run them meanwhile.
        """
        with self._lock:
            newest = max(self._began.values(), default=math.inf)
            is_ahead = len(self._waiting) + len(self._running) > self.capacity
            is_late = is_ahead and time.monotonic() - newest > LATE
            return self.take_back() if is_late else []

    def submit(self, job: OperationJob) -> None:
        """Hand the job to a free thread."""
        self._add(job)
        self._work.put(lambda: self._run(job))

    def call(self, work: Work) -> None:
        """Do the work on one of the threads."""
        with self._lock:
            self._calls += 1
        self._work.put(lambda: self._call(work))

    def close(self) -> None:
        """Let each thread close its connections and end, once it has nothing to do. Waits for that
        if none runs user code, also such as was abandoned, and for none that does.
        """
        for _ in self._threads:
            self._work.put(None)
        with self._lock:
            busy = self._began or self._calls
        for thread in self._threads if not busy else ():
            thread.join(timeout=ENDING)

    @property
    def is_idle(self) -> bool:
        """Whether no job and no hook is under way."""
        with self._lock:
            return not (self._waiting or self._running or self._calls)

    def _serve(self) -> None:
        tidied_at = -math.inf
        while (work := self._work.get()) is not None:
            try:
                if are_doubtful(tidied_at):
                    with watching():
                        freshen()
                work()
                if are_untidy():
                    with watching():
                        tidy()
                tidied_at = time.monotonic()
            except BaseException:
                # Jobs and hooks catch their own errors: this one is the engine's, and the thread
                # must outlive it.
                log.logger.exception(
                    "A runner's thread met an error of its own.", extra={"action": "engine_raised"}
                )
                reset()
        reset()

    def _run(self, job: OperationJob) -> None:
        if not self._start(job):
            return
        # Asked for now: what runs is the user's own instance.
        kind_id, began = job.kind_id, time.monotonic()
        self._began[id(job)] = began
        try:
            if job.begin():
                job.run()
        except BaseException:
            self._release(job)
        del self._began[id(job)]
        self._pace.learn(kind_id, time.monotonic() - began)
        self._hand_over(job)

    def _call(self, work: Work) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._calls -= 1
