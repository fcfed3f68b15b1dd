"""The operation itself: what it says of itself, and what its `run()` may call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.test import override_settings

from operator_app import Policy, clock
from operator_app.exceptions import (
    OperationCancelled,
    OperationInterrupt,
    OperationRetried,
    OperationStopped,
)
from operator_app.models import Operation
from tests.kinds.models import LongNote, Note, QuickNote, RankUp, Report, Reported, Sweep
from tests.models.tools import HOUR, queries, write

pytestmark = pytest.mark.django_db


def test_an_operation_is_called_by_its_kind_and_id() -> None:
    """`str()` names the kind and the row, for the base instance too, and before it is saved."""
    note = QuickNote.dispatch()
    assert str(note) == f"kinds.QuickNote #{note.pk}"
    assert str(Operation.objects.get()) == str(note)
    assert str(QuickNote()) == "kinds.QuickNote #None"


def test_the_kind_is_the_class_that_was_scheduled() -> None:
    """A proxy has a kind of its own; so has a subclass of a subclass."""
    for kind in (Note, QuickNote, LongNote, Sweep, Report):
        operation = kind.dispatch()
        assert operation.kind.model_class() is kind
        assert operation.kind_label == kind._meta.label


def test_run_must_be_written() -> None:
    """The base class's `run()` says what is missing."""
    with pytest.raises(NotImplementedError, match=r"Operation needs a run\(\) method"):
        Operation().run()


def test_run_can_be_tested_by_calling_it() -> None:
    """With no job current, `stop()`, `cancel()` and `retry()` raise what the engine would catch."""
    when = clock.now() + HOUR
    note = Note.dispatch()
    with pytest.raises(OperationStopped) as stopped:
        note.stop("not yet", until=when)
    assert (stopped.value.reason, stopped.value.delay, stopped.value.until) == (
        "not yet",
        None,
        when,
    )
    with pytest.raises(OperationStopped) as stopped:
        note.stop(delay=5)
    assert stopped.value.delay == 5
    with pytest.raises(OperationCancelled) as cancelled:
        note.cancel("never")
    assert cancelled.value.reason == "never"
    with pytest.raises(OperationRetried) as retried:
        note.retry("again", delay=0)
    assert (retried.value.reason, retried.value.delay) == ("again", 0)


def test_interrupts_pass_except_exception() -> None:
    """`except Exception` in user code does not swallow an interrupt."""
    assert issubclass(OperationInterrupt, BaseException)
    assert not issubclass(OperationInterrupt, Exception)


def test_stop_takes_one_time_only() -> None:
    """`stop()` with both a delay and a moment is refused."""
    with pytest.raises(ValueError, match="delay or until, not both"):
        Note().stop(delay=1, until=clock.now())


@pytest.mark.skipif("not __import__('django').conf.settings.USE_TZ", reason="needs USE_TZ")
def test_stop_refuses_a_naive_moment() -> None:
    """A naive `until` is as ambiguous as a naive `when`."""
    with pytest.raises(ValueError, match="naive"):
        Note().stop(until=datetime(2030, 1, 1))  # noqa: DTZ001


def test_the_default_tags_follow_from_the_row() -> None:
    """An operation is tagged as an operation and by its kind and id."""
    note = QuickNote.dispatch()
    assert note.tags() == ["operation", f"kinds.QuickNote:{note.pk}"]


def test_a_policy_is_completed_from_its_bases() -> None:
    """What a kind's policy leaves open comes from its base classes, abstract ones included."""
    assert Report.resolved_policy().queue == "reports"
    assert (Report.resolved_policy().priority, Report.resolved_policy().max_attempts) == (1, 7)
    assert (QuickNote.resolved_policy().queue, QuickNote.resolved_policy().priority) == ("notes", 5)
    assert LongNote.resolved_policy() == Note.resolved_policy()


def test_a_policy_is_completed_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPERATOR["POLICY"]` stands behind every kind, as it is at that moment."""
    with override_settings(OPERATOR={"POLICY": {"priority": 7, "queue": "project"}}):
        assert (Note.dispatch().priority, Note.dispatch().queue) == (7, "notes")
        assert Sweep.dispatch().queue == "project"
    assert Note.dispatch().priority == 0
    with override_settings(OPERATOR={"POLICY": {"quue": "x"}}), pytest.raises(TypeError):
        Sweep.dispatch()
    with override_settings(OPERATOR={"GRASE": 1}), pytest.raises(ImproperlyConfigured):
        Sweep.dispatch()
    monkeypatch.setattr(Note, "policy", Policy(queue="patched"))
    assert Note.dispatch().queue == "patched"


def test_states_change_with_the_clock() -> None:
    """`state` is what the timestamps say at this moment."""
    note = Note.schedule(HOUR)
    assert note.state == "scheduled"
    with clock.at(note.should_run_at):
        assert note.state == "due"
    for column, state in (
        ("finished_run_at", "finished"),
        ("failed_run_at", "failed"),
        ("cancelled_at", "cancelled"),
    ):
        other = Note.dispatch()
        write(other, **{column: clock.now()})
        other.refresh_from_db()
        assert other.state == state


def test_specific_is_the_instance_of_the_kind() -> None:
    """`specific` loads the kind's own columns with one query, once."""
    note = LongNote.dispatch(text="t", body="b")
    base = Operation.objects.get()
    with queries() as seen:
        specific = base.specific
        assert base.specific is specific
    assert type(specific) is LongNote and (specific.text, specific.body) == ("t", "b")
    assert len(seen) == 1
    assert note.specific is note


def test_specific_of_a_proxy_costs_nothing() -> None:
    """A kind without columns needs no query, and its instance can be saved as any other."""
    Sweep.dispatch()
    base = Operation.objects.get()
    with queries() as seen:
        specific = base.specific
    assert type(specific) is Sweep and seen == []
    specific.priority = 4
    specific.save()
    assert Operation.objects.get().priority == 4


def test_refreshing_forgets_the_specific_instance() -> None:
    """`refresh_from_db()` also drops the cached specific instance."""
    Note.dispatch(text="old")
    base = Operation.objects.get()
    assert base.specific.text == "old"  # type: ignore[attr-defined]
    Note.objects.update(text="new")
    base.refresh_from_db()
    assert base.specific.text == "new"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "columns",
    [
        ("finished_run_at", "failed_run_at"),
        ("finished_run_at", "cancelled_at"),
        ("failed_run_at", "cancelled_at"),
    ],
)
def test_the_database_refuses_two_endings(columns: tuple[str, str]) -> None:
    """An operation ends once, whatever writes it."""
    note = Note.dispatch()
    with pytest.raises(IntegrityError), transaction.atomic():
        write(note, **dict.fromkeys(columns, clock.now()))


def test_the_database_refuses_an_operator_without_a_start() -> None:
    """An operation that an operator holds has been started."""
    note = Note.dispatch()
    with pytest.raises(IntegrityError), transaction.atomic():
        write(note, operator_id=1)
    write(note, operator_id=1, started_run_at=clock.now() - timedelta(days=9_000))


def test_an_abstract_class_has_no_rows() -> None:
    """An abstract intermediate class gives its columns and policy, and no table."""
    assert Reported._meta.abstract
    assert Report.dispatch(title="t").title == "t"


def test_a_kind_may_have_a_foreign_key(django_user_model: Any) -> None:
    """Arguments are typed columns: an object goes in and comes out."""
    user = django_user_model.objects.create(username="ann")
    RankUp.dispatch(user=user)
    assert RankUp.objects.get(user__username="ann").user == user
