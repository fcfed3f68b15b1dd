"""`RenameKind`: operations of a renamed proxy follow it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter

from operator_app import clock
from operator_app.exceptions import OperationExists, OperatorError
from operator_app.models import Circuit, Operation, Pause, Recurrence, Tally
from operator_app.renames import RenameKind, renamed
from operator_app.testing import run_due
from tests.kinds.models import Ledger, Note, Sweep


@pytest.fixture(autouse=True)
def _fresh_content_types() -> Iterator[None]:
    """The cache of content types does not see that a test's transaction was rolled back."""
    yield
    ContentType.objects.clear_cache()


@pytest.fixture
def state(db: None) -> ProjectState:
    """The models as the migrations know them."""
    return MigrationExecutor(connection).loader.project_state()


def forwards(operation: RenameKind, state: ProjectState, app_label: str = "kinds") -> None:
    operation.database_forwards(app_label, connection.schema_editor(), state, state)


def backwards(operation: RenameKind, state: ProjectState, app_label: str = "kinds") -> None:
    operation.database_backwards(app_label, connection.schema_editor(), state, state)


def kind_of(operation: Operation) -> str:
    row = Operation.all_objects.get(pk=operation.pk)
    found = ContentType.objects.get(pk=row.kind_id)
    return f"{found.app_label}.{found.model}"


def sweep_type() -> ContentType:
    return ContentType.objects.get_for_model(Sweep, for_concrete_model=False)


def as_broom(operation: Operation) -> ContentType:
    """Let an operation be of a kind "kinds.broom" that there is no class for."""
    broom, _ = ContentType.objects.get_or_create(app_label="kinds", model="broom")
    Operation.all_objects.filter(pk=operation.pk).update(kind=broom)
    return broom


def only_as_broom(operation: Operation) -> ContentType:
    """The same, on a database where the class's new name has not been seen yet."""
    broom = as_broom(operation)
    sweep_type().delete()
    ContentType.objects.clear_cache()
    return broom


def test_operations_follow_where_only_the_old_name_is_known(state: ProjectState) -> None:
    """Its content type is renamed in place: the row keeps its kind's id and is of the new class."""
    operation = Sweep.schedule(timedelta(days=1))
    broom = only_as_broom(operation)
    forwards(RenameKind("Broom", "Sweep"), state)
    assert sweep_type().pk == broom.pk
    assert isinstance(Operation.objects.get(pk=operation.pk).specific, Sweep)
    assert not ContentType.objects.filter(model="broom").exists()


def test_operations_follow_where_both_names_are_known(state: ProjectState) -> None:
    """Rows of the old name, ended ones included, are moved; those of other kinds are not."""
    before, ended, after, other = (
        Sweep.dispatch(),
        Sweep.dispatch(),
        Sweep.dispatch(),
        Note.dispatch(),
    )
    broom = as_broom(before)
    as_broom(ended)
    Operation.all_objects.filter(pk=ended.pk).update(cancelled_at=ended.created_at)
    forwards(RenameKind("Broom", "Sweep"), state)
    kinds = [kind_of(operation) for operation in (before, ended, after, other)]
    assert kinds == ["kinds.sweep", "kinds.sweep", "kinds.sweep", "kinds.note"]
    assert ContentType.objects.filter(pk=broom.pk).exists()


def test_what_is_kept_of_a_kind_follows_as_well(state: ProjectState) -> None:
    """Its recurrences, pauses, circuit and tallies; an open circuit stays open."""
    broom, sweep = as_broom(Sweep.dispatch()), sweep_type()
    recurrence = Recurrence.objects.create(name="daily", kind=broom, expression="@daily")
    Pause.objects.create(kind=broom, reason="a person's")
    opened = Pause.objects.create(kind=broom, from_breaker=True)
    circuit = Circuit.objects.create(kind=broom, pause=opened)
    tally = Tally.objects.create(start=clock.now(), seconds=60, kind=broom, finished=7)
    forwards(RenameKind("Broom", "Sweep"), state)
    for row in (recurrence, circuit, tally):
        row.refresh_from_db()
        assert row.kind_id == sweep.pk
    assert circuit.pause_id == opened.pk
    # As if the kind had been paused under its new name: who resumes that ends them.
    assert Pause.objects.of(kind=Sweep).count() == 2
    assert Pause.objects.resume(kind=Sweep) == 2
    assert not Pause.objects.exists()


