"""Operators that a person asks to drain, to go on, to stop: through their rows, with real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operator_app.models import Operation, OperationJob, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_nothing_left,
    entries,
    lines,
    ready,
    wait_for_entries,
)
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Hold, Tick

pytestmark = pytest.mark.django_db(transaction=True)

BEAT = {"HEARTBEAT": {"interval": 0.2, "timeout": 5}}


@pytest.fixture
def start(operate: Start) -> Callable[..., OperatorUnderTest]:
    """Start an operator that beats five times a second."""

    def begin(*arguments: str, **settings: Any) -> OperatorUnderTest:
        operator = operate(*arguments, **BEAT, **settings)
        ready(operator)
        return operator

    return begin


def row() -> OperatorProcess:
    return OperatorProcess.objects.get()


def heard(operator: OperatorUnderTest, times: int = 1) -> None:
    """Wait until the operator has heard so many wishes."""
    poll(lambda: len(lines(operator, "asked")) >= times, 10, lambda: f"a wish:\n{operator.log}")


def test_drain_lets_finish_what_runs_and_claims_nothing(start: Any, tmp_path: Path) -> None:
    """However long that takes: the grace does not count. Then it leaves in order."""
    gate = tmp_path / "gate"
    operator = start("--threads", "2", "--grace", "0")
    hold = Hold.dispatch(path=str(gate))
    wait_for_entries(1, "begun", by=[operator])
    assert OperatorProcess.objects.drain(by="ann") == 1
    heard(operator)
    late = Tick.dispatch()
    poll(lambda: row().draining, 10, "the row to say that it drains")
    beat = row().heartbeat_at
    poll(lambda: row().heartbeat_at > beat, 10, "a further beat")
    assert operator.running and entries() == []
    assert Operation.objects.get(pk=late.pk).state == "due"
    gate.touch()
    assert operator.wait() == 0, operator.log
    assert Operation.objects.get(pk=hold.pk).state == "finished"
    assert Operation.objects.get(pk=late.pk).state == "due"
    assert_nothing_left()
    assert_calm(operator)
    assert "by ann" in lines(operator, "asked")[0]["message"]


def test_an_idle_one_that_drains_leaves_at_once(start: Any) -> None:
    operator = start()
    OperatorProcess.objects.drain()
    assert operator.wait() == 0
    assert_nothing_left()
    assert_calm(operator)


def test_a_drain_that_is_called_off(start: Any, tmp_path: Path) -> None:
    """It claims again, what has become due meanwhile too."""
    gate = tmp_path / "gate"
    operator = start("--threads", "2")
    Hold.dispatch(path=str(gate))
    wait_for_entries(1, "begun", by=[operator])
    OperatorProcess.objects.drain()
    heard(operator)
    Tick.dispatch()
    assert OperatorProcess.objects.resume() == 1
    wait_for_entries(1, by=[operator])
    poll(lambda: not row().draining, 10, "the row to say that it goes on")
    gate.touch()
    poll(lambda: Operation.objects.finished().count() == 2, 10, "both to finish")
    operator.terminate()
    assert operator.wait() == 0
    assert_calm(operator)


def test_stop_is_as_a_signal(start: Any, tmp_path: Path) -> None:
    """What has not begun is released at once, what runs when the grace is over."""
    operator = start("--threads", "1", "--grace", "0.5")
    hold = Hold.dispatch(path=str(tmp_path / "never"))
    wait_for_entries(1, "begun", by=[operator])
    assert OperatorProcess.objects.stop(by="ann") == 1
    assert operator.wait() == 0, operator.log
    found = Operation.objects.get(pk=hold.pk)
    assert found.started_run_at is None and found.failures == found.crashes == 0
    assert OperationJob.objects.get(operation=hold.pk).outcome == "released"
    assert_nothing_left()


def test_stop_comes_before_a_drain_that_takes_long(start: Any, tmp_path: Path) -> None:
    operator = start("--grace", "0.5")
    Hold.dispatch(path=str(tmp_path / "never"))
    wait_for_entries(1, "begun", by=[operator])
    OperatorProcess.objects.drain()
    heard(operator)
    OperatorProcess.objects.stop()
    assert operator.wait() == 0, operator.log
    assert_nothing_left()


def test_a_signal_ends_a_drain(start: Any, tmp_path: Path) -> None:
    """With its grace, as at any other time."""
    operator = start("--grace", "0.5")
    Hold.dispatch(path=str(tmp_path / "never"))
    wait_for_entries(1, "begun", by=[operator])
    OperatorProcess.objects.drain()
    heard(operator)
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert_nothing_left()
