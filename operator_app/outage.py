"""While the database is away: said once, asked again after growing pauses.

That a session was ended is no outage if the next one can be had: servers and what stands before
them end sessions for idleness, for age, or because somebody has told them to.
"""

from __future__ import annotations

import math
import random
import time
from typing import Final

from django.db import Error

from operator_app import log
from operator_app.models.transactions import is_end_of_session

DELAYS: Final = (0.5, 30.0)
"""The first and the longest wait, in seconds, between two tries. Each is cut by up to a half at
random, so that operators do not all come back at once."""

FORGIVEN_AGAIN: Final = 10.0
"""Seconds after the end of a session in which another one is taken for an outage."""


class Outage:
    """Remembers since when the database is away, and when it is worth another try."""

    def __init__(self) -> None:
        self._delay = 0.0
        self._until = 0.0
        self._forgiven_at = -math.inf

    @property
    def is_on(self) -> bool:
        """Whether the last try met an error."""
        return self._delay > 0

    @property
    def left(self) -> float:
        """Seconds until the next try is due; 0 if it is, or if there is no outage."""
        return max(0.0, self._until - time.monotonic()) if self.is_on else 0.0

    def met(self, error: Error) -> float:
        """Note an error of the database; return the seconds to wait. The first one is logged. That
        a session was ended is no outage yet: there is nothing to wait for before the next one.
        """
        if self._is_forgiven(error):
            log.logger.info(
                "The database has ended a session (%s). Another one is opened.",
                str(error).strip(),
                extra={"action": "session_ended"},
            )
            return 0.0
        first, longest = DELAYS
        if not self.is_on:
            log.logger.error(
                "The database cannot be used (%s). The operator waits for it.",
                str(error).strip(),
                extra={"action": "database_away"},
            )
        self._delay = min(longest, self._delay * 2) if self.is_on else first
        delay = self._delay * random.uniform(0.5, 1.0)
        self._until = time.monotonic() + delay
        return delay

    def over(self) -> None:
        """Note that the database has been used; the first time after an error is logged."""
        if self.is_on:
            self._delay = 0.0
            log.logger.warning("The database is back.", extra={"action": "database_back"})

    def try_now(self) -> None:
        """Let the next try be due."""
        self._until = 0.0

    def _is_forgiven(self, error: Error) -> bool:
        now = time.monotonic()
        if self.is_on or now - self._forgiven_at < FORGIVEN_AGAIN or not is_end_of_session(error):
            return False
        self._forgiven_at = now
        return True
