"""After how much a process leaves by itself, and where it was when it was asked."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob
from operator_app.recycling import MIB, Limits, memory, stacks
from tests.process.support import (
    assert_each_once,
    assert_nothing_left,
    environment,
    lines,
    ready,
    wait_for_entries,
)
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Deed, Hold, Tick

Start = Callable[..., OperatorUnderTest]


def test_no_limits() -> None:
    """Without limits nothing is ever reached."""
    assert Limits().reached(10**9) is None


def test_operations() -> None:
    """Reached with the n-th operation, and said in words."""
    limits = Limits(operations=3)
    assert limits.reached(2) is None
    assert limits.reached(3) == "it has run 3 operations"


def test_seconds() -> None:
    """Reached when so much time has passed since it was made."""
    assert Limits(seconds=60).reached(0) is None
    assert Limits(seconds=60, since=time.monotonic() - 61).reached(0) == "it has lived for 60 s"


def test_memory() -> None:
    """Reached when the process takes so much, once it has run something: a limit below what an
    idle process takes must not have it started over and over."""
    assert 5 * MIB < memory() < 10_000 * MIB
    assert Limits(rss=100_000).reached(1) is None
    assert Limits(rss=1).reached(0) is None
    reached = Limits(rss=1).reached(1)
    assert reached is not None
    assert "MiB of memory" in reached


def test_memory_is_that_of_now() -> None:
    """What is taken shows."""
    before = memory()
    taken = bytearray(b"x" * 64 * 1024 * 1024)
    assert memory() > before + 50 * MIB
    del taken


def test_stacks_show_every_thread() -> None:
    """Each thread by its name, and where it is."""
    over = threading.Event()

    def linger() -> None:
        over.wait(30)

    thread = threading.Thread(target=linger, name="lingering")
    thread.start()
    try:
        text = stacks()
    finally:
        over.set()
        thread.join()
    assert "Thread lingering:" in text
    assert "in linger" in text
    assert "test_stacks_show_every_thread" in text


# Real processes


@pytest.fixture
def operate(start_operator: Start) -> Start:
    def start(*arguments: str, **settings: Any) -> OperatorUnderTest:
        return start_operator(*arguments, env=environment(**settings))

    return start


def recycled(operator: OperatorUnderTest) -> str:
    (line,) = lines(operator, "recycled")
    return str(line["message"])


def test_max_operations(operate: Start) -> None:
    """It leaves in order after exactly so many operations, however quick they are and however many
    threads it has; what is left waits for the next process.
    """
    ticks = Tick.schedule_many([Tick(should_run_at=clock.now()) for _ in range(25)])
    operator = operate("--threads", "3", "--max-operations", "20")
    assert operator.wait() == 0, operator.log
    assert "it has run" in recycled(operator)
    assert Operation.objects.finished().count() == 20
    assert_nothing_left()
    second = operate("--threads", "1", "--max-operations", "5")
    assert second.wait() == 0, second.log
    assert_each_once(tick.pk for tick in ticks)


def test_max_seconds(operate: Start, tmp_path: Path) -> None:
    """It leaves after that time; what runs may end within the grace."""
    gate = tmp_path / "gate"
    Hold.dispatch(path=str(gate))
    operator = operate("--max-seconds", "0.5")
    wait_for_entries(1, "begun", by=[operator])
    operator.wait_for_log("it has lived for 0.5 s")
    gate.touch()
    assert operator.wait() == 0, operator.log
    assert Operation.objects.finished().count() == 1
    assert_nothing_left()


def test_max_rss(operate: Start) -> None:
    """It leaves when it has grown beyond that; an operation that eats less leaves it alone."""
    operator = operate("--threads", "1", "--max-rss", "400")
    ready(operator)
    Deed.dispatch(ending="eat 1")
    poll(lambda: Operation.objects.finished().count() == 1, message="a small one to finish")
    Deed.dispatch(ending="eat 400")
    assert operator.wait() == 0, operator.log
    assert "MiB of memory" in recycled(operator)
    assert Operation.objects.finished().count() == 2
    assert_nothing_left()


def test_sigquit(operate: Start, tmp_path: Path) -> None:
    """SIGQUIT writes where every thread is to the log, releases what runs, uncharged, and leaves at
    once."""
    hold = Hold.dispatch(path=str(tmp_path / "never"))
    operator = operate("--grace", "60")
    wait_for_entries(1, "begun", by=[operator])
    operator.signal(signal.SIGQUIT)
    assert operator.wait(10) == 0, operator.log
    (line,) = lines(operator, "stacks")
    assert "heartbeat" in line["message"]
    assert "in run" in line["message"]
    hold.refresh_from_db()
    assert (hold.started_run_at, hold.failures, hold.crashes) == (None, 0, 0)
    assert OperationJob.objects.get().outcome == "released"
    assert_nothing_left()
