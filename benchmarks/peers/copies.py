"""Many rows like one: for filling a table with jobs that are not due for long.

A sample is made through the contender's own call, so each copy has what its writers put there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SERIES = {
    "postgresql": "generate_series(1, {count}) AS series",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"
    " SELECT n FROM s) AS series",
    "mariadb": "seq_1_to_{count} AS series",
}


def insert(
    vendor: str,
    table: str,
    columns: Sequence[str],
    count: int,
    *,
    changed: Mapping[str, str] | None = None,
) -> str:
    """Return the statement that inserts `count` copies of the only row of a table.

    Args:
        columns: those to copy, without a key that the database makes.
        changed: an expression of SQL for each column that is not to be copied.
    """
    quote = "`" if vendor == "mariadb" else '"'
    quoted = [f"{quote}{name}{quote}" for name in [*columns, *(changed or {})]]
    values = [*quoted[: len(columns)], *(changed or {}).values()]
    series = SERIES[vendor].format(count=count)
    return (
        f"INSERT INTO {table} ({', '.join(quoted)}) "
        f"SELECT {', '.join(values)} FROM (SELECT * FROM {table} LIMIT 1) AS sample, {series}"
    )
