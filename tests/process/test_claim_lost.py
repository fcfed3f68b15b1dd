"""What runs though nobody wants it any more: its row was deleted, or its claim is not its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob
from tests.process.conftest import Start
from tests.process.support import (
    assert_nothing_left,
    entries,
    lines,
    wait_for_entries,
    wait_until_finished,
)
from tests.processes import poll
from tests.runners.support import is_alive
from tests.work.models import AsyncHold, Entry, Hold, HoldInChild, Polite

KINDS = {"threads": Polite, "asyncio": AsyncHold, "processes": HoldInChild}


def delete(operation: Operation) -> None:
    """As a view does, or the cascade of a foreign key."""
    Operation.all_objects.filter(pk=operation.pk).delete()


def give_back(operation: Operation) -> None:
    """As somebody who has taken its operator for dead."""
    later = clock.now() + timedelta(hours=1)
    rows = Operation.all_objects.filter(pk=operation.pk)
    values = {"started_run_at": None, "begun_run_at": None, "should_run_at": later}
    assert rows.update(operator=None, **values) == 1


@pytest.mark.parametrize("runner", KINDS)
@pytest.mark.parametrize("lose", [delete, give_back])
def test_it_is_ended(
    operate: Start, tmp_path: Path, runner: str, lose: Callable[[Operation], None]
) -> None:
    """By the means of its runner, soon, and the log says why; nothing is written, and its place is
    free. Its neighbour goes on."""
    operation = KINDS[runner].dispatch(path=str(tmp_path / "never"))
    neighbour = Hold.dispatch(path=str(tmp_path / "gate"))
    operator = operate(CHILDREN=1, TASKS=1)
    wait_for_entries(2, "begun", by=[operator])
    lose(operation)
    poll(lambda: lines(operator, "lost"), 20, lambda: operator.log)
    (line,) = lines(operator, "claim_lost")
    assert line["operation_id"] == operation.pk
    assert ("its row was deleted" if lose is delete else "its claim was lost") in line["message"]
    if runner == "processes":
        marks = Entry.objects.filter(operation_number=operation.pk).exclude(line="begun")
        (pid,) = map(int, marks.values_list("line", flat=True))
        poll(lambda: not is_alive(pid), 10, "its child to be gone")
    else:
        word = "asked" if runner == "threads" else "cancelled"
        assert entries(word) == [operation.pk]
    assert entries("ended") == []
    assert not OperationJob.objects.exclude(outcome=None).exists()
    if lose is give_back:
        row = Operation.all_objects.get(pk=operation.pk)
        assert (row.state, row.attempts, row.failures, row.crashes) == ("scheduled", 1, 0, 0)
    # There is room for another one.
    (tmp_path / "gate").touch()
    KINDS[runner].dispatch(path=str(tmp_path / "gate"))
    wait_until_finished(2, by=[operator])
    assert Operation.objects.finished().filter(pk=neighbour.pk).exists()
    operator.terminate()
    assert operator.wait() == 0, operator.log
    assert_nothing_left()
