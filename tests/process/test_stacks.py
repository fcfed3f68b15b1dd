"""Where does it hang? Asked from outside, answered by a real operator."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from operator_app.models import Operation, OperationJob
from tests.process.conftest import Start
from tests.process.support import assert_nothing_left, lines, wait_for_entries
from tests.processes import OperatorUnderTest, poll
from tests.work.models import (
    AsyncHold,
    AtomicDeed,
    Deed,
    DeedInChild,
    Entry,
    Hold,
    HoldInChild,
    HoldInline,
)


def stack(operation: Operation, operator: OperatorUnderTest) -> str:
    """What `manage.py operations show ID --stack` says."""
    out = StringIO()
    try:
        call_command("operations", "show", str(operation.pk), "--stack", stdout=out)
    except Exception as error:
        raise AssertionError(f"{error}\n{operator.log}") from error
    return out.getvalue()


@pytest.mark.parametrize("kind", [Hold, HoldInline, HoldInChild, AsyncHold])
def test_where_it_is(operate: Start, tmp_path: Path, kind: type[Hold]) -> None:
    """A thread, the main thread, a child process, a task: each tells the line it waits in; twice,
    since it may have moved; and the run goes on as if nobody had asked."""
    gate = tmp_path / "gate"
    operation = kind.dispatch(path=str(gate))
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    for _ in range(2):
        text = stack(operation, operator)
        assert "models.py" in text and "in run" in text, text
    row = Operation.objects.get()
    assert row.stack_requested_at is None
    gate.touch()
    poll(lambda: Operation.objects.finished().exists(), 30, lambda: operator.log)
    assert "in run" in OperationJob.objects.get().stack


@pytest.mark.parametrize("ending", ["regex", "regex told"])
def test_where_it_is_when_nothing_else_can_run(operate: Start, ending: str) -> None:
    """A regular expression that never ends keeps all other threads of its child from running, the
    one that hears the parent among them. The child tells all the same, whether the run has shown
    progress or not, and an abort ends it; one row holds all of that."""
    operation = DeedInChild.dispatch(ending=ending)
    operator = operate("--grace", "2")
    poll(Entry.objects.exists, 30, lambda: operator.log)
    if "told" in ending:
        poll(OperationJob.objects.exists, 30, lambda: operator.log)
    for _ in range(2):
        text = stack(operation, operator)
        assert 're.match(r"(a+)+$"' in text, text
        assert text.index("in serve") < text.index("in _hang"), text
    assert Operation.objects.filter(pk=operation.pk).abort("enough").abort_requested == 1
    poll(lambda: Operation.objects.cancelled().exists(), 30, lambda: operator.log)
    job = OperationJob.objects.get()
    assert (job.outcome, job.message, bool(job.operator)) == ("aborted", "enough", True)
    assert "in run" in job.stack
    assert (job.progress_done, job.progress_message) == (
        (1, "told") if "told" in ending else (None, "")
    )
    assert not lines(operator, "history_lost") and not lines(operator, "stack_lost")
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert_nothing_left()


@pytest.mark.parametrize("ending", ["hold", "hold told"])
@pytest.mark.parametrize("kind", [DeedInChild, AtomicDeed])
def test_a_row_that_two_processes_write(
    operate: Start, tmp_path: Path, kind: type[Deed], ending: str
) -> None:
    """The operator inserts it for the stack; then the child shows progress, within the transaction
    of the run if that has one, and ends: one row, complete."""
    if kind is AtomicDeed and connection.vendor == "sqlite":
        pytest.skip("there is one writer, and that is the run")
    gate = tmp_path / "gate"
    operation = kind.dispatch(ending=ending)
    Operation.objects.update(crashes=1)  # An atomic one gets a child of its own by that.
    operator = operate(env={"OPERATOR_TEST_GATE": str(gate)})
    poll(lambda: Operation.objects.get().begun_run_at, 30, lambda: operator.log)
    poll(lambda: "in run" in stack(operation, operator), 30, lambda: operator.log)
    job = OperationJob.objects.get()
    assert job.outcome is None and "in run" in job.stack
    gate.touch()
    poll(lambda: Operation.objects.finished().exists(), 30, lambda: operator.log)
    poll(lambda: OperationJob.objects.get().outcome == "finished", 10, lambda: operator.log)
    ended = OperationJob.objects.get()
    assert (ended.pk, ended.stack, ended.operator) == (job.pk, job.stack, job.operator)
    assert ended.progress_message == ("told" if "told" in ending else "")
    assert not lines(operator, "history_lost") and not lines(operator, "lost")


def test_one_that_nobody_knew_of(operate: Start, tmp_path: Path) -> None:
    """An attempt that would leave no row when it finishes has one by then, and that says so."""
    gate = tmp_path / "gate"
    operation = Hold.dispatch(path=str(gate))
    Operation.objects.update(crashes=1)
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    assert "in run" in stack(operation, operator)
    gate.touch()
    poll(lambda: Operation.objects.finished().exists(), 30, lambda: operator.log)
    job = OperationJob.objects.get()
    assert (job.outcome, "in run" in job.stack) == ("finished", True)
