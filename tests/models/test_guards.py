"""The five fences that multi-table inheritance needs, and what stands beside them."""

from __future__ import annotations

import pickle
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import DatabaseError, models, transaction
from django.db.models import ProtectedError

from operator_app import clock
from operator_app.exceptions import OperationStarted, OperatorError
from operator_app.models import Operation, OperationJob, OperationTag, OperatorProcess, guards
from operator_app.testing import run_due
from tests.kinds.models import (
    LongNote,
    Note,
    QuickNote,
    RankUp,
    Report,
    Scripted,
    Shout,
    Sweep,
    Tagged,
)
from tests.models.tools import HOUR, claim_all, nothing, queries, scripted, stored, write

pytestmark = pytest.mark.django_db

# A kind with a column, a proxy, a second kind in one table, a subclass of a subclass, one below an
# abstract class.
EVERY_SHAPE = [Note, Sweep, QuickNote, LongNote, Report]
ENGINE = sorted(guards.engine_names() - {*guards.SCHEDULE, "id"})


def values(operation: Operation) -> dict[str, Any]:
    return Operation.all_objects.filter(pk=operation.pk).values().get()


# 1. save()


@pytest.mark.parametrize("kind", EVERY_SHAPE)
def test_a_stale_copy_saved_after_a_claim_does_not_undo_it(
    kind: type[Operation], operator: OperatorProcess
) -> None:
    """What a claim wrote stands, though a copy loaded before it is saved after it."""
    stale = kind.all_objects.get(pk=kind.dispatch().pk)
    claim_all(operator)
    claimed = values(stale)
    stale.save()
    assert values(stale) == claimed
    assert claimed["attempts"] == 1 and claimed["operator_id"] == operator.pk


def test_a_stale_copy_saved_after_the_end_does_not_undo_it() -> None:
    """Finish, outcome and counters stand, though a copy loaded before is saved after."""
    note = Note.dispatch(text="first")
    run_due()
    finished = values(note)
    note.text = "second"
    note.save()
    assert values(note) == finished
    assert Note.objects.get().text == "second"


def test_save_inside_run_writes_own_columns_only(operator: OperatorProcess) -> None:
    """A `run()` that saves its operation after it was rescued undoes neither counter nor start."""

    def save(operation: Scripted) -> None:
        write(operation, started_run_at=None, operator=None, attempts=7, crashes=3)
        operation.script = "renamed"
        operation.save()

    operation = scripted(save)
    run_due(limit=1)
    row = stored(operation)
    assert (row.attempts, row.crashes, row.started_run_at) == (7, 3, None)
    assert Scripted.objects.get().script == "renamed"


@pytest.mark.parametrize("kind", EVERY_SHAPE)
@pytest.mark.parametrize("edited", [False, True])
def test_a_deleted_row_is_not_inserted_again(kind: type[Operation], edited: bool) -> None:
    """`save()` of an operation whose row is gone raises and leaves no row in any table."""
    operation = kind.objects.get(pk=kind.dispatch().pk)
    kind.objects.get(pk=operation.pk).delete()
    if edited:
        operation.priority = 9
    with pytest.raises(DatabaseError, match=r"deleted|did not affect"), transaction.atomic():
        operation.save()
    assert not Operation.all_objects.exists()
    assert not Note._base_manager.exists() and not LongNote._base_manager.exists()


def test_a_new_instance_with_the_id_of_another_does_not_overwrite_it(
    operator: OperatorProcess,
) -> None:
    """Saving a fresh instance that names an existing id is refused, and undoes no claim."""
    note = Note.dispatch(text="mine")
    claim_all(operator)
    claimed = values(note)
    with pytest.raises(DatabaseError), transaction.atomic():
        Note(pk=note.pk, text="yours", should_run_at=clock.now()).save()
    assert values(note) == claimed
    assert Note.objects.get().text == "mine"


def test_a_pending_operation_is_rescheduled_by_saving_it() -> None:
    """`should_run_at`, `priority` and `queue` of a pending operation are written if changed."""
    note = Note.schedule(HOUR, text="a")
    when = clock.now() + 2 * HOUR
    loaded = Note.objects.get()
    loaded.should_run_at, loaded.priority, loaded.queue = when, 4, "other"
    loaded.save()
    row = stored(note)
    assert (row.should_run_at, row.priority, row.queue) == (when, 4, "other")


def test_a_fresh_instance_can_be_rescheduled_too() -> None:
    """What `schedule()` returned knows its schedule as well as a loaded row does."""
    note = Note.schedule(HOUR)
    note.priority = 3
    note.save()
    assert stored(note).priority == 3
    write(note, priority=8)
    note.save()
    assert stored(note).priority == 8, "an unchanged schedule was written"


