"""Many finished operations written by one statement, each with the time of its own end.

In SQL, since Django's `bulk_update()` makes a CASE with a branch for each row, which databases go
through row by row: 500 rows are 125,000 comparisons, and a statement of 50,000 words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from operator_app.models import states
from operator_app.models.sql import on_one_line

if TYPE_CHECKING:
    from operator_app.models.job import OperationJob

_SET: Final = "reason = '', active_key = NULL"
_HELD: Final = " AND ".join(
    [
        "held.operator_id = %s",
        "held.started_run_at IS NOT NULL",
        *[f"held.{column} IS NULL" for column in states.ENDINGS],
    ]
)
_STATEMENT: Final = {
    # Locked in the order of the ids before it is written: a join may come in any order, and two who
    # lock the same rows in different orders deadlock.
    "postgresql": f"""
        WITH ended (id, attempts, at) AS (
            SELECT * FROM unnest(%s::bigint[], %s::integer[], %s::timestamptz[])
        ), locked (id) AS (
            SELECT held.id FROM {{table}} AS held JOIN ended USING (id, attempts) WHERE {_HELD}
            ORDER BY held.id FOR NO KEY UPDATE OF held
        )
        UPDATE {{table}} AS held SET finished_run_at = ended.at, {_SET}
        FROM ended JOIN locked USING (id)
        WHERE held.id = ended.id AND held.attempts = ended.attempts
    """,
    # By the ids also where all of the table would be quicker: what is read is locked.
    "mysql": f"""
        UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (
            id BIGINT PATH '$[0]', attempts INTEGER PATH '$[1]', at DATETIME(6) PATH '$[2]'
        )) AS ended
        STRAIGHT_JOIN {{table}} AS held FORCE INDEX FOR JOIN (PRIMARY)
            ON held.id = ended.id AND held.attempts = ended.attempts
        SET held.finished_run_at = ended.at, {_SET}
        WHERE {_HELD}
    """,
    # A prepared statement costs next to nothing where the database is in the process.
    "sqlite": f"""
        UPDATE {{table}} AS held SET finished_run_at = %s, {_SET}
        WHERE held.id = %s AND held.attempts = %s AND {_HELD}
    """,
}


def finish(jobs: Sequence[OperationJob], alias: str) -> bool:
    """Write that these jobs have finished, where their claims hold; return whether all of them did.

    The fence is that of `begun.claims_of()`. One statement for the jobs of each operator, which are
    those of one, but for an operator that was taken for dead and goes on under another identity.

    Args:
        jobs: that ended as `Finished`, each with the claim of an operator.
        alias: the database of their operations.
    """
    written = 0
    for job in jobs:
        job.write_tried += 1
    by_operator = sorted(jobs, key=lambda job: job.holder_id or 0)
    for operator_id, mine in groupby(by_operator, key=lambda job: job.holder_id):
        written += _finish(list(mine), operator_id, alias)
    return written == len(jobs)


def _finish(jobs: list[OperationJob], operator_id: int | None, alias: str) -> int:
    from operator_app.models.operation import Operation

    connection = connections[alias]
    table = connection.ops.quote_name(Operation._meta.db_table)
    statement = on_one_line(_STATEMENT[connection.vendor].format(table=table))
    ids = [job.operation_id for job in jobs]
    numbers = [job.number for job in jobs]
    adapt = connection.ops.adapt_datetimefield_value
    ends: list[Any] = [adapt(job.ended_at) for job in jobs]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            rows = zip(ends, ids, numbers, [operator_id] * len(jobs), strict=True)
            cursor.executemany(statement, list(rows))
        elif connection.vendor == "mysql":
            ended = json.dumps(list(zip(ids, numbers, map(str, ends), strict=True)))
            cursor.execute(statement, [ended, operator_id])
        else:
            # As text: psycopg would go through each array element by element.
            arrays = [f"{{{','.join(map(str, values))}}}" for values in (ids, numbers, ends)]
            cursor.execute(statement, [*arrays, operator_id])
        return int(cursor.rowcount)
