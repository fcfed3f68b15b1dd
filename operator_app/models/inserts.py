"""A new operation of a kind with columns, inserted into all of its tables by one statement.

Django makes a transaction of it: four round trips, of which the INSERTs are two. PostgreSQL takes
an INSERT into a `WITH` of another, and what the first returns as a value of the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connections, transaction
from django.db.models import Field
from django.db.models.expressions import RawSQL
from django.db.models.signals import post_save, pre_save
from django.db.models.sql import InsertQuery

from operator_app.models.bulk import set_columns, tables

if TYPE_CHECKING:
    from operator_app.models.operation import Operation

START: Final = "WITH row_0 AS ("
"""How such a statement begins, right before the INSERT into the common table."""


def is_possible(operation: Operation, alias: str) -> bool:
    """Whether one statement does all that Django would do. No queries.

    Not for what has an id already, nor for a kind with tables beside the line of its own, values
    that only the database knows, or an order that has to be asked for.
    """
    line = tables(type(operation))
    return (
        connections[alias].vendor == "postgresql"
        and len(line) > 1
        and operation._get_pk_val() is None
        and [list(model._meta.parents) for model in line[1:]] == [[each] for each in line[:-1]]
        and all(_is_simple(model) for model in line)
    )


def insert(operation: Operation, alias: str) -> None:
    """Insert a prepared operation, as `Model.save_base()` does: signals are sent, too. One query.

    Args:
        operation: for which `is_possible()`.
        alias: the database.

    Raises:
        DatabaseError: if the database refuses it; the operation has no id then.
    """
    kind = type(operation)
    facts: dict[str, Any] = {"raw": False, "using": alias, "update_fields": None}
    pre_save.send(sender=kind, instance=operation, **facts)
    with transaction.mark_for_rollback_on_error(using=alias):
        _insert(operation, tables(kind), alias)
    operation._state.db, operation._state.adding = alias, False
    post_save.send(sender=kind, instance=operation, created=True, **facts)


def _is_simple(model: type[Operation]) -> bool:
    meta = model._meta
    returned = [field for field in meta.db_returning_fields if not field.primary_key]
    return not returned and meta.order_with_respect_to is None


def _insert(operation: Operation, line: list[type[Operation]], alias: str) -> None:
    links = [_primary_key(model).attname for model in line[1:]]
    inserts: list[str] = []
    parameters: list[Any] = []
    try:
        for link in links:
            setattr(operation, link, RawSQL("SELECT id FROM row_0", ()))
        for model in line:
            sql, values = _statement(model, operation, alias)
            inserts.append(sql)
            parameters += values
        *others, last = inserts
        ctes = "), ".join([f"row_{n} AS ({sql}" for n, sql in enumerate(others)])
        with connections[alias].cursor() as cursor:
            cursor.execute(f"WITH {ctes}) {last}", parameters)
            operation.id = cursor.fetchone()[0]
    finally:
        for link in links:
            setattr(operation, link, operation.id)


def _primary_key(model: type[Operation]) -> Field[Any, Any]:
    """Return the field of the primary key, which every model has."""
    assert model._meta.pk is not None
    return model._meta.pk


def _columns(model: type[Operation], operation: Operation) -> list[Field[Any, Any]]:
    """Return the columns to name. A kind's own ones are named whatever their values are, for a
    field may make one as it is saved.
    """
    if not model._meta.parents:
        return set_columns([operation])
    return [field for field in model._meta.local_concrete_fields if not field.generated]


def _statement(model: type[Operation], operation: Operation, alias: str) -> tuple[str, list[Any]]:
    """Return the INSERT into one table, which returns the id, and its parameters."""
    query = InsertQuery(model)
    query.insert_values(_columns(model, operation), [operation])
    compiler: Any = query.get_compiler(alias)
    compiler.returning_fields = [_primary_key(model)]
    ((sql, parameters),) = compiler.as_sql()
    return sql, list(parameters)
