"""Jobs in child processes: what comes back from there, and what dies with a child."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Failed, Finished, Released, Retried
from operator_app.runners import ProcessRunner
from operator_app.runners.children import Child
from tests.models.tools import stored
from tests.processes import poll
from tests.runners.conftest import Collected, closed
from tests.runners.support import begun, children, is_alive, pids, record
from tests.work.models import AtomicDeed, Broken, Deed, Entry, LeftDeed, Tick

pytestmark = pytest.mark.django_db(transaction=True)

Claimed = Callable[[Operation], OperationJob]


def test_nothing_is_started_before_it_is_needed(runner: ProcessRunner) -> None:
    """A runner without jobs has no children, and closes."""
    assert (runner.free, runner.is_idle, runner.running, runner.held) == (1, True, [], [])
    assert multiprocessing.active_children() == []


def test_a_run_that_returns_is_finished(run: Claimed) -> None:
    """A child runs the operation and writes no outcome; the parent does, as it does for threads."""
    job = run(Deed.dispatch())
    assert isinstance(job.ending, Finished)
    assert pids() != [os.getpid()]
    assert stored(job.operation).finished_run_at is None
    assert record(job) == [job]
    assert stored(job.operation).finished_run_at == job.ended_at


def test_a_child_is_reused(run: Claimed) -> None:
    """One process serves one job after the other."""
    for _ in range(3):
        run(Deed.dispatch())
    assert len(set(pids())) == 1


def test_what_the_run_left_in_the_job_comes_back(run: Claimed) -> None:
    """Progress, `meta` and captured log lines are stored with the attempt."""
    job = run(Deed.dispatch(ending="tell"))
    record(job)
    row = OperationJob.objects.get()
    assert (row.progress_done, row.progress_total, row.progress_message) == (3, 4, "nearly")
    assert row.meta == {"told": True}
    assert "WARNING deeds: told" in row.log
    assert row.outcome == "finished"


def test_an_error_comes_back(run: Claimed) -> None:
    """The exception itself, for hooks, and its report with the child's traceback, for history."""
    job = run(Deed.dispatch(ending="fail"))
    assert isinstance(job.ending, Failed)
    assert isinstance(job.error, LookupError)
    assert "no such customer" in str(job.error)
    record(job)
    row = OperationJob.objects.get()
    assert row.exception_class == "LookupError"
    assert "in run" in row.traceback
    assert stored(job.operation).failures == 1


def test_an_error_is_logged_with_where_it_was_raised(
    run: Claimed, caplog: pytest.LogCaptureFixture
) -> None:
    """Pickle drops tracebacks; error trackers get the child's all the same, once."""
    record(run(Deed.dispatch(ending="fail")))
    (line,) = [each for each in caplog.records if each.exc_info]
    text = logging.Formatter().formatException(line.exc_info)
    assert text.count("in run\n") == 1
    assert "models.py" in text
    assert text.endswith("LookupError: no such customer")
    assert str(line.exc_info[1]) == "no such customer"


def test_an_error_that_only_its_process_can_unpickle(run: Claimed) -> None:
    """It costs neither the outcome nor the report."""
    job = run(Deed.dispatch(ending="unwelcome"))
    assert isinstance(job.ending, Failed)
    assert not job.ending.crashed
    assert job.exception_class.endswith("Unwelcome")
    assert "Unwelcome" in str(job.error) and "not here" in str(job.error)
    assert len(pids()) == 1


@pytest.mark.parametrize("ending", ["stop", "cancel"])
def test_stop_and_cancel_come_back(run: Claimed, ending: str) -> None:
    """What `run()` asked for is what the parent records."""
    job = run(Deed.dispatch(ending=ending))
    record(job)
    row = stored(job.operation)
    assert (row.stops, row.cancelled_at is not None) == (int(ending == "stop"), ending == "cancel")


def test_an_error_that_cannot_travel_is_told_in_words(run: Claimed) -> None:
    """An exception that cannot be pickled costs neither child nor report; hooks get its words."""
    job = run(Deed.dispatch(ending="unportable"))
    assert isinstance(job.ending, Failed)
    assert not job.ending.crashed
    assert job.exception_class.endswith("Unportable")
    assert str(job.error) == "Unportable: not here"
    run(Deed.dispatch())
    assert len(set(pids())) == 1


