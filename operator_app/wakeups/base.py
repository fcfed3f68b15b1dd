"""The wake-up call within a process."""

from __future__ import annotations

import queue


class Wakeup:
    """Ends a sleep early; may be called from any thread and from a signal handler.

    Not a `threading.Event`: a signal handler that sets one deadlocks if it interrupts the very
    `wait()` that holds the event's lock. `SimpleQueue.put` is reentrant.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()

    def call(self) -> None:
        """End the current sleep, or the next one if nobody sleeps."""
        self._calls.put(None)

    def clear(self) -> bool:
        """Forget earlier calls; return whether there were any. To be done before looking for work,
        never after.
        """
        called = False
        try:
            while True:
                self._calls.get_nowait()
                called = True
        except queue.Empty:
            return called

    def sleep(self, seconds: float) -> bool:
        """Sleep for so many seconds, or until called; return whether there was a call."""
        if seconds <= 0:
            return False
        try:
            self._calls.get(timeout=seconds)
        except queue.Empty:
            return False
        return True
