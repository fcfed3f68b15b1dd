"""Look after what runs: note that it has begun, ask what has to end."""

from __future__ import annotations

import threading
from typing import Final

from django.db import Error

from operator_app import clock, log
from operator_app.duties.base import Duty
from operator_app.exceptions import OperationAborted, OperationTimedOut, OperatorError
from operator_app.models import Operation, OperationJob, stack
from operator_app.models.connections import reset
from operator_app.runners import Runners

WATCHING: Final = 0.5
"""Seconds between two looks: half of what a person's wish may take to arrive."""


class Watch(Duty):
    """Looks at what the runners run, twice a second.

    It is done by the heartbeat's thread, so that nothing that an operation does can keep a person's
    wish from reaching it, nor the operator's leaving.

    Args:
        database: the alias of the operations' database.
        runners: all runners of the operator.
    """

    def __init__(self, database: str, runners: Runners) -> None:
        self._database = database
        self._runners = runners
        self._telling: threading.Thread | None = None

    def run(self) -> float:
        """Look once. No queries while nothing runs, otherwise one, and an UPDATE for what is new.

        Raises:
            DatabaseError: if the database is away.
        """
        self._runners.drop_disowned()
        self._runners.look()
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
        """Ask what a person wants to be aborted, which outranks whatever else it was asked; and
        what runs for nothing. Tell where what he asks for is in its code.
        """
        for request in Operation.all_objects.using(self._database).requests(jobs):
            job = request.job
            if request.lost is not None and job.interruption is None:
                self._end_lost(job, request.lost)
            if request.abort is not None and not isinstance(job.interruption, OperationAborted):
                self._pass_on_abort(job, request.abort)
            if request.stack:
                self._tell_stack(job)

    def _pass_on_abort(self, job: OperationJob, reason: str) -> None:
        if self._runners.interrupt(job, OperationAborted(reason)):
            facts = log.facts("asked_to_abort", job)
            log.logger.info("%s was asked to abort: %s", job, reason, extra=facts)

    def _end_lost(self, job: OperationJob, error: OperatorError) -> None:
        # One that has just ended may have been deleted since, by whoever cleans up behind it.
        if self._runners.interrupt(job, error):
            words = "%s: %s; it is to end, and its outcome will not count."
            log.logger.warning(words, job, error, extra=log.facts("claim_lost", job))

    def _tell_stack(self, job: OperationJob) -> None:
        if self._telling is not None and self._telling.is_alive():
            return  # It is looked at again.
        # Not here: a loop or a child may not answer, and on SQLite the answer may have to wait for
        # a long transaction, perhaps the job's own.
        self._telling = threading.Thread(
            target=_answer, args=(self._runners, job), name="stack", daemon=True
        )
        self._telling.start()

    def _end_overrun(self, jobs: list[OperationJob]) -> None:
        now = clock.now(self._database)
        for job in jobs:
            until = job.operation.times_out_at
            if until is None or until >= now or job.interruption is not None:
                continue
            error = OperationTimedOut(job.overran)
            log.logger.warning("%s: %s.", job, error, extra=log.facts("overran", job))
            self._runners.interrupt(job, error)


def _answer(runners: Runners, job: OperationJob) -> None:
    try:
        if text := runners.stack(job):
            stack.answer(job, text)
    except Error as error:
        log.logger.warning(
            "%s: its stack could not be written: %s",
            job,
            str(error).strip(),
            extra=log.facts("stack_lost", job),
        )
    finally:
        reset()