def test_only_what_changed_is_written() -> None:
    """A copy whose queue was changed does not write its stale priority."""
    note = Note.schedule(HOUR)
    stale = Note.objects.get()
    write(note, priority=8)
    stale.queue = "other"
    stale.save()
    assert (stored(note).priority, stored(note).queue) == (8, "other")


@pytest.mark.parametrize("field", ["should_run_at", "priority", "queue"])
@pytest.mark.parametrize("kind", [Note, Sweep, LongNote])
def test_rescheduling_a_claimed_operation_is_refused(
    kind: type[Operation], field: str, operator: OperatorProcess
) -> None:
    """A schedule edited while an operator claimed the operation raises and changes nothing."""
    operation = kind.dispatch()
    loaded = kind.objects.get()
    claim_all(operator)
    claimed = values(operation)
    changed = {"should_run_at": clock.now() + HOUR, "priority": 5, "queue": "late"}[field]
    setattr(loaded, field, changed)
    with pytest.raises(OperationStarted, match=rf"#{operation.pk} has been claimed.*{field}"):
        loaded.save()
    assert values(operation) == claimed


def test_a_refused_reschedule_writes_none_of_the_kinds_own_columns(
    operator: OperatorProcess,
) -> None:
    """The schedule and the kind's own columns are saved together or not at all."""
    Note.dispatch(text="before")
    loaded = Note.objects.get()
    claim_all(operator)
    loaded.text, loaded.should_run_at = "after", clock.now() + HOUR
    with pytest.raises(OperationStarted):
        loaded.save()
    assert Note.objects.get().text == "before"


def test_an_own_column_that_cannot_be_written_leaves_the_schedule() -> None:
    """If the kind's own columns are refused by the database, the schedule is not written either."""
    user = get_user_model().objects.create(username="u")
    operation = RankUp.schedule(HOUR, user=user)
    loaded = RankUp.objects.get()
    loaded.priority, loaded.rank = 7, None  # type: ignore[assignment]
    with pytest.raises(DatabaseError):
        loaded.save()
    assert stored(operation).priority == 0


@pytest.mark.parametrize("ended", ["finished_run_at", "failed_run_at", "cancelled_at"])
def test_rescheduling_an_ended_operation_is_refused(ended: str) -> None:
    """An operation that has ended is not rescheduled by saving it."""
    note = Note.dispatch()
    write(note, **{ended: clock.now()})
    note.priority = 2
    with pytest.raises(OperationStarted):
        note.save()
    assert stored(note).priority == 0


def test_the_first_save_after_a_refusal_is_refused_too(operator: OperatorProcess) -> None:
    """A refused change is still a change: saving again raises again, and does not forget it."""
    note = Note.dispatch()
    claim_all(operator)
    note.priority = 2
    for _ in range(2):
        with pytest.raises(OperationStarted):
            note.save()


@pytest.mark.parametrize("name", ENGINE)
def test_update_fields_with_an_engine_column_is_refused(name: str) -> None:
    """`save(update_fields=...)` naming a column of the engine raises and writes nothing."""
    note = Note.dispatch(text="before")
    before = values(note)
    note.text = "after"
    with pytest.raises(ValueError, match=f"{name}: only the engine"):
        note.save(update_fields=["text", name])
    assert values(note) == before and Note.objects.get().text == "before"


def test_update_fields_limit_what_is_saved() -> None:
    """Only what `update_fields` names is written, the schedule included."""
    note = Note.schedule(HOUR, text="before")
    note.text, note.priority, note.queue = "after", 5, "other"
    note.save(update_fields=["priority"])
    row = Note.objects.get()
    assert (row.text, row.priority, row.queue) == ("before", 5, "notes")
    note.save(update_fields=["text"])
    row = Note.objects.get()
    assert (row.text, row.queue) == ("after", "notes")


def test_what_update_fields_left_out_is_saved_later() -> None:
    """A schedule that a partial save left out is still written by the next whole one."""
    note = Note.schedule(HOUR)
    note.priority, note.queue = 5, "other"
    note.save(update_fields=["priority"])
    note.save()
    assert stored(note).queue == "other"


def test_update_fields_that_name_nothing_known_are_refused() -> None:
    """A misspelt name in `update_fields` raises, as it does for any model."""
    note = Note.dispatch()
    with pytest.raises((ValueError, FieldDoesNotExist)):
        note.save(update_fields=["texd"])


