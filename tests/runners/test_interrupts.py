"""Jobs in child processes that are asked to end from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from operator_app.exceptions import OperationAborted, OperationTimedOut
from operator_app.models import Operation, OperationJob
from operator_app.outcomes import Aborted, Failed, Finished
from operator_app.runners import InlineRunner, ProcessRunner
from operator_app.runners.children import Child
from tests.models.tools import stored
from tests.runners.conftest import Collected
from tests.runners.support import begun, is_alive, pids, record
from tests.work.models import Deed, Entry

pytestmark = pytest.mark.django_db(transaction=True)

Claimed = Callable[[Operation], OperationJob]
ENOUGH = OperationAborted("enough")


@pytest.fixture
def interrupted(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> Callable[[BaseException], OperationJob]:
    """Interrupts a job that would wait for a minute; returns it once it has ended."""

    def interrupt(error: BaseException) -> OperationJob:
        job = claimed(Deed.dispatch(ending="wait"))
        runner.submit(job)
        pid, since = begun(1), time.monotonic()
        runner.interrupt(job, error)
        assert collected.wait(1) is job
        assert time.monotonic() - since < 10
        assert not is_alive(pid)
        assert job.interruption is error
        return job

    return interrupt


def test_an_abort(
    interrupted: Callable[[BaseException], OperationJob],
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
) -> None:
    """The job ends at once, as aborted, with the reason; nothing is charged, the next one runs."""
    job = interrupted(ENOUGH)
    assert isinstance(job.ending, Aborted)
    assert record(job) == [job]
    row = stored(job.operation)
    assert row.cancelled_at is not None
    assert (row.reason, row.crashes, row.failures) == ("enough", 0, 0)
    assert OperationJob.objects.get().outcome == "aborted"
    runner.submit(claimed(Deed.dispatch()))
    assert isinstance(collected.wait(2).ending, Finished)
    assert len(set(pids())) == 2


def test_a_timeout(interrupted: Callable[[BaseException], OperationJob]) -> None:
    """It is an ordinary failure, of which the policy decides; no crash."""
    job = interrupted(OperationTimedOut("it ran for longer than 1 s"))
    assert isinstance(job.ending, Failed)
    assert not job.ending.crashed
    record(job)
    row = stored(job.operation)
    assert (row.crashes, row.failures) == (0, 1)
    assert "OperationTimedOut: it ran for longer than 1 s" in row.reason
    assert OperationJob.objects.get().exception_class.endswith("OperationTimedOut")


def test_the_first_word_counts(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """A job that is asked twice ends with what it was asked for first."""
    job = claimed(Deed.dispatch(ending="wait"))
    runner.submit(job)
    begun(1)
    runner.interrupt(job, ENOUGH)
    runner.interrupt(job, OperationTimedOut())
    assert isinstance(collected.wait(1).ending, Aborted)


def test_a_job_that_is_not_at_a_child(
    runner: ProcessRunner, collected: Collected, claimed: Claimed
) -> None:
    """One that waits, one that has ended and one that was never here are left alone, and so is the
    one that runs beside them.
    """
    ended, strange = claimed(Deed.dispatch()), claimed(Deed.dispatch())
    runner.submit(ended)
    collected.wait(1)
    running, waiting = claimed(Deed.dispatch(ending="wait")), claimed(Deed.dispatch())
    runner.submit(running)
    pid = begun(2)
    runner.submit(waiting)
    for job in (ended, strange, waiting):
        runner.interrupt(job, ENOUGH)
        assert job.interruption is None
    assert isinstance(ended.ending, Finished)
    assert is_alive(pid) and runner.running == [running]
    runner.interrupt(running, ENOUGH)
    collected.wait(3)
    assert isinstance(waiting.ending, Finished)


@pytest.mark.parametrize(("moment", "outcome"), [("before", Aborted), ("after", Finished)])
def test_at_the_edges(
    *,
    runner: ProcessRunner,
    collected: Collected,
    claimed: Claimed,
    monkeypatch: Any,
    moment: str,
    outcome: type,
) -> None:
    """Interrupted between being sent and being heard, a job does not begin; interrupted when its
    ending is here already, that stands. Either way the next one runs.
    """
    job, run = claimed(Deed.dispatch()), Child.run

    def interrupting(child: Child, claim: Any) -> Any:
        if moment == "before":
            runner.interrupt(job, ENOUGH)
        answer = run(child, claim)
        if moment == "after":
            runner.interrupt(job, ENOUGH)
        return answer

    monkeypatch.setattr(Child, "run", interrupting)
    runner.submit(job)
    assert isinstance(collected.wait(1).ending, outcome)
    assert Entry.objects.filter(operation_number=job.operation_id).exists() == (moment == "after")
    monkeypatch.setattr(Child, "run", run)
    runner.submit(claimed(Deed.dispatch()))
    assert isinstance(collected.wait(2).ending, Finished)


def test_runners_that_cannot_kill_leave_word(claimed: Claimed) -> None:
    """In a thread nothing can be ended: the job is told, and has to look."""
    job = claimed(Deed.dispatch())
    InlineRunner(lambda job: None).interrupt(job, ENOUGH)
    assert job.interruption is ENOUGH
