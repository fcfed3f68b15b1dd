"""run_due: what a project's own tests use."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import TestCase

from operator_app import Policy, clock
from operator_app.models import Operation, OperatorProcess
from operator_app.testing import run_due
from tests.kinds.models import Inline, Ledger, Note, QuickNote, Report, Scripted, Sweep
from tests.models.tools import HOUR, ids, nothing, raises, scripted, stored

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> None:
    Scripted.forget()


class InTestCase(TestCase):
    """`TestCase` is enough: everything happens in its transaction."""

    def test_due_operations_are_run(self) -> None:
        """What is due runs here and now, and its effects are there."""
        Note.dispatch(text="hello")
        jobs = run_due()
        assert [job.outcome for job in jobs] == ["finished"]
        assert Ledger.objects.get().line == "hello"

    def test_an_error_is_in_the_job(self) -> None:
        """`job.error` is what `run()` raised, with its traceback."""
        error = LookupError("x")
        Scripted.dispatch(script=Scripted.does("bad", raises(error)))
        (job,) = run_due(limit=1)
        assert job.error is error
        assert error.__traceback__ is not None


def test_nothing_due_is_no_job() -> None:
    """The future is left alone."""
    Note.schedule(HOUR)
    assert run_due() == []


def test_the_future_can_be_reached() -> None:
    """With `now`, what is due by then is run, at that time."""
    note = Note.schedule(timedelta(days=30))
    now = clock.now() + timedelta(days=31)
    assert run_due(now=now - timedelta(days=2)) == []
    (job,) = run_due(now=now)
    row = stored(note)
    assert row.started_run_at == row.finished_run_at == now == job.ended_at
    assert clock.now() < now, "the clock goes on as before"


def test_the_limit_holds() -> None:
    """At most so many are run, in the order of an operator."""
    now = clock.now()
    many = Sweep.schedule_many(
        [Sweep(should_run_at=now, priority=priority) for priority in (1, 3, 2)]
    )
    jobs = run_due(limit=2)
    assert [job.operation_id for job in jobs] == [many[1].pk, many[2].pk]
    assert run_due(limit=0) == []
    assert len(run_due()) == 1


def test_queues_may_be_chosen() -> None:
    """Only the named queues are served."""
    Note.dispatch()
    report = Report.dispatch()
    assert [job.operation_id for job in run_due(queues=["reports"])] == [report.pk]


def test_what_becomes_due_is_run_too() -> None:
    """An operation that another one dispatches, and a retry without delay, run in the same call."""
    Scripted.does("second", nothing)
    first = scripted(lambda operation: Scripted.dispatch(script="second"))
    jobs = run_due()
    assert [job.outcome for job in jobs] == ["finished"] * 2
    assert jobs[0].operation_id == first.pk


def test_a_retry_without_delay_is_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It becomes due by running, with the time standing still as well."""
    monkeypatch.setattr(Scripted, "policy", Policy(backoff=[0, 0]))
    for now in (None, clock.now() + HOUR):
        scripted(raises(LookupError("x")))
        assert [job.outcome for job in run_due(now=now)] == ["retried", "retried", "failed"]


def test_a_stopped_operation_ends_the_call() -> None:
    """It waits at least a second, so the call does not go on for ever."""
    scripted(lambda operation: operation.stop(delay=0))
    assert len(run_due(now=clock.now())) == 1


def test_every_runner_is_this_thread() -> None:
    """Kinds of any runner run here, one after the other."""
    made = [scripted(nothing, Inline), scripted(nothing), QuickNote.dispatch()]
    assert sorted(job.operation_id for job in run_due()) == ids(made)


def test_no_operator_is_left_behind() -> None:
    """While it runs there is an operator, as the engine needs one; afterwards there is none."""
    seen: list[int] = []
    scripted(lambda operation: seen.append(OperatorProcess.objects.count()))
    run_due()
    assert seen == [1] and not OperatorProcess.objects.exists()
    assert Operation.objects.finished().count() == 1
