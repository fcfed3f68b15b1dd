"""Old ended operations are deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models, transaction

from operator_app import Policy, clock
from operator_app.models import Operation, OperationJob, OperationTag, kinds, pruning
from operator_app.models.pruning import Rules, prune, prune_next, rules_of_settings
from operator_app.models.transactions import impatient
from operator_app.retention import DEFAULTS
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted, Sweep, Tagged
from tests.models.tools import Thread, locked, write

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
DEFERS = connection.vendor != "mysql"
"""Whether foreign keys are looked at when a transaction ends, as Django makes them."""
FOR_EVER: dict[str, Any] = dict.fromkeys(DEFAULTS)
"""The retention that keeps everything."""
ALL = Rules({"finished": 86_400.0, "failed": 86_400.0, "cancelled": 86_400.0})


def ended(kind: type[Operation] = Note, days: float = 2, *, column: str = "finished_run_at") -> Any:
    """An operation that was scheduled, and has ended, so long ago."""
    moment = clock.now() - days * DAY
    operation = kind.schedule(moment)
    write(operation, created_at=moment, started_run_at=moment, **{column: moment})
    return operation


def left() -> set[int]:
    return set(Operation.all_objects.values_list("pk", flat=True))


def go(rules: Rules = ALL, **options: Any) -> pruning.Pruned:
    return prune(rules, clock.now(), "default", **options)


@pytest.mark.parametrize("column", ["finished_run_at", "failed_run_at", "cancelled_at"])
def test_what_is_old_goes(column: str) -> None:
    ended(column=column)
    young = ended(days=0.5, column=column)
    done = go()
    assert dict(done.counts) == {column.partition("_")[0].removesuffix("_at"): 1}
    assert left() == {young.pk}
    assert Note.all_objects.count() == 1


def test_what_has_not_ended_stays() -> None:
    """However old: due for a year, or running for a year."""
    due = Note.schedule(clock.now() - 365 * DAY)
    running = Note.schedule(clock.now() - 365 * DAY)
    write(due, created_at=clock.now() - 365 * DAY)
    write(running, created_at=clock.now() - 365 * DAY, started_run_at=clock.now() - 365 * DAY)
    go()
    assert left() == {due.pk, running.pk}


def test_a_state_without_an_age_stays() -> None:
    kept = ended(column="failed_run_at")
    ended()
    go(Rules({"finished": 0.0}))
    assert left() == {kept.pk}


def test_single_kinds_have_rules_of_their_own() -> None:
    note, sweep = ended(Note), ended(Sweep)
    kind_id = kinds.content_type(Note, "default").pk
    go(Rules({"finished": 3 * 86_400.0}, {kind_id: {"finished": 86_400.0}}))
    assert left() == {sweep.pk}
    go(Rules({"finished": 86_400.0}, {sweep.kind_id: {}}))
    assert left() == {sweep.pk} and note.pk not in left()


def test_all_that_hangs_on_it_goes() -> None:
    """Its own row, attempts, tags."""
    Scripted.does("fail", lambda operation: 1 / 0)
    Scripted.schedule(clock.now(), script="fail")
    run_due()
    Tagged.dispatch()
    moment = clock.now() - 2 * DAY
    Operation.all_objects.update(
        created_at=moment, started_run_at=moment, failed_run_at=moment, active_key=None
    )
    assert OperationJob.objects.exists() and OperationTag.objects.exists()
    assert go().counts["failed"] == 2
    for model in (Operation, Scripted, Tagged):
        assert not model.all_objects.exists()
    assert not OperationJob.objects.exists() and not OperationTag.objects.exists()
    Scripted.forget()


def test_a_dry_run_deletes_nothing() -> None:
    operation = ended()
    assert go(dry_run=True).counts == {"finished": 1}
    assert left() == {operation.pk}


def test_a_kind_whose_class_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.contenttypes.models import ContentType

    operation = ended(Sweep)
    kind = ContentType.objects.create(app_label="attic", model="forgotten")
    write(operation, kind=kind)
    assert go().counts == {"finished": 1}
    assert left() == set()


def test_what_is_protected_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps no other from going."""
    protected, other = ended(), ended()
    real = Note._base_manager.all().__class__.delete

    def delete(self: Any) -> Any:
        if self.filter(pk=protected.pk).exists():
            raise models.ProtectedError("an invoice", {protected})
        return real(self)

    monkeypatch.setattr(Note._base_manager.all().__class__, "delete", delete)
    done = go()
    assert (done.counts, done.kept) == ({"finished": 1}, 1)
    assert left() == {protected.pk} and other.pk not in left()


