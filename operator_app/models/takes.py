"""The take: due operations of chosen lanes become an operator's.

By one statement where the database tells what it has updated: nothing can come between its steps,
and it takes a third of the time of a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from django.db import connections
from django.db.models import F

from operator_app.models.among import Among, among_found
from operator_app.models.firsts import MOST_LANES, Due, first
from operator_app.models.kinds import base, operations
from operator_app.models.lanes import Lane, moments
from operator_app.models.process import OperatorProcess
from operator_app.models.specific import NULLED, Taken
from operator_app.models.sql import on_one_line
from operator_app.models.transactions import in_statement, in_transaction

Share = tuple[Lane, int]
"""How many operations are to come from a lane at most."""

# Each lane is a query of its own, so that each reads its part of the index and no more, and that
# locks may be skipped. Materialized: a LIMIT that is evaluated again would lock others each time.
_TAKE: Final = """
    WITH {lanes} UPDATE {table}
    SET started_run_at = %s, operator_id = %s, attempts = attempts + 1, {nulled}
    WHERE id {among} RETURNING should_run_at, id, kind_id
"""


def take(shares: Sequence[Share], operator: OperatorProcess, due: Due) -> list[Taken]:
    """Claim due operations for an operator; return what was taken, in order.

    For each `MOST_LANES` lanes one statement on PostgreSQL and SQLite; otherwise a transaction with
    a SELECT for each lane and an UPDATE. What somebody else has locked is passed over.

    Args:
        shares: from which lanes, and how many of each at most.
        operator: whose they become.
        due: which of them.
    """
    taken: list[Taken] = []
    for start in range(0, len(shares), MOST_LANES):
        taken += _take_some(shares[start : start + MOST_LANES], operator, due)
    return sorted(taken)


def _take_some(shares: Sequence[Share], operator: OperatorProcess, due: Due) -> list[Taken]:
    if not _tells_updates(due.alias):
        return in_transaction(due.alias, lambda: _take_in_steps(shares, operator, due))
    return in_statement(due.alias, lambda: _take(shares, operator, due))


def _tells_updates(alias: str) -> bool:
    """Whether UPDATE has RETURNING: on SQLite from 3.35 on, as INSERT has it; not on MySQL."""
    connection = connections[alias]
    return connection.vendor != "mysql" and connection.features.can_return_columns_from_insert


def _take(shares: Sequence[Share], operator: OperatorProcess, due: Due) -> list[Taken]:
    parameters = [value for share in shares for value in due.parameters(*share)]
    with connections[due.alias].cursor() as cursor:
        statement = _statement(due.alias, len(shares), due.suspects)
        cursor.execute(statement, [*parameters, due.stored_now, operator.pk])
        rows = cursor.fetchall()
    as_moment = moments(due.alias)
    return [Taken(as_moment(when), pk, kind_id) for when, pk, kind_id in rows]


@lru_cache
def _statement(alias: str, lanes: int, suspects: bool) -> str:
    rows = first(alias, suspects, lock=True)
    names = [f"lane_{number}" for number in range(lanes)]
    ids = " UNION ALL ".join(f"SELECT id FROM {name}" for name in names)
    statement = _TAKE.format(
        lanes=", ".join(f"{name} AS MATERIALIZED ({rows})" for name in names),
        table=connections[alias].ops.quote_name(base()._meta.db_table),
        nulled=", ".join(f"{column} = NULL" for column in NULLED),
        among=among_found(ids, alias),
    )
    return on_one_line(statement)


def _take_in_steps(shares: Sequence[Share], operator: OperatorProcess, due: Due) -> list[Taken]:
    chosen = [taken for share in shares for taken in _first(share, due)]
    return _mark(sorted(chosen), operator, due) if chosen else []


def _first(share: Share, due: Due) -> list[Taken]:
    """Lock the first due operations of a lane that nobody has locked, and return them."""
    with connections[due.alias].cursor() as cursor:
        cursor.execute(first(due.alias, due.suspects, lock=True), due.parameters(*share))
        rows = cursor.fetchall()
    as_moment, kind_id = moments(due.alias), share[0].kind_id
    return [Taken(as_moment(when), pk, kind_id) for when, pk in rows]


def _mark(chosen: list[Taken], operator: OperatorProcess, due: Due) -> list[Taken]:
    """Write the claim; return those whose row was still to be had, should none have been locked."""
    these = operations(due.alias).filter(Among(taken.pk for taken in chosen))
    claim: dict[str, Any] = dict.fromkeys(NULLED)
    claim |= {"started_run_at": due.now, "operator": operator, "attempts": F("attempts") + 1}
    if these.pending().update(**claim) == len(chosen):
        return chosen
    mine = these.filter(operator=operator, started_run_at=due.now)
    held = set(mine.values_list("pk", flat=True))
    return [taken for taken in chosen if taken.pk in held]