def test_empty_update_fields_write_nothing() -> None:
    """`save(update_fields=[])` is no statement at all, as in Django."""
    note = Note.dispatch()
    note.text = "x"
    with queries() as seen:
        note.save(update_fields=[])
    assert seen == []


def test_a_bad_schedule_is_refused_when_saved() -> None:
    """A loaded operation takes no priority, queue or time that `schedule()` would refuse."""
    note = Note.schedule(HOUR)
    before = values(note)
    for name, bad in (("priority", 40_000), ("queue", "q" * 65), ("should_run_at", "soon")):
        loaded = Note.objects.get()
        setattr(loaded, name, bad)
        with pytest.raises((ValueError, TypeError)):
            loaded.save()
    assert values(note) == before


def test_saving_an_unchanged_operation_costs_one_update_of_its_own_table() -> None:
    """A kind with columns writes its own table only; a proxy asks whether its row is there."""
    Note.dispatch()
    Sweep.dispatch()
    note, sweep = Note.objects.get(), Sweep.objects.get()
    with queries("UPDATE") as seen:
        note.save()
    assert len(seen) == 1 and "kinds_note" in seen[0] and "operator_app_operation" not in seen[0]
    with queries("UPDATE") as seen:
        sweep.save()
    assert seen == []


# Deferred instances


def test_an_only_instance_saves_what_it_loaded() -> None:
    """`only("text")` saves the text, and neither loads nor writes the schedule."""
    note = Note.schedule(HOUR, text="a")
    loaded = Note.objects.only("text").get()
    write(note, priority=6)
    loaded.text = "b"
    with queries("SELECT") as seen:
        loaded.save()
    assert seen == []
    assert (stored(note).priority, Note.objects.get().text) == (6, "b")


def test_a_deferred_schedule_can_be_set(operator: OperatorProcess) -> None:
    """A deferred `should_run_at` that is set is a change: written while pending, else refused."""
    note = Note.schedule(HOUR)
    loaded = Note.objects.defer("should_run_at").get()
    loaded.should_run_at = when = clock.now() - HOUR
    loaded.save()
    assert stored(note).should_run_at == when
    loaded = Note.objects.only("text").get()
    claim_all(operator)
    loaded.queue = "other"
    with pytest.raises(OperationStarted):
        loaded.save()


def test_loading_a_deferred_column_does_not_forget_a_change() -> None:
    """A schedule that was changed is saved, though a deferred column was loaded in between."""
    note = Note.schedule(HOUR)
    loaded = Note.objects.defer("text").get()
    loaded.priority = 5
    assert loaded.text == ""
    loaded.save()
    assert stored(note).priority == 5


def test_refreshing_some_columns_does_not_forget_changes_of_others() -> None:
    """`refresh_from_db(fields=["text"])` leaves a changed schedule to be saved."""
    note = Note.schedule(HOUR)
    note.priority = 5
    note.refresh_from_db(fields=["text"])
    note.save()
    assert stored(note).priority == 5


def test_refresh_from_db_takes_the_schedule_as_it_is() -> None:
    """After `refresh_from_db()` the schedule counts as unchanged."""
    note = Note.schedule(HOUR)
    write(note, priority=6)
    note.queue = "other"
    note.refresh_from_db()
    assert (note.priority, note.queue) == (6, "notes")
    write(note, priority=7)
    note.save()
    assert stored(note).priority == 7


def test_a_cancelled_operation_can_be_refreshed() -> None:
    """`refresh_from_db()` finds the row though `objects` hides it."""
    note = Note.dispatch()
    write(note, cancelled_at=clock.now())
    note.refresh_from_db()
    assert note.state == "cancelled"


def test_a_pickled_operation_keeps_its_fences(operator: OperatorProcess) -> None:
    """A copy that went through pickle knows what it had loaded."""
    note = pickle.loads(pickle.dumps(Note.dispatch(text="a")))
    claim_all(operator)
    claimed = values(note)
    note.text = "b"
    note.save()
    assert values(note) == claimed and Note.objects.get().text == "b"


# 2. Engine columns are written through the common table, with the guard in the WHERE


