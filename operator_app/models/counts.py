"""How many operations are in each state, up to a cap, at the same cost in a table of any size.

| which operations | how they are counted |
|---|---|
| all, or those of a kind or queue | pending ones by lane; others by index, or as below |
| those of a condition that an index serves | the first `CAP` that it finds |
| those of any other condition | among the newest `WINDOW` operations |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import connections
from django.db.models import Count, Max, Q, QuerySet

from operator_app.models import kinds, states
from operator_app.models.choice import STATES
from operator_app.models.lanes import IN_LANE, Lane
from operator_app.models.number import CAP, Number

WINDOW: Final = 100_000
"""Among how many of the newest operations those are looked for that are in no index."""
LANES: Final = 100
"""In how many lanes the pending ones are counted at most."""

ENDED: Final = ("finished", "failed", "cancelled")

_CONDITIONS: Final[Mapping[str, Callable[[datetime], Q]]] = {
    "scheduled": lambda now: states.PENDING & Q(should_run_at__gt=now),
    "due": lambda now: states.PENDING & Q(should_run_at__lte=now),
    "running": states.running,
    "stuck": states.stuck,
    "finished": lambda now: Q(finished_run_at__isnull=False),
    "failed": lambda now: Q(failed_run_at__isnull=False),
    "cancelled": lambda now: Q(cancelled_at__isnull=False),
}

_WAITING: Final = (
    f"SELECT 1 AS one FROM {{table}} WHERE {{pending}} AND {IN_LANE} AND should_run_at {{than}} %s"
)
_FIRST: Final = "SELECT '{state}', COUNT(*) FROM ({parts} LIMIT {limit}) {state}"


def newest_id(alias: str) -> int:
    """Return the id of the newest operation of all; 0 if there is none. One query."""
    return kinds.operations(alias).aggregate(last=Max("pk"))["last"] or 0


def newest(rows: QuerySet[Any], last: int) -> QuerySet[Any]:
    """Return those that are among the `WINDOW` newest operations of all. No queries.

    Args:
        rows: some operations.
        last: the newest id of all.
    """
    return rows.filter(pk__gt=last - WINDOW)


def are_any_up_to(alias: str, pk: int) -> bool:
    """Whether there are operations with this id or an older one. Ids tell how many there were, and
    not how many there are. One query, of one entry of an index.
    """
    return kinds.operations(alias).filter(pk__lte=pk).exists()


def of_lanes(
    rows: Any, lanes: Iterable[Lane], now: datetime, last: int, *, narrowed: bool
) -> dict[str, Number]:
    """Count the operations of a kind or queue, or all there are. Four queries, two more for all.

    Args:
        rows: the operations, of every state.
        lanes: the lanes that their pending ones are in.
        now: the time by which they are due.
        last: the newest id of all.
        narrowed: whether these are not simply all there are.
    """
    numbers = _pending(list(lanes), now, rows.db)
    started = in_states(rows.started(), ("running", "stuck"), now)
    numbers |= {state: Number(count) for state, count in started.items()}
    if narrowed:
        return numbers | among_newest(rows, now, last, ENDED)
    ended = {"failed": rows.failed(), "cancelled": rows.cancelled()}
    numbers |= {state: Number.of(each, CAP) for state, each in ended.items()}
    return numbers | among_newest(rows, now, last, ["finished"])


def among_newest(
    rows: QuerySet[Any], now: datetime, last: int, names: Iterable[str] = STATES
) -> dict[str, Number]:
    """Count among the newest operations of all. Two queries, of `WINDOW` rows at most."""
    counted = in_states(newest(rows, last), names, now)
    is_more = are_any_up_to(rows.db, last - WINDOW)
    return {state: Number(count, is_more) for state, count in counted.items()}


def of_first(rows: QuerySet[Any], now: datetime) -> dict[str, Number]:
    """Count the first that are found. One query, of `CAP` rows and one."""
    counted = in_states(rows[: CAP + 1], STATES, now)
    is_more = sum(counted.values()) > CAP
    return {state: Number(min(count, CAP), is_more) for state, count in counted.items()}


def in_states(rows: QuerySet[Any], names: Iterable[str], now: datetime) -> dict[str, int]:
    """Return how many of these are in each of the states. One query, which reads them all."""
    counts = {state: Count("pk", filter=_CONDITIONS[state](now)) for state in names}
    if not rows.query.is_sliced:
        rows = rows.order_by()
    return rows.aggregate(**counts)


def _pending(lanes: list[Lane], now: datetime, alias: str) -> dict[str, Number]:
    """Count what is scheduled and what is due. One query, none without lanes; it goes through the
    ranges of the lanes in the index of the pending ones, until it has found enough.
    """
    connection = connections[alias]
    table = connection.ops.quote_name(kinds.base()._meta.db_table)
    moment = connection.ops.adapt_datetimefield_value(now)
    counted = {"scheduled": 0, "due": 0}
    queries: list[str] = []
    values: list[Any] = []
    for state, than in (("scheduled", ">"), ("due", "<=")):
        few = [each for each in lanes[:LANES] if state == "scheduled" or each.next_at <= now]
        part = _WAITING.format(table=table, pending=states.PENDING_SQL, than=than)
        if few:
            parts = " UNION ALL ".join([part] * len(few))
            queries.append(_FIRST.format(state=state, parts=parts, limit=CAP + 1))
            values += [value for lane in few for value in (*lane[:3], moment)]
    if queries:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(queries), values)
            counted |= dict(cursor.fetchall())
    more = len(lanes) > LANES
    return {state: Number(min(n, CAP), more or n > CAP) for state, n in counted.items()}
