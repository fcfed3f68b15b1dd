"""Several operators under one parent: started, replaced, rescued, told to leave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.supervisor import _how
from tests.once import once
from tests.process.support import assert_nothing_left, environment, lines, wait_for_entries
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Entry, Hold, Tick

# On the other databases tests/chaos has parents and children.
pytestmark = [pytest.mark.django_db(transaction=True), once]

Supervise = Callable[..., OperatorUnderTest]


@pytest.fixture
def supervise(start_operator: Callable[..., OperatorUnderTest]) -> Supervise:
    """Start a parent with so many children, and wait until they have registered."""

    def start(count: int, *arguments: str, wait: bool = True, **settings: Any) -> OperatorUnderTest:
        parent = start_operator("--processes", str(count), *arguments, env=environment(**settings))
        if wait:
            poll(lambda: len(living()) == count, 30, lambda: f"{count} children\n{parent.log}")
        return parent

    return start


def living() -> list[int]:
    """The processes of the operators that are registered and not lost."""
    rows = OperatorProcess.objects.filter(lost_at__isnull=True).order_by("id")
    return list(rows.values_list("pid", flat=True))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def holding(path: Path) -> tuple[Hold, int]:
    """A held operation that has begun, and the process that runs it."""
    before = Entry.objects.filter(line="begun").count()
    hold = Hold.dispatch(path=str(path))
    wait_for_entries(before + 1, "begun")
    hold.refresh_from_db()
    assert hold.operator is not None
    return hold, hold.operator.pid


def test_so_many_operators(supervise: Supervise) -> None:
    """Each child is an operator with its own row; all leave in order, the parent too."""
    parent = supervise(3)
    pids = living()
    assert parent.pid not in pids
    Tick.dispatch()
    wait_for_entries(1, by=[parent])
    parent.terminate()
    assert parent.wait() == 0, parent.log
    assert all(gone(pid) for pid in pids)
    assert_nothing_left()
    assert len(lines(parent, "left")) == 3


def test_a_dead_child_is_rescued_within_a_second(supervise: Supervise, tmp_path: Path) -> None:
    """The parent sees it die: what it held is due at once, whatever the heartbeat's timeout, and
    another child takes its place."""
    parent = supervise(2, HEARTBEAT={"interval": 10, "timeout": 30})
    hold, pid = holding(tmp_path / "gate")
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    poll(lambda: OperationJob.objects.exists(), 10, "the rescue", interval=0.01)
    assert time.monotonic() - killed < 1.5
    job = OperationJob.objects.get()
    assert (job.outcome, job.operator.endswith(f":{pid}")) == ("retried", True)
    (tmp_path / "gate").touch()
    poll(lambda: Operation.objects.finished().count() == 1, 30, lambda: parent.log)
    hold.refresh_from_db()
    assert hold.crashes == 1
    poll(lambda: len(living()) == 2, 30, lambda: f"a new child\n{parent.log}")
    (line,) = lines(parent, "operator_died")
    assert "was ended by SIGKILL" in line["message"]


def test_a_child_that_keeps_dying_is_started_with_growing_delays(supervise: Supervise) -> None:
    """The log says how long the parent waits; it goes on trying."""
    parent = supervise(1)
    seen: set[int] = set()
    for delay in ("in 1 s", "in 2 s"):
        (pid,) = poll(lambda: [pid for pid in living() if pid not in seen], 30, "a child")
        seen.add(pid)
        os.kill(pid, signal.SIGKILL)
        parent.wait_for_log(delay)
    poll(lambda: set(living()) - seen, 30, "another one")


def test_a_child_that_leaves_in_order_is_replaced_at_once(supervise: Supervise) -> None:
    """`--max-operations` ends a child; the next one has its place, and no error is logged."""
    parent = supervise(1, "--max-operations", "1", "--threads", "1")
    (first,) = living()
    Tick.dispatch()
    (second,) = poll(lambda: [pid for pid in living() if pid != first], 30, lambda: parent.log)
    assert gone(first)
    Tick.dispatch()
    poll(lambda: [pid for pid in living() if pid not in {first, second}], 30, lambda: parent.log)
    assert Operation.objects.finished().count() == 2
    assert lines(parent, "operator_died") == []
    assert len(lines(parent, "recycled")) == 2


def test_sigterm_lets_children_finish(supervise: Supervise, tmp_path: Path) -> None:
    """The parent waits for them, within their grace."""
    parent = supervise(2)
    holding(tmp_path / "gate")
    parent.terminate()
    poll(lambda: OperatorProcess.objects.filter(draining=True).exists() or len(living()) == 1, 30)
    assert parent.running
    (tmp_path / "gate").touch()
    assert parent.wait() == 0, parent.log
    assert Operation.objects.finished().count() == 1
    assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_is_one(
    supervise: Supervise, tmp_path: Path, number: int
) -> None:
    """A terminal or a service manager signals parent and children: that is no second signal, so
    what runs has its grace."""
    parent = supervise(2)
    holding(tmp_path / "gate")
    os.killpg(parent.pid, number)
    poll(lambda: len(living()) == 1, 30, "the idle child to leave")
    assert parent.running
    (tmp_path / "gate").touch()
    assert parent.wait() == 0, parent.log
    assert Operation.objects.finished().count() == 1
    assert_nothing_left()


def test_a_second_sigterm_ends_the_grace(supervise: Supervise, tmp_path: Path) -> None:
    """What runs is released, uncharged, and all leave."""
    parent = supervise(2, "--grace", "60")
    hold, _ = holding(tmp_path / "never")
    parent.terminate()
    poll(lambda: len(living()) == 1, 30, "the idle child to leave")
    parent.terminate()
    assert parent.wait() == 0, parent.log
    hold.refresh_from_db()
    assert (hold.started_run_at, hold.crashes, hold.failures) == (None, 0, 0)
    assert_nothing_left()


def test_sigquit_is_passed_on(supervise: Supervise, tmp_path: Path) -> None:
    """Every child shows its stacks and leaves at once, releasing what runs."""
    parent = supervise(2, "--grace", "60")
    hold, _ = holding(tmp_path / "never")
    parent.signal(signal.SIGQUIT)
    assert parent.wait() == 0, parent.log
    assert len(lines(parent, "stacks")) == 2
    hold.refresh_from_db()
    assert hold.started_run_at is None
    assert_nothing_left()


def test_without_their_parent_children_finish_and_leave(
    supervise: Supervise, tmp_path: Path
) -> None:
    """The parent is killed: nobody runs on for ever, nothing is cut off."""
    parent = supervise(2)
    _, pid = holding(tmp_path / "gate")
    pids = living()
    parent.kill()
    (idle,) = [each for each in pids if each != pid]
    poll(lambda: gone(idle), 30, "the idle child to leave")
    assert not gone(pid)
    (tmp_path / "gate").touch()
    poll(lambda: gone(pid), 30, "the busy child to leave")
    assert Operation.objects.finished().count() == 1
    assert_nothing_left()


def test_killed_while_leaving_is_no_success(supervise: Supervise, tmp_path: Path) -> None:
    """A child that dies at the end makes the exit code 1, and what it held is rescued."""
    parent = supervise(1)
    hold, pid = holding(tmp_path / "never")
    parent.terminate()
    poll(lambda: OperatorProcess.objects.filter(draining=True).exists(), 30, "the child to drain")
    os.kill(pid, signal.SIGKILL)
    assert parent.wait() == 1, parent.log
    hold.refresh_from_db()
    assert (hold.started_run_at, hold.crashes) == (None, 1)


def test_an_abbreviated_option_starts_no_tree(supervise: Supervise) -> None:
    """A child never starts children of its own, however the option was written."""
    parent = supervise(1, "--proc", "1")
    parent.wait_for_log(" is ready.")
    parent.terminate()
    assert parent.wait() == 0, parent.log
    assert len(lines(parent, "ready")) == 1


def test_at_once_and_over(supervise: Supervise) -> None:
    """A SIGTERM while the children are still starting ends all of them, in order."""
    parent = supervise(2, wait=False)
    poll(lambda: children_of(parent.pid), 30, "a child", interval=0.001)
    parent.terminate()
    assert parent.wait() == 0, parent.log
    assert_nothing_left()


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL"),
        (-40, "was ended by signal 40"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    """In words, for every code."""
    assert _how(code) == words


QUICK = {"HEARTBEAT": {"interval": 0.2, "timeout": 5}}


def test_a_child_that_was_asked_to_leave_is_not_replaced(supervise: Supervise) -> None:
    """Its place stays empty, while that of one that dies is taken again."""
    parent = supervise(2, **QUICK)
    asked, other = living()
    OperatorProcess.objects.filter(pid=asked).stop(by="ann")
    poll(lambda: lines(parent, "given_up"), 20, lambda: f"it to leave:\n{parent.log}")
    os.kill(other, signal.SIGKILL)
    poll(lambda: living() and other not in living(), 30, lambda: f"a new one:\n{parent.log}")
    assert len(living()) == 1 and gone(asked)
    parent.terminate()
    assert parent.wait() == 0, parent.log
    assert living() == []


@pytest.mark.parametrize("verb", ["stop", "drain"])
def test_a_parent_that_is_left_alone_leaves(verb: str, supervise: Supervise) -> None:
    """When all of its children have left as they were asked to, also by draining."""
    parent = supervise(2, **QUICK)
    getattr(OperatorProcess.objects.all(), verb)()
    assert parent.wait() == 0, parent.log
    assert len(lines(parent, "given_up")) == 2
    assert_nothing_left()