def test_a_pause_and_a_circuit_of_the_new_name_stay(state: ProjectState) -> None:
    broom, sweep = as_broom(Sweep.dispatch()), sweep_type()
    Pause.objects.create(kind=broom, reason="old")
    Pause.objects.create(kind=sweep, reason="new")
    Circuit.objects.create(
        kind=broom, pause=Pause.objects.create(kind=broom, from_breaker=True), cooldown=8
    )
    Circuit.objects.create(kind=sweep, cooldown=2)
    forwards(RenameKind("Broom", "Sweep"), state)
    assert [(pause.reason, pause.kind_id) for pause in Pause.objects.all()] == [("new", sweep.pk)]
    assert [circuit.cooldown for circuit in Circuit.objects.all()] == [2]


@pytest.mark.django_db
def test_tables_that_no_migration_has_made_yet_are_left_alone() -> None:
    """Beside the very first migration of the operator's, which is all that it must depend on."""
    loader = MigrationExecutor(connection).loader
    first = loader.project_state([("operator_app", "0001_initial"), ("kinds", "0001_initial")])
    assert "recurrence" not in first.apps.all_models["operator_app"]
    operation = Sweep.dispatch()
    as_broom(operation)
    forwards(RenameKind("Broom", "Sweep"), first)
    assert kind_of(operation) == "kinds.sweep"


def test_an_operation_that_followed_can_be_run(state: ProjectState) -> None:
    """What nobody knew is run by its new class."""
    operation = Sweep.dispatch()
    as_broom(operation)
    assert run_due() == []
    forwards(RenameKind("Broom", "Sweep"), state)
    assert [job.outcome for job in run_due()] == ["finished"]
    assert Ledger.objects.get(operation_id_seen=operation.pk).line == "swept"


def test_it_can_be_taken_back(state: ProjectState) -> None:
    """Backwards, all operations go to the old name, whichever way they came."""
    operation = Sweep.dispatch()
    broom = only_as_broom(operation)
    rename = RenameKind("Broom", "Sweep")
    forwards(rename, state)
    assert kind_of(operation) == "kinds.sweep"
    backwards(rename, state)
    assert kind_of(operation) == "kinds.broom"
    late = Sweep.dispatch()
    assert sweep_type().pk != broom.pk
    backwards(rename, state)
    assert kind_of(late) == "kinds.broom"


def test_nothing_happens_where_the_old_name_was_never_known(state: ProjectState) -> None:
    """A new database has no operations to move; the new name is left as it is."""
    operation = Sweep.dispatch()
    known = ContentType.objects.count()
    forwards(RenameKind("Broom", "Sweep"), state)
    forwards(RenameKind("Broom", "Mop"), state)
    assert ContentType.objects.count() == known
    assert kind_of(operation) == "kinds.sweep"


def test_to_run_it_twice_is_to_run_it_once(state: ProjectState) -> None:
    """The second time there is nothing left to move."""
    operation = Sweep.dispatch()
    as_broom(operation)
    rename = RenameKind("Broom", "Sweep")
    forwards(rename, state)
    forwards(rename, state)
    assert kind_of(operation) == "kinds.sweep"


def test_a_name_renamed_to_itself_stays(state: ProjectState) -> None:
    """Names are compared as content types spell them."""
    operation = Sweep.dispatch()
    forwards(RenameKind("Sweep", "kinds.SWEEP"), state)
    assert kind_of(operation) == "kinds.sweep"


def test_a_kind_can_move_between_apps(state: ProjectState) -> None:
    """A dotted name stands for another app than the migration's."""
    operation = Sweep.dispatch()
    only_as_broom(operation)
    ContentType.objects.filter(model="broom").update(app_label="cellar")
    rename = RenameKind("cellar.Broom", "Sweep")
    forwards(rename, state)
    assert kind_of(operation) == "kinds.sweep"
    backwards(rename, state)
    assert kind_of(operation) == "cellar.broom"


