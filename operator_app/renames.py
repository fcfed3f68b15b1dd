"""Renamed kinds: the migration operation for those that have no table of their own; and what a run
of migrations has renamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import Migration
from django.db.migrations.operations import RenameModel
from django.db.migrations.operations.base import Operation as MigrationOperation
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.state import ProjectState, StateApps

from operator_app.exceptions import OperationExists, OperatorError
from operator_app.models.pause import scope_of
from operator_app.models.permissions import Name


class RenameKind(MigrationOperation):
    """Let the operations of a proxy that was renamed belong to its new name.

    A kind with columns takes its operations along, since Django recognizes that its model was
    renamed. Of a proxy it only sees that one model went and another came, and the operations of the
    old name are left without a class. Put this beside the DeleteModel and CreateModel that
    `makemigrations` wrote:

        operations = [
            ...
            RenameKind("Sweep", "Tidy"),
        ]

    Where the new name has no content type yet, which is usual, the old one is renamed: one UPDATE
    of one row. Where it has one, because operations of the new name were scheduled already, those
    of the old name are moved to it, ended ones included: one UPDATE that reads the whole table. So
    are its recurrences, its pauses, its circuit and what was counted of it; a pause or a circuit
    that the new name has, too, stays as it is. `migrate` lets permissions follow, once it is
    through.

    Where the old name has none, there are no operations of it, and nothing happens. Done for each
    database that the tables are in, and in both directions; backwards, all operations go to the old
    name.

    Args:
        old_name: the class's old name; "app.Name" if it was in another app than the migration.
        new_name: its new name; "app.Name" if it is in another app than the migration.

    Raises:
        OperatorError: if the migration does not depend on one of operator_app's.
        OperationExists: if both names have an active operation with the same unique key.
    """

    reduces_to_sql = False
    category = OperationCategory.PYTHON

    def __init__(self, old_name: str, new_name: str) -> None:
        self.old_name = old_name
        self.new_name = new_name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: the models of the state are renamed by the operations beside this one."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Give the operations of the old name to the new one."""
        old, new = _name(self.old_name, app_label), _name(self.new_name, app_label)
        self._move(old, new, from_state.apps, schema_editor)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Give the operations of the new name to the old one."""
        old, new = _name(self.old_name, app_label), _name(self.new_name, app_label)
        self._move(new, old, from_state.apps, schema_editor)

    def describe(self) -> str:
        """Return what `migrate` and `sqlmigrate` show."""
        return f"Rename the kind {self.old_name} to {self.new_name}"

    @property
    def migration_name_fragment(self) -> str:
        """Return this operation's part of a generated migration's name."""
        return f"rename_kind_{self.old_name}_{self.new_name}".lower().replace(".", "_")

    def _move(
        self, source: Name, target: Name, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        alias = schema_editor.connection.alias
        types = _model(apps, "contenttypes", "ContentType")
        operations = _model(apps, "operator_app", "Operation")
        if not all(self.allow_migrate_model(alias, model) for model in (types, operations)):
            return
        names = types._base_manager.using(alias)
        old = names.filter(app_label=source[0], model=source[1]).first()
        new = names.filter(app_label=target[0], model=target[1]).first()
        if old is None or source == target:
            return
        if new is None:
            names.filter(pk=old.pk).update(app_label=target[0], model=target[1])
        else:
            rows = operations._base_manager.using(alias)
            _refuse_double_keys(rows, old, new)
            rows.filter(kind_id=old.pk).update(kind_id=new.pk)
            _move_the_rest(apps, alias, old.pk, new.pk)
        # They remember names, in this process and in the state.
        ContentType.objects.clear_cache()
        types.objects.clear_cache()


def renamed(plan: Iterable[tuple[Migration, bool]], app_label: str) -> dict[Name, Name]:
    """Return what the migrations of an app have renamed, models as well as kinds: the old names by
    the new ones. What was renamed twice has its first name there. No queries.

    Args:
        plan: the migrations that were run, in order, and whether backwards: what `post_migrate`
            tells.
        app_label: the app's.
    """
    names: dict[Name, Name] = {}
    for migration, backwards in plan:
        if migration.app_label != app_label:
            continue
        operations = list(migration.operations)
        for operation in reversed(operations) if backwards else operations:
            if isinstance(operation, (RenameModel, RenameKind)):
                old = _name(operation.old_name, app_label)
                new = _name(operation.new_name, app_label)
                if backwards:
                    old, new = new, old
                names[new] = names.pop(old, old)
    return names


def _name(name: str, app_label: str) -> Name:
    before, _, model = name.rpartition(".")
    return before or app_label, model.lower()


def _model(apps: StateApps, app_label: str, name: str) -> Any:
    try:
        return apps.get_model(app_label, name)
    except LookupError:
        raise OperatorError(
            "RenameKind needs the tables of operations: add ('operator_app', '0001_initial') to "
            "the dependencies of its migration."
        ) from None


def _move_the_rest(apps: StateApps, alias: str, old: int, new: int) -> None:
    """Let all that people and operators keep of a kind be of another one, as far as the migrations
    so far have made tables for it.
    """
    tables = {
        name: apps.get_model("operator_app", name)._base_manager.using(alias)
        for name in ("Recurrence", "Pause", "Circuit", "Tally")
        if name.lower() in apps.all_models["operator_app"]
    }
    for name in ("Recurrence", "Tally"):
        if name in tables:
            tables[name].filter(kind_id=old).update(kind_id=new)
    if "Circuit" in tables:
        _move_circuit(tables["Circuit"], tables["Pause"], old, new)
    if "Pause" in tables:
        _move_pauses(tables["Pause"], old, new)


def _move_circuit(circuits: Any, pauses: Any, old: int, new: int) -> None:
    if circuits.filter(kind_id=new).exists():
        circuits.filter(kind_id=old).delete()
        pauses.filter(kind_id=old, from_breaker=True).delete()
    else:
        circuits.filter(kind_id=old).update(kind_id=new)


def _move_pauses(pauses: Any, old: int, new: int) -> None:
    for pause in pauses.filter(kind_id=old):
        from_breaker = getattr(pause, "from_breaker", False)
        scope = scope_of(pause.queue, new, from_breaker=from_breaker)
        if pauses.filter(scope=scope).exists():
            pauses.filter(pk=pause.pk).delete()
        else:
            pauses.filter(pk=pause.pk).update(kind_id=new, scope=scope)


def _refuse_double_keys(rows: Any, old: Any, new: Any) -> None:
    taken = rows.filter(kind_id=new.pk, active_key__isnull=False).values("active_key")
    double = rows.filter(kind_id=old.pk, active_key__in=taken)
    keys = list(double.values_list("unique_key", flat=True)[:5])
    if keys:
        raise OperationExists(
            f"{old.model} and {new.model} both have active operations with the same unique key "
            f"({', '.join(map(repr, keys))}). Cancel one of each, then migrate again."
        )
