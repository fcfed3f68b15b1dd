"""Operations of `Policy(runner="processes")` under real operators."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from tests.databases import ROOT
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_nothing_left,
    entries,
    lines,
    wait_for_entries,
    wait_until_finished,
)
from tests.processes import OperatorUnderTest, poll
from tests.runners.support import is_alive
from tests.work.models import (
    Brood,
    Crunch,
    DeedInChild,
    Entry,
    Hold,
    HoldInChild,
    ShortCrunch,
    ShortDeedInChild,
    Tick,
)

SOON = 2.0
"""Seconds within which a wish or a timeout has been heeded; half a second or so if nothing else
needs the machine.
"""


def pids(operation: Operation, word: str = "") -> list[int]:
    """The processes in which it ran, or those that it started."""
    found = Entry.objects.filter(operation_number=operation.pk, line__regex=rf"^{word}[0-9]+$")
    return [int(line.split()[-1]) for line in found.order_by("id").values_list("line", flat=True)]


def wait_for_pid(
    operation: Operation, by: OperatorUnderTest, word: str = "", count: int = 1
) -> int:
    poll(lambda: len(pids(operation, word)) >= count, 30, lambda: by.log)
    return pids(operation, word)[-1]


def wait_until_gone(processes: Iterable[int], seconds: float = SOON) -> None:
    alive = list(processes)
    poll(lambda: not any(map(is_alive, alive)), seconds, lambda: f"{alive} to end")


def zombies(operator: OperatorUnderTest) -> list[int]:
    """The children of an operator that have ended and that it has not buried."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, facts = place.read_text().rpartition(") ")
        except OSError:
            continue
        state, parent, *_ = facts.split()
        if state == "Z" and int(parent) == operator.pid:
            found.append(int(place.parent.name))
    return found


