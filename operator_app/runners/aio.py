"""Jobs on an event loop: hundreds at once, for operations that wait more than they work."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

from operator_app import log
from operator_app.models import OperationJob
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.runners.base import Done
from operator_app.runners.family import Family
from operator_app.runners.local import LocalRunner
from operator_app.runners.loop import Loop
from operator_app.runners.threads import ThreadRunner

STACK_WITHIN: Final = 0.5
"""Seconds that the loop gets to tell where a job is."""
HELPERS: Final = 4
"""Threads that load operations, and write down that they begin."""


class AsyncRunner(LocalRunner):
    """Runs up to `capacity` jobs at once, each as a task of one event loop in a thread of its own.

    A job is prepared on one of a few threads that keep their connections. The async ORM of Django
    does its work in threads: each job has one for itself, if it uses the ORM, and with it a
    connection, which is closed when the job has ended. Nothing is started before the first job.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        self._families: dict[int, Family] = {}
        self._loop: Loop | None = None
        self._helpers: ThreadRunner | None = None

    def submit(self, job: OperationJob) -> None:
        """Hand the job to a helper, which hands it to the loop."""
        self._add(job)
        self.call(partial(self._prepare, job))

    def call(self, work: Callable[[], None]) -> None:
        """Do the work on one of the helpers."""
        with self._lock:
            if self._helpers is None:
                self._helpers, self._loop = ThreadRunner(HELPERS, self.done), Loop()
        self._helpers.call(work)

    def interrupt(self, job: OperationJob, error: BaseException) -> None:
        """Raise `CancelledError` in the job's `run()` where it waits. One that has not been called
        yet will not be.
        """
        with self._lock:
            if id(job) not in self._running:
                return
            job.interruption = error
        self._cancel(job)

    def abandon(self) -> list[OperationJob]:
        """Return the jobs that are running, and forget them; what they run is cancelled."""
        jobs = super().abandon()
        for job in jobs:
            self._cancel(job)
        return jobs

    def look(self) -> None:
        """Report an operation that keeps the loop from all others, once for each time."""
        blockage = None if self._loop is None else self._loop.blockage()
        if blockage is None:
            return
        seconds, task, stack = blockage
        with self._lock:
            jobs = [family.job for family in self._families.values() if task in family]
        facts = log.facts("loop_blocked", jobs[0]) if jobs else {"action": "loop_blocked"}
        log.logger.warning(
            "The event loop has been blocked for %.0f s by %s; all its other operations wait.\n%s",
            seconds,
            jobs[0] if jobs else "something that is no operation",
            stack,
            extra=facts,
        )

    def stack(self, job: OperationJob) -> str:
        """Return where the tasks of a job wait; or where the loop is, if that does not answer."""
        with self._lock:
            family, loop = self._families.get(id(job)), self._loop
        if family is None or loop is None:
            return ""
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        loop.call(lambda: answers.put(family.stack()))
        try:
            return answers.get(timeout=STACK_WITHIN)
        except queue.Empty:
            return f"The event loop does not answer. It is here:\n{loop.stack()}"

    def close(self) -> None:
        """Let the loop's thread and the helpers end, once they have nothing to do. Waits for that
        if there is nothing, and for no job.
        """
        with self._lock:
            busy = bool(self._families)
        if self._helpers is not None and self._loop is not None:
            self._helpers.close()
            self._loop.close(wait=not busy)

    @property
    def is_idle(self) -> bool:
        """Whether no job and no hook is under way."""
        with self._lock:
            helped = self._helpers is None or self._helpers.is_idle
            return not (self._waiting or self._running) and helped

    def _prepare(self, job: OperationJob) -> None:
        """Do all that has to wait for the database before a job can run. On a helper."""
        assert self._loop is not None
        if not self._start(job):
            return
        try:
            is_over = not job.prepare()
        except BaseException:
            self._release(job)
            is_over = True
        if not is_over and not self._loop.call(partial(self._begin, job)):
            job.end_as(Released("the event loop has ended"))
            is_over = True
        if is_over:
            self._hand_over(job)

    def _begin(self, job: OperationJob) -> None:
        """Start the task of a prepared job. On the loop's thread."""
        assert self._loop is not None
        with self._lock:
            if id(job) in self._running:  # It was not abandoned.
                family = self._families[id(job)] = Family(job)
                self._loop.start(self._serve(family))

    async def _serve(self, family: Family) -> None:
        job = family.job
        try:
            if job.interruption is None:
                await _run(family)
            else:
                job.end_as(Released("it was to end before it had begun", delay=RELEASED_AFTER))
        except BaseException:
            self._release(job)
        with self._lock:
            self._hand_over(job)
            del self._families[id(job)]

    def _cancel(self, job: OperationJob) -> None:
        """Cancel the run of a job, if it has begun and not ended when the loop gets to it."""

        def cancel() -> None:
            # The job itself, and not its id: another one may have that by then.
            family = self._families.get(id(job))
            if family is not None:
                family.cancel()

        if self._loop is not None:
            self._loop.call(cancel)


async def _run(family: Family) -> None:
    async with ThreadSensitiveContext() as context:
        error = await family.run()
        await family.end()
        if error is None and context not in SyncToAsync.context_to_thread_executor:
            family.job.conclude(None)
        else:
            await sync_to_async(_conclude)(family.job, error)


def _conclude(job: OperationJob, error: BaseException | None) -> None:
    """Decide where the ORM works, after all that the run has asked of it; leave no connection."""
    try:
        job.conclude(error)
    finally:
        # How the job has ended stands, whatever becomes of its connections.
        with suppress(Exception):
            connections.close_all()
