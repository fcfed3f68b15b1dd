"""What is paused, as far as an operator knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from operator_app.models import Circuit, Pause
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
        try:
            rows = Pause.objects.using(self._database).active(now)
            self._known = list(rows.select_related("circuit"))
        except BaseException:
            self._read_at = 0.0
            raise
        self._is_more |= any(pause.scope not in before for pause in self._known)

    def is_more(self) -> bool:
        """Whether more is paused than when this was asked last."""
        found, self._is_more = self._is_more, False
        return found

    def covers(self, lane: Lane, now: datetime) -> bool:
        """Whether operations of a lane are paused. No queries."""
        return bool(self._covering(lane, now))

    def to_try(self, lanes: Iterable[Lane], now: datetime) -> list[tuple[Circuit, list[Lane]]]:
        """Return the open circuits that have cooled down, as far as is known, each with those of
        these lanes, where something is due, that it alone keeps from being claimed. No queries.
        """
        if not any(pause.from_breaker for pause in self._known):
            return []
        found: dict[int, tuple[Circuit, list[Lane]]] = {}
        for lane in [lane for lane in lanes if lane.next_at <= now]:
            covering = self._covering(lane, now)
            circuit = covering[0].open_circuit if len(covering) == 1 else None
            if circuit is not None and circuit.retry_at is not None and circuit.retry_at <= now:
                found.setdefault(circuit.pk, (circuit, []))[1].append(lane)
        return list(found.values())

    def next_change(self, now: datetime) -> float | None:
        """Return the seconds until the first pause ends by itself, or a circuit has cooled down;
        None if there is nothing to wait for.
        """
        active = [pause for pause in self._known if pause.is_active(now)]
        circuits = [pause.open_circuit for pause in active if pause.from_breaker]
        moments = [pause.until for pause in active]
        moments += [circuit.retry_at for circuit in circuits if circuit is not None]
        ahead = [moment for moment in moments if moment is not None and moment > now]
        return (min(ahead) - now).total_seconds() if ahead else None

    def _covering(self, lane: Lane, now: datetime) -> list[Pause]:
        known = self._known
        return [pause for pause in known if pause.is_active(now) and pause.covers_lane(lane)]
