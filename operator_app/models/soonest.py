"""The first of the pending operations in the order of their times, lane by lane.

A lane has its operations in that order in the index; all of them together are in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.db import connections

from operator_app.models import kinds

if TYPE_CHECKING:
    from operator_app.models.lanes import Lane


def first_of_lanes(lanes: Iterable[Lane], choose: Callable[[Any], Any], alias: str) -> list[int]:
    """Return the ids of the first operations of each lane. One query; none without lanes.

    Args:
        lanes: where to look.
        choose: narrows the pending operations of a lane, orders them by their times, and takes so
            many of them.
        alias: the database.
    """
    parts: list[str] = []
    values: list[Any] = []
    for lane in lanes:
        rows = kinds.operations(alias).pending()
        mine = rows.filter(queue=lane.queue, priority=lane.priority, kind_id=lane.kind_id)
        query = choose(mine).values_list("id", flat=True).query
        sql, parameters = query.get_compiler(alias).as_sql()
        # In a table of its own, since a part of a UNION has no LIMIT everywhere.
        parts.append(f"SELECT id FROM ({sql}) lane")
        values += parameters
    if not parts:
        return []
    with connections[alias].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        return [row[0] for row in cursor.fetchall()]
