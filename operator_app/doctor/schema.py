"""What is found about the tables: migrations that were not applied, indexes that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.migrations.loader import MigrationLoader
from django.db.models import Index, Model, UniqueConstraint

from operator_app.doctor.answers import ask
from operator_app.doctor.finding import Finding
from operator_app.models import Operation, kinds
from operator_app.models.indexes import PartialIndex

APP: Final = Operation._meta.app_label

Wanted: TypeAlias = "Index | UniqueConstraint"

_INVALID: Final = """
SELECT index.relname FROM pg_index
JOIN pg_class index ON index.oid = indexrelid
WHERE indrelid = %s::regclass AND NOT indisvalid
"""


def unapplied(alias: str) -> dict[str, list[str]]:
    """Return the migrations that were not applied, by the apps of the engine and of kinds. Two
    queries.
    """
    labels = {APP, *(model._meta.app_label for model in kinds.all_kinds())}
    loader = MigrationLoader(connections[alias])
    missing: dict[str, list[str]] = {}
    for label, name in sorted(loader.graph.nodes):
        if label in labels and (label, name) not in loader.applied_migrations:
            missing.setdefault(label, []).append(name)
    return missing


def unapplied_migrations(missing: Mapping[str, list[str]], alias: str) -> Iterator[Finding]:
    """Yield a problem for each app in which migrations are missing. No queries."""
    where = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
    for label, names in missing.items():
        yield Finding(
            "doctor.migrations",
            "problem",
            f"Migrations of {label} are missing in the database {alias!r}: {', '.join(names)}.",
            f"`manage.py migrate {label}{where}`, before operators of this version are started.",
        )


def missing_indexes(alias: str) -> Iterator[Finding]:
    """Yield a problem for each index or unique constraint of the engine's tables that is not there,
    or not as it should be. A query or a few for each table, of the catalog; on SQLite one for each
    index.
    """
    connection = connections[alias]
    for model in apps.get_app_config(APP).get_models():
        if model._meta.proxy or not router.allow_migrate_model(alias, model):
            continue
        with connection.cursor() as cursor:
            there = connection.introspection.get_constraints(cursor, model._meta.db_table)
        invalid = _invalid(alias, model)
        for wanted in _wanted(model):
            columns = _columns(model, wanted, alias)
            found = there.get(wanted.name)
            if not columns or (
                found and found["columns"] == columns and wanted.name not in invalid
            ):
                continue
            yield _missing(alias, model, wanted, is_there=found is not None)


def _wanted(model: type[Model]) -> Iterator[Wanted]:
    yield from model._meta.indexes
    for constraint in model._meta.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield constraint


def _columns(model: type[Model], wanted: Wanted, alias: str) -> list[str]:
    """Return what is indexed in this database; nothing where it has no such index."""
    names = list(wanted.fields)
    partial = connections[alias].features.supports_partial_indexes
    if isinstance(wanted, PartialIndex) and not partial:
        names = wanted.plain_fields
    fields: list[Any] = [model._meta.get_field(name.lstrip("-")) for name in names]
    return [field.column for field in fields]


def _invalid(alias: str, model: type[Model]) -> set[str]:
    """Return the indexes that PostgreSQL does not use, since building them has failed."""
    if connections[alias].vendor != "postgresql":
        return set()
    return {name for (name,) in ask(alias, _INVALID, [f'"{model._meta.db_table}"'])}


def _missing(alias: str, model: type[Model], wanted: Wanted, *, is_there: bool) -> Finding:
    connection: Any = connections[alias]
    quote = connection.ops.quote_name
    table = model._meta.db_table
    is_unique = isinstance(wanted, UniqueConstraint)
    what = "unique constraint" if is_unique else "index"
    statement = wanted.create_sql(model, connection.schema_editor(collect_sql=True))
    drop = ""
    if is_there:
        of = f" ON {quote(table)}" if connection.vendor == "mysql" else ""
        drop = f"DROP INDEX {quote(wanted.name)}{of}; "
    cost = (
        "what should be there once may be there twice"
        if is_unique
        else "what operators do every second may read the whole table"
    )
    return Finding(
        "doctor.missing_index",
        "problem",
        f"The {what} {wanted.name} of {table} {'is not as it should be' if is_there else 'is gone'}"
        f" in the database {alias!r}: {cost}.",
        f"{drop}{statement};",
    )
