"""What a duty is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

NEVER: Final = 3600.0
"""The delay of a duty that waits to be woken, in seconds; an hour, in case nobody does."""


class Duty(ABC):
    """A chore: `run()` does it once and returns the seconds until it wants to be run again."""

    @abstractmethod
    def run(self) -> float:
        """Do the chore once; return the delay in seconds, 0 for at once."""
