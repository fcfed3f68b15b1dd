"""Look after what runs: note that it has begun, ask what has to end."""

from __future__ import annotations

from typing import Final

from operator_app import clock, log
from operator_app.duties.base import Duty
from operator_app.exceptions import OperationAborted, OperationTimedOut
from operator_app.models import Operation, OperationJob
from operator_app.runners import Runners

WATCHING: Final = 1.0
"""Seconds between two looks."""


class Watch(Duty):
    """Looks at what the runners run, once a second.

    It is done by the heartbeat's thread, so that nothing that an operation does can keep a person's
    wish from reaching it, nor the operator's leaving.

    Args:
        database: the alias of the operations' database.
        runners: all runners of the operator.
    """

    def __init__(self, database: str, runners: Runners) -> None:
        self._database = database
        self._runners = runners

    def run(self) -> float:
        """Look once. No queries while nothing runs, otherwise one, and an UPDATE for what is new.

        Raises:
            DatabaseError: if the database is away.
        """
        self._runners.drop_disowned()
        jobs = self._runners.running
        if jobs:
            self._mark_begun(jobs)
            self._pass_on_requests(jobs)
            self._end_overrun(jobs)
        return WATCHING

    def _mark_begun(self, jobs: list[OperationJob]) -> None:
        """Write down what has been running since the last look: it is no longer only claimed."""
        new = [job for job in jobs if job.operation.begun_run_at is None]
        if new:
            Operation.all_objects.using(self._database).mark_begun(new)

    def _pass_on_requests(self, jobs: list[OperationJob]) -> None:
        """Ask what a person wants to be aborted. That outranks whatever else it was asked."""
        asked = Operation.all_objects.using(self._database).asked_to_abort(jobs)
        for job, reason in asked:
            if not isinstance(job.interruption, OperationAborted):
                self._runners.interrupt(job, OperationAborted(reason or "asked to abort"))

    def _end_overrun(self, jobs: list[OperationJob]) -> None:
        now = clock.now(self._database)
        for job in jobs:
            until = job.operation.times_out_at
            if until is None or until >= now or job.interruption is not None:
                continue
            error = OperationTimedOut(job.overran)
            log.logger.warning("%s: %s.", job, error, extra=log.facts("overran", job))
            self._runners.interrupt(job, error)
