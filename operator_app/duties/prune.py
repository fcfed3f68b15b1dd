"""Delete old ended operations, as the settings and the policies have it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from operator_app import clock, log
from operator_app.duties.base import Duty
from operator_app.models.pruning import Pruned, Rules, rules_of_settings, walks

EVERY: Final = 600.0
"""Seconds between two walks through the table, about."""
STEP: Final = 0.1
"""Seconds between two steps of a walk, in which operations are claimed and recorded."""


class Prune(Duty):
    """Walks through the operations in small steps, and deletes what has ended long enough ago; then
    through the attempts.

    Every operator does, and none minds the others: what one has locked the others pass over.

    Args:
        database: the alias of the operations' database.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._walks: list[tuple[Rules, Callable[..., Pruned]]] = []
        self._total = Pruned()

    def run(self) -> float:
        """Do one step; return the seconds to the next. One query for the rules at the begin of a
        walk, then as `prune_next()`; none where nothing is to go.
        """
        if not self._walks:
            self._walks, self._total = walks(rules_of_settings(self._database)), Pruned()
            if not self._walks:
                return self._rest()
        rules, walk = self._walks[0]
        now = clock.now(self._database)
        self._total.add(walk(rules, now, self._database, after=self._total.after))
        if self._total.is_over:
            del self._walks[0]
            self._total.after, self._total.is_over = 0, False
        if self._walks:
            return STEP
        self._report()
        return self._rest()

    def _rest(self) -> float:
        return EVERY * random.uniform(0.9, 1.1)

    def _report(self) -> None:
        parts, kept = self._total.parts, self._total.kept
        if kept:
            parts.append(f"{kept:,} left, as something protects or uses them")
        if not parts:
            return
        log.logger.info(
            "Old operations were deleted: %s.",
            ", ".join(parts),
            extra={"action": "pruned"},
        )
