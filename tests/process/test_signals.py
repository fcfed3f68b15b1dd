"""G6: an operator that is told to leave finishes what it can and loses nothing."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_each_once,
    assert_nothing_left,
    entries,
    lines,
    ready,
    wait_for_entries,
)
from tests.processes import poll
from tests.work.models import Hold, HoldInline, HoldLocked, Tick

SOON = 10
"""Seconds, more than generous, in which an operator that need not wait for anything has left."""


def _draining() -> bool:
    return OperatorProcess.objects.filter(draining=True).exists()


def _hold(path: Path, count: int, kind: type[Hold] = Hold) -> list[int]:
    now = clock.now()
    rows = [kind(should_run_at=now, path=str(path)) for _ in range(count)]
    return [operation.pk for operation in kind.schedule_many(rows)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_jobs_in_flight_finish(
    operate: Start, tmp_path: Path, number: signal.Signals
) -> None:
    """After the first SIGTERM or SIGINT running jobs finish, nothing new starts, and it exits 0."""
    gate = tmp_path / "gate"
    operator = operate("--threads", "2", HEARTBEAT={"interval": 0.1, "timeout": 5})
    held = _hold(gate, 2)
    wait_for_entries(2, "begun", by=[operator])
    waiting = Tick.dispatch()

    operator.signal(number)
    poll(_draining, 10, "the operator's row to say that it drains")
    late = Tick.dispatch()
    gate.touch()

    assert operator.wait(SOON) == 0
    assert sorted(entries("ended")) == sorted(held)
    assert set(Operation.objects.finished().values_list("pk", flat=True)) == set(held)
    assert entries() == []
    for operation in (waiting, late):
        operation.refresh_from_db()
        assert (operation.state, operation.attempts) == ("due", 0)
    assert_calm(operator)
    assert len(lines(operator, "left")) == 1
    assert_nothing_left()


def test_an_idle_operator_leaves_at_once(operate: Start) -> None:
    """An operator with nothing to do exits with 0 as soon as it gets SIGTERM."""
    Tick.schedule(timedelta(hours=1))
    operator = operate()
    ready(operator)
    operator.terminate()
    assert operator.wait(SOON) == 0
    assert_calm(operator)
    assert_nothing_left()


def test_a_second_sigterm_ends_the_grace(operate: Start, tmp_path: Path) -> None:
    """A second SIGTERM exits at once with 0; what ran is due again in about 5 s, uncharged."""
    gate = tmp_path / "gate"
    operator = operate("--threads", "2", "--grace", "50", HEARTBEAT={"interval": 0.1, "timeout": 5})
    held = _hold(gate, 2)
    wait_for_entries(2, "begun", by=[operator])
    operator.terminate()
    poll(_draining, 10, "the operator's row to say that it drains")
    assert operator.running

    before = clock.now()
    operator.terminate()

    assert operator.wait(SOON) == 0
    _assert_released(held, before)
    assert_nothing_left()

    gate.touch()
    Operation.objects.update(should_run_at=clock.now())
    second = operate("--once")
    assert second.wait() == 0
    assert_each_once(held, "ended")
    assert set(Operation.objects.finished().values_list("attempts", flat=True)) == {2}
    assert_calm(second)


def test_the_grace_is_kept(operate: Start, tmp_path: Path) -> None:
    """With --grace 1 a long job is released after a second, and the operator exits with 0."""
    operator = operate("--threads", "2", "--grace", "1")
    held = _hold(tmp_path / "never", 2)
    wait_for_entries(2, "begun", by=[operator])
    before, clocked = clock.now(), time.monotonic()
    operator.terminate()

    assert operator.wait(SOON) == 0
    assert time.monotonic() - clocked >= 1
    _assert_released(held, before)
    assert_nothing_left()


@pytest.mark.parametrize("times", [1, 2])
def test_a_transaction_that_outlasts_the_grace(operate: Start, tmp_path: Path, times: int) -> None:
    """What a run has locked, its own row or on SQLite everything, does not keep the operator from
    releasing it and leaving in time; its effects are rolled back.
    """
    grace = "0.5" if times == 1 else "50"
    operator = operate("--grace", grace, HEARTBEAT={"interval": 0.5, "timeout": 10})
    held = _hold(tmp_path / "never", 1, HoldLocked)
    poll(lambda: (tmp_path / "never.locked").exists(), 30, lambda: operator.log)
    before = clock.now()
    for _ in range(times):
        operator.terminate()
        time.sleep(0.2)  # Two signals at once are one.
    assert operator.wait(SOON) == 0, operator.log
    _assert_released(held, before)
    assert entries("begun") == []
    assert_nothing_left()


def _assert_released(held: list[int], since: object) -> None:
    rows = Operation.all_objects.filter(pk__in=held)
    assert len(rows) == len(held)
    for operation in rows:
        assert (operation.attempts, operation.failures, operation.crashes) == (1, 0, 0)
        assert (operation.stops, operation.operator_id) == (0, None)
        assert operation.started_run_at is None
        wait = (operation.should_run_at - since).total_seconds()
        assert 4 < wait < 5 + SOON
    jobs = OperationJob.objects.filter(operation__in=held)
    assert [(job.outcome, job.number) for job in jobs] == [("released", 1)] * len(held)


def test_many_sigterms_still_exit_with_0(operate: Start, tmp_path: Path) -> None:
    """However many SIGTERMs come, until the very end of the process, it exits with 0."""
    operator = operate("--threads", "2")
    held = _hold(tmp_path / "never", 1)
    wait_for_entries(1, "begun", by=[operator])

    def ended() -> bool:
        operator.terminate()
        return not operator.running

    poll(ended, SOON, "the operator to end", interval=0.002)

    assert operator.returncode == 0, operator.log
    assert Operation.objects.get(pk=held[0]).started_run_at is None
    assert_nothing_left()


def test_many_sigterms_at_an_idle_operator_exit_with_0(operate: Start) -> None:
    """An operator that leaves by itself on the first of many SIGTERMs exits with 0, too."""
    operator = operate()
    ready(operator)

    def ended() -> bool:
        operator.terminate()
        return not operator.running

    poll(ended, SOON, "the operator to end", interval=0.002)
    assert operator.returncode == 0, operator.log
    assert_nothing_left()


def test_an_inline_job_finishes_before_the_operator_leaves(operate: Start, tmp_path: Path) -> None:
    """SIGINT while a job runs in the main thread does not interrupt it: it finishes first."""
    gate = tmp_path / "gate"
    operator = operate()
    held = _hold(gate, 1, HoldInline)
    wait_for_entries(1, "begun", by=[operator])
    operator.signal(signal.SIGINT)
    gate.touch()
    assert operator.wait(SOON) == 0
    assert_each_once(held, "ended")
    assert Operation.objects.finished().count() == 1
    assert_calm(operator)
    assert_nothing_left()


def test_a_stopped_operator_that_is_told_to_leave_does_so_when_it_wakes(
    operate: Start, tmp_path: Path
) -> None:
    """SIGTERM to a process held by SIGSTOP is heard after SIGCONT, and its jobs still finish."""
    gate = tmp_path / "gate"
    operator = operate("--threads", "2")
    held = _hold(gate, 2)
    wait_for_entries(2, "begun", by=[operator])
    operator.signal(signal.SIGSTOP)
    operator.terminate()
    gate.touch()
    assert operator.running
    operator.signal(signal.SIGCONT)
    assert operator.wait(SOON) == 0
    assert_each_once(held, "ended")
    assert_calm(operator)
    assert_nothing_left()
