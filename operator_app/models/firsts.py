"""The first due operations of a lane, in the order in which they are due: what a claim reads.

In SQL, since the ORM takes longer to write it than the database to execute it.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db import connections

from operator_app.models import states
from operator_app.models.kinds import base
from operator_app.models.lanes import IN_LANE, Lane
from operator_app.models.sql import on_one_line

MOST_LANES: Final = 100
"""How many lanes a statement names at most. SQLite takes 500 terms, and each lane is one."""

_FIRST: Final = """
    SELECT should_run_at, id FROM {table}
    WHERE {pending} AND {in_lane} AND should_run_at <= %s
    {innocent} ORDER BY should_run_at, id LIMIT %s {lock}
"""


class Due(NamedTuple):
    """Which rows may be taken."""

    now: datetime
    suspects: bool
    """Whether also those that were held by an operator that died."""
    alias: str

    @property
    def stored_now(self) -> Any:
        """The time as the database has it."""
        return connections[self.alias].ops.adapt_datetimefield_value(self.now)

    def parameters(self, lane: Lane, count: int) -> list[Any]:
        """Return the parameters of `first()` for up to so many operations of a lane."""
        return [*lane[:3], self.stored_now, count]


@lru_cache
def first(alias: str, suspects: bool, lock: bool) -> str:
    """Return the query for `should_run_at` and `id` of the first due operations of a lane.

    Args:
        alias: the database.
        suspects: as in `Due`.
        lock: whether to lock them, and to pass over what somebody else has locked, where the
            database can. On SQLite the transaction holds the only lock there is; on an old server
            the guard of the UPDATE decides.
    """
    connection = connections[alias]
    key = "NO KEY " if connection.features.has_select_for_no_key_update else ""
    is_locking = lock and connection.features.has_select_for_update_skip_locked
    facts = {
        "table": connection.ops.quote_name(base()._meta.db_table),
        "pending": states.PENDING_SQL,
        "in_lane": IN_LANE,
        "innocent": "" if suspects else "AND crashes = 0",
        "lock": f"FOR {key}UPDATE SKIP LOCKED" if is_locking else "",
    }
    return on_one_line(_FIRST.format(**facts))