def test_the_engine_writes_its_columns_with_guarded_updates() -> None:
    """Each UPDATE of a claim, a run by hand and an outcome is one statement on the common table,
    with its guard; for a kind with columns too, where a subclass's queryset would select first.
    """
    LongNote.dispatch()
    with queries() as seen:
        run_due()
    LongNote.dispatch()
    with queries() as by_hand:
        OperationJob(operation=LongNote.objects.due().get()).perform()
    plain = [" ".join(re.sub(r'["`]', "", sql).split()) for sql in [*seen, *by_hand]]
    updates = [sql for sql in plain if re.search(r"UPDATE \w+ .*\bSET |SET held\.", sql)]
    assert len(updates) == 4
    for statement in updates:
        assert "operator_app_operation" in statement
        condition = statement.partition(" WHERE ")[2]
        assert "started_run_at IS" in condition
        assert all(
            f"{column} IS NULL" in condition
            for column in ("finished_run_at", "failed_run_at", "cancelled_at")
        )


def test_bulk_create_is_refused() -> None:
    """`bulk_create()` of operations raises and names what does it."""
    with pytest.raises(TypeError, match=r"Note\.schedule_many"):
        Note.objects.bulk_create([Note(should_run_at=clock.now())])


# 4. Managers


def test_a_proxys_manager_shows_its_own_kind_only() -> None:
    """Neither `objects` nor `all_objects` of a proxy shows operations of other kinds."""
    mine, other = Sweep.dispatch(), Shout.dispatch()
    note, quick = Note.dispatch(), QuickNote.dispatch()
    assert list(Sweep.objects.all()) == list(Sweep.all_objects.all()) == [mine]
    assert [row.pk for row in Shout.objects.all()] == [other.pk]
    assert list(QuickNote.objects.all()) == [quick]
    assert {row.pk for row in Note.objects.all()} == {note.pk, quick.pk}, "they share a table"
    assert Operation.objects.count() == 4


def test_a_proxys_update_and_delete_keep_to_its_kind() -> None:
    """Deleting or updating through a proxy's manager leaves other kinds alone."""
    Sweep.dispatch()
    shout = Shout.dispatch()
    Sweep.objects.update(priority=3)
    Sweep.objects.all().delete()
    assert stored(shout).priority == 0
    assert Operation.all_objects.get() == Operation(pk=shout.pk)


def test_objects_hides_cancelled_operations_and_all_objects_shows_them() -> None:
    """A cancelled operation leaves `objects` and stays in `all_objects`, of base and kind."""
    note, kept = Note.dispatch(), Note.dispatch()
    write(note, cancelled_at=clock.now())
    assert list(Note.objects.all()) == [kept]
    assert {row.pk for row in Operation.objects.all()} == {kept.pk}
    assert {row.pk for row in Note.all_objects.all()} == {note.pk, kept.pk}
    assert {row.pk for row in Operation.all_objects.all()} == {note.pk, kept.pk}


@pytest.mark.parametrize("kind", [Note, Sweep, Shout])
def test_the_manager_finds_the_cancelled_ones(kind: type[Operation]) -> None:
    """`objects.cancelled()` is the shortcut to those that `objects` hides, of that kind."""
    operation, other = kind.dispatch(), Report.dispatch()
    kind.dispatch()
    for row in (operation, other):
        write(row, cancelled_at=clock.now())
    assert [row.pk for row in kind.objects.cancelled()] == [operation.pk]
    assert {row.pk for row in Operation.objects.cancelled()} == {operation.pk, other.pk}


def test_a_managers_own_methods_stay() -> None:
    """A kind may have a manager of its own, and keeps the engine's adjectives."""
    Shout.dispatch(priority=100)
    Shout.dispatch()
    assert Shout.objects.shouted().count() == 1
    assert Shout.objects.due().count() == 2


# Foreign keys


def test_the_reverse_manager_of_a_foreign_key_shows_pending_operations_of_its_object() -> None:
    """`user.rankup_set` has the adjectives, shows that user's rows and hides cancelled ones."""
    users = [get_user_model().objects.create(username=name) for name in ("ann", "bob")]
    mine, cancelled, _ = (RankUp.dispatch(user=user) for user in (users[0], users[0], users[1]))
    write(cancelled, cancelled_at=clock.now())
    assert list(users[0].rankup_set.due()) == [mine]
    assert list(users[0].rankup_set.all()) == [mine]


def test_the_reverse_manager_finds_its_own_objects_cancelled_operations_only() -> None:
    """`user.rankup_set.cancelled()` does not show the cancelled operations of other users."""
    users = [get_user_model().objects.create(username=name) for name in ("ann", "bob")]
    operations = [RankUp.dispatch(user=user) for user in users]
    for operation in operations:
        write(operation, cancelled_at=clock.now())
    assert list(users[0].rankup_set.cancelled()) == [operations[0]]


def test_the_reverse_manager_can_be_all_objects() -> None:
    """`user.rankup_set(manager="all_objects")` shows the cancelled ones too."""
    user = get_user_model().objects.create(username="ann")
    write(RankUp.dispatch(user=user), cancelled_at=clock.now())
    assert user.rankup_set(manager="all_objects").count() == 1


