"""How operations are getting on, in numbers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperatorProcess, Pause, counts, number, overview
from operator_app.models.number import Number
from operator_app.models.overview import look
from tests.kinds.models import Note, Sweep
from tests.models.tools import HOUR, claim_all, write

pytestmark = pytest.mark.django_db


def now_seen() -> overview.Overview:
    return look("default", clock.now())


def test_nothing() -> None:
    found = now_seen()
    assert set(map(str, found.states.values())) == {"0"}
    assert (found.queues, found.operators, found.pauses) == ([], [], [])


def test_states_queues_and_operators(operator: OperatorProcess) -> None:
    running = Note.dispatch(queue="busy")
    claim_all(operator)
    Note.schedule(clock.now() - timedelta(minutes=5), queue="a")
    Sweep.dispatch(queue="a", priority=3)
    Note.schedule(HOUR, queue="b")
    for column in ("finished_run_at", "failed_run_at", "cancelled_at"):
        write(Note.dispatch(), started_run_at=clock.now(), **{column: clock.now()})
    found = now_seen()
    assert {state: str(number) for state, number in found.states.items()} == {
        "scheduled": "1",
        "due": "2",
        "running": "1",
        "stuck": "0",
        "finished": "1",
        "failed": "1",
        "cancelled": "1",
    }
    a, b = found.queues
    assert (a.name, a.due.count, a.scheduled.count, a.paused) == ("a", 2, 0, False)
    assert a.late is not None and 299 < a.late < 330
    assert (b.name, b.due.count, b.scheduled.count, b.late) == ("b", 0, 1, None)
    (one,) = found.operators
    assert (one.name, one.holds, one.draining) == (str(operator), 1, False)
    assert running.pk and one.beat < 30


def test_pauses() -> None:
    Note.dispatch(queue="a")
    Pause.objects.pause(queue="a", reason="a deploy")
    found = now_seen()
    assert found.queues[0].paused and "a deploy" in found.pauses[0]
    Sweep.dispatch(queue="a")
    Pause.objects.all().delete()
    Pause.objects.pause(kind=Note)
    assert not now_seen().queues[0].paused


def test_large_numbers_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    Note.schedule_many([Note(should_run_at=now) for _ in range(6)])
    assert str(Number.of(Operation.objects.all(), 5)) == "5+"
    assert str(Number.of(Operation.objects.all(), 6)) == "6"
    monkeypatch.setattr(number, "CAP", 10)
    assert str(Number.sum([Number(6), Number(4)])) == "10"
    assert str(Number.sum([Number(6), Number(5)])) == "10+"
    assert str(Number.sum([Number(1, is_more=True)])) == "1+"
    assert str(Number(12345)) == "12,345"


def test_the_cost(django_assert_max_num_queries: Any) -> None:
    """However many operations and lanes there are."""
    for queue in "abc":
        for _ in range(5):
            Note.dispatch(queue=queue)
    with django_assert_max_num_queries(13 + 1):
        now_seen()


def test_few_operations_with_high_ids_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids go on where old operations have been deleted."""
    monkeypatch.setattr(counts, "WINDOW", 2)
    made = [Note.dispatch() for _ in range(3)]
    write(made[-1], started_run_at=clock.now(), finished_run_at=clock.now())
    assert str(now_seen().states["finished"]) == "1+"
    made[0].delete()
    assert str(now_seen().states["finished"]) == "1"
