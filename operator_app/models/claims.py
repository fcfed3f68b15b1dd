"""In by claim: due operations are taken for one operator, atomically.

Higher priorities first, and of equal lanes those operations that are due first. The pending index
is ordered by lane and, within a lane, by time, so the first entry of a lane is the next one due in
it. Lanes that may not be claimed are dropped before a row is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Value

from operator_app.models import specific
from operator_app.models.lanes import Lane
from operator_app.models.process import OperatorProcess
from operator_app.models.querysets import OperationQuerySet
from operator_app.models.specific import Taken
from operator_app.models.takes import Due, Share, take

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
    fence from then on. For each priority that contributes: a SELECT if several of its lanes do, and
    what `takes.take()` needs. After it one SELECT for each kind, and one more if some could not be
    loaded.

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
        if left > 0 and (shares := _shares(list(peers), left, due)):
            taken += take(shares, operator, due)
    return specific.load_claimed(taken, operator, now, alias)


def _shares(peers: list[Lane], limit: int, due: Due) -> list[Share]:
    """Return how many of the next `limit` operations come from each of these equal lanes."""
    # The first `limit` rows in order of time come from the `limit` lanes that are due first, and
    # from those that are due at the same moment as the last of them.
    ordered = sorted(
        [lane for lane in peers if lane.next_at <= due.now], key=lambda lane: lane.next_at
    )
    if not ordered:
        return []
    last = ordered[:limit][-1].next_at
    first = [lane for lane in ordered if lane.next_at <= last]
    if len(first) == 1:
        return [(first[0], limit)]
    heads = _heads([due.in_lane(lane) for lane in first], limit, due.alias)
    counts = Counter(number for _, _, number in sorted(heads)[:limit])
    return [(first[number], share) for number, share in sorted(counts.items())]


def _heads(
    lanes: list[OperationQuerySet[Operation]], limit: int, alias: str
) -> list[tuple[datetime, int, int]]:
    """Return (should_run_at, id, number of the lane) of the first due rows of each lane."""
    numbered = [
        rows.annotate(number=Value(number)).values_list("should_run_at", "pk", "number")[:limit]
        for number, rows in enumerate(lanes)
    ]
    if connections[alias].features.supports_slicing_ordering_in_compound:
        return list(numbered[0].union(*numbered[1:], all=True))
    return [head for rows in numbered for head in rows]
