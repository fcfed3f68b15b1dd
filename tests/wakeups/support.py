"""What the tests of wakeups share."""

from __future__ import annotations


class Heard:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
