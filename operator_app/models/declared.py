"""The recurrences that kinds declare in code, brought into the database.

`migrate` inserts, updates and disables them. An operator that starts only inserts what is missing,
so that in a rolling deploy the old code and the new do not undo each other's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import IntegrityError, connections, router, transaction
from django.utils import timezone

from operator_app import log
from operator_app.models import kinds
from operator_app.models.operation import Operation
from operator_app.models.recurrence import GONE, Recurrence, as_json, stored
from operator_app.recurring import Recurring


def declarations(model: type[Operation]) -> list[Recurring]:
    """Return what a kind declares: itself, or an abstract base or a mixin of it; not what its
    parent does, which is another kind.
    """
    for owner in model.__mro__:
        is_kind = issubclass(owner, Operation) and not owner._meta.abstract
        if is_kind and owner is not model:
            break
        if "recurrences" in vars(owner):
            return list(vars(owner)["recurrences"])
    return []


def all_declared() -> Iterator[tuple[str, type[Operation], Recurring]]:
    """Yield the name, the kind and the declaration of each recurrence in the code."""
    for model in kinds.all_kinds():
        for each in declarations(model):
            yield each.name or model._meta.label, model, each


def synchronize(alias: str) -> None:
    """Make the recurrences from code what the code says, but for whether they are enabled: that is
    for people to say once they are there. Those that are declared no more are disabled.

    Nothing is written where all is as it should be. One SELECT, and up to three statements for each
    that is new or another one; none at all where this database has no table of them.
    """
    if not _is_there(alias):
        return
    rows = {row.name: row for row in Recurrence.objects.using(alias)}
    declared = {name: (model, each) for name, model, each in all_declared()}
    for name, (model, each) in declared.items():
        row = rows.get(name)
        if row is None:
            _insert(name, model, each, alias)
        elif not row.from_code:
            log.logger.error(
                "The recurrence %r of %s is not brought into the database: somebody has made one "
                "of this name by hand. Give one of them another name.",
                *(name, model._meta.label),
            )
        else:
            _update(row, model, each, alias)
    for name, row in rows.items():
        if row.from_code and row.enabled and name not in declared:
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
    row = Recurrence(name=name, from_code=True, enabled=declared.enabled)
    _set(row, model, declared, alias)
    try:
        with transaction.atomic(using=alias):
            row.save(using=alias)
    except IntegrityError:
        # Another operator that has started at the same time was first.
        if not Recurrence.objects.using(alias).filter(name=name).exists():
            raise


def _update(row: Recurrence, model: type[Operation], declared: Recurring, alias: str) -> None:
    before = _values(row)
    _set(row, model, declared, alias)
    if row.disabled_reason == GONE:
        row.enabled = declared.enabled
    if _values(row) != before:
        row.save(using=alias)


def _set(row: Recurrence, model: type[Operation], declared: Recurring, alias: str) -> None:
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
