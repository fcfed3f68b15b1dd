"""What is paused, as far as an operator knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from operator_app.models import Pause
from operator_app.models.lanes import Lane

KNOWN_FOR: Final = 1.0
"""Seconds for which what was read is taken to hold, where nobody tells of changes."""
TOLD_FOR: Final = 5.0
"""The same where somebody does, should a word of it be lost."""


class Pauses:
    """Reads the pauses when it has to: when something was said, or what is known is too old. So
    they cost nothing while there are none, where operators are told of changes.

    Args:
        database: the alias of the operations' database.
        is_told: returns whether changes are told of at once.
    """

    def __init__(self, database: str, is_told: Callable[[], bool] = lambda: False) -> None:
        self._database = database
        self._is_told = is_told
        self._known: list[Pause] = []
        self._read_at = 0.0
        self._is_more = False

    def hear(self) -> None:
        """Note that there may be a change. From any thread."""
        self._read_at = 0.0

    def look(self, now: datetime) -> None:
        """Read the pauses if it has to be. One query, or none."""
        valid_for = TOLD_FOR if self._is_told() else KNOWN_FOR
        if time.monotonic() - self._read_at < valid_for:
            return
        # Before it is read, so that a change meanwhile is read again.
        self._read_at = time.monotonic()
        before = {pause.scope for pause in self._known if pause.is_active(now)}
        self._known = list(Pause.objects.using(self._database).active(now))
        self._is_more |= any(pause.scope not in before for pause in self._known)

    def is_more(self) -> bool:
        """Whether more is paused than when this was asked last."""
        found, self._is_more = self._is_more, False
        return found

    def covers(self, lane: Lane, now: datetime) -> bool:
        """Whether operations of a lane are paused. No queries."""
        return any(pause.is_active(now) and pause.covers_lane(lane) for pause in self._known)

    def next_end(self, now: datetime) -> float | None:
        """Return the seconds until the first pause ends by itself; None if none does."""
        ends = [pause.until for pause in self._known if pause.until and pause.is_active(now)]
        return (min(ends) - now).total_seconds() if ends else None
