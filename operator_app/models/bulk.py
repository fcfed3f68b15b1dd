"""Many rows of a kind with few statements: one INSERT per table of its inheritance.

Django's `bulk_create` refuses models of more than one table, since it would have to know the ids of
the first before it fills the second. All supported databases can tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections
from django.db.models import Field

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


def insert_rows(kind: type[Operation], rows: list[Operation], alias: str) -> None:
    """Insert prepared rows of one kind and give them their ids. Call it inside a transaction.

    One INSERT per table, more where the database limits the parameters of a statement; on MySQL,
    which returns no ids, one SELECT more.

    Raises:
        DatabaseError: if the database refuses a row, or on MySQL if the ids cannot be told.
    """
    base, *others = tables(kind)
    _set_ids(rows, _insert_base(base, rows, alias))
    for table in others:
        link = table._meta.pk
        assert link is not None
        for row in rows:
            setattr(row, link.attname, row.id)
        _insert(table, rows, alias, list(table._meta.local_concrete_fields))
    for row in rows:
        row._state.adding, row._state.db = False, alias


def tables(kind: type[Operation]) -> list[type[Operation]]:
    """Return the classes in the line of `kind` that have a table, `Operation` first."""
    from operator_app.models.operation import Operation

    concrete = kind._meta.concrete_model
    assert concrete is not None
    line = [
        model
        for model in concrete.__mro__
        if issubclass(model, Operation) and not model._meta.abstract and not model._meta.proxy
    ]
    return line[::-1]


def set_columns(rows: Sequence[Operation]) -> list[Field[Any, Any]]:
    """Return the columns of the common table that an INSERT of these rows has to name. No queries.

    A new operation leaves half of them NULL, which is what the database takes for a column that is
    not named; to prepare such values would be a third of the work.
    """
    from operator_app.models.operation import Operation

    return [
        field
        for field in Operation._meta.local_concrete_fields
        if not field.primary_key
        and not (field.null and all(getattr(row, field.attname) is None for row in rows))
    ]


def _insert_base(base: type[Operation], rows: list[Operation], alias: str) -> list[int]:
    fields = set_columns(rows)
    if connections[alias].features.can_return_rows_from_bulk_insert:
        returned = _insert(base, rows, alias, fields)
        return [row[0] for row in returned]
    return _ids_of_one_insert(base, rows, alias, fields)


def _insert(model: Any, rows: list[Operation], alias: str, fields: list[Any]) -> list[Any]:
    # The part of bulk_create that fills one table; it has been there, by this name, since
    # multi-table inheritance was refused. The tests would tell if it left.
    manager = model._base_manager.using(alias)
    returned: list[Any] = manager._batched_insert(rows, fields, None)
    return returned


def _ids_of_one_insert(
    base: type[Operation], rows: list[Operation], alias: str, fields: list[Any]
) -> list[int]:
    """Insert with one statement; return the ids, which InnoDB gives out in a row to it."""
    _insert(base, rows, alias, fields)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT LAST_INSERT_ID(), @@auto_increment_increment")
        first, step = cursor.fetchone()
    ids = [first + step * position for position in range(len(rows))]
    # Trust, but verify: a proxy or another lock mode may have split the statement.
    found = base._base_manager.using(alias).filter(pk__in=ids)
    stored = {row[0]: row[1:] for row in found.values_list("pk", "kind_id", "should_run_at")}
    for row_id, row in zip(ids, rows, strict=True):
        if stored.get(row_id) != (row.kind_id, row.should_run_at):
            raise DatabaseError(
                "The database did not give consecutive ids to the rows of one INSERT, so the rows "
                "of the kind's own table cannot be linked. Schedule these operations one by one."
            )
    return ids


def _set_ids(rows: list[Operation], ids: list[int]) -> None:
    for row, row_id in zip(rows, ids, strict=True):
        row.id = row_id
