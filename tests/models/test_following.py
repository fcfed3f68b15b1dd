"""What has happened since the last look, from the database."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess, following
from operator_app.models.choice import Choice
from operator_app.models.following import Follower, chosen_of
from operator_app.outcomes import (
    Aborted,
    Cancelled,
    Failed,
    Finished,
    Released,
    Retried,
    Stopped,
)
from operator_app.reports import ErrorReport
from operator_app.testing import run_due
from tests.kinds.models import Note, Scripted, Sweep, Tagged
from tests.models.conftest import make_operator, operator
from tests.models.tools import HOUR, claim_all, claimed_job, queries, write

__all__ = ["make_operator", "operator"]

pytestmark = pytest.mark.django_db

Look = Callable[[], list[tuple[str, int]]]


def follower(newest: int = 1_000, back: timedelta = HOUR) -> Follower:
    now = clock.now()
    return Follower("default", now, back=now - back, newest=newest)


@pytest.fixture
def look() -> Look:
    """What is new, as names and ids; nothing of what was there before."""
    this = follower()
    this.look(clock.now())

    def look() -> list[tuple[str, int]]:
        return [(each.name, each.operation_id) for each in this.look(clock.now())]

    return look


def end(job: OperationJob, outcome: Any) -> None:
    job.end_as(outcome)
    assert Operation.all_objects.record([job])


def test_a_life(look: Look, operator: OperatorProcess) -> None:
    """Each transition once, when it has happened."""
    note = Note.dispatch()
    assert look() == [("scheduled", note.pk)]
    assert look() == []
    job = claimed_job(note, operator)
    assert look() == [("claimed", note.pk)]
    end(job, Stopped("later", delay=1))
    assert look() == [("stopped", note.pk)]
    write(note, should_run_at=clock.now())
    look()
    job = claimed_job(note, operator)
    end(job, Finished())
    assert look() == [("claimed", note.pk), ("finished", note.pk)]
    assert look() == []


def test_all_of_it_between_two_looks(look: Look) -> None:
    Scripted.does("fail", lambda operation: 1 / 0)
    note, failing = Note.dispatch(), Scripted.dispatch(script="fail")
    run_due()
    assert sorted(look()) == sorted(
        [
            *[("scheduled", note.pk), ("claimed", note.pk), ("finished", note.pk)],
            *[("scheduled", failing.pk), ("claimed", failing.pk), ("retried", failing.pk)],
        ]
    )
    Scripted.forget()


def test_one_that_has_waited_for_long(look: Look) -> None:
    """Scheduled before anybody looked, claimed and finished between two looks: it was at the front
    of its lane.
    """
    note = Note.schedule(HOUR)
    write(note, created_at=clock.now() - 9 * HOUR)
    this = follower(newest=0)
    this.look(clock.now())
    write(note, should_run_at=clock.now())
    this.look(clock.now())
    run_due()
    found = this.look(clock.now())
    assert [each.name for each in found] == ["claimed", "finished"]


@pytest.mark.parametrize("seed", range(4))
def test_each_once(seed: int, operator: OperatorProcess) -> None:
    """Whatever happens, in whichever order and however often somebody looks: none is missed, and
    none is told twice.
    """
    pick, this = random.Random(seed), follower()
    running: list[OperationJob] = []
    happened: list[tuple[str, int]] = []
    told: list[tuple[str, int]] = []

    def look() -> None:
        told.extend((each.name, each.operation_id) for each in this.look(clock.now()))

    for _ in range(80):
        step = pick.choice(["schedule", "claim", "end", "end", "look"])
        if step == "schedule":
            happened.append(("scheduled", Note.dispatch(priority=pick.randrange(3)).pk))
        elif step == "claim":
            claimed = claim_all(operator, limit=pick.choice([1, 3]))
            running += [OperationJob.of(row) for row in claimed]
            happened += [("claimed", row.pk) for row in claimed]
        elif step == "end" and running:
            job = running.pop(pick.randrange(len(running)))
            end(job, pick.choice(OUTCOMES))
            happened.append((str(job.outcome), job.operation_id))
        elif step == "look":
            look()
    look()
    look()
    assert len(happened) > 20
    assert sorted(told) == sorted(happened)


OUTCOMES = [
    Finished(),
    Finished(),
    Released("its operator leaves"),
    Retried("no paper", error=ErrorReport.of(ValueError("no paper"))),
    Failed("no printer", error=ErrorReport.of(ValueError("no printer"))),
    Cancelled("no use"),
    Aborted("a fire"),
]


def test_errors_come_with_their_words(operator: OperatorProcess) -> None:
    this = follower()
    note = Note.dispatch()
    end(claimed_job(note, operator), Failed("no", error=ErrorReport.of(ValueError("no paper"))))
    failed = this.look(clock.now())[-1]
    assert (failed.name, failed.exception, failed.message) == ("failed", "ValueError", "no paper")
    assert failed.operator == str(operator) and failed.number == 1


def test_an_attempt_that_is_completed_later(look: Look, operator: OperatorProcess) -> None:
    """Its row was written while it ran."""
    note = Note.dispatch()
    job = claimed_job(note, operator)
    job.progress(1, 2)
    look()
    end(job, Stopped("later"))
    assert look() == [("stopped", note.pk)]


def test_what_is_done_by_hand(look: Look, operator: OperatorProcess) -> None:
    waiting, running, gone, late = (Note.dispatch() for _ in range(4))
    write(waiting, priority=3)
    claimed_job(running, operator)
    Operation.all_objects.exclude(pk=running.pk).update(started_run_at=None, operator=None)
    look()
    Note.objects.filter(pk=running.pk).abort("a fire")
    assert look() == [("asked to abort", running.pk)]
    Note.objects.filter(pk=late.pk).reschedule(HOUR)
    assert look() == [("rescheduled", late.pk)]
    Note.objects.filter(pk=gone.pk).cancel(delete=True)
    assert look() == [("deleted", gone.pk)]
    Note.objects.filter(pk=waiting.pk).cancel("no use")
    assert look() == [("cancelled", waiting.pk)]
    Operation.all_objects.filter(pk=waiting.pk).retry()
    assert look() == [("retried by hand", waiting.pk)]
    Note.objects.filter(pk=waiting.pk).cancel("no use at all")
    assert look() == [("cancelled", waiting.pk)]


def test_cancelled_long_before_it_was_due(look: Look) -> None:
    """Nobody follows what is due in a year; those that were cancelled are in an index."""
    note = Note.schedule(HOUR)
    look()
    Note.objects.all().cancel()
    assert look() == [("cancelled", note.pk)]


def test_a_smaller_id_that_is_committed_later(look: Look) -> None:
    """An id was taken, and its transaction ends after those with larger ones."""
    first, second = Note.dispatch(), Note.dispatch()
    values = Operation.all_objects.filter(pk=first.pk).values().get()
    Operation.all_objects.filter(pk=first.pk).delete()
    assert look() == [("scheduled", second.pk)]
    Operation(**values).save_base(raw=True, force_insert=True)
    assert look() == [("scheduled", first.pk)]


def test_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 2)
    this = follower()
    ids = [Note.schedule(HOUR).pk for _ in range(5)]
    found = []
    for behind in (True, True, False):
        found += this.look(clock.now())
        assert this.is_behind is behind
    assert [each.operation_id for each in found] == ids


@pytest.mark.parametrize("many", [1, 3])
def test_what_it_may_have_missed(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """The whole front of a lane has gone: there may have been more, that only an index tells."""
    monkeypatch.setattr(following, "FRONT", many)
    Note.dispatch(queue="mail")
    Note.dispatch(queue="mail")
    this = follower(newest=0)
    this.look(clock.now())
    run_due()
    this.look(clock.now())
    told = many == 1 and connection.vendor != "mysql"
    assert this.missed == (["mail"] if told else [])
    this.look(clock.now())
    assert this.missed == []


def test_not_more_than_so_many_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the highest priority are followed."""
    monkeypatch.setattr(following, "LANES", 1)
    low, high = Note.dispatch(priority=0), Note.dispatch(priority=5)
    this = follower(newest=0)
    this.look(clock.now())
    run_due()
    found = {each.operation_id for each in this.look(clock.now())}
    assert found == ({low.pk, high.pk} if connection.vendor == "mysql" else {high.pk})


