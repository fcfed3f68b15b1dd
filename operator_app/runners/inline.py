"""Jobs in the caller's own thread, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from operator_app.models import OperationJob
from operator_app.models.connections import tidy
from operator_app.models.watchdog import pausing
from operator_app.runners.base import Done, Runner


class InlineRunner(Runner):
    """Runs each job at once, in the thread that submits it."""

    def __init__(self, done: Done) -> None:
        super().__init__(1, done)
        self._current: OperationJob | None = None

    @property
    def free(self) -> int:
        """One: it is only asked when it is idle."""
        return 1

    @property
    def running(self) -> list[OperationJob]:
        """The job that is running, as other threads see it."""
        return [job for job in (self._current,) if job is not None]

    @property
    def held(self) -> list[OperationJob]:
        """The job that is running."""
        return self.running

    def submit(self, job: OperationJob) -> None:
        """Run the job before returning.

        Raises:
            KeyboardInterrupt: after the job, released, was handed to `done`.
        """
        self._current = job
        try:
            if job.begin():
                with pausing():
                    job.run(interruptible=True)
            self.done(job)
        finally:
            self._current = None
            tidy()
        if isinstance(job.error, KeyboardInterrupt) and job.outcome == "released":
            raise job.error

    def call(self, work: Callable[[], None]) -> None:
        """Do the work before returning."""
        work()

    def take_back(self) -> list[OperationJob]:
        """Nothing waits here."""
        return []

    def abandon(self) -> list[OperationJob]:
        """Nothing runs while anybody can ask."""
        return []

    def close(self) -> None:
        """Nothing to free."""

    @property
    def is_idle(self) -> bool:
        """Always, while anybody can ask."""
        return True
