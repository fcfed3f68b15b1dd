"""In by claim: due operations are taken for one operator, atomically.

A lane is (queue, priority, kind). The pending index is ordered by lane and, within a lane, by time,
so the first entry of a lane is the next one due in it, and the lanes themselves are found by
jumping from one lane's first entry to the next lane's: the cost grows with the number of lanes,
not with that of operations. Lanes that may not be claimed are dropped before a row is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connections
from django.db.models import F, Min, Value
from django.db.models.expressions import RawSQL

from operator_app.models import specific, states
from operator_app.models.among import Among
from operator_app.models.kinds import operations
from operator_app.models.process import OperatorProcess
from operator_app.models.querysets import OperationQuerySet
from operator_app.models.specific import Taken
from operator_app.models.transactions import in_transaction, unlocked

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

# From the first entry of a lane to that of the next: of the next kind, else of the next priority,
# else of the next queue. Three questions, since SQLite seeks only the first column of a row value.
_FIRST_OF_EACH_LANE: Final = """
WITH RECURSIVE lane(id) AS (
    SELECT (
        SELECT id FROM {table} WHERE {pending}
        ORDER BY queue, priority, kind_id, should_run_at, id LIMIT 1
    )
    UNION ALL
    SELECT COALESCE(
        (
            SELECT later.id FROM {table} later
            WHERE {pending} AND later.queue = here.queue AND later.priority = here.priority
              AND later.kind_id > here.kind_id
            ORDER BY later.kind_id, later.should_run_at, later.id LIMIT 1
        ), (
            SELECT later.id FROM {table} later
            WHERE {pending} AND later.queue = here.queue AND later.priority > here.priority
            ORDER BY later.priority, later.kind_id, later.should_run_at, later.id LIMIT 1
        ), (
            SELECT later.id FROM {table} later
            WHERE {pending} AND later.queue > here.queue
            ORDER BY later.queue, later.priority, later.kind_id, later.should_run_at, later.id
            LIMIT 1
        )
    )
    FROM lane JOIN {table} here ON here.id = lane.id
)
SELECT id FROM lane WHERE id IS NOT NULL
"""


class Lane(NamedTuple):
    """A queue, a priority, a kind; and when the next of its pending operations is due."""

    queue: str
    priority: int
    kind_id: int
    next_at: datetime


def lanes(alias: str) -> list[Lane]:
    """Return all lanes that have pending operations. One query, of one index entry per lane."""
    rows = operations(alias)
    if connections[alias].vendor == "mysql":
        # A loose index scan ("Using index for group-by"), which the recursive query would not get
        # here, and which needs the whole prefix of the index in GROUP BY.
        lane = ("queue", "priority", "kind_id")
        grouped = rows.pending().order_by().values_list(*states.PENDING_COLUMNS, *lane)
        found = grouped.annotate(next_at=Min("should_run_at"))
        return [Lane(*row) for row in found.values_list(*lane, "next_at")]
    meta = rows.model._meta
    sql = _FIRST_OF_EACH_LANE.format(
        table=connections[alias].ops.quote_name(meta.db_table),
        pending=" AND ".join(f"{column} IS NULL" for column in states.PENDING_COLUMNS),
    )
    first = rows.filter(pk__in=RawSQL(sql, ())).order_by()
    return [
        Lane(*row) for row in first.values_list("queue", "priority", "kind_id", "should_run_at")
    ]


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
    fence from then on. One transaction: at most two SELECTs per lane that contributes, one UPDATE.
    After it one SELECT for each kind, and one more if some could not be loaded.

    Args:
        operator: whose they become.
        lanes: where to take them from; lanes with nothing due are passed over.
        limit: how many at most.
        now: the database's time, which becomes their `started_run_at`.
        suspects: whether to take also those that were held by an operator that died.
        alias: the database.
    """
    due = [lane for lane in lanes if lane.next_at <= now]
    if not due or limit < 1:
        return []
    taken = in_transaction(alias, lambda: _take(operator, due, limit, _Due(now, suspects, alias)))
    return specific.load_claimed(taken, operator, now, alias)


class _Due(NamedTuple):
    """Which rows may be taken."""

    now: datetime
    suspects: bool
    alias: str

    def in_lane(self, lane: Lane) -> OperationQuerySet[Operation]:
        """Return those of a lane, in order."""
        rows = operations(self.alias).due(self.now)
        mine = rows.filter(queue=lane.queue, priority=lane.priority, kind_id=lane.kind_id)
        if not self.suspects:
            mine = mine.filter(crashes=0)
        return mine.order_by("should_run_at", "id")


def _take(operator: OperatorProcess, lanes: Sequence[Lane], limit: int, due: _Due) -> list[Taken]:
    chosen: list[Taken] = []
    by_priority = sorted(lanes, key=lambda lane: -lane.priority)
    for _, peers in groupby(by_priority, key=lambda lane: lane.priority):
        found: list[Taken] = []
        for lane, share in _shares(list(peers), limit - len(chosen), due):
            rows = due.in_lane(lane).values_list("should_run_at", "pk")[:share]
            found += [Taken(moment, pk, lane.kind_id) for moment, pk in unlocked(rows)]
        chosen += sorted(found)
        if len(chosen) >= limit:
            break
    if not chosen:
        return []
    return _mark(chosen, operator, due.now, due.alias)


def _shares(peers: list[Lane], limit: int, due: _Due) -> list[tuple[Lane, int]]:
    """Return how many of the next `limit` operations come from each of these equal lanes."""
    # The first `limit` rows in order of time come from the `limit` lanes that are due first, and
    # from those that are due at the same moment as the last of them.
    ordered = sorted(peers, key=lambda lane: lane.next_at)
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


def _mark(chosen: list[Taken], operator: OperatorProcess, now: datetime, alias: str) -> list[Taken]:
    ids = [taken.pk for taken in chosen]
    claimed = (
        operations(alias)
        .filter(Among(ids))
        .pending()
        .update(
            started_run_at=now,
            operator=operator,
            attempts=F("attempts") + 1,
            begun_run_at=None,
            times_out_at=None,
            abort_requested_at=None,
            stack_requested_at=None,
        )
    )
    if claimed == len(ids):
        return chosen
    mine = operations(alias).filter(Among(ids), operator=operator, started_run_at=now)
    held = set(mine.values_list("pk", flat=True))
    return [taken for taken in chosen if taken.pk in held]
