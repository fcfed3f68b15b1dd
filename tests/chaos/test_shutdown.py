"""G6: leaving in order, alone and under a parent, whatever is running."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from tests.chaos.conftest import Start
from tests.chaos.support import (
    QUICK,
    STEADY,
    account,
    decoy,
    due,
    wait_at_gate,
    wait_until_ended,
)
from tests.chaos.work.models import Task
from tests.leftovers import processes_of
from tests.process.support import lines, logs, ready
from tests.processes import OperatorUnderTest, poll


def test_a_slow_shutdown_is_not_a_death(operate: Start, tmp_path: Path) -> None:
    """After SIGTERM a job may last longer than the heartbeat's timeout: the operator beats until it
    has ended, and one that watches does not run it again.
    """
    gate = tmp_path / "gate"
    held = due(Task, gate=str(gate))
    settings = {"HEARTBEAT": STEADY, "POLL_INTERVAL": 0.2}
    leaving = operate("--grace", "60", **settings)
    wait_at_gate(gate, held, leaving)
    watching = operate(**settings)
    ready(watching)
    leaving.terminate()
    rows = OperatorProcess.objects.filter(pid=leaving.pid)
    poll(lambda: rows.filter(draining=True).exists(), 10, "it to say that it drains")
    # Had it stopped to beat by now, it would be declared lost no later than this one.
    poll(decoy(STEADY["timeout"]), 30, "the watching operator to judge")
    assert leaving.running
    gate.touch()
    assert leaving.wait() == 0, leaving.log
    wait_until_ended(held, watching)
    operation = Operation.objects.get(pk=held[0])
    assert (operation.state, operation.attempts, operation.crashes) == ("finished", 1, 0)
    result = account(held, [], 0)
    assert (result.lost, result.duplicated, result.repeated) == ([], [], 0)
    (lost,) = lines(watching, "operator_lost")
    assert "decoy" in lost["message"]


def test_five_signals_at_once(operate: Start, tmp_path: Path) -> None:
    """Five SIGTERMs at once, which the system may deliver as one, end the operator with 0 after its
    grace at the latest; what ran is released, not charged.
    """
    gate = tmp_path / "gate"
    held = due(Task, 2, gate=str(gate))
    operator = operate("--threads", "2", "--grace", "1", HEARTBEAT=QUICK)
    wait_at_gate(gate, held, operator)
    waiting = due(Task, 5)

    for _ in range(5):
        operator.terminate()

    assert operator.wait(15) == 0, operator.log
    assert "Traceback" not in operator.log
    rows = Operation.objects.filter(pk__in=held)
    assert set(rows.values_list("started_run_at", "failures", "crashes")) == {(None, 0, 0)}
    gate.touch()
    Operation.objects.update(should_run_at=clock.now())
    assert operate("--once", HEARTBEAT=QUICK).wait() == 0
    assert Operation.objects.finished().count() == len(held + waiting)


def _children(parent: OperatorUnderTest, count: int) -> list[OperatorProcess]:
    """Wait until so many operators are registered; return them."""
    rows = OperatorProcess.objects.filter(lost_at=None).order_by("pk")
    poll(lambda: rows.count() == count, 30, lambda: f"{count} operators\n{parent.log}")
    return list(rows)


def test_a_killed_child_is_rescued_at_once_and_replaced(operate: Start, tmp_path: Path) -> None:
    """Under --processes 2 a killed child's work is rescued within two seconds, though its heartbeat
    has a minute left; another child takes its place; SIGTERM to the parent ends all of them with 0.
    """
    gate = tmp_path / "gate"
    beat = {"interval": 0.5, "timeout": 60}
    parent = operate("--processes", "2", "--threads", "1", HEARTBEAT=beat, POLL_INTERVAL=0.2)
    _children(parent, 2)
    held = due(Task, 2, gate=str(gate))
    wait_at_gate(gate, held, parent)
    victim, other = [Operation.objects.get(pk=pk) for pk in held]
    assert victim.operator is not None and victim.operator_id != other.operator_id

    os.kill(victim.operator.pid, signal.SIGKILL)
    killed = time.monotonic()
    rows = Operation.objects.filter(pk=victim.pk, crashes=1)
    poll(rows.exists, 30, lambda: f"the rescue\n{parent.log}")
    took = time.monotonic() - killed
    print(f"rescued after {took:.2f} s")
    assert took < 2

    gate.touch()
    wait_until_ended(held, parent)
    _children(parent, 2)
    result = account(held, [], 1)
    assert (result.lost, result.duplicated, result.repeated) == ([], [], 1)
    victim.refresh_from_db()
    other.refresh_from_db()
    assert (victim.attempts, other.attempts) == (2, 1)
    parent.terminate()
    assert parent.wait() == 0, parent.log
    assert processes_of(parent) == set()
    assert not OperatorProcess.objects.filter(lost_at=None).exists()


def test_a_killed_parent_takes_its_children_along(operate: Start, tmp_path: Path) -> None:
    """When the parent is killed, its children finish what they run and leave, rows and all."""
    gate = tmp_path / "gate"
    beat = {"interval": 0.5, "timeout": 60}
    parent = operate("--processes", "2", "--threads", "1", HEARTBEAT=beat, POLL_INTERVAL=0.2)
    _children(parent, 2)
    held = due(Task, 2, gate=str(gate))
    wait_at_gate(gate, held, parent)

    parent.kill()
    draining = OperatorProcess.objects.filter(draining=True)
    poll(lambda: draining.count() == 2, 15, lambda: f"the children to drain\n{parent.log}")
    late = due(Task)
    gate.touch()
    poll(lambda: not processes_of(parent), 30, lambda: f"the children to leave\n{parent.log}")

    rows = Operation.objects.filter(pk__in=held)
    assert set(rows.values_list("attempts", "crashes", "failures")) == {(1, 0, 0)}
    assert rows.finished().count() == 2
    assert not OperatorProcess.objects.exists(), logs(parent)
    assert set(Operation.objects.due().values_list("pk", flat=True)) == set(late)
