"""G10: hosts whose clocks differ. Time is the database's; on SQLite that is the host's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from tests.chaos.conftest import Start
from tests.chaos.support import (
    STEADY,
    decoy,
    due,
    said,
    wait_until_ended,
)
from tests.chaos.work.models import Effect, Task
from tests.process.support import logs, ready
from tests.processes import poll

LIBRARY = next(
    (
        path
        for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")
        if (path := Path(folder) / "faketime" / "libfaketime.so.1").exists()
    ),
    None,
)


@pytest.mark.skipif(
    LIBRARY is None, reason="libfaketime is not installed (apt install libfaketime)"
)
def test_two_clocks_ten_minutes_apart(operate: Start) -> None:
    """One operator's clock is five minutes fast, another's five slow: nothing runs early or late,
    and neither takes the other for dead.
    """

    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server: its time is the host's own")

    def env(offset: str) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    settings = {"HEARTBEAT": STEADY, "POLL_INTERVAL": 0.2}
    operators = [operate("--threads", "2", env=env(by), **settings) for by in ("+5m", "-5m")]
    ready(*operators)
    soon = Task.schedule(timedelta(seconds=1.5))
    far = Task.schedule(timedelta(minutes=4))  # past, by the fast clock
    now = due(Task, 20, seconds=0.1)  # in the future, by the slow one
    effects = Effect.objects.filter(operation_number=soon.pk)

    def came() -> bool:
        if not effects.exists():
            return False
        assert clock.now() >= soon.should_run_at, logs(*operators)
        return True

    poll(came, 60, lambda: f"the operation to run\n{logs(*operators)}")
    wait_until_ended([*now, soon.pk], *operators)

    def judged() -> bool:
        poll(decoy(), 30, "one of them to judge")
        return all(said(operator, "operator_lost") for operator in operators)

    poll(judged, 60, lambda: f"both to judge\n{logs(*operators)}")
    soon.refresh_from_db()
    assert soon.started_run_at is not None
    assert soon.should_run_at <= soon.started_run_at
    assert soon.started_run_at - soon.should_run_at < timedelta(minutes=1)
    assert Operation.objects.get(pk=far.pk).attempts == 0
    assert Operation.objects.finished().count() == len(now) + 1
    assert set(Operation.objects.values_list("crashes", "failures")) == {(0, 0)}
    assert OperatorProcess.objects.filter(lost_at=None).count() == 2
    assert not any(said(operator, "declared_lost") for operator in operators), logs(*operators)
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0, 0], logs(*operators)
    clocks = list(Effect.objects.values_list("host_time", flat=True))
    assert max(clocks) - min(clocks) > 500, "the clocks did differ"