def sockets(pid: int) -> set[str]:
    """The sockets that a process holds, each known to the kernel by its number."""
    links = [os.readlink(place) for place in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115
    return {link for link in links if link.startswith("socket:")}


def row(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


def state(operation: Operation) -> str:
    return row(operation).state


def took(until: datetime | None, since: datetime | None) -> float:
    assert until is not None and since is not None
    return (until - since).total_seconds()


def test_work_on_several_cores(operate: Start, tmp_path: Path) -> None:
    """Each runs in a child of its own with connections of its own, its progress is seen from
    outside meanwhile, and what it has left comes back."""
    gate = tmp_path / "gate"
    both = [Crunch.dispatch(path=str(gate)) for _ in range(2)]
    waiting = Crunch.dispatch(path=str(gate))
    operator = operate(CHILDREN=2)
    processes = [wait_for_pid(each, operator) for each in both]
    assert len({*processes, operator.pid}) == 3
    owned = [sockets(pid) for pid in (operator.pid, *processes)]
    assert len(set.union(*owned)) == sum(map(len, owned)), "a socket is shared"
    poll(lambda: OperationJob.objects.count() == 2, 20, lambda: operator.log)
    for job in OperationJob.objects.all():
        assert (job.outcome, job.progress_done, job.progress_total) == (None, 1, 2)
        assert job.progress_message == "crunching"
    assert state(waiting) == "due", "there are two children"
    gate.touch()
    wait_until_finished(3, by=[operator])
    assert pids(waiting)[0] in processes
    for job in OperationJob.objects.all():
        assert (job.outcome, job.meta, job.progress_done) == ("finished", {"crunched": True}, 1)
        assert "WARNING crunch: crunched" in job.log
    operator.terminate()
    assert operator.wait() == 0, operator.log
    wait_until_gone(processes)
    assert {line["level"] for line in lines(operator)} == {"DEBUG", "INFO"}, operator.log
    assert_nothing_left()


def test_children_are_recycled(operate: Start) -> None:
    """After two operations a child leaves, and another one runs the next; none is left behind."""
    operations = [DeedInChild.dispatch() for _ in range(5)]
    operator = operate("--once", CHILDREN=1, CHILD_OPERATIONS=2)
    assert operator.wait(90) == 0, operator.log
    ran = [pids(each)[0] for each in operations]
    assert sorted(Counter(ran).values()) == [1, 2, 2], ran
    wait_until_gone(ran)
    assert_calm(operator)
    assert_nothing_left()


def test_killed_when_its_time_is_up(operate: Start, tmp_path: Path) -> None:
    """An ordinary failure, tried again as the policy says, soon after the timeout; what it had
    shown of its progress is kept. A neighbour in a thread goes on."""
    operation, neighbour = (
        ShortCrunch.dispatch(path=str(tmp_path / "never")),
        Hold.dispatch(path=str(tmp_path / "gate")),
    )
    operator = operate()
    poll(lambda: state(operation) == "failed", 40, lambda: operator.log)
    ended = row(operation)
    assert (ended.failures, ended.crashes, ended.attempts) == (2, 0, 2)
    assert ended.reason.startswith("OperationTimedOut: ran ")
    assert 0 <= took(ended.failed_run_at, ended.times_out_at) < SOON
    jobs = list(OperationJob.objects.order_by("number"))
    assert [job.outcome for job in jobs] == ["retried", "failed"]
    assert {job.exception_class for job in jobs} == {"operator_app.exceptions.OperationTimedOut"}
    assert [job.progress_message for job in jobs] == ["crunching"] * 2
    assert len(lines(operator, "overran")) == 2 and not lines(operator, "history_lost")
    first, second = pids(operation)
    assert first != second
    wait_until_gone([first, second])
    assert state(neighbour) == "running"
    (tmp_path / "gate").touch()
    wait_until_finished(1, by=[operator])
    assert entries("begun") == entries("ended") == [neighbour.pk]


def test_a_child_that_starts_slowly_costs_the_operation_no_time(
    operate: Start, tmp_path: Path
) -> None:
    """A timeout is for `run()`: it does not count what its child needs to be there."""
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(1.5)")
    operation = ShortDeedInChild.dispatch()
    operator = operate(env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    wait_until_finished(1, by=[operator])
    ended = row(operation)
    assert (ended.failures, ended.attempts) == (0, 1)
    assert took(ended.begun_run_at, ended.started_run_at) > 1
    assert took(ended.times_out_at, ended.begun_run_at) == 0.5
    assert_calm(operator)


def test_killed_when_a_person_wants_it(operate: Start, tmp_path: Path) -> None:
    """With the programs that it has started; its slot is free for the next at once."""
    operation = Brood.dispatch(path=str(tmp_path / "never"))
    operator = operate(CHILDREN=1)
    wait_for_entries(1, "begun", by=[operator])
    waiting = DeedInChild.dispatch()
    processes = pids(operation) + pids(operation, "program ")
    assert len(processes) == 2 and all(map(is_alive, processes))
    asked = clock.now()
    assert Operation.objects.filter(pk=operation.pk).abort("wrong customer").abort_requested == 1
    poll(lambda: state(operation) == "cancelled", 20, lambda: operator.log)
    seen = clock.now()
    wait_until_gone(processes)
    ended = row(operation)
    assert (ended.reason, ended.failures, ended.crashes) == ("wrong customer", 0, 0)
    assert took(seen, asked) < SOON
    job = OperationJob.objects.get(operation=operation)
    assert (job.outcome, job.progress_message) == ("aborted", "holding")
    wait_until_finished(1, by=[operator])
    assert took(row(waiting).started_run_at, asked) < SOON
    assert zombies(operator) == []
    operator.terminate()
    assert operator.wait() == 0
    assert_calm(operator)
    assert_nothing_left()


def test_a_crash_costs_only_its_own_operation(operate: Start, tmp_path: Path) -> None:
    """It counts as a crash; a suspect from then on, it is tried again alone, until that has
    happened too often. Neighbours in other children go on."""
    gate = tmp_path / "gate"
    neighbour = HoldInChild.dispatch(path=str(gate))
    operator = operate(CHILDREN=3)
    wait_for_entries(1, "begun", by=[operator])
    bad = [DeedInChild.dispatch(ending=ending) for ending in ("exit 3", "signal 9")]
    poll(lambda: all(state(each) == "failed" for each in bad), 40, lambda: operator.log)
    for operation, word in zip(bad, ("exit code 3", "SIGKILL"), strict=True):
        ended = row(operation)
        assert (ended.crashes, ended.failures, ended.attempts) == (3, 0, 3)
        assert "its operator died 3 times (max_crashes=3)" in ended.reason and word in ended.reason
        assert len(set(pids(operation))) == 3
    assert operator.running and state(neighbour) == "running"
    poll(lambda: not zombies(operator), 5, "the dead to be buried")
    gate.touch()
    wait_until_finished(1, by=[operator])
    assert (row(neighbour).attempts, row(neighbour).crashes) == (1, 0)


def test_told_to_leave_while_a_child_works(operate: Start, tmp_path: Path) -> None:
    """What ends within the grace is finished; what does not is killed and released, due again
    soon, and charged with nothing."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    quick, slow = HoldInChild.dispatch(path=str(gate)), Brood.dispatch(path=str(never))
    operator = operate("--grace", "2", CHILDREN=2, HEARTBEAT={"interval": 0.2, "timeout": 5})
    wait_for_entries(2, "begun", by=[operator])
    processes = pids(quick) + pids(slow) + pids(slow, "program ")
    operator.terminate()
    poll(lambda: OperatorProcess.objects.filter(draining=True), 20, lambda: operator.log)
    gate.touch()
    assert operator.wait(20) == 0, operator.log
    wait_until_gone(processes)
    assert state(quick) == "finished"
    left = row(slow)
    assert (left.started_run_at, left.operator_id, left.begun_run_at) == (None, None, None)
    assert (left.failures, left.crashes, left.stops) == (0, 0, 0)
    assert left.should_run_at > clock.now() + timedelta(seconds=1)
    job = OperationJob.objects.get(operation=slow)
    assert (job.outcome, job.progress_message) == ("released", "holding")
    assert_nothing_left()


def test_children_go_with_an_operator_that_is_killed(operate: Start, tmp_path: Path) -> None:
    """Within two seconds, with what they have started; the operation is run again by another."""
    gate = tmp_path / "gate"
    operation = Brood.dispatch(path=str(gate))
    heartbeat = {"interval": 0.3, "timeout": 1.5}
    first = operate(HEARTBEAT=heartbeat)
    wait_for_entries(1, "begun", by=[first])
    processes = pids(operation) + pids(operation, "program ")
    poll(lambda: row(operation).begun_run_at, 20, lambda: first.log)
    first.kill()
    wait_until_gone(processes)
    second = operate(HEARTBEAT=heartbeat)
    wait_for_entries(2, "begun", by=[second])
    gate.touch()
    poll(lambda: len(entries("ended")) == 1, 20, lambda: second.log)
    assert row(operation).crashes == 1


def test_once(operate: Start) -> None:
    """`--once` waits for the children, too."""
    good = [DeedInChild.dispatch(ending="tell") for _ in range(5)] + [Tick.dispatch()]
    (bad,) = [DeedInChild.dispatch(ending="fail")]
    operator = operate("--once", CHILDREN=2)
    assert operator.wait(60) == 0, operator.log
    assert [state(each) for each in good] == ["finished"] * 6
    assert (state(bad), row(bad).failures) == ("failed", 1)
    assert len({pid for each in good[:5] for pid in pids(each)}) <= 2
    assert_nothing_left()
