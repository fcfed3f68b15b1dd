"""Migrations that were not applied, and indexes that are not there."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from operator_app import doctor
from operator_app.doctor import schema
from operator_app.models import Operation, OperationTag
from tests.doctor.tools import ids, only
from tests.kinds.models import Sweep

# Statements that change the schema commit on MySQL and MariaDB.
transactional = pytest.mark.django_db(transaction=True)


def unapplied() -> list[doctor.Finding]:
    return list(schema.unapplied_migrations(schema.unapplied("default"), "default"))


@pytest.mark.django_db
def test_all_is_there() -> None:
    assert unapplied() == []
    assert list(schema.missing_indexes("default")) == []


@pytest.mark.django_db
def test_migrations_of_the_engine() -> None:
    """Nothing else is looked for: the columns may not be there."""
    Sweep.dispatch()
    MigrationRecorder(connection).record_unapplied("operator_app", "0003_kinds_of_operators")
    finding = only(doctor.examine("default"))
    assert (finding.id, finding.severity) == ("doctor.migrations", "problem")
    assert (
        "Migrations of operator_app are missing" in finding.message
        and "0003_kinds" in finding.message
    )
    assert "`manage.py migrate operator_app`" in finding.hint


@pytest.mark.django_db
def test_migrations_of_kinds() -> None:
    """The rest is looked for, too."""
    Sweep.dispatch()
    MigrationRecorder(connection).record_unapplied("kinds", "0002_calling")
    assert set(ids(doctor.examine("default", older_than=86_400))) >= {"migrations", "no_operator"}
    MigrationRecorder(connection).record_unapplied("auth", "0001_initial")
    assert len(unapplied()) == 1


def index(name: str) -> Any:
    return next(each for each in Operation._meta.indexes if each.name == name)


@transactional
def test_an_index_that_is_gone() -> None:
    """The cure makes it anew."""
    pending = index("operator_app_pending")
    with connection.schema_editor() as editor:
        editor.remove_index(Operation, pending)
    try:
        finding = only(schema.missing_indexes("default"))
        assert (finding.id, finding.severity) == ("doctor.missing_index", "problem")
        assert "index operator_app_pending of operator_app_operation is gone" in finding.message
        with connection.cursor() as cursor:
            cursor.execute(finding.hint.removesuffix(";"))
        assert list(schema.missing_indexes("default")) == []
    except BaseException:
        with connection.schema_editor() as editor:
            editor.add_index(Operation, pending)
        raise


@transactional
def test_an_index_of_other_columns() -> None:
    """It has the name, and is of no use."""
    name, quote = "operator_app_tag_name", connection.ops.quote_name
    table = quote(OperationTag._meta.db_table)
    with connection.cursor() as cursor:
        of = f" ON {table}" if connection.vendor == "mysql" else ""
        cursor.execute(f"DROP INDEX {quote(name)}{of}")
        cursor.execute(f"CREATE INDEX {quote(name)} ON {table} ({quote('id')})")
    finding = only(schema.missing_indexes("default"))
    with connection.cursor() as cursor:
        for statement in finding.hint.rstrip(";").split("; "):
            cursor.execute(statement)
    assert f"{name} of operator_app_operationtag is not as it should be" in finding.message
    assert list(schema.missing_indexes("default")) == []


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="others build an index or do not")
def test_an_index_that_could_not_be_built() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'operator_app_started'::regclass"
        )
    finding = only(schema.missing_indexes("default"))
    assert "operator_app_started of operator_app_operation is not as it should" in finding.message
    assert finding.hint.startswith('DROP INDEX "operator_app_started"; CREATE INDEX')
