"""Write how jobs ended."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Final

from operator_app.duties.base import NEVER, Duty
from operator_app.models import Operation, OperationJob

BATCH: Final = 500
"""How many outcomes are written in one transaction at most."""


class Record(Duty):
    """Collects the jobs that runners are done with, and records them in groups.

    While one group is being written the next one gathers, so that the groups grow with the load. A
    group that could not be written stays here, and is tried again with the next.

    Args:
        database: the alias of the operations' database.
        recorded: called with each job whose outcome was written, to call its hooks.
    """

    def __init__(self, database: str, recorded: Callable[[OperationJob], None]) -> None:
        self._database = database
        self._recorded = recorded
        self._inbox: queue.SimpleQueue[OperationJob] = queue.SimpleQueue()
        self._group: list[OperationJob] = []

    def add(self, job: OperationJob) -> None:
        """Take a job that has ended; from any thread."""
        self._inbox.put(job)

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
        """Record one group, if there is one."""
        group = self.unwritten[:BATCH]
        if not group:
            return NEVER
        held = Operation.all_objects.using(self._database).record(group)
        del self._group[: len(group)]
        for job in held:
            self._recorded(job)
        return NEVER if self.is_empty else 0
