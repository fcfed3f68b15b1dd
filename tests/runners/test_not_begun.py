"""Taken back between the claim and the begin: what each runner makes of such a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob
from operator_app.runners import AsyncRunner, ProcessRunner, Runner, ThreadRunner
from tests.process.support import entries
from tests.runners.conftest import Collected
from tests.work.models import (
    AsyncHold,
    AsyncPatient,
    Hold,
    HoldInChild,
    Patient,
    Polite,
    ShortHoldInChild,
)

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
KINDS: dict[str, tuple[type[Hold], type[Hold]]] = {
    "threads": (Polite, Patient),
    "asyncio": (AsyncHold, AsyncPatient),
    "processes": (HoldInChild, ShortHoldInChild),
}
"""For each runner a kind that heeds an abort, and one with a timeout."""


def rows(operation: Operation) -> Any:
    return Operation.all_objects.filter(pk=operation.pk)


def row(operation: Operation) -> Operation:
    return rows(operation).get()


@pytest.fixture
def serve(
    in_children: None,
    collected: Collected,
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


@pytest.mark.parametrize("runner", KINDS)
@pytest.mark.parametrize("wish", ["cancel", "delete", "abort", "delete the row", "timeout"])
def test_claimed_and_not_begun(
    serve: Callable[[str, OperationJob], None],
    claimed: Callable[[Operation], OperationJob],
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
