"""Duties that the database refuses to do, though it is there: said once, tried again now and then.

An outage stops all of an operator, which can do nothing without its database. One row that somebody
has locked, or that something refers to, is no outage: what has nothing to do with it goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from django.db import Error

from operator_app import log

Run: TypeAlias = Callable[[], float]
"""What does a duty once, and returns its delay."""

DELAYS: Final = (5.0, 60.0)
"""The first and the longest wait, in seconds, between two tries."""


class Refusals:
    """Remembers which duties were refused, and when each is worth another try."""

    def __init__(self) -> None:
        self._delays: dict[Run, float] = {}
        self._until: dict[Run, float] = {}

    def left(self, run: Run) -> float:
        """Return the seconds until a duty is to be tried again; 0 if it was not refused."""
        until = self._until.get(run)
        return 0.0 if until is None else max(0.0, until - time.monotonic())

    def met(self, run: Run, error: Error) -> float:
        """Note that a duty was refused; return the seconds to wait. The first time is logged."""
        first, longest = DELAYS
        name = _name(run)
        if run not in self._delays:
            log.logger.error(
                "The database refuses what the operator wants to do (%s): %s. All else goes on; "
                "this is tried again now and then.",
                *(name, str(error).strip()),
                extra={"action": "duty_refused", "duty": name},
            )
        delay = min(longest, self._delays[run] * 2) if run in self._delays else first
        self._delays[run] = delay
        delay *= random.uniform(0.5, 1.0)
        self._until[run] = time.monotonic() + delay
        return delay

    def over(self, run: Run) -> None:
        """Note that a duty was done; the first time after it was refused is logged."""
        if self._delays.pop(run, None) is not None:
            del self._until[run]
            name = _name(run)
            log.logger.warning(
                "The database lets the operator do it again (%s).",
                name,
                extra={"action": "duty_back", "duty": name},
            )


def _name(run: Run) -> str:
    """Return what a duty is called: "prune"."""
    duty = getattr(run, "__self__", run)
    return type(getattr(duty, "duty", duty)).__name__.lower()