def test_active_operations_with_the_same_key_stop_it(state: ProjectState) -> None:
    """Two would be active under one key; the error names the key, and nothing is moved."""
    old = Sweep.schedule(timedelta(days=1), unique_key="nightly")
    as_broom(old)
    new = Sweep.schedule(timedelta(days=1), unique_key="nightly")
    rename = RenameKind("Broom", "Sweep")
    with pytest.raises(OperationExists, match="'nightly'"):
        forwards(rename, state)
    assert kind_of(old) == "kinds.broom"
    Operation.all_objects.filter(pk=new.pk).update(cancelled_at=new.created_at, active_key=None)
    forwards(rename, state)
    assert kind_of(old) == "kinds.sweep"


class Elsewhere:
    """A router that keeps operations out of every database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Refuse this app only."""
        return False if app_label == "operator_app" else None


def test_a_database_without_operations_is_left_alone(state: ProjectState, settings: Any) -> None:
    """Where a router keeps the tables out, nothing is renamed."""
    operation = Sweep.dispatch()
    as_broom(operation)
    settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]
    forwards(RenameKind("Broom", "Sweep"), state)
    assert kind_of(operation) == "kinds.broom"


@pytest.mark.django_db
def test_a_migration_without_our_tables_is_told_what_it_lacks() -> None:
    """A missing dependency is named, instead of a LookupError."""
    with pytest.raises(OperatorError, match=r"\('operator_app', '0001_initial'\)"):
        forwards(RenameKind("Broom", "Sweep"), ProjectState())


def test_the_state_of_the_models_does_not_change() -> None:
    """The models are renamed by the operations beside it."""
    state = ProjectState()
    RenameKind("Broom", "Sweep").state_forwards("kinds", state)
    assert state == ProjectState()


def test_it_can_be_written_into_a_migration() -> None:
    """It deconstructs, describes itself and names a migration."""
    rename = RenameKind("cellar.Broom", "Sweep")
    assert rename.deconstruct() == ("RenameKind", ("cellar.Broom", "Sweep"), {})
    lines, imports = OperationWriter(rename, indentation=0).serialize()
    assert imports == {"import operator_app.renames"}
    assert lines.startswith("operator_app.renames.RenameKind(")
    assert rename.describe() == "Rename the kind cellar.Broom to Sweep"
    assert rename.migration_name_fragment == "rename_kind_cellar_broom_sweep"
    assert rename.category is OperationCategory.PYTHON
    assert rename.reversible is True


@pytest.mark.django_db(transaction=True)
def test_a_migration_applies_and_unapplies_it() -> None:
    """In a real migration, in its own transaction, there and back."""

    class Renaming(migrations.Migration):
        operations = [RenameKind("Broom", "Sweep")]

    operation = Sweep.dispatch()
    as_broom(operation)
    migration = Renaming("0002_rename_kind_broom_sweep", "kinds")
    loader = MigrationExecutor(connection).loader
    with connection.schema_editor(atomic=migration.atomic) as editor:
        migration.apply(loader.project_state(), editor)
    assert kind_of(operation) == "kinds.sweep"
    with connection.schema_editor(atomic=migration.atomic) as editor:
        migration.unapply(loader.project_state(), editor)
    assert kind_of(operation) == "kinds.broom"


class First(migrations.Migration):
    operations = [
        migrations.RenameModel("Ledger", "Book"),
        RenameKind("Broom", "Sweep"),
        migrations.RenameModel("Book", "Journal"),
    ]


class Second(migrations.Migration):
    operations = [RenameKind("cellar.Mop", "Broom"), migrations.RenameModel("Journal", "Diary")]


def test_what_a_run_of_migrations_has_renamed() -> None:
    """From the first name to the last, in the order of the run."""
    first, second = First("0002", "kinds"), Second("0003", "kinds")
    elsewhere = First("0009", "attic")
    plan = [(first, False), (elsewhere, False), (second, False)]
    assert renamed(plan, "kinds") == {
        ("kinds", "diary"): ("kinds", "ledger"),
        ("kinds", "sweep"): ("kinds", "broom"),
        ("kinds", "broom"): ("cellar", "mop"),
    }
    assert renamed([(second, True), (first, True)], "kinds") == {
        ("kinds", "ledger"): ("kinds", "diary"),
        ("cellar", "mop"): ("kinds", "broom"),
        ("kinds", "broom"): ("kinds", "sweep"),
    }
    assert renamed([], "kinds") == {}
