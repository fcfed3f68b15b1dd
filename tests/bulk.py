"""Rows by the hundred thousand: the database copies a block of them, which takes it a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model


def copy_block(
    model: type[Model],
    first: int,
    last: int,
    *,
    by: str = "",
    moved: Mapping[str, int] | None = None,
) -> None:
    """Insert copies of a block of rows, into this table alone. One statement.

    Args:
        model: whose own table it is; of a model with parents, without theirs.
        first: the primary key that the block begins with.
        last: the one that it ends with.
        by: another column than the primary key, which these two are of.
        moved: what is added to these columns in the copies. A primary key that is not among them
            is left to the database; one that is needs `reset_sequences()` in the end.
    """
    moved, meta, quote = moved or {}, model._meta, connection.ops.quote_name
    fields = [
        field
        for field in meta.local_concrete_fields
        if not field.generated and (not field.primary_key or field.column in moved)
    ]
    names = ", ".join(quote(field.column) for field in fields)
    values = ", ".join(
        quote(field.column) + (f" + {moved[field.column]:d}" if field.column in moved else "")
        for field in fields
    )
    assert meta.pk is not None
    table, key = quote(meta.db_table), quote(by or meta.pk.column)
    sql = (
        f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} WHERE {key} BETWEEN %s AND %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [first, last])


def reset_sequences(models: Iterable[type[Model]]) -> None:
    """Let the database go on numbering after the highest keys that there are."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), list(models)):
            cursor.execute(statement)
