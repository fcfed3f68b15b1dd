"""The depths: how many operations wait in each lane, counted up to a cap.

By the ORM that would be a query or two for each lane. One statement counts many lanes: each count
reads a range of the pending index, and no more of it than the cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connections

from operator_app.models import states
from operator_app.models.kinds import base
from operator_app.models.lanes import IN_LANE, Lane
from operator_app.models.sql import on_one_line

AT_ONCE: Final = 200
"""How many lanes one statement counts: two columns each, of which SQLite and PostgreSQL allow some
1,600.
"""

MOST: Final = 10_000
"""Up to how many operations of a lane are counted."""
IN_ALL: Final = 200_000
"""How many are counted in all lanes together, where these are many."""
LEAST: Final = 100
"""Up to how many of a lane are counted in any case."""

_COUNT: Final = """
(SELECT COUNT(*) FROM (
    SELECT 1 AS one FROM {table}
    WHERE {pending} AND {in_lane} AND should_run_at {sign} %s
    LIMIT {limit}
) AS counted)
"""


class Depth(NamedTuple):
    """How many operations of a lane wait. A number above the cap stands for itself and more."""

    due: int
    scheduled: int


def fair_cap(number: int) -> int:
    """Return up to how many operations to count in each of so many lanes."""
    return min(MOST, max(LEAST, IN_ALL // max(1, number)))


def depths(lanes: Sequence[Lane], now: datetime, alias: str, cap: int) -> dict[Lane, Depth]:
    """Return how many operations wait in each of these lanes. One query for each 200 lanes.

    Args:
        lanes: which.
        now: what tells the due ones from the scheduled ones.
        alias: the database.
        cap: counting stops at one more than that, in each lane and for each of the two numbers.
    """
    found: dict[Lane, Depth] = {}
    for start in range(0, len(lanes), AT_ONCE):
        some = lanes[start : start + AT_ONCE]
        found |= dict(zip(some, _count(some, now, alias, cap), strict=True))
    return found


def _count(lanes: Sequence[Lane], now: datetime, alias: str, cap: int) -> Iterable[Depth]:
    connection = connections[alias]
    moment = connection.ops.adapt_datetimefield_value(now)
    facts = {
        "table": connection.ops.quote_name(base()._meta.db_table),
        "pending": states.PENDING_SQL,
        "in_lane": IN_LANE,
        "limit": cap + 1,
    }
    both = [on_one_line(_COUNT.format(sign=sign, **facts)) for sign in ("<=", ">")]
    parameters: list[Any] = []
    for lane in lanes:
        parameters += [*lane[:3], moment] * 2
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(both * len(lanes))}", parameters)
        numbers: list[int] = list(cursor.fetchone())
    return [Depth(*numbers[start : start + 2]) for start in range(0, len(numbers), 2)]
