"""The migration operation for renamed kinds that have no table of their own."""

from __future__ import annotations

from typing import Any, TypeAlias

from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation as MigrationOperation
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.state import ProjectState, StateApps

from operator_app.exceptions import OperationExists, OperatorError

Name: TypeAlias = tuple[str, str]
"""An app label and a model's name in lower case, as content types spell them."""


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
    of the old name are moved to it, ended ones included: one UPDATE that reads the whole table.
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
        # They remember names, in this process and in the state.
        ContentType.objects.clear_cache()
        types.objects.clear_cache()


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


def _refuse_double_keys(rows: Any, old: Any, new: Any) -> None:
    taken = rows.filter(kind_id=new.pk, active_key__isnull=False).values("active_key")
    double = rows.filter(kind_id=old.pk, active_key__in=taken)
    keys = list(double.values_list("unique_key", flat=True)[:5])
    if keys:
        raise OperationExists(
            f"{old.model} and {new.model} both have active operations with the same unique key "
            f"({', '.join(map(repr, keys))}). Cancel one of each, then migrate again."
        )
