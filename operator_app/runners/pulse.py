"""Whether an event loop still takes its turns."""

from __future__ import annotations

import asyncio
import time
from typing import Final

BLOCKED_FOR: Final = 2.0
"""Seconds that one task may keep the loop from all others before that is reported."""


class Pulse:
    """Looked at from another thread, twice a second or so; the loop itself is asked to answer.

    A task that was at its turn at two looks, with no answer in between, has had it all the time:
    what the loop is asked waits behind the task, and before the task's next turn. So a loop that is
    only busy, with many tasks that take little, is not taken for a blocked one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked = False
        self._reported = False
        self._task: asyncio.Task[object] | None = None
        self._since = 0.0

    def look(self) -> tuple[float, asyncio.Task[object] | None] | None:
        """Return since how many seconds the loop is blocked, and by which task; None if it is not,
        or if that was returned before. The task is None if it is no task that keeps the loop.

        Raises:
            RuntimeError: if the loop is closed.
        """
        now, task = time.monotonic(), asyncio.current_task(self._loop)
        if not self._asked or task is not self._task:
            self._task, self._since, self._reported = task, now, False
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._answer)
        elif now - self._since >= BLOCKED_FOR and not self._reported:
            self._reported = True
            return now - self._since, task
        return None

    @property
    def is_awaited(self) -> bool:
        """Whether the loop has not answered yet."""
        return self._asked

    def _answer(self) -> None:
        self._asked = False
