"""How operations are getting on, kind by kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from operator_app import clock
from operator_app.models import Circuit, Operation, OperatorProcess, Pause, Tally, depths, kinds
from operator_app.models import kind_facts as facts_module
from operator_app.models.kind_facts import STATES, KindFacts, look
from tests.kinds.models import LongNote, Note, Sweep
from tests.models.tools import HOUR, counted, queries, write

pytestmark = pytest.mark.django_db


def found() -> dict[str, KindFacts]:
    facts = look("default", clock.now())
    labels = [each.label for each in facts]
    assert labels == sorted(labels)
    return dict(zip(labels, facts, strict=True))


def numbers(facts: KindFacts) -> dict[str, str]:
    assert tuple(facts.states) == STATES
    return {state: str(number) for state, number in facts.states.items() if str(number) != "0"}


def test_every_kind_is_there_without_a_row() -> None:
    facts = found()
    assert set(facts) == {model._meta.label for model in kinds.all_kinds()}
    assert numbers(facts["kinds.Note"]) == {}
    assert facts["kinds.Note"].model is Note


def test_states(operator: OperatorProcess) -> None:
    now = clock.now()
    for _ in range(3):
        Note.dispatch(queue="a")
    Note.dispatch(queue="b", priority=7)
    Note.schedule(HOUR)
    LongNote.dispatch()
    write(Note.dispatch(), started_run_at=now, operator=operator.pk)
    write(Note.dispatch(), started_run_at=now, operator=987654)
    for column in ("finished_run_at", "failed_run_at", "cancelled_at"):
        write(Note.dispatch(), started_run_at=now, **{column: now})
    write(Sweep.dispatch(), started_run_at=now, failed_run_at=now)
    facts = found()
    assert numbers(facts["kinds.Note"]) == {
        "due": "4",
        "scheduled": "1",
        "running": "1",
        "stuck": "1",
        "failed": "1",
        "cancelled": "1",
    }
    assert numbers(facts["kinds.LongNote"]) == {"due": "1"}
    assert numbers(facts["kinds.Sweep"]) == {"failed": "1"}
    (one,) = look("default", now, only=kinds.content_type(Sweep, "default").pk)
    assert (one.label, numbers(one)) == ("kinds.Sweep", {"failed": "1"})


def test_what_has_happened() -> None:
    """In the last hour and in the last day."""
    now = clock.now()
    counted(Note, now, finished=3, failed=1, durations=[0.1, 0.1, 2, 40])
    counted(Note, now - 5 * HOUR, queue="other", finished=6)
    counted(Note, now - 30 * HOUR, finished=100)
    counted(Sweep, now, retried=1)
    facts = found()
    note = facts["kinds.Note"]
    assert (note.hour.ended, note.day.ended, note.day.failure_rate) == (4, 10, 0.1)
    assert note.day.durations.count == 4
    assert facts["kinds.Sweep"].hour.ended == 0 and facts["kinds.Sweep"].hour.failure_rate == 1


def test_a_gone_kind_of_which_nothing_is_left_but_numbers() -> None:
    kind = ContentType.objects.create(app_label="oldshop", model="sendfax")
    counted(Note, clock.now(), finished=3)
    Tally.objects.update(kind=kind)
    gone = found()["oldshop.sendfax"]
    assert gone.day.ended == 3 and gone.is_known
    (other,) = look("default", clock.now(), only=kinds.content_type(User, "default").pk)
    assert not other.is_known


@pytest.mark.parametrize("column", [None, "started_run_at", "failed_run_at", "cancelled_at"])
def test_a_kind_whose_class_is_gone(column: str | None) -> None:
    kind = ContentType.objects.create(app_label="oldshop", model="sendfax")
    now = clock.now()
    values = {} if column is None else {"started_run_at": now, column: now}
    write(Note.dispatch(), kind=kind, **values)
    gone = found()["oldshop.sendfax"]
    assert gone.model is None and list(numbers(gone).values()) == ["1"]


def test_large_numbers_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        Note.dispatch()
        write(Sweep.dispatch(), started_run_at=clock.now(), failed_run_at=clock.now())
    monkeypatch.setattr(depths, "MOST", 3)
    monkeypatch.setattr(facts_module, "CAP", 3)
    facts = found()
    assert numbers(facts["kinds.Note"]) == {"due": "3+", "failed": "0+"}
    assert numbers(facts["kinds.Sweep"])["failed"] == "4+"
    monkeypatch.setattr(facts_module, "LANES", 1)
    Sweep.schedule(HOUR)
    assert numbers(found()["kinds.Sweep"])["scheduled"] == "0+"


def test_pauses_and_circuits() -> None:
    kind = kinds.content_type(Note, "default")
    mine = Pause.objects.pause(kind=Note, queue="a")
    elsewhere = Pause.objects.pause(queue="b")
    facts = found()
    assert facts["kinds.Note"].pauses == [mine] and not facts["kinds.Note"].is_paused
    Note.dispatch(queue="b")
    default = Pause.objects.pause(queue="notes")
    facts = found()
    assert facts["kinds.Note"].pauses == [mine, elsewhere, default]
    assert facts["kinds.LongNote"].pauses == [default]
    assert facts["kinds.Sweep"].pauses == []
    own = Pause.objects.pause(kind=Note)
    breaker = Pause.objects.create(kind=kind, from_breaker=True)
    circuit = Circuit.objects.create(kind=kind, pause=breaker)
    note = found()["kinds.Note"]
    assert note.own_pause == own and note.is_open and note.is_paused and note.circuit == circuit
    Pause.objects.all().delete()
    over = Pause.objects.pause()
    note = found()["kinds.Note"]
    assert note.is_paused and note.own_pause is None and not note.is_open
    Pause.objects.filter(pk=over.pk).update(until=clock.now() - timedelta(seconds=1))
    assert not found()["kinds.Note"].is_paused


def test_the_cost(django_assert_max_num_queries: Any) -> None:
    """However many kinds, lanes and operations there are."""
    Note.dispatch()
    found()
    with queries() as few:
        found()
    for queue in "abcdef":
        for model in (Note, Sweep, LongNote):
            model.dispatch(queue=queue)
            write(model.dispatch(), started_run_at=clock.now(), failed_run_at=clock.now())
    with queries() as many:
        found()
    assert len(many) == len(few) <= 13


@pytest.mark.skipif(connection.vendor != "sqlite", reason="its plans are read here")
def test_no_table_is_sorted() -> None:
    """The newest ones that have failed come from an index as they are."""
    for column in ("failed_run_at", "cancelled_at"):
        rows = facts_module._newest(Operation.all_objects.all(), column)
        plan = rows.values_list("kind_id")[:10].explain()
        assert f"operator_app_{column.split('_')[0]}" in plan and "B-TREE" not in plan
