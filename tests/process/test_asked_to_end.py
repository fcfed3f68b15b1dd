"""Operations that run too long, or that a person wants to end, under real operators."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import entries, lines, wait_for_entries, wait_until_finished
from tests.processes import poll
from tests.work.models import Deaf, Hold, Patient, Polite


def abort(operation: Operation, reason: str) -> None:
    """As a person's wish is stored."""
    running = Operation.objects.started().filter(pk=operation.pk)
    assert running.update(abort_requested_at=clock.now(), reason=reason) == 1


def state(operation: Operation) -> str:
    return Operation.all_objects.get(pk=operation.pk).state


def test_one_that_looks_ends_when_its_time_is_up(operate: Start, tmp_path: Path) -> None:
    """It fails as timed out and is tried again, until its attempts are used."""
    operation = Patient.dispatch(path=str(tmp_path / "never"))
    operator = operate()
    wait_for_entries(2, "asked", by=[operator])
    poll(lambda: state(operation) == "failed", 20, lambda: operator.log)
    row = Operation.objects.get()
    assert (row.failures, row.crashes, row.attempts) == (2, 0, 2)
    assert row.reason.startswith("OperationTimedOut: ran ")
    jobs = OperationJob.objects.order_by("number")
    assert [job.outcome for job in jobs] == ["retried", "failed"]
    assert {job.exception_class for job in jobs} == {"operator_app.exceptions.OperationTimedOut"}
    assert len(lines(operator, "overran")) == 2
    assert entries("ended") == []


def test_one_that_does_not_look_shows_as_stuck_and_may_finish(
    operate: Start, tmp_path: Path
) -> None:
    """Rule 5.3: it stays claimed, nobody else runs it, and finishing late is finishing."""
    gate = tmp_path / "gate"
    operation = Deaf.dispatch(path=str(gate))
    heartbeat = {"interval": 0.2, "timeout": 1}
    first, second = operate(HEARTBEAT=heartbeat), operate(HEARTBEAT=heartbeat)
    wait_for_entries(1, "begun", by=[first, second])
    poll(lambda: state(operation) == "stuck", 20, lambda: first.log + second.log)
    overran = [line for each in (first, second) for line in lines(each, "overran")]
    poll(lambda: lines(first, "overran") or lines(second, "overran"), 20, lambda: str(overran))
    # Its half a second counts from a moment before it shows as begun: on a busy machine, long.
    assert re.fullmatch(r"ran .+ s, timeout 0\.\d+ s", Operation.objects.get().stuck_reason)
    # Both rescue: the other one, which waits for nothing else, has looked several times by then.
    moment = clock.now()
    poll(lambda: (clock.now() - moment).total_seconds() > 2, 30, "time to pass")
    assert state(operation) == "stuck"
    gate.touch()
    wait_until_finished(1, by=[first, second])
    assert entries("begun") == entries("ended") == [operation.pk]
    assert Operation.objects.get().attempts == 1


def test_a_person_wants_it_to_end(operate: Start, tmp_path: Path) -> None:
    """It hears so within a second or so, and is cancelled for that reason; its neighbour runs on,
    and one that fails after it was asked is not tried again."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    polite, neighbour = Polite.dispatch(path=str(never)), Hold.dispatch(path=str(gate))
    operator = operate()
    wait_for_entries(2, "begun", by=[operator])
    abort(polite, "wrong customer")
    asked = clock.now()
    poll(lambda: state(polite) == "cancelled", 20, lambda: operator.log)
    row = Operation.all_objects.get(pk=polite.pk)
    assert row.cancelled_at is not None and (row.cancelled_at - asked).total_seconds() < 5
    assert (row.reason, row.failures) == ("wrong customer", 0)
    assert OperationJob.objects.get().outcome == "aborted"
    assert state(neighbour) == "running"
    gate.touch()
    wait_until_finished(1, by=[operator])


@pytest.mark.parametrize("how", ["heeded", "finished"])
def test_while_it_drains(operate: Start, tmp_path: Path, how: str) -> None:
    """Told to leave, an operator still passes on what a person wants."""
    gate = tmp_path / "gate"
    operation = Polite.dispatch(path=str(gate))
    operator = operate("--grace", "60")
    wait_for_entries(1, "begun", by=[operator])
    operator.terminate()
    poll(lambda: Operation.objects.get().operator.draining, 20, lambda: operator.log)
    if how == "heeded":
        abort(operation, "wrong customer")
    else:
        gate.touch()
    assert operator.wait(30) == 0, operator.log
    assert state(operation) == ("cancelled" if how == "heeded" else "finished")


@pytest.mark.parametrize("wish", ["its time is up", "a person"])
def test_a_suspect_is_ended_with_its_child(operate: Start, tmp_path: Path, wish: str) -> None:
    """One that does not look, alone in a child process: the child is killed, and nobody is blamed
    for a crash."""
    kind = Deaf if wish == "its time is up" else Hold
    operation = kind.dispatch(path=str(tmp_path / "never"))
    Operation.objects.update(crashes=1)
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    if wish == "a person":
        abort(operation, "wrong customer")
    poll(lambda: state(operation) in {"failed", "cancelled"}, 40, lambda: operator.log)
    row = Operation.all_objects.get()
    assert row.crashes == 1 and entries("ended") == []
    outcomes = list(OperationJob.objects.order_by("number").values_list("outcome", flat=True))
    if wish == "a person":
        assert (outcomes, row.reason) == (["aborted"], "wrong customer")
    else:
        assert (outcomes, row.failures) == (["retried", "failed"], 2)


def test_what_runs_when_its_operator_is_taken_for_dead(operate: Start, tmp_path: Path) -> None:
    """Rule 5.2: it is told to end, since others may be running it; nobody wanted it to be over, so
    it is run again, and nothing is counted as its failure."""
    gate = tmp_path / "gate"
    operation = Polite.dispatch(path=str(gate))
    operator = operate(HEARTBEAT={"interval": 0.2, "timeout": 1})
    wait_for_entries(1, "begun", by=[operator])
    assert OperatorProcess.objects.update(lost_at=clock.now()) == 1
    wait_for_entries(1, "asked", by=[operator])
    gate.touch()
    wait_until_finished(1, by=[operator])
    row = Operation.objects.get()
    assert (row.failures, row.attempts) == (0, 2)
    assert entries("begun") == [operation.pk] * 2 and entries("ended") == [operation.pk]
