"""How long operations take, by kind: what says how many may be claimed ahead of their turn."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SHORT: Final = 0.05
"""Seconds up to which a run counts as short: only such kinds are claimed ahead."""
AHEAD: Final = 0.1
"""Seconds of work that may wait for its turn in one operator, while others could do it."""
MOST: Final = 500
"""How many operations may wait for their turn."""
RISE, FALL = 0.5, 0.05
"""How much of a longer, and of a shorter run than expected goes into what is expected next. One
that takes long makes all behind it wait, one that does not costs nothing."""


class Pace:
    """Learns from each run what to expect of the next one of its kind.

    From any thread: the values are numbers on their own, and a lost update loses one lesson.
    """

    def __init__(self) -> None:
        self._expected: dict[int, float] = {}

    def learn(self, kind_id: int, seconds: float) -> None:
        """Note how long a run took."""
        expected = self._expected.get(kind_id)
        if expected is None:
            self._expected[kind_id] = seconds
        else:
            part = RISE if seconds > expected else FALL
            self._expected[kind_id] = expected + part * (seconds - expected)

    def is_short(self, kind_id: int) -> bool:
        """Whether runs of a kind are known to be short. One that never ran is not."""
        return self._expected.get(kind_id, SHORT) < SHORT

    def ahead(self, kind_ids: Collection[int], threads: int) -> int:
        """Return how many operations of these kinds may wait behind so many threads."""
        slowest = max((self._expected.get(kind_id, SHORT) for kind_id in kind_ids), default=SHORT)
        if slowest >= SHORT:
            return 0
        return int(min(MOST, threads * AHEAD / max(slowest, 1e-6)))
