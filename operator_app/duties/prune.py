"""Delete old ended operations, as the settings and the policies have it."""

from __future__ import annotations

import random
from typing import Final

from operator_app import clock, log
from operator_app.duties.base import Duty
from operator_app.models.pruning import Pruned, Rules, prune_next, rules_of_settings

EVERY: Final = 600.0
"""Seconds between two walks through the table, about."""
STEP: Final = 0.1
"""Seconds between two steps of a walk, in which operations are claimed and recorded."""


class Prune(Duty):
    """Walks through the table in small steps, and deletes what has ended long enough ago.

    Every operator does, and none minds the others: what one has locked the others pass over.

    Args:
        database: the alias of the operations' database.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._rules: Rules | None = None
        self._total = Pruned()

    def run(self) -> float:
        """Do one step; return the seconds to the next. One query for the rules at the begin of a
        walk, then as `prune_next()`; none where nothing is to go.
        """
        if self._rules is None:
            self._rules, self._total = rules_of_settings(self._database), Pruned()
            if self._rules.are_empty:
                return self._rest()
        now = clock.now(self._database)
        done = prune_next(self._rules, now, self._database, after=self._total.after)
        self._total.counts.update(done.counts)
        self._total.kept += done.kept
        self._total.after = done.after
        if not done.is_over:
            return STEP
        self._report()
        return self._rest()

    def _rest(self) -> float:
        self._rules = None
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
