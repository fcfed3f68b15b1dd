"""From a row of the common table to an instance of the user's own class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from operator_app.exceptions import OperationLost
from operator_app.models import kinds

if TYPE_CHECKING:
    from operator_app.models.operation import Operation


def has_own_columns(model: type[Operation]) -> bool:
    """Whether instances of a kind hold more than the common table does."""
    from operator_app.models.operation import Operation

    return model._meta.concrete_model is not Operation


def load(operation: Operation) -> Operation:
    """Return the instance of the user's own class behind a row.

    One query; none for a proxy of `Operation`, which has no columns of its own.

    Raises:
        OperationLost: if the class, or the row in the kind's own table, is gone.
    """
    alias = _alias(operation)
    model = kinds.model_of(operation.kind_id, alias)
    if model is None:
        label = kinds.label_of(operation.kind_id, alias)
        raise OperationLost(f"This process does not know the class {label}.")
    if type(operation) is model:
        return operation
    if not has_own_columns(model):
        return _as_proxy(model, operation)
    found = _by_id(model, [operation.pk], alias).get(operation.pk)
    if found is None:
        raise OperationLost(
            f"Operation {operation.pk} has no row in {model._meta.db_table}, the table of its kind "
            f"{model._meta.label}."
        )
    return found


def load_all(operations: Iterable[Operation]) -> list[Operation]:
    """Return the specific instances, in the same order; one query per kind with columns of its own.

    A row whose class or own row is gone stays the base instance.
    """
    rows = list(operations)
    by_model: dict[tuple[type[Operation], str], list[Operation]] = defaultdict(list)
    for row in rows:
        alias = _alias(row)
        if (model := kinds.model_of(row.kind_id, alias)) is not None:
            by_model[model, alias].append(row)
    found: dict[Any, Operation] = {}
    for (model, alias), members in by_model.items():
        if has_own_columns(model):
            found |= _by_id(model, [row.pk for row in members], alias)
        else:
            found |= {row.pk: _as_proxy(model, row) for row in members}
    return [found.get(row.pk, row) for row in rows]


def _by_id(model: type[Operation], ids: list[Any], alias: str) -> dict[Any, Operation]:
    return model._base_manager.using(alias).in_bulk(ids)


def _as_proxy(model: type[Operation], row: Operation) -> Operation:
    names = [field.attname for field in row._meta.concrete_fields if field.attname in row.__dict__]
    values = [row.__dict__[name] for name in names]
    return model.from_db(_alias(row), names, values)


def _alias(row: Operation) -> str:
    from django.db import DEFAULT_DB_ALIAS

    return row._state.db or DEFAULT_DB_ALIAS
