"""Rows by their ids, however many, told in one parameter."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any, Final

from django.db import connections
from django.db.models import F, Lookup

_CONDITION: Final = {
    "postgresql": "{column} = ANY(%s::bigint[])",
    "sqlite": "{column} IN (SELECT value FROM json_each(%s))",
}


def among_found(query: str, alias: str) -> str:
    """Return the SQL that compares a column to the ids that a query finds. On PostgreSQL as an
    array: it takes every query of more than a few for one that is worth to read the whole table.
    """
    is_postgresql = connections[alias].vendor == "postgresql"
    return f"= ANY(ARRAY({query}))" if is_postgresql else f"IN ({query})"


def as_parameter(ids: Collection[int], alias: str) -> str | None:
    """Return the one parameter that tells these ids; None where each needs one."""
    vendor = connections[alias].vendor
    if vendor not in _CONDITION:
        return None
    text = json.dumps(list(ids))
    return text if vendor == "sqlite" else f"{{{text[1:-1]}}}"


class Among(Lookup):
    """That a row's primary key, a number, is one of these: a condition for `filter()`.

    `pk__in` makes a parameter of each, and goes through all of them five times: for 500 rows that
    takes as long as the statement. On MySQL it is just that, whose optimizer knows no better way.
    """

    lookup_name = "among"
    prepare_rhs = False

    def __init__(self, ids: Iterable[int]) -> None:
        super().__init__(F("pk"), list(ids))

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        """Return the condition and its parameters."""
        column, parameters = self.process_lhs(compiler, connection)
        if (value := as_parameter(self.rhs, connection.alias)) is not None:
            return _CONDITION[connection.vendor].format(column=column), (*parameters, value)
        places = ", ".join(["%s"] * len(self.rhs)) or "NULL"
        return f"{column} IN ({places})", (*parameters, *self.rhs)
