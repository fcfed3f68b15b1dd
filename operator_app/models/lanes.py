"""The lanes: what can be told apart of pending operations without reading them.

All operations of a queue, a priority and a kind lie together in the index, in the order in which
they become due. The lanes are found by jumping from one lane's first entry to the next lane's: the
cost grows with the number of lanes, not with that of operations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from django.db import connections
from django.db.models import Min

from operator_app.models import states
from operator_app.models.among import among_found
from operator_app.models.kinds import base, operations
from operator_app.models.sql import on_one_line

# From the first entry of a lane to that of the next: of the next kind, else of the next priority,
# else of the next queue. Three questions, since SQLite seeks only the first column of a row value.
_FIRST_OF_EACH: Final = """
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
SELECT queue, priority, kind_id, should_run_at FROM {table}
WHERE id {among}
"""

IN_LANE: Final = "queue = %s AND priority = %s AND kind_id = %s"
"""The condition that an operation is in a lane; its parameters are the first three of the lane."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/-]+")
_WORD: Final = re.compile(rf"(\d{{1,18}}) (-?\d{{1,5}}) ({_PLAIN.pattern})")


class Lane(NamedTuple):
    """A queue, a priority, a kind; and when the next of its pending operations is due."""

    queue: str
    priority: int
    kind_id: int
    next_at: datetime


def as_word(queue: str, priority: int, kind_id: int) -> str:
    """Return the name of a lane for a NOTIFY; empty where that would have to be quoted."""
    return f"{kind_id} {priority} {queue}" if _PLAIN.fullmatch(queue) else ""


def of_word(word: str, next_at: datetime) -> Lane | None:
    """Return the lane of this name; None if it is none. Anybody may notify anything."""
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    kind_id, priority, queue = found.groups()
    return Lane(queue, int(priority), int(kind_id), next_at)


def lanes(alias: str) -> list[Lane]:
    """Return all lanes that have pending operations. One query, of one index entry per lane."""
    if connections[alias].vendor == "mysql":
        # A loose index scan ("Using index for group-by"), which the recursive query would not get
        # here, and which needs the whole prefix of the index in GROUP BY.
        lane = ("queue", "priority", "kind_id")
        pending = operations(alias).pending().order_by()
        grouped = pending.values_list(*states.PENDING_COLUMNS, *lane)
        found = grouped.annotate(next_at=Min("should_run_at"))
        return [Lane(*row) for row in found.values_list(*lane, "next_at")]
    with connections[alias].cursor() as cursor:
        cursor.execute(_first_of_each(alias))
        as_moment = moments(alias)
        return [
            Lane(queue, priority, kind_id, as_moment(next_at))
            for queue, priority, kind_id, next_at in cursor.fetchall()
        ]


def moments(alias: str) -> Callable[[Any], datetime]:
    """Return what makes of a value of `should_run_at`, read past the ORM, what the ORM makes of it:
    on SQLite a time is a text.
    """
    column = base()._meta.get_field("should_run_at").get_col(base()._meta.db_table)
    connection = connections[alias]
    converters = connection.ops.get_db_converters(column)

    def as_moment(value: Any) -> datetime:
        for convert in converters:
            value = convert(value, column, connection)
        found: datetime = value
        return found

    return as_moment


@lru_cache
def _first_of_each(alias: str) -> str:
    """Return the query for the first operation of each lane. Not by the ORM, which takes as long to
    write it as the database to answer it.
    """
    table = connections[alias].ops.quote_name(base()._meta.db_table)
    among = among_found("SELECT id FROM lane WHERE id IS NOT NULL", alias)
    facts = {"table": table, "pending": states.PENDING_SQL, "among": among}
    return on_one_line(_FIRST_OF_EACH.format(**facts))
