"""Pauses, with real operators. That what waits is given back stands in `duties/test_pauses.py`."""

from __future__ import annotations

from datetime import timedelta

from operator_app import clock
from operator_app.models import Operation, Pause
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    entries,
    pause,
    ready,
    wait_until_finished,
)
from tests.work.models import OtherTick, Tick


def test_paused_work_waits_and_goes_on(operate: Start) -> None:
    """Two operators stop taking what is paused, take everything else, and go on when it ends."""
    operators = [operate("--threads", "1") for _ in range(2)]
    ready(*operators)
    Tick.dispatch()
    wait_until_finished(1, by=operators)
    Pause.objects.pause(kind=Tick, reason="a deploy")
    pause(1.0)  # Within which it is effective.
    ticks = Tick.schedule_many([Tick(should_run_at=clock.now()) for _ in range(20)])
    others = OtherTick.schedule_many([OtherTick(should_run_at=clock.now()) for _ in range(20)])
    wait_until_finished(21, by=operators)
    assert Operation.objects.due().count() == 20
    assert [reason.code for reason in ticks[0].explain()] == ["paused"]
    Pause.objects.resume(kind=Tick)
    wait_until_finished(41, by=operators)
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0, 0]
    assert_calm(*operators)
    assert len(entries()) == len(set(entries())) == 41 and others


def test_a_pause_that_runs_out_ends_by_itself(operate: Start) -> None:
    """Without a word from anybody, and on time."""
    operator = operate("--threads", "1")
    ready(operator)
    until = clock.now() + timedelta(seconds=2)
    Pause.objects.pause(until=until)
    pause(0.5)
    tick = Tick.dispatch()
    wait_until_finished(1, by=[operator])
    tick.refresh_from_db()
    assert tick.started_run_at is not None and tick.started_run_at >= until
    operator.terminate()
    assert operator.wait() == 0