def test_deleting_the_user_takes_his_operations_along() -> None:
    """No table keeps a row of an operation whose foreign key cascades, whatever its state."""
    ann, bob = (get_user_model().objects.create(username=name) for name in ("ann", "bob"))
    _, cancelled, failed = (RankUp.dispatch(user=ann) for _ in range(3))
    kept = RankUp.dispatch(user=bob)
    write(cancelled, cancelled_at=clock.now())
    write(failed, failed_run_at=clock.now())
    OperationJob.objects.create(operation_id=failed.pk, number=1, started_at=clock.now())
    ann.delete()
    assert [row.pk for row in Operation.all_objects.all()] == [kept.pk]
    assert [row.pk for row in RankUp._base_manager.all()] == [kept.pk]
    assert not OperationJob.objects.exists()


def test_deleting_an_operation_takes_its_tags_and_jobs_along() -> None:
    """Tags, jobs and the kind's own row go with the base row."""
    tagged = Tagged.dispatch(customer=1)
    OperationJob.objects.create(operation_id=tagged.pk, number=1, started_at=clock.now())
    Operation.objects.get().delete()
    assert not Tagged._base_manager.exists()
    assert not OperationTag.objects.exists() and not OperationJob.objects.exists()


def test_a_kind_with_operations_is_protected() -> None:
    """The content type of a kind cannot be deleted while operations of it are there."""
    Note.dispatch()
    with pytest.raises(ProtectedError):
        ContentType.objects.get_for_model(Note).delete()
    assert Note.objects.exists()


def test_an_operation_that_runs_outlives_the_deletion_of_its_operator(
    operator: OperatorProcess,
) -> None:
    """Deleting an operator's row touches no operation: they show as stuck, for rescue to find."""
    note = Note.dispatch()
    claim_all(operator)
    pk = operator.pk
    operator.delete()
    assert stored(note).operator_id == pk
    assert Operation.objects.stuck().get().pk == note.pk


# 5. Policy options do not shadow columns


def test_the_policy_is_apart_from_the_columns() -> None:
    """`queue` and `priority` of a kind are its columns; their defaults live in the policy."""
    assert isinstance(Note._meta.get_field("queue"), models.CharField)
    assert Note.resolved_policy().queue == "notes"
    note = Note.dispatch(queue="elsewhere")
    assert note.queue == "elsewhere" and Note.resolved_policy().queue == "notes"


# Calls in the wrong place


@pytest.mark.parametrize(
    ("verb", "from_outside"), [("stop", "reschedule"), ("cancel", "cancel"), ("retry", "retry")]
)
def test_ending_another_operation_inside_a_run_is_refused(verb: str, from_outside: str) -> None:
    """The error names the queryset verb, and ends the `run()` that made it as any error does."""
    other = Note.schedule(HOUR)

    def meddle(operation: Scripted) -> None:
        getattr(Note.objects.get(), verb)()

    operation = scripted(meddle)
    (job,) = run_due(limit=1)
    assert type(job.error) is OperatorError
    assert f"filter(pk={other.pk}).{from_outside}(" in str(job.error)
    assert job.outcome == "retried" and stored(operation).failures == 1
    assert stored(other).state == "scheduled"


def test_a_copy_of_the_operation_that_runs_may_end_it() -> None:
    """`stop()` on another instance of the row that is running is no other operation."""

    def stop(operation: Scripted) -> None:
        Scripted.objects.get(pk=operation.pk).stop("later")

    scripted(stop)
    assert [job.outcome for job in run_due()] == ["stopped"]


@pytest.mark.parametrize("use", ["job", "progress"])
def test_the_job_is_there_only_while_it_runs(use: str) -> None:
    """`self.job` and `self.progress()` outside `run()` raise an ordinary error that says so."""
    operation = scripted(nothing)
    for _ in range(2):
        with pytest.raises(OperatorError, match="not running here"):
            _ = operation.job if use == "job" else operation.progress(1)
        run_due()


@pytest.mark.parametrize("delay", [-1, -0.5, float("nan"), True, "1", timedelta(1)])
@pytest.mark.parametrize("verb", ["stop", "retry"])
def test_a_bad_delay_is_refused(verb: str, delay: Any) -> None:
    """`stop()` and `retry()` take a number of seconds of at least 0 and say so otherwise."""
    with pytest.raises(ValueError, match="number of seconds"):
        getattr(Note(), verb)(delay=delay)
