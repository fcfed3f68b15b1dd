"""Rows that are named are found by their names: a hint for MySQL and MariaDB.

InnoDB locks what a statement reads, whether it is among what it writes or not. For a small table,
or one that was small when the server last looked, its planner reads all of it, or goes through all
that are pending in another index, and waits for each row that somebody has locked there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connections
from django.db.models import QuerySet
from django.db.models.lookups import Exact, In
from django.db.models.sql.where import AND

from operator_app.models.among import Among

_VERBS: Final = re.compile(r"(?P<verb>UPDATE|SELECT .*? FROM) (?P<table>`\w+`) (?=SET |WHERE )")


@contextmanager
def by_key(rows: QuerySet[Any, Any]) -> Iterator[None]:
    """Let the statements of this block, which are made from `rows`, find them by their primary
    keys, if these are told; on MySQL and MariaDB, and do nothing elsewhere.
    """
    connection = connections[rows.db]
    if connection.vendor != "mysql" or not _names_rows(rows.query.where, rows.model._meta.pk):
        yield
        return
    table = connection.ops.quote_name(rows.model._meta.db_table)

    def hint(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        found = _VERBS.match(sql)
        if found is not None and found["table"] == table:
            place = found.end("table")
            sql = f"{sql[:place]} FORCE INDEX (PRIMARY){sql[place:]}"
        return execute(sql, *rest)

    with connection.execute_wrapper(hint):
        yield


def _names_rows(condition: Any, key: Any) -> bool:
    """Whether a condition holds for some rows only whose primary keys it tells."""
    if isinstance(condition, Among):
        return True
    if isinstance(condition, (Exact, In)):
        return getattr(condition.lhs, "target", None) is key
    if getattr(condition, "negated", True):
        return False
    parts = [_names_rows(part, key) for part in condition.children]
    return any(parts) if condition.connector == AND else bool(parts) and all(parts)
