"""The books of a runner: which jobs it has, and where each of them is."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from operator_app.models import OperationJob
from operator_app.runners.base import Done

if TYPE_CHECKING:
    from operator_app.runners.slots import Slot


@dataclass(eq=False)
class Place:
    """Where a job is: it waits for a slot, or a slot has it, or the slot's child."""

    job: OperationJob
    slot: Slot | None = None
    is_sent: bool = False


class Books:
    """The jobs that were submitted and not yet handed over, for any thread to ask and change."""

    def __init__(self, done: Done) -> None:
        self._done = done
        # Reentrant: `done` may ask whether the runner is idle, and must hear that it is not yet.
        self._changed = threading.Condition(threading.RLock())
        # By identity: a job that has no row yet has no hash.
        self._places: dict[int, Place] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._places)

    def jobs(self, *, sent: bool = False) -> list[OperationJob]:
        """Return the jobs, in the order they came; with `sent` those that children have."""
        with self._changed:
            return [place.job for place in self._places.values() if place.is_sent or not sent]

    def add(self, job: OperationJob) -> Place:
        """Take a job."""
        with self._changed:
            place = self._places[id(job)] = Place(job)
            self._changed.notify()
        return place

    def assign(self, slot: Slot, patience: float) -> Place | None:
        """Give the slot the job that waits longest; None if none came within its patience."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._next(), patience)
            place = None if self.is_closed else self._next()
            if place is not None:
                place.slot = slot
            return place

    def send(self, place: Place) -> bool:
        """Note that a job goes to a child; return whether it was here still."""
        with self._changed:
            place.is_sent = place.job.ran_apart = self.has(place)
            return place.is_sent

    def unsend(self, place: Place) -> None:
        """Note that the child has died before it had begun with the job."""
        with self._changed:
            place.is_sent = place.job.ran_apart = False
            # Its time begins with its run, and the next child may only be starting.
            place.job.operation.times_out_at = None

    def has(self, place: Place) -> bool:
        """Whether the job was not taken back, abandoned or handed over."""
        return self._places.get(id(place.job)) is place

    def hand_over(self, place: Place) -> None:
        """Hand a job that has ended to `done`, unless it was abandoned."""
        with self._changed:
            # In one step, so that a job is at every moment either here or handed over.
            if self.has(place):
                try:
                    self._done(place.job)
                finally:
                    del self._places[id(place.job)]

    def take_back(self) -> list[OperationJob]:
        """Forget and return the jobs that no child has been sent."""
        with self._changed:
            waiting = [place for place in self._places.values() if not place.is_sent]
            for place in waiting:
                del self._places[id(place.job)]
        return [place.job for place in waiting]

    def abandon(self) -> list[OperationJob]:
        """Forget and return all jobs, and kill the children of the slots that have one."""
        with self._changed:
            places = list(self._places.values())
            self._places.clear()
            for place in places:
                if place.slot is not None:
                    place.slot.kill()
        return [place.job for place in places]

    def interrupt(self, job: OperationJob, error: BaseException) -> None:
        """Kill the child that has the job, and note why; nothing if none has."""
        with self._changed:
            place = self._places.get(id(job))
            if place is None or place.slot is None or not place.is_sent:
                return
            if job.interruption is None:
                job.interruption = error
                place.slot.kill()

    def stack(self, job: OperationJob) -> str:
        """Return where the child is that has the job, as text; empty if none has. May wait for the
        answer, as `Child.stack()` does.
        """
        with self._changed:
            place = self._places.get(id(job))
            if place is None or place.slot is None or not place.is_sent:
                return ""
        text = place.slot.stack()
        # Asked again: what a child says after it has ended a job is about something else.
        return text if self.has(place) else ""

    def close(self) -> None:
        """Let the slots end."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def _next(self) -> Place | None:
        return next((place for place in self._places.values() if place.slot is None), None)