def test_the_past() -> None:
    """As far back as it is asked for, among the newest."""
    old, young = Note.schedule(HOUR), Note.schedule(HOUR)
    write(old, cancelled_at=clock.now() - 3 * HOUR)
    write(young, cancelled_at=clock.now() - 2 * HOUR)
    found = follower(newest=0, back=2.5 * HOUR).look(clock.now())
    assert [each.operation_id for each in found if each.name == "cancelled"] == [young.pk]
    assert follower(newest=0, back=HOUR).look(clock.now()) == []
    found = follower(newest=1, back=HOUR).look(clock.now())
    assert {each.operation_id for each in found} == {young.pk}


def test_the_cost(operator: OperatorProcess) -> None:
    """The same for many as for few."""

    def cost(many: int) -> int:
        Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(many)])
        this.look(clock.now())
        jobs = [OperationJob.of(row) for row in claim_all(operator)]
        for job in jobs[::2]:
            job.end_as(Finished())
            Operation.all_objects.record([job])
        with queries() as asked:
            this.look(clock.now())
        return len(asked)

    this = follower()
    few = cost(2)
    assert few <= 9
    assert cost(20) == few


class TestChoice:
    """Those that are wanted."""

    def found(self, **options: Any) -> list[int]:
        found = follower().look(clock.now())
        return sorted(
            {each.operation_id for each in chosen_of(found, Choice(**options), "default")}
        )

    def test_by_what_they_tell(self, operator: OperatorProcess) -> None:
        note, sweep = Note.dispatch(queue="a"), Sweep.dispatch(queue="b")
        claimed_job(note, operator)
        Operation.all_objects.filter(pk=sweep.pk).update(started_run_at=None, operator=None)
        assert self.found() == [note.pk, sweep.pk]
        assert self.found(kinds=["kinds.Sweep"]) == [sweep.pk]
        assert self.found(queues=["a"]) == [note.pk]
        assert self.found(ids=[sweep.pk]) == [sweep.pk]
        assert self.found(operators=[str(operator)]) == [note.pk]

    def test_by_what_is_asked_for(self) -> None:
        tagged = Tagged.dispatch()
        tag = tagged.tags()[0]
        Note.dispatch()
        assert self.found(tag=tag) == [tagged.pk]
        assert self.found(tag="nothing") == []
        assert self.found(created_before=clock.now() - HOUR) == []
