"""Write how jobs ended."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Final

from django.db import Error

from operator_app import log
from operator_app.duties.base import LOCKED, NEVER, Duty
from operator_app.models import Operation, OperationJob, circuits
from operator_app.models.rescues import locked_ids
from operator_app.models.transactions import is_locked

BATCH: Final = 500
"""How many outcomes are written in one transaction at most."""
GATHER: Final = 0.02
"""Seconds that the first outcome of a group waits for others at most, while more are coming."""


class Record(Duty):
    """Collects the jobs that runners are done with, and records them in groups.

    While one group is being written the next one gathers, so that the groups grow with the load. A
    group that could not be written stays here, and is tried again with the next. A job whose
    operation somebody has locked waits here, and holds up no other.

    Args:
        database: the alias of the operations' database.
        recorded: called with each job whose outcome was written, to call its hooks.
        more: whether other outcomes are to be expected in a moment, so that it pays to wait.
    """

    def __init__(
        self,
        database: str,
        recorded: Callable[[OperationJob], None],
        more: Callable[[], bool] = bool,
    ) -> None:
        self._database = database
        self._recorded = recorded
        self._more = more
        self._inbox: queue.SimpleQueue[OperationJob] = queue.SimpleQueue()
        self._group: list[OperationJob] = []
        self._locked: list[tuple[float, OperationJob]] = []
        self._since: float | None = None

    def add(self, job: OperationJob) -> bool:
        """Take a job that has ended; from any thread.

        Returns:
            Whether `run()` is to be called: for the first one of a group, which then says when it
            wants to be called again, and for one that fills it.
        """
        self._inbox.put(job)
        if self._since is None:
            self._since = time.monotonic()
            return True
        return self._inbox.qsize() >= BATCH

    @property
    def is_empty(self) -> bool:
        """Whether every job that was added has been recorded."""
        return not self._locked and not self._group and self._inbox.empty()

    @property
    def waits_for_locks(self) -> bool:
        """Whether all that is not recorded waits for somebody else's transaction."""
        return bool(self._locked) and not self._group and self._inbox.empty()

    @property
    def unwritten(self) -> list[OperationJob]:
        """The jobs that were added and are not recorded. On the thread that records, only."""
        self._gather()
        return [*self._group, *(job for _, job in self._locked)]

    def _gather(self) -> None:
        try:
            while True:
                self._group.append(self._inbox.get_nowait())
        except queue.Empty:
            return

    def run(self) -> float:
        """Record one group, if there is one, and it has waited long enough or is full."""
        # Before the group is taken: what is added from here on begins a new one.
        since, self._since = self._since, None
        self._take_back()
        self._gather()
        group = self._group[:BATCH]
        if not group:
            return self._delay()
        left = 0.0 if since is None else since + GATHER - time.monotonic()
        if left > 0 and len(group) < BATCH and self._more():
            self._since = since
            return left
        try:
            held = Operation.all_objects.using(self._database).record(group)
        except Error as error:
            if not is_locked(error):
                raise
            self._put_aside(group)
            return 0.0  # The others can be recorded now.
        del self._group[: len(group)]
        for job in held:
            self._recorded(job)
        circuits.judge(held, self._database)
        return self._delay()

    def _put_aside(self, group: list[OperationJob]) -> None:
        """Let those of a group wait whose operations somebody has locked; all of it if none is, and
        it is something else that they need. A transaction with two queries.
        """
        locked = locked_ids([job.operation_id for job in group], self._database)
        again_at = time.monotonic() + LOCKED
        for job in group:
            if job.operation_id in locked or not locked:
                if not job.waited_for_lock:
                    job.waited_for_lock = True
                    _report(job)
                self._group.remove(job)
                self._locked.append((again_at, job))

    def _take_back(self) -> None:
        """Let those be tried again that are not locked any more. None if none has waited for long
        enough; else as `locked_ids()`.
        """
        now = time.monotonic()
        due = [job for again_at, job in self._locked if again_at <= now]
        if due:
            locked = locked_ids([job.operation_id for job in due], self._database)
            self._locked = [waiting for waiting in self._locked if waiting[0] > now]
            self._locked += [(now + LOCKED, job) for job in due if job.operation_id in locked]
            self._group += [job for job in due if job.operation_id not in locked]

    def _delay(self) -> float:
        if self._group or not self._inbox.empty():
            return 0.0
        return min([NEVER, *(again_at - time.monotonic() for again_at, _ in self._locked)])


def _report(job: OperationJob) -> None:
    log.logger.warning(
        "%s has ended (%s), which cannot be recorded yet: a transaction has locked its row, or "
        "what else is written with it. End that, or the session of the database.",
        *(job, job.outcome),
        extra=log.facts("record_waits", job),
    )
