"""Indexes over some of the rows, with another shape for databases that cannot have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Index, Model, Q, UniqueConstraint


class PartialIndex(Index):
    """An index with a condition on PostgreSQL and SQLite; on MySQL and MariaDB, which have no such
    thing, a plain index over `plain_fields`, or none if there are no such fields.

    Django creates a conditional index on MySQL without its condition or not at all, depending on
    the version, and warns (models.W037); here the choice is made where the index is declared.

    Args:
        fields: what is indexed.
        name: the index's name.
        where: which rows are in it.
        plain_fields: what is indexed instead where an index cannot have a condition.
    """

    def __init__(
        self,
        *,
        fields: Sequence[str],
        name: str,
        where: Q,
        plain_fields: Sequence[str] = (),
    ) -> None:
        super().__init__(fields=list(fields), name=name)
        self.where = where
        self.plain_fields = list(plain_fields)

    def create_sql(
        self,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        """Return the statement for the database at hand."""
        if schema_editor.connection.features.supports_partial_indexes:
            twin = Index(fields=self.fields, name=self.name, condition=self.where)
        elif self.plain_fields:
            twin = Index(fields=self.plain_fields, name=self.name)
        else:
            return "DO 0"  # MySQL's way of doing nothing: the schema editor wants a statement.
        return twin.create_sql(model, schema_editor, using=using, **kwargs)

    def remove_sql(
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: Any
    ) -> Any:
        """Return the statement that drops what `create_sql` made."""
        partial = schema_editor.connection.features.supports_partial_indexes
        if not partial and not self.plain_fields:
            return "DO 0"
        return super().remove_sql(model, schema_editor, **kwargs)

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Return what migrations write."""
        path, args, kwargs = super().deconstruct()
        kwargs |= {"where": self.where}
        if self.plain_fields:
            kwargs["plain_fields"] = self.plain_fields
        return path, args, kwargs


class PartialUnique(UniqueConstraint):
    """A unique constraint whose index leaves out the rows where its last field is null.

    Where an index can have a condition, rows without a value cost it nothing; MySQL and MariaDB,
    where it cannot, get the plain constraint, for which nulls are distinct too: the same rule.

    Args:
        fields: what is unique together.
        name: the constraint's name.
    """

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        super().__init__(fields=tuple(fields), name=name)

    def constraint_sql(
        self, model: type[Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> Any:
        """Return the part of CREATE TABLE, for the database at hand."""
        return self._twin(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(
        self, model: type[Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> Any:
        """Return the statement for the database at hand."""
        return self._twin(schema_editor).create_sql(model, schema_editor)

    def remove_sql(
        self, model: type[Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> Any:
        """Return the statement that drops what `create_sql` made."""
        return self._twin(schema_editor).remove_sql(model, schema_editor)

    def _twin(self, schema_editor: Any) -> UniqueConstraint:
        partial = schema_editor.connection.features.supports_partial_indexes
        where = Q(**{f"{self.fields[-1]}__isnull": False}) if partial else None
        return UniqueConstraint(fields=self.fields, name=self.name, condition=where)