def test_one_that_is_retried_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = ended(column="failed_run_at")
    real = pruning._delete

    def delete(ids: list[int], alias: str) -> list[int]:
        Operation.all_objects.filter(pk=operation.pk).retry()
        return real(ids, alias)

    monkeypatch.setattr(pruning, "_delete", delete)
    assert go().kept == 1
    assert Note.objects.due().count() == 1


def test_it_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "WINDOW", 3)
    monkeypatch.setattr(pruning, "CHUNK", 2)
    for _ in range(7):
        ended()
    young = [ended(days=0.1) for _ in range(4)]
    first = prune_next(ALL, clock.now(), "default")
    assert first.counts == {"finished": 3} and not first.is_over
    assert go().counts == {"finished": 4}
    assert left() == {each.pk for each in young}


def test_the_walk_ends_where_all_is_young(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(pruning, "WINDOW", 3)
    for _ in range(12):
        ended(days=0.1)
    with django_assert_num_queries(1):
        assert go().is_over


def test_rules_of_the_settings_and_policies(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a policy names stands in place of the project's; what it leaves out is the project's."""
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": None}
    assert rules_of_settings("default").are_empty
    own = FOR_EVER | {"finished": DAY, "failed": 7 * DAY}
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": own}
    monkeypatch.setattr(Note, "policy", Policy(retention={"finished": 60, "failed": None}))
    rules = rules_of_settings("default")
    assert rules.general == {"finished": 86_400.0, "failed": 7 * 86_400.0}
    assert rules.by_kind[kinds.content_type(Note, "default").pk] == {"finished": 60.0}


@pytest.mark.django_db(transaction=True)
def test_two_at_once() -> None:
    """Each goes once, and nobody waits for long or loses a deadlock."""
    for _ in range(60):
        ended()
    threads = [Thread(go) for _ in range(4)]
    counts = [thread.result(60).counts["finished"] for thread in threads]
    assert sum(counts) == 60 and left() == set()


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_what_somebody_has_locked_is_passed_over() -> None:

    locked, other = ended(), ended()
    with transaction.atomic():
        list(Operation.all_objects.select_for_update().filter(pk=locked.pk))
        assert Thread(go).result().counts == {"finished": 1}
    assert left() == {locked.pk} and other.pk not in left()
    assert connection.vendor != "sqlite"


@pytest.fixture
def foreign_table(transactional_db: None) -> Iterator[Callable[[int], None]]:
    """A table that no model here knows, which refers to operations; returns what adds a row."""
    quoted = connection.ops.quote_name(Operation._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE strangers (operation_id BIGINT NOT NULL, FOREIGN KEY (operation_id) "
            f"REFERENCES {quoted} (id){' DEFERRABLE INITIALLY DEFERRED' if DEFERS else ''})"
        )

    def refer(pk: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO strangers VALUES (%s)", [pk])

    yield refer
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE strangers")


@pytest.mark.django_db(transaction=True)
def test_what_the_database_protects_stays_alone(foreign_table: Callable[[int], None]) -> None:
    """As rows of a class that another service has, or a foreign key that does nothing."""
    operations = [ended() for _ in range(7)]
    foreign_table(operations[3].pk)
    foreign_table(operations[4].pk)
    done = go()
    assert (done.counts, done.kept) == ({"finished": 5}, 2)
    assert left() == {operations[3].pk, operations[4].pk}


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no locks of rows")
@pytest.mark.django_db(transaction=True)
def test_what_would_go_along_and_is_locked_is_not_waited_for() -> None:
    """The operation itself is not locked, but its attempt is, in the transaction of a person."""
    operation = ended()
    job = OperationJob.objects.create(
        operation_id=operation.pk, number=1, started_at=clock.now(), outcome="finished"
    )
    with locked(OperationJob.objects.filter(pk=job.pk)), impatient():
        done = go()
    assert (done.counts, done.kept, left()) == ({}, 1, {operation.pk})
    with impatient():
        assert go().counts == {"finished": 1}