def test_meta_that_cannot_travel_is_lost_alone(run: Claimed) -> None:
    """What no database could store does not cost the outcome, nor the child."""
    job = run(Deed.dispatch(ending="meta"))
    assert isinstance(job.ending, Finished)
    assert record(job) == [job]
    run(Deed.dispatch())
    assert len(set(pids())) == 1


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("exit 3", "ended with exit code 3"),
        ("exit 0", "ended with exit code 0"),
        ("quit 0", "ended with exit code 0"),
        ("quit 4", "ended with exit code 4"),
        ("mute", "its child process"),
        (f"signal {int(signal.SIGKILL)}", "was ended by SIGKILL"),
        (f"signal {int(signal.SIGSEGV)}", "was ended by SIGSEGV"),
    ],
)
def test_a_child_that_dies_is_a_crash(run: Claimed, ending: str, words: str) -> None:
    """Whoever it ran is charged, with how the child ended; the next job gets another child."""
    job = run(Deed.dispatch(ending=ending))
    assert isinstance(job.ending, Retried)
    assert job.ending.crashed
    assert words in job.ending.reason
    assert record(job) == [job]
    row = stored(job.operation)
    assert (row.crashes, row.failures, row.started_run_at) == (1, 0, None)
    Operation.all_objects.update(should_run_at="2100-01-01T00:00Z")
    assert isinstance(run(Deed.dispatch()).ending, Finished)
    assert len(set(pids())) == 2


def test_a_crash_too_many_is_for_good(run: Claimed) -> None:
    """After `max_crashes` the operation has failed, and says how its processes ended."""
    operation = Deed.dispatch(ending="exit 3")
    Operation.all_objects.update(crashes=2)
    job = run(operation)
    assert isinstance(job.ending, Failed)
    record(job)
    row = stored(operation)
    assert (row.crashes, row.failures) == (3, 0)
    assert "3 times (max_crashes=3)" in row.reason
    assert "exit code 3" in row.reason


def test_a_crash_of_what_is_to_be_left_is_a_failure(run: Claimed) -> None:
    """`on_stuck="leave"` is about operators that died; this one lives, and knows."""
    job = run(LeftDeed.dispatch(ending="exit 3"))
    assert isinstance(job.ending, Failed)
    assert job.ending.crashed


