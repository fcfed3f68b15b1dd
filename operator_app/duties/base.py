"""What a duty is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Final

NEVER: Final = 3600.0
"""The delay of a duty that waits to be woken, in seconds; an hour, in case nobody does."""
CONTENDED: Final = 0.02
"""Seconds to wait, about, for what another operator is just seeing to."""
LOCKED: Final = 5.0
"""Seconds until another try of what somebody's transaction has locked."""


class Duty(ABC):
    """A chore: `run()` does it once and returns the seconds until it wants to be run again."""

    @abstractmethod
    def run(self) -> float:
        """Do the chore once; return the delay in seconds, 0 for at once."""


class NowAndThen(Duty):
    """Does another duty when its delay has passed, however often it is asked to."""

    def __init__(self, duty: Duty) -> None:
        self.duty = duty
        self._due_at = self._done_at = 0.0

    def at_once(self, *, pause: float = 0.0) -> None:
        """Let the duty be done the next time, or so many seconds after it was done last."""
        self._due_at = min(self._due_at, self._done_at + pause)

    @property
    def is_due(self) -> bool:
        """Whether `run()` would do the chore now."""
        return self._due_at <= time.monotonic()

    def run(self) -> float:
        """Do the chore if its time has come; return the seconds that are left."""
        left = self._due_at - time.monotonic()
        if left > 0:
            return left
        delay = self.duty.run()
        self._done_at = time.monotonic()
        self._due_at = self._done_at + delay
        return delay
