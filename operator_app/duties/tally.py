"""Add up what happens to operations, so that nobody has to count them."""

from __future__ import annotations

import random
import time
from typing import Final

from django.db import Error

from operator_app import clock, log
from operator_app.duties.base import Duty
from operator_app.models import OperationJob
from operator_app.models.tallies import FINEST, Key, Summary, compact, write
from operator_app.models.transactions import is_away

COMPACT_EVERY: Final = 60.0
"""Seconds between two looks at whether tallies are to be thinned out, of an operator that writes
some.
"""
IDLE: Final = 600.0
"""The same, of one that has nothing to write."""
STEP: Final = 0.1
"""Seconds between two steps of it, in which operations are claimed and recorded."""


class KeepTally(Duty):
    """Counts the attempts that this operator records, and writes the counts down now and then.

    Args:
        database: the alias of the operations' database.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._counted: dict[Key, Summary] = {}
        self._compacted_at = time.monotonic()
        self._pause = 0.0

    def count(self, job: OperationJob) -> None:
        """Count an attempt that was recorded. No queries; on the thread that runs this duty."""
        key = Key(job.kind_id, job.queue)
        if (counted := self._counted.get(key)) is None:
            counted = self._counted[key] = Summary()
        counted.add(job)

    def run(self) -> float:
        """Write what was counted; return when to do so again. One query if there is something, and
        once a minute, or once in ten if there is not, those of `compact()`.
        """
        wrote = self.write()
        pause = (COMPACT_EVERY if wrote else IDLE) * random.uniform(0.9, 1.1)
        self._pause = min(self._pause or pause, pause)
        if time.monotonic() - self._compacted_at < self._pause:
            return FINEST
        if compact(clock.now(self._database), self._database):
            return STEP
        self._compacted_at, self._pause = time.monotonic(), 0.0
        return FINEST

    def write(self) -> bool:
        """Write what was counted, as an operator does before it leaves; return whether there was
        something. One query if there was. What cannot be stored though the database is there is
        dropped, with a word in the log: a statistic keeps nobody from his work.

        Raises:
            OperationalError, InterfaceError: if the database is away; nothing is lost.
        """
        if not self._counted:
            return False
        try:
            write(self._counted, clock.now(self._database), self._database)
        except Error as error:
            if is_away(error):
                raise
            log.logger.exception(
                "What operations did lately could not be counted.", extra={"action": "not_counted"}
            )
        self._counted = {}
        return True
