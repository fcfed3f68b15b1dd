"""The recurrences that kinds declare in code, brought into the database.

`migrate` inserts, updates and disables them. An operator that starts only inserts what is missing,
so that in a rolling deploy the old code and the new do not undo each other's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from django.db import IntegrityError, connections, router
from django.utils import timezone

from operator_app import log
from operator_app.models import kinds
from operator_app.models.operation import Operation
from operator_app.models.recurrence import GONE, Recurrence, as_json, stored
from operator_app.models.transactions import in_transaction
from operator_app.recurring import Recurring

LABEL: Final = re.compile(r"[^\W\d]\w*\.[^\W\d]\w*")
"""The name of a model, which a recurrence has that is given none."""


def declarations(model: type[Operation]) -> list[Recurring]:
    """Return what a kind declares, which the system checks have found to be in order."""
    return list(as_written(model))


def as_written(model: type[Operation]) -> Any:
    """Return the `recurrences` of a kind, whatever they are: its own, or those of an abstract base
    or a mixin of it; not those of its parent, which is another kind. An empty list without any.
    """
    for owner in model.__mro__:
        is_kind = issubclass(owner, Operation) and not owner._meta.abstract
        if is_kind and owner is not model:
            break
        if "recurrences" in vars(owner):
            return vars(owner)["recurrences"]
    return []


def all_declared() -> Iterator[tuple[str, type[Operation], Recurring]]:
    """Yield the name, the kind and the declaration of each recurrence in the code."""
    for model in kinds.all_kinds():
        for each in declarations(model):
            yield each.name or model._meta.label, model, each


def synchronize(alias: str) -> None:
    """Make the recurrences from code what the code says, but for whether they are enabled: that is
    for people to say once they are there. Those that are declared no more are disabled; one that is
    called as its kind follows a new name of that.

    Nothing is written where all is as it should be. One SELECT, and up to three statements for each
    that is new or another one; none at all where this database has no table of them.
    """
    if not _is_there(alias):
        return
    rows = {row.name: row for row in Recurrence.objects.using(alias)}
    declared = {name: (model, each) for name, model, each in all_declared()}
    for name, (model, each) in declared.items():
        row = rows.get(name) or _under_its_old_name(rows, model, each, alias)
        if row is None:
            _insert(name, model, each, alias)
        elif not row.from_code:
            log.logger.error(
                "The recurrence %r of %s is not brought into the database: somebody has made one "
                "of this name by hand. Give one of them another name.",
                *(name, model._meta.label),
                extra={"action": "name_taken"},
            )
        else:
            _update(row, name, model, each, alias)
    for row in rows.values():
        if row.from_code and row.enabled and row.name not in declared:
            row.enabled, row.disabled_reason = False, GONE
            row.save(using=alias, update_fields=["enabled", "disabled_reason"])


def insert_missing(alias: str) -> None:
    """Insert the declared recurrences that are not there. One SELECT, and an INSERT for each; no
    queries where none is declared.
    """
    declared = {name: (model, each) for name, model, each in all_declared()}
    if not declared:
        return
    rows = Recurrence.objects.using(alias).filter(name__in=list(declared))
    for name in declared.keys() - set(rows.values_list("name", flat=True)):
        _insert(name, *declared[name], alias)


def _is_there(alias: str) -> bool:
    if not router.allow_migrate_model(alias, Recurrence):
        return False
    with connections[alias].cursor() as cursor:
        tables = connections[alias].introspection.table_names(cursor)
    return Recurrence._meta.db_table in tables


def _insert(name: str, model: type[Operation], declared: Recurring, alias: str) -> None:
    def insert() -> None:
        row = Recurrence(from_code=True, enabled=declared.enabled)
        _set(row, name, model, declared, alias)
        row.save(using=alias)

    try:
        in_transaction(alias, insert)
    except IntegrityError:
        # Another operator that has started at the same time was first.
        if not Recurrence.objects.using(alias).filter(name=name).exists():
            raise


def _under_its_old_name(
    rows: dict[str, Recurrence], model: type[Operation], declared: Recurring, alias: str
) -> Recurrence | None:
    """Return the row of a recurrence that is called as its kind, whose class has another name now;
    None if there is none. Its kind is known by the content type, which was renamed.
    """
    if declared.name:
        return None
    kind_id = kinds.content_type(model, alias).pk
    labels = {each._meta.label for each in kinds.all_kinds()}
    for row in rows.values():
        is_label = LABEL.fullmatch(row.name) is not None and row.name not in labels
        if row.from_code and row.kind_id == kind_id and is_label:
            return row
    return None


def _update(
    row: Recurrence, name: str, model: type[Operation], declared: Recurring, alias: str
) -> None:
    before = _values(row)
    _set(row, name, model, declared, alias)
    if row.disabled_reason == GONE:
        row.enabled = declared.enabled
    if _values(row) != before:
        in_transaction(alias, lambda: row.save(using=alias))


def _set(
    row: Recurrence, name: str, model: type[Operation], declared: Recurring, alias: str
) -> None:
    row.name = name
    row.kind = kinds.content_type(model, alias)
    row.expression = declared.expression
    row.time_zone = declared.time_zone or timezone.get_default_timezone_name()
    row.fields = as_json(dict(declared.fields))
    row.queue, row.priority = declared.queue or "", declared.priority
    row.start_at = None if declared.start_at is None else stored(declared.start_at)
    row.end_at = None if declared.end_at is None else stored(declared.end_at)
    row.jitter, row.window = float(declared.jitter), float(declared.window)
    row.missed, row.overlap = declared.missed, declared.overlap


def _values(row: Recurrence) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
