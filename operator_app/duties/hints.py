"""Hints where something is due, for an operator that had nothing to do."""

from __future__ import annotations

import queue
import time
from datetime import datetime
from typing import Final

from operator_app.models.lanes import Lane, of_word

MANY: Final = 10_000
"""How many words are kept while nobody looks: an operator that drains may do so for days."""


class Hints:
    """Spares the look for lanes before a claim where its answer is known.

    That is so if the last look has found nothing due, the time of what it has found has not come,
    and all that was said since names its lane: then nothing else is due but there. What nobody has
    told of is found by the next look, as ever.
    """

    def __init__(self) -> None:
        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._are_too_many = False
        self._quiet_until = 0.0

    def hear(self, word: str) -> None:
        """Take what was said: the name of a lane, or anything else for a call to look. From any
        thread.
        """
        if self._heard.qsize() < MANY:
            self._heard.put(word)
        else:
            self._are_too_many = True

    def wait(self, seconds: float) -> None:
        """Note that a look has found nothing that is due for so many seconds."""
        self._quiet_until = time.monotonic() + seconds

    def take(self, now: datetime) -> list[Lane]:
        """Return the lanes in which something is due, and no others; none if a look is to tell.
        What was heard, and what was known, is forgotten.
        """
        quiet_until, self._quiet_until = self._quiet_until, 0.0
        too_many, self._are_too_many = self._are_too_many, False
        words: set[str] = set()
        try:
            while True:
                words.add(self._heard.get_nowait())
        except queue.Empty:
            pass
        if too_many or time.monotonic() >= quiet_until:
            return []
        told = [of_word(word, now) for word in words]
        found = [lane for lane in told if lane is not None]
        return found if len(found) == len(told) else []
