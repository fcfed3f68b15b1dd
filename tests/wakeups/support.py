"""What the tests of wakeups share."""

from __future__ import annotations


class Heard:
    """Counts how often it was called, and keeps with what."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @property
    def count(self) -> int:
        """How often."""
        return len(self.words)

    def __call__(self, word: str = "") -> None:
        self.words.append(word)
