"""Make the operations of recurrences when their slots come."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from operator_app import clock, conf, log
from operator_app.duties.base import Duty
from operator_app.models import Recurrence, declared, slots
from operator_app.models.transactions import is_away

MOST: Final = 100
"""How many recurrences are looked at in one run."""
WAITING: Final = 1.0
"""Seconds between two looks at whether an operation has ended that a queued slot waits for."""
CONTENDED: Final = 0.02
"""Seconds to wait for what another operator is just seeing to."""
SET_ASIDE_FOR: Final = 60.0
"""Seconds for which a recurrence is left to others after its fields did not fit here."""
LOOKS: Final = 5
"""How many times rarer than for operations the look for new recurrences is, where nothing tells of
them."""


class Recur(Duty):
    """Sees to slots that have come. Every operator does, there is no leader: see `models.slots`.

    Args:
        database: the alias of the operations' database.
        interval: returns how long to wait if no slot is known to come.
    """

    def __init__(
        self,
        database: str,
        *,
        interval: Callable[[], float] = lambda: conf.get().POLL_INTERVAL,
    ) -> None:
        self._database = database
        self._interval = interval
        self._set_aside: dict[int, float] = {}
        self._is_complete = False

    def run(self) -> float:
        """See to the slots that have come; return when the next one does.

        One query if none has; one more the first time, if the code declares recurrences.
        """
        if not self._is_complete:
            declared.insert_missing(self._database)
            self._is_complete = True
        found = [each for each in slots.look(self._database, MOST) if self._is_mine(each)]
        now = clock.now(self._database)
        delays = [LOOKS * self._interval()]
        for recurrence in found:
            try:
                delays.append(self._see_to(recurrence, now))
            except Exception as error:
                # What users write may raise anything, and one recurrence holds up no other.
                if is_away(error):
                    raise
                self._leave(recurrence, error)
        return min(delays)

    def _see_to(self, recurrence: Recurrence, now: datetime) -> float:
        """Make what is due of a recurrence; return the seconds until there is more to do."""
        if getattr(recurrence, "waits", False):
            slots.make_queued(recurrence, now, self._database)
        next_at = recurrence.next_run_at
        if next_at is not None and next_at <= now:
            made = slots.make_due(recurrence, now, self._database)
            # The next slot stands in the row; or another operator is just at it.
            return 0.0 if made else CONTENDED
        delay = self._interval() if next_at is None else (next_at - now).total_seconds()
        return min(delay, WAITING) if getattr(recurrence, "waits", False) else delay

    def _is_mine(self, recurrence: Recurrence) -> bool:
        return self._set_aside.get(recurrence.pk, 0.0) <= time.monotonic()

    def _leave(self, recurrence: Recurrence, error: Exception) -> None:
        # Another operator may know the kind as the recurrence does: this one's code may be older.
        self._set_aside[recurrence.pk] = time.monotonic() + SET_ASIDE_FOR * random.uniform(0.9, 1.1)
        log.logger.error(
            "No operation can be made for the recurrence %s: %s. This operator leaves it alone for "
            "%.0f s; another one may know its kind. To change it, open it in the admin.",
            *(recurrence, str(error).strip() or repr(error), SET_ASIDE_FOR),
            exc_info=None if isinstance(error, slots.UnfitFieldsError) else error,
            extra={"action": "recurrence_unfit"},
        )
