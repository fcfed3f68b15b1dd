"""The whole table: where an operation is, where it runs, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob
from operator_app.runners import AsyncRunner, ProcessRunner, Runner, ThreadRunner
from tests.process.conftest import Start
from tests.process.support import (
    assert_nothing_left,
    entries,
    lines,
    wait_for_entries,
    wait_until_finished,
)
from tests.processes import poll
from tests.runners.conftest import (  # noqa: F401  (fixtures)
    Collected,
    claimed,
    collected,
    in_children,
    process,
)
from tests.work.models import (
    AsyncHold,
    AsyncPatient,
    Hold,
    HoldInChild,
    Patient,
    Polite,
    ShortHoldInChild,
)

HOUR = timedelta(hours=1)
KINDS: dict[str, tuple[type[Hold], type[Hold]]] = {
    "threads": (Polite, Patient),
    "asyncio": (AsyncHold, AsyncPatient),
    "processes": (HoldInChild, ShortHoldInChild),
}
"""For each runner a kind that heeds an abort, and one with a timeout."""

each_runner = pytest.mark.parametrize("runner", KINDS)


def rows(operation: Operation) -> Any:
    return Operation.all_objects.filter(pk=operation.pk)


def row(operation: Operation) -> Operation:
    return rows(operation).get()


@each_runner
def test_pending(operate: Start, tmp_path: Path, runner: str) -> None:
    """Cancelled or deleted it never runs; an abort is for what runs, and leaves it; its timeout
    begins with its run, however long it has waited."""
    kind, short = KINDS[runner]
    gate = tmp_path / "gate"
    gate.touch()
    cancelled, deleted, aborted = (kind.dispatch(path=str(gate)) for _ in range(3))
    late = short.schedule(clock.now() - HOUR, path=str(gate))
    assert rows(cancelled).cancel("wrong customer").cancelled == 1
    assert rows(deleted).cancel(delete=True).deleted == 1
    assert (rows(aborted).abort().abort_requested, rows(late).abort().left) == (0, 1)
    operator = operate("--once")
    assert operator.wait(60) == 0, operator.log
    # Some of the kinds write a line more.
    assert {cancelled.pk, deleted.pk}.isdisjoint(entries("begun"))
    assert sorted(entries("ended")) == sorted([aborted.pk, late.pk])
    assert (row(cancelled).state, row(cancelled).reason) == ("cancelled", "wrong customer")
    assert not rows(deleted).exists()
    assert row(late).failures == 0
    assert_nothing_left()


@pytest.fixture
def serve(
    in_children: None,  # noqa: F811
    collected: Collected,  # noqa: F811
) -> Iterator[Callable[[str, OperationJob], None]]:
    """Has a job run by a runner of this name, and waits for that."""
    made: list[Runner] = []
    sorts = {"threads": ThreadRunner, "asyncio": AsyncRunner, "processes": ProcessRunner}

    def serve(name: str, job: OperationJob) -> None:
        made.append(sorts[name](1, collected.append))
        made[-1].submit(job)
        assert collected.wait(1) is job

    yield serve
    for runner in made:
        runner.close()


@each_runner
@pytest.mark.parametrize("wish", ["cancel", "delete", "abort", "delete the row", "timeout"])
def test_claimed_and_not_begun(
    serve: Callable[[str, OperationJob], None],
    claimed: Callable[[Operation], OperationJob],  # noqa: F811
    tmp_path: Path,
    runner: str,
    wish: str,
) -> None:
    """Too late to cancel or to delete it, and the answer says so: it runs. Asked to abort, or if
    its row is gone, it does not. Its timeout has not begun."""
    kind, short = KINDS[runner]
    (tmp_path / "gate").touch()
    job = claimed((short if wish == "timeout" else kind).dispatch(path=str(tmp_path / "gate")))
    operation = job.operation
    match wish:
        case "cancel" | "delete":
            changed = rows(operation).cancel("too late", delete=wish == "delete")
            assert (changed, changed.left) == (0, 1)
        case "abort":
            assert rows(operation).abort("wrong customer").abort_requested == 1
        case "delete the row":
            rows(operation).delete()
        case "timeout":
            assert rows(operation).update(started_run_at=clock.now() - HOUR) == 1
    serve(runner, job)
    held = Operation.all_objects.record([job])
    if wish == "delete the row":
        assert held == [] and entries("begun") == []
        return
    assert held == [job]
    if wish == "abort":
        assert (row(operation).state, row(operation).reason) == ("cancelled", "wrong customer")
        assert entries("begun") == []
    else:
        assert (row(operation).state, row(operation).failures) == ("finished", 0)
        assert entries("ended") == [operation.pk]


@each_runner
def test_running(operate: Start, tmp_path: Path, runner: str) -> None:
    """Too late to cancel or to delete them, and the answers say so: they finish. One that is asked
    to abort ends with the reason and is not run again; one whose time is up has failed as that, and
    is, as often as its policy says. None of them gets in the way of the others."""
    kind, short = KINDS[runner]
    gate, never = tmp_path / "gate", tmp_path / "never"
    cancelled, deleted = (kind.dispatch(path=str(gate)) for _ in range(2))
    aborted, late = kind.dispatch(path=str(never)), short.dispatch(path=str(never))
    operator = operate(THREADS=4, TASKS=4, CHILDREN=4)
    wait_for_entries(4, "begun", by=[operator])
    poll(lambda: row(late).state == "failed", 40, lambda: operator.log)
    changed = rows(cancelled).cancel("too late")
    assert (changed, changed.left) == (0, 1)
    changed = rows(deleted).cancel(delete=True)
    assert (changed, changed.left) == (0, 1)
    asked = clock.now()
    assert rows(aborted).cancel("wrong customer", abort=True).abort_requested == 1
    poll(lambda: row(aborted).state == "cancelled", 20, lambda: operator.log)
    assert (row(aborted).cancelled_at - asked).total_seconds() < 5
    gate.touch()
    wait_until_finished(2, by=[operator])
    assert sorted(entries("ended")) == sorted([cancelled.pk, deleted.pk])
    assert (row(aborted).reason, row(aborted).attempts) == ("wrong customer", 1)
    assert (row(late).failures, row(late).crashes, row(late).attempts) == (2, 0, 2)
    assert row(late).reason.startswith("OperationTimedOut: ran ")
    jobs = OperationJob.objects.filter(operation__in=[aborted.pk, late.pk]).order_by("id")
    assert sorted(job.outcome for job in jobs) == ["aborted", "failed", "retried"]
    assert len(lines(operator, "overran")) == 2
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert_nothing_left()
