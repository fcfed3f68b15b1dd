"""From a row of the common table to an instance of the user's own class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from operator_app.exceptions import OperationLost
from operator_app.models import kinds, states
from operator_app.models.connections import answers
from operator_app.models.reads import read
from operator_app.models.transactions import is_away

if TYPE_CHECKING:
    from operator_app.models.operation import Operation
    from operator_app.models.process import OperatorProcess

NULLED: Final = ("begun_run_at", "times_out_at", "abort_requested_at", "stack_requested_at")
"""What is null in a row that has just been claimed, besides the endings."""


class Taken(NamedTuple):
    """What a claim has taken of a row; in the order of the claim."""

    should_run_at: datetime
    pk: int
    kind_id: int


def has_own_columns(model: type[Operation]) -> bool:
    """Whether instances of a kind hold more than the common table does."""
    return model._meta.concrete_model is not kinds.base()


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


def load_claimed(
    taken: Sequence[Taken], operator: OperatorProcess, now: datetime, alias: str
) -> list[Operation]:
    """Return the operations that an operator has just claimed, in the same order; without those
    that were deleted since.

    One query per kind, of the columns whose values do not follow from the claim: a time takes as
    long to read as all numbers of a row together. What cannot be loaded, for whatever reason, is
    returned as an `Operation`: its job meets that reason alone, and says it. One query more for
    all of these.

    Args:
        taken: what was claimed.
        operator: for whom.
        now: when.
        alias: the database.

    Raises:
        OperationalError, InterfaceError: if the database is away.
    """
    by_kind: dict[int, list[Taken]] = defaultdict(list)
    for each in taken:
        by_kind[each.kind_id].append(each)
    claim = dict.fromkeys((*states.ENDINGS, *NULLED))
    claim |= {"started_run_at": now, "operator_id": operator.pk}
    found: dict[int, Operation] = {}
    for kind_id, members in by_kind.items():
        model = kinds.model_of(kind_id, alias)
        if model is not None:
            found |= _loadable(model, members, claim, alias)
    if missing := [each for each in taken if each.pk not in found]:
        found |= _read(kinds.base(), missing, claim, alias)
    return [found[each.pk] for each in taken if each.pk in found]


def _loadable(
    model: type[Operation], taken: Sequence[Taken], claim: dict[str, Any], alias: str
) -> dict[int, Operation]:
    """Return those that can be loaded: all or none, where one of them raises."""
    try:
        return _read(model, taken, claim, alias)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if is_away(error) and not answers(alias):
            raise
        # Its table is older or newer than its class, or its own code fails: one of them may not be
        # to blame, and none keeps another from being run.
        return {}


def _read(
    model: type[Operation], taken: Sequence[Taken], claim: dict[str, Any], alias: str
) -> dict[int, Operation]:
    """Return instances of the rows, with the values of the claim. One query."""
    due_at = {each.pk: each.should_run_at for each in taken}
    names = [field.attname for field in model._meta.concrete_fields]
    key = model._meta.pk.attname
    wanted = [name for name in names if name not in claim and name != "should_run_at"]
    found: dict[int, Operation] = {}
    for row in read(model, wanted, due_at, alias):
        values = claim | dict(zip(wanted, row, strict=True))
        pk = values[key]
        values["should_run_at"] = due_at[pk]
        found[pk] = model.from_db(alias, names, [values[name] for name in names])
    return found


def _by_id(model: type[Operation], ids: list[Any], alias: str) -> dict[Any, Operation]:
    return model._base_manager.using(alias).in_bulk(ids)


def _as_proxy(model: type[Operation], row: Operation) -> Operation:
    names = [field.attname for field in row._meta.concrete_fields if field.attname in row.__dict__]
    values = [row.__dict__[name] for name in names]
    return model.from_db(_alias(row), names, values)


def _alias(row: Operation) -> str:
    from django.db import DEFAULT_DB_ALIAS

    return row._state.db or DEFAULT_DB_ALIAS