def test_a_lost_claim_is_no_crash(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """An operation that somebody else has by now is not run, charged or recorded."""
    job = claimed(Deed.dispatch())
    Operation.all_objects.update(attempts=7)
    runner.submit(job)
    collected.wait(1)
    assert isinstance(job.ending, Released)
    assert record(job) == []
    assert Entry.objects.count() == 0
    assert stored(job.operation).crashes == 0


def test_an_outage_in_the_child_is_no_crash(
    runner: ProcessRunner, collected: Collected, claimed: Claimed, monkeypatch: Any
) -> None:
    """A child that cannot ask the database gives the operation back, uncharged, for later."""
    job = claimed(Deed.dispatch())
    monkeypatch.setenv("OPERATOR_TEST_NAME", "/nowhere/at/all")
    runner.submit(job)
    collected.wait(1)
    assert isinstance(job.ending, Released)
    assert job.ending.delay > 0
    assert record(job) == [job]
    assert stored(job.operation).crashes == 0


def test_a_child_killed_while_idle_costs_nothing(
    run: Claimed, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """It is nobody's fault: not a word is logged, the next job runs in another one, and the dead
    one is not left behind as a zombie, even if there is no next job.
    """
    monkeypatch.setattr("operator_app.runners.slots.IDLE_LOOK", 0.05)
    for count in (1, 2):
        assert isinstance(run(Deed.dispatch()).ending, Finished)
        assert len(set(pids())) == count
        os.kill(pids()[-1], signal.SIGKILL)
        if count == 1:
            poll(lambda: pids()[-1] not in children(), 10, "the dead child to be gone")
    assert isinstance(run(Deed.dispatch()).ending, Finished)
    assert [line.message for line in caplog.records if line.levelno > logging.INFO] == []


def test_signals_for_all_are_not_for_children(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """A child goes on after SIGTERM and SIGINT, which reach whole process groups."""
    runner.submit(claimed(Deed.dispatch(ending="wait")))
    pid = begun(1)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert len(runner.running) == 1
    (abandoned,) = runner.abandon()
    assert abandoned.ending is None


def test_a_program_started_by_an_operation_can_be_ended(run: Claimed) -> None:
    """That a child heeds no SIGTERM is not inherited by the programs that operations start."""
    assert run(Deed.dispatch(ending="child")).meta == {"code": -signal.SIGTERM}


def test_children_are_recycled(run: Claimed, settings: Any) -> None:
    """After a number of jobs a child leaves, and another one takes its place."""
    settings.OPERATOR = {"CHILD_OPERATIONS": 2}
    for _ in range(5):
        assert isinstance(run(Deed.dispatch()).ending, Finished)
    assert len(set(pids())) == 3


def test_what_waits_is_taken_back(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """A job that waits for another one to end is given back, one that a child has is not."""
    running, waiting = claimed(Deed.dispatch(ending="wait")), claimed(Tick.dispatch())
    runner.submit(running)
    begun(1)
    runner.submit(waiting)
    assert runner.free == 0
    assert list(map(id, runner.held)) == [id(running), id(waiting)]
    assert runner.running == [running]
    assert runner.take_back() == [waiting]
    assert runner.take_back() == []
    assert runner.held == [running]
    assert runner.abandon() == [running]
    closed(runner)
    assert collected == []
    assert Entry.objects.filter(line="").count() == 0


def test_a_job_whose_child_is_only_starting_is_taken_back(
    runner: ProcessRunner, collected: Collected, claimed: Claimed, monkeypatch: Any
) -> None:
    """It has not been sent, so it runs nowhere; the next one has the child."""
    proceed, wait_until_ready = threading.Event(), Child.wait_until_ready

    def wait(child: Child) -> None:
        wait_until_ready(child)
        assert proceed.wait(60)

    monkeypatch.setattr(Child, "wait_until_ready", wait)
    first, second = claimed(Deed.dispatch()), claimed(Deed.dispatch())
    runner.submit(first)
    assert runner.running == []
    assert runner.take_back() == [first]
    assert runner.is_idle
    proceed.set()
    runner.submit(second)
    assert collected.wait(1) is second
    assert [entry.operation_number for entry in Entry.objects.all()] == [second.operation_id]
    assert len(collected) == 1


def test_abandon_kills(runner: ProcessRunner, collected: Collected, claimed: Claimed) -> None:
    """abandon() ends the child in the middle of its job, which `done` never sees; another works."""
    job = claimed(Deed.dispatch(ending="wait"))
    runner.submit(job)
    pid = begun(1)
    assert runner.abandon() == [job]
    assert runner.is_idle
    poll(lambda: not is_alive(pid), 2, "the child to be gone")
    runner.submit(claimed(Deed.dispatch()))
    assert isinstance(collected.wait(1).ending, Finished)
    assert job.ending is None


def test_abandon_leaves_nothing_to_run(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """What waits is returned, too: nobody else would see to it."""
    jobs = [claimed(Deed.dispatch(ending="wait")) for _ in range(2)]
    for job in jobs:
        runner.submit(job)
    begun(1)
    assert runner.abandon() == jobs
    assert runner.is_idle
    closed(runner)
    assert (collected, len(pids())) == ([], 1)


def test_close_ends_whatever_runs(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """close() leaves no process, not even one that is busy, and may be called again."""
    runner.submit(claimed(Deed.dispatch(ending="wait")))
    begun(1)
    closed(runner)
    closed(runner)


def test_capacity(in_children: None, collected: Collected, claimed: Claimed) -> None:
    """As many jobs run beside each other as there are children; a crash costs only its own."""
    runner = ProcessRunner(3, collected.append)
    try:
        waiting = [claimed(Deed.dispatch(ending="wait")) for _ in range(2)]
        for count, job in enumerate(waiting, 1):
            runner.submit(job)
            begun(count)
        assert runner.free == 1
        crashing = claimed(Deed.dispatch(ending="exit 3"))
        runner.submit(crashing)
        assert isinstance(collected.wait(1).ending, Retried)
        poll(lambda: runner.free == 1, 10, "the slot to be free")
        runner.submit(claimed(Deed.dispatch()))
        assert isinstance(collected.wait(2).ending, Finished)
        assert runner.running == waiting
        assert len(set(pids())) == 4
        assert all(map(is_alive, pids()[:2]))
    finally:
        closed(runner)


def test_an_atomic_run_is_recorded_in_the_child(run: Claimed) -> None:
    """With `atomic` the child commits effects and outcome; the parent knows, and calls hooks."""
    job = run(AtomicDeed.dispatch())
    assert job.is_recorded
    assert stored(job.operation).finished_run_at == job.ended_at
    assert record(job) == [job]
    job.call_hooks()
    assert Entry.objects.filter(line="succeeded").count() == 1
    assert OperationJob.objects.count() == 1


def test_an_atomic_run_that_dies_leaves_nothing(run: Claimed) -> None:
    """Its effects go with the child."""
    job = run(AtomicDeed.dispatch(ending="exit 3"))
    assert isinstance(job.ending, Retried)
    assert Entry.objects.count() == 0


def test_connections_are_not_shared(run: Claimed, process: OperatorProcess) -> None:
    """The parent's connection is the same, and as usable, after children have come and gone."""
    connections["default"].ensure_connection()
    before = connections["default"].connection
    run(Deed.dispatch(ending="exit 3"))
    run(Broken.dispatch())
    assert connections["default"].connection is before
    assert OperatorProcess.objects.get() == process


def test_hooks_called_elsewhere(runner: ProcessRunner) -> None:
    """A piece of work is done in the parent, by the caller."""
    where: list[int] = []
    runner.call(lambda: where.append(os.getpid()))
    assert where == [os.getpid()]
