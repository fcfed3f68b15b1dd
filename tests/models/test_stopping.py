"""What the verbs make of operations that have not begun: pending ones, and claimed ones that wait
for their turn. `tests/process/test_stopping.py` has those that run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from operator_app.models import Changed, Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Aborted, Finished
from tests.models.tools import HOUR, claim_all, claimed_job, stored
from tests.work.models import (
    Deaf,
    Entry,
    Hold,
    HoldInChild,
    PatientInline,
    PoliteInline,
    ShortHoldInChild,
)

pytestmark = pytest.mark.django_db

Verb = Callable[[Any], Changed]

VERBS: dict[str, Verb] = {
    "cancel": lambda rows: rows.cancel("enough"),
    "cancel, delete": lambda rows: rows.cancel("enough", delete=True),
    "cancel, abort": lambda rows: rows.cancel("enough", abort=True),
    "cancel, abort, delete": lambda rows: rows.cancel("enough", abort=True, delete=True),
    "abort": lambda rows: rows.abort("enough"),
}
RUNNERS = {"threads": Hold, "processes": HoldInChild, "inline": PoliteInline}
LIMITED = {"threads": Deaf, "processes": ShortHoldInChild, "inline": PatientInline}


@pytest.mark.parametrize("kind", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("when", ["scheduled", "due"])
@pytest.mark.parametrize(
    ("verb", "changed", "left"),
    [
        ("cancel", {"cancelled": 1}, "cancelled"),
        ("cancel, delete", {"deleted": 1}, None),
        ("cancel, abort", {"cancelled": 1, "abort_requested": 0}, "cancelled"),
        ("cancel, abort, delete", {"deleted": 1, "abort_requested": 0}, None),
        ("abort", {"abort_requested": 0, "left": 1}, "as before"),
    ],
)
def test_pending(
    *,
    operator: OperatorProcess,
    kind: type[Hold],
    when: str,
    verb: str,
    changed: dict[str, int],
    left: str | None,
) -> None:
    """Cancelled or deleted, it is claimed by nobody; there is nothing in it to abort."""
    operation = kind.dispatch(path="") if when == "due" else kind.schedule(HOUR, path="")
    assert VERBS[verb](kind.objects.filter(pk=operation.pk)) == Changed.of(**changed)
    if left is None:
        assert not Operation.all_objects.exists() and not Hold._base_manager.exists()
    else:
        assert stored(operation).state == (when if left == "as before" else left)
        assert stored(operation).reason == ("" if left == "as before" else "enough")
    pending = left == "as before" and when == "due"
    assert [row.pk for row in claim_all(operator)] == [operation.pk] * pending


@pytest.mark.parametrize("kind", RUNNERS.values(), ids=RUNNERS)
def test_pending_and_deleted_by_the_orm(operator: OperatorProcess, kind: type[Hold]) -> None:
    """As any row."""
    kind.dispatch(path="").delete()
    assert claim_all(operator) == []


@pytest.mark.parametrize("kind", LIMITED.values(), ids=LIMITED)
def test_a_timeout_begins_with_the_run(operator: OperatorProcess, kind: type[Hold]) -> None:
    """Neither what is pending nor what waits for its turn is ever overdue."""
    operation = kind.dispatch(path="")
    assert stored(operation).times_out_at is None
    job = claimed_job(operation, operator)
    assert stored(operation).times_out_at is None and stored(operation).begun_run_at is None
    assert job.begin()
    assert stored(operation).times_out_at is not None


@pytest.mark.parametrize("kind", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("verb", VERBS)
def test_claimed(operator: OperatorProcess, kind: type[Hold], verb: str, tmp_path: Any) -> None:
    """It is left alone without `abort`; with it, its `run()` is not even begun."""
    (gate := tmp_path / "gate").touch()
    operation = kind.dispatch(path=str(gate))
    job = claimed_job(operation, operator)
    asks = "abort" in verb
    expected = Changed.of(abort_requested=1) if asks else Changed.of(left=1)
    assert VERBS[verb](kind.objects.filter(pk=operation.pk)) == expected
    assert job.begin()
    assert job.run() == (Aborted("enough") if asks else Finished())
    assert Operation.all_objects.record([job]) == [job]
    assert stored(operation).state == ("cancelled" if asks else "finished")
    assert Entry.objects.filter(line="begun").exists() is not asks


@pytest.mark.parametrize("kind", RUNNERS.values(), ids=RUNNERS)
def test_claimed_and_deleted_by_the_orm(
    operator: OperatorProcess, kind: type[Hold], caplog: pytest.LogCaptureFixture
) -> None:
    """It does not run, and what is recorded of it is lost, which is said."""
    operation = kind.dispatch(path="")
    job = claimed_job(operation, operator)
    kind.objects.get().delete()
    assert job.begin()
    job.run()
    assert Operation.all_objects.record([job]) == []
    assert [line.action for line in caplog.records if line.name == "operator_app"] == ["lost"]  # type: ignore[attr-defined]
    assert not OperationJob.objects.exists() and not Entry.objects.exists()
