"""What every runner can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import TypeAlias

from operator_app.models import OperationJob, stack

Done: TypeAlias = Callable[[OperationJob], None]


class Runner(ABC):
    """Runs jobs and hands each, once its `run()` has returned, to `done`.

    Args:
        capacity: how many jobs it runs at once.
        done: called with each job that has ended, on whichever thread ran it.
    """

    def __init__(self, capacity: int, done: Done) -> None:
        self.capacity = capacity
        self.done = done

    @property
    @abstractmethod
    def free(self) -> int:
        """How many jobs it could start at this moment."""

    def room(self, kind_ids: Collection[int]) -> int:
        """How many operations of these kinds it would take at this moment: the free places, and
        what may wait for its turn because it is known to take but a moment.
        """
        return self.free

    @property
    def has_waiting(self) -> bool:
        """Whether jobs wait for their turn that will not wait for long."""
        return False

    def is_quick(self, kind_id: int) -> bool:
        """Whether operations of a kind are known to take but a moment here."""
        return False

    def take_back_late(self) -> list[OperationJob]:
        """Return the jobs that wait for their turn, and have for too long; they will not be run."""
        return []

    @property
    @abstractmethod
    def running(self) -> list[OperationJob]:
        """The jobs whose `run()` has begun and has not returned."""

    @property
    @abstractmethod
    def held(self) -> list[OperationJob]:
        """The jobs that were submitted and not yet handed to `done`, taken back or abandoned."""

    @abstractmethod
    def submit(self, job: OperationJob) -> None:
        """Run a job, soon. Called from the operator's main thread only."""

    @abstractmethod
    def call(self, work: Callable[[], None]) -> None:
        """Run a short piece of work, such as a hook, where jobs run."""

    @abstractmethod
    def take_back(self) -> list[OperationJob]:
        """Return the submitted jobs that have not begun; they will not be run."""

    def interrupt(self, job: OperationJob, error: BaseException) -> None:
        """Ask a running job to end, and say why: a person wants it to (OperationAborted), its time
        is up (OperationTimedOut), its row was deleted (OperationLost), or its claim is no longer
        this operator's (OperatorLost). From any thread.
        """
        job.interruption = error

    @abstractmethod
    def abandon(self) -> list[OperationJob]:
        """Return the jobs that are running; `done` will not be called with them."""

    def stack(self, job: OperationJob) -> str:
        """Return where a running job is in its code, as text; empty if it has just ended, or does
        not tell. May wait for the answer, for a second at most. From any thread.
        """
        return stack.of_thread(job.thread)

    def look(self) -> None:  # noqa: B027  (most have nothing to report)
        """Report what is wrong with the runner itself, if anything is. From any thread, often."""

    @abstractmethod
    def close(self) -> None:
        """Free its threads. Waits for no job."""

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing has been submitted that has not ended."""
