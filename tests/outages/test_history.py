"""What a rescue, by an operator or by hand, makes of an attempt that had begun its history."""

from __future__ import annotations

import pytest

from operator_app import clock
from operator_app.duties.rescue import rescue_operator
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.moments import later
from tests.work.models import Tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("by", ["rescue", "release"])
def test_the_row_of_the_attempt_is_completed(by: str, caplog: pytest.LogCaptureFixture) -> None:
    """An attempt that has shown progress has a row: it is completed, not inserted again."""
    now = clock.now()
    process = OperatorProcess.objects.create(
        hostname="here", pid=1, version="", capacity=1, started_at=now, heartbeat_at=now,
        alive_until=later(now, 60),
    )  # fmt: skip
    Tick.dispatch()
    lanes = Operation.all_objects.lanes()
    [row] = Operation.all_objects.claim(process, lanes, limit=1, now=clock.now())
    OperationJob.of(row, operator="here:1").progress(3, 10, "three")
    if by == "rescue":
        rescue_operator("default", process.uuid)
    else:
        OperatorProcess.objects.update(lost_at=now)
        assert Operation.objects.release() == 1
    job = OperationJob.objects.get()
    assert (job.progress_done, job.progress_message) == (3, "three")
    assert job.ended_at is not None
    assert job.outcome == ("retried" if by == "rescue" else "released")
    assert "could not be stored" not in caplog.text
