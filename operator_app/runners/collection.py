"""The runners of an operator, together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from operator_app.models import OperationJob
from operator_app.runners.base import Runner


class Runners(Mapping[str, Runner]):
    """Runners by the names that policies use, asked and told as one."""

    def __init__(self, by_name: Mapping[str, Runner]) -> None:
        self._by_name = dict(by_name)
        # So that what is given back after a look at it is not missed by whoever else looks.
        self._lock = threading.RLock()
        self._disowned: dict[int, BaseException] = {}

    def __getitem__(self, name: str) -> Runner:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been submitted that has not ended."""
        return all(runner.is_idle for runner in self.values())

    @property
    def has_waiting(self) -> bool:
        """Whether jobs wait for their turn that will not wait for long."""
        return any(runner.has_waiting for runner in self.values())

    @property
    def running(self) -> list[OperationJob]:
        """The jobs whose `run()` has begun and has not returned."""
        return [job for runner in self.values() for job in runner.running]

    @property
    def held(self) -> list[OperationJob]:
        """The jobs that were submitted and not yet handed over, taken back or abandoned."""
        with self._lock:
            return [job for runner in self.values() for job in runner.held]

    def take_back(self) -> list[OperationJob]:
        """Return the submitted jobs that have not begun; they will not be run."""
        with self._lock:
            return [job for runner in self.values() for job in runner.take_back()]

    def abandon(self) -> list[OperationJob]:
        """Return the jobs that are running; they will not be handed over."""
        return [job for runner in self.values() for job in runner.abandon()]

    def interrupt(self, job: OperationJob, error: BaseException) -> bool:
        """Ask a job to end with this error, wherever it runs; return False if it has ended."""
        for runner in self.values():
            if any(job is each for each in runner.running):
                runner.interrupt(job, error)
                return True
        return False

    def disown(self, operator_id: int, error: BaseException) -> None:
        """Drop what was claimed under one identity and has not begun; ask what has to end."""
        self._disowned[operator_id] = error
        self.drop_disowned()

    def drop_disowned(self) -> None:
        """Do so with what has come since, too: a claim may have been under way. No queries."""
        with self._lock:
            for runner in self.values() if self._disowned else ():
                self._drop_disowned(runner)

    def _drop_disowned(self, runner: Runner) -> None:
        if any(job.holder_id in self._disowned for job in runner.held):
            for job in runner.take_back():
                if job.holder_id not in self._disowned:
                    runner.submit(job)
        for job in runner.running:
            error = self._disowned.get(job.holder_id or 0)
            if error is not None and job.interruption is None:
                runner.interrupt(job, error)

    def stack(self, job: OperationJob) -> str:
        """Return where a running job is in its code, as text; empty if that is not known here."""
        for runner in self.values():
            if any(job is each for each in runner.running):
                return runner.stack(job)
        return ""

    def look(self) -> None:
        """Let each runner report what is wrong with it."""
        for runner in self.values():
            runner.look()

    def close(self) -> None:
        """Free what the runners hold. Waits for no job."""
        for runner in self.values():
            runner.close()
