"""Write how jobs ended."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Final

from operator_app.duties.base import NEVER, Duty
from operator_app.models import Operation, OperationJob, circuits

BATCH: Final = 500
"""How many outcomes are written in one transaction at most."""
GATHER: Final = 0.02
"""Seconds that the first outcome of a group waits for others at most, while more are coming."""


class Record(Duty):
    """Collects the jobs that runners are done with, and records them in groups.

    While one group is being written the next one gathers, so that the groups grow with the load. A
    group that could not be written stays here, and is tried again with the next.

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
        return not self._group and self._inbox.empty()

    @property
    def unwritten(self) -> list[OperationJob]:
        """The jobs that were added and are not recorded. On the thread that records, only."""
        try:
            while True:
                self._group.append(self._inbox.get_nowait())
        except queue.Empty:
            return list(self._group)

    def run(self) -> float:
        """Record one group, if there is one, and it has waited long enough or is full."""
        # Before the group is taken: what is added from here on begins a new one.
        since, self._since = self._since, None
        group = self.unwritten[:BATCH]
        if not group:
            return NEVER
        left = 0.0 if since is None else since + GATHER - time.monotonic()
        if left > 0 and len(group) < BATCH and self._more():
            self._since = since
            return left
        held = Operation.all_objects.using(self._database).record(group)
        del self._group[: len(group)]
        for job in held:
            self._recorded(job)
        circuits.judge(held, self._database)
        return NEVER if self.is_empty else 0
