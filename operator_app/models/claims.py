"""In by claim: due operations are taken for one operator, atomically.

Higher priorities first, and of equal lanes those operations that are due first. The pending index
is ordered by lane and, within a lane, by time, so the first entry of a lane is the next one due in
it. Lanes that may not be claimed are dropped before a row is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from operator_app.models import specific
from operator_app.models.firsts import Due
from operator_app.models.lanes import Lane
from operator_app.models.process import OperatorProcess
from operator_app.models.shares import shares
from operator_app.models.specific import Taken
from operator_app.models.takes import take

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


def claim(
    operator: OperatorProcess,
    lanes: Sequence[Lane],
    *,
    limit: int,
    now: datetime,
    suspects: bool = True,
    alias: str,
) -> list[Operation]:
    """Take up to `limit` due operations of these lanes for `operator`; return them, claimed, as
    instances of the users' own classes where these can be loaded.

    Higher priority first, then by `should_run_at`, then by id; exact but for rows that another
    operator has locked at this moment, which are passed over. `attempts` grows by one and is the
    fence from then on. For each priority that contributes: what `shares()` and `take()` need. After
    it one SELECT for each kind, and one more if some could not be loaded.

    Args:
        operator: whose they become.
        lanes: where to take them from; lanes with nothing due are passed over.
        limit: how many at most.
        now: the database's time, which becomes their `started_run_at`.
        suspects: whether to take also those that were held by an operator that died.
        alias: the database.
    """
    due = Due(now, suspects, alias)
    taken: list[Taken] = []
    by_priority = sorted(lanes, key=lambda lane: -lane.priority)
    for _, peers in groupby(by_priority, key=lambda lane: lane.priority):
        left = limit - len(taken)
        if left > 0:
            taken += take(shares(list(peers), left, due), operator, due)
    return specific.load_claimed(taken, operator, now, alias)
