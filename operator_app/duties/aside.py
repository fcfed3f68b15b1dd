"""What an operator leaves to others for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

SECONDS: Final = 60.0
"""For how long, about."""


class Aside:
    """What this process cannot do now, though another one may: its code may be older, or newer.

    Each is left alone for a minute, and a tenth of it more or less, so that operators that have met
    the same do not meet it together ever after.
    """

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def put(self, number: int, seconds: float | None = None) -> float:
        """Leave one alone from now on, by default for a minute; return for how many seconds."""
        seconds = (SECONDS if seconds is None else seconds) * random.uniform(0.9, 1.1)
        self._until[number] = time.monotonic() + seconds
        return seconds

    def __contains__(self, number: int) -> bool:
        return self._until.get(number, 0.0) > time.monotonic()

    def __iter__(self) -> Iterator[int]:
        return (number for number in list(self._until) if number in self)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def clear(self) -> None:
        """Leave none alone any more."""
        self._until.clear()
