"""Make the operations of recurrences when their slots come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from operator_app import clock, conf, log
from operator_app.duties.aside import Aside
from operator_app.duties.base import CONTENDED, LOCKED, Duty
from operator_app.models import Recurrence, declared, slots
from operator_app.models.transactions import is_away, is_locked

MOST: Final = 100
"""How many recurrences are looked at with one query."""
WAITING: Final = 1.0
"""Seconds between two looks at whether an operation has ended that a queued slot waits for."""
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
        self._aside = Aside()
        self._waiting: set[int] = set()
        self._is_complete = False

    def run(self) -> float:
        """See to the slots that have come; return when the next one does.

        One query if none has, or for each `MOST` that have; one more the first time, if the code
        declares recurrences.
        """
        if not self._is_complete:
            declared.insert_missing(self._database)
            self._is_complete = True
        delays = [LOOKS * self._interval()]
        seen = set(self._aside)
        is_over = False
        while not is_over:
            page = slots.look(self._database, MOST, seen)
            now = clock.now(self._database)
            delays += self._see_to_all(page, now)
            seen.update(each.pk for each in page)
            # The others wait for nothing, and come later.
            is_over = len(page) < MOST or not _has_to_be_seen_to(page[-1], now)
        return min(delays)

    def _see_to_all(self, page: list[Recurrence], now: datetime) -> list[float]:
        delays = []
        for recurrence in page:
            try:
                delays.append(self._see_to(recurrence, now))
            except Exception as error:
                # What users write may raise anything, and one recurrence holds up no other.
                if is_away(error):
                    raise
                self._leave(recurrence, error)
            else:
                self._waiting.discard(recurrence.pk)
        return delays

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

    def _leave(self, recurrence: Recurrence, error: Exception) -> None:
        if is_locked(error):
            self._aside.put(recurrence.pk, LOCKED)
            if recurrence.pk not in self._waiting:
                self._waiting.add(recurrence.pk)
                log.logger.warning(
                    "No operation can be made for the recurrence %s yet: a transaction has locked "
                    "what it needs, the unique key of its operation, say.",
                    recurrence,
                    extra={"action": "recurrence_waits"},
                )
            return
        seconds = self._aside.put(recurrence.pk)
        log.logger.error(
            "No operation can be made for the recurrence %s: %s. This operator leaves it alone for "
            "%.0f s; another one may know its kind. To change it, open it in the admin.",
            *(recurrence, str(error).strip() or repr(error), seconds),
            exc_info=None if isinstance(error, slots.UnfitFieldsError) else error,
            extra={"action": "recurrence_unfit"},
        )


def _has_to_be_seen_to(recurrence: Recurrence, now: datetime) -> bool:
    is_due = recurrence.next_run_at is not None and recurrence.next_run_at <= now
    return is_due or getattr(recurrence, "waits", False)
