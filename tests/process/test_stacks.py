"""Where does it hang? Asked from outside, answered by a real operator."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from operator_app.models import Operation, OperationJob
from tests.process.conftest import Start
from tests.process.support import wait_for_entries
from tests.processes import OperatorUnderTest, poll
from tests.work.models import AsyncHold, Hold, HoldInChild, HoldInline


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
