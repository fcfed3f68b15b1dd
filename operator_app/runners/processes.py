"""Jobs in child processes: each crash costs only the operation that caused it."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from operator_app import log
from operator_app.models import OperationJob
from operator_app.models.connections import freshen, tidy
from operator_app.outcomes import Outcome
from operator_app.runners import endings
from operator_app.runners.base import Done, Runner
from operator_app.runners.books import Books
from operator_app.runners.children import NotStarted
from operator_app.runners.slots import Slot

CLOSING: Final = 5.0
"""Seconds that all children together get to leave when the runner is closed."""


class ProcessRunner(Runner):
    """Runs up to `capacity` jobs at once, each in a child process that is reused while it lives.

    Children run operations and record nothing; the parent does that, under its own fence. One that
    dies costs its own job and no other; one that dies with nothing to do costs nothing.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        super().__init__(capacity, done)
        self._books = Books(done)
        self._slots: list[Slot] = []
        self._owner = os.getpid()
        self._opening = threading.Lock()
        self._noting = threading.Lock()
        self._cannot_start = False

    @property
    def free(self) -> int:
        """The children that have nothing to do, or that could be started."""
        return max(0, self.capacity - len(self._books))

    @property
    def running(self) -> list[OperationJob]:
        """The jobs that children have been sent."""
        return self._books.jobs(sent=True)

    @property
    def held(self) -> list[OperationJob]:
        """The jobs that wait for a child or have one."""
        return self._books.jobs()

    def submit(self, job: OperationJob) -> None:
        """Hand the job to a slot. Nothing is started before it is needed."""
        place = self._books.add(job)
        try:
            self._open_slots()
        except RuntimeError as error:
            # No more threads: those that are here may see to it.
            if not self._slots:
                self._note_start(NotStarted(str(error)))
                endings.release(job, f"no child process could run it: {error}")
                self._books.hand_over(place)

    def call(self, work: Callable[[], None]) -> None:
        """Do the work here: it is short, and what it needs is in this process."""
        try:
            work()
        finally:
            tidy()

    def take_back(self) -> list[OperationJob]:
        """Return the jobs that no child has been sent: those behind others, and those whose child
        is only starting. One that was sent may begin at any moment, and says so late.
        """
        return self._books.take_back()

    def interrupt(self, job: OperationJob, error: BaseException) -> None:
        """Kill the child that runs the job, which then ends with the outcome of the error. A job
        that has just ended by itself, or is not at a child, is left alone.
        """
        self._books.interrupt(job, error)

    def stack(self, job: OperationJob) -> str:
        """Return where the main thread of the child is that runs the job, whatever it does."""
        return self._books.stack(job)

    def abandon(self) -> list[OperationJob]:
        """Kill the children that have jobs; return these, and those that wait."""
        return self._books.abandon()

    def close(self) -> None:
        """End the children, and their threads: those that have a job at once, others in order."""
        if os.getpid() != self._owner:
            return  # A fork of the operator at its end: the children are not its own.
        atexit.unregister(self.close)
        self._books.close()
        self._books.abandon()
        deadline = time.monotonic() + CLOSING
        for slot in self._slots:
            slot.join(max(0.0, deadline - time.monotonic()))
        for slot in self._slots:
            slot.kill()

    @property
    def is_idle(self) -> bool:
        """Whether no job is under way."""
        return not self._books

    def _open_slots(self) -> None:
        with self._opening:
            if len(self._slots) >= min(self.capacity, len(self._books)):
                return
            name = f"operation-child-{len(self._slots) + 1}"
            slot = Slot(name, self._books, self._objection, self._note_start)
            slot.start()
            if not self._slots:
                # An interpreter that ends waits for its children, which heed no signal.
                atexit.register(self.close)
            self._slots.append(slot)

    def _objection(self, job: OperationJob) -> Outcome | None:
        """Return how a job ends that must not be sent to a child, None if it may. Called on the
        slot's thread, right before: what has to be known of its beginning is written down here.
        """
        freshen()
        return None if job.begin() else job.ending

    def _note_start(self, trouble: NotStarted | None) -> None:
        """Say once that children cannot be started, and once that they can be again."""
        with self._noting:
            if (trouble is not None) == self._cannot_start:
                return
            self._cannot_start = trouble is not None
        if trouble is None:
            log.logger.warning("Child processes start again.", extra={"action": "children_back"})
            return
        log.logger.error(
            "No child process can be started (%s). Operations that need one are released, and "
            "tried again later.\n%s",
            trouble,
            trouble.details,
            extra={"action": "children_away"},
        )
