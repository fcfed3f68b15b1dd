"""G7: databases that are there and cannot be written."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Finished
from tests.outages.conftest import Start
from tests.outages.settings import WRITES
from tests.outages.support import (
    RETRIED,
    Gate,
    assert_said_once,
    leave,
    wait_for_action,
    wait_until_finished,
)
from tests.process.support import pause, ready
from tests.work.models import Tick

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "message",
    [
        "database or disk is full",
        pytest.param(
            "attempt to write a readonly database",
            marks=pytest.mark.skipif(
                "connection.vendor == 'postgresql'", reason="the real thing: test_sessions.py"
            ),
        ),
    ],
)
def test_nothing_can_be_written_at_the_finish(operate: Start, tmp_path: Path, message: str) -> None:
    """A full or read-only disk at the finish write: the outcome waits and is written once."""
    operator, gate, fault = operate("--threads", "3"), Gate(tmp_path), tmp_path / "fault"
    ids = [gate.dispatch() for _ in range(3)]
    gate.wait_for("begun", ids, operator)
    fault.write_text(message)
    gate.open()
    gate.wait_for("ended", ids, operator)
    wait_for_action(operator, "database_away")
    wait_for_action(operator, "heartbeat_failed")
    pause(RETRIED)
    assert Operation.objects.started().count() == 3 and operator.running
    fault.unlink()
    wait_until_finished(ids, operator)
    wait_for_action(operator, "heartbeat_back")
    leave(operator)
    assert_said_once(operator)
    assert message in operator.log
    gate.assert_each_once(ids)
    assert set(Operation.objects.values_list("attempts", "failures")) == {(1, 0)}


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="about SQLite's lock")
@pytest.mark.parametrize("moment", ["idle", "finish"])
def test_locked_for_longer_than_the_timeout(operate: Start, tmp_path: Path, moment: str) -> None:
    """Somebody holds the write lock for longer than everybody waits: work goes on afterwards."""
    operator, gate = operate(options={"timeout": 1}), Gate(tmp_path)
    ready(operator)
    ids = [gate.dispatch()] if moment == "finish" else []
    gate.wait_for("begun", ids, operator)
    if not ids:
        ids = [gate.dispatch()]
    path = str(connection.settings_dict["NAME"])
    with closing(sqlite3.connect(path, isolation_level=None, timeout=20)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        gate.open()
        wait_for_action(operator, "database_away")
        pause(1 + RETRIED)
        assert operator.running
        writer.execute("ROLLBACK")
    wait_until_finished(ids, operator)
    wait_for_action(operator, "database_back")
    leave(operator)
    assert_said_once(operator)
    assert "database is locked" in operator.log
    gate.assert_each_once(ids)


def claimed_jobs(count: int) -> list[OperationJob]:
    """Attempts that have finished, claimed by an operator of this test, each with a history."""
    now = clock.now()
    process = OperatorProcess.objects.create(
        hostname="here", pid=1, version="", capacity=9, started_at=now, heartbeat_at=now,
        alive_until=now,
    )  # fmt: skip
    for _ in range(count):
        Tick.dispatch()
    rows = Operation.all_objects
    claimed = rows.claim(process, rows.lanes(), limit=count, now=clock.now())
    jobs = [OperationJob.of(row, operator="here:1") for row in claimed]
    for job in jobs:
        job.meta = {"size": "large"}
        job.end_as(Finished())
    return jobs


@pytest.mark.parametrize("failing", range(1, 9))
def test_an_outage_that_ends_at_any_write_costs_no_history(failing: int) -> None:
    """Also when it ends just as an outcome is taken for the cause of the trouble."""
    jobs, left = claimed_jobs(3), failing

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal left
        if left and WRITES.match(sql):
            left -= 1
            raise OperationalError("database or disk is full")
        return execute(sql, params, many, context)

    held: list[OperationJob] = []
    with connection.execute_wrapper(refuse):
        while not held:
            with suppress(OperationalError):
                held = Operation.all_objects.record(jobs)
    assert (held, left) == (jobs, 0)
    assert Operation.objects.finished().count() == OperationJob.objects.count() == 3


def test_one_outcome_that_ends_the_session_strands_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G11: what looks like an outage may be one job's history, too large for the server. After some
    tries it is given up, and only it: every outcome is recorded.
    """
    jobs = claimed_jobs(3)
    jobs[1].meta = {"size": "too large"}
    create = type(OperationJob.objects.all()).bulk_create

    def refuse(self: Any, objs: list[OperationJob], *args: Any, **options: Any) -> Any:
        if any(job.meta["size"] == "too large" for job in objs):
            connection.close()
            raise OperationalError(2006, "Server has gone away")
        return create(self, objs, *args, **options)

    monkeypatch.setattr(type(OperationJob.objects.all()), "bulk_create", refuse)
    tries = 0
    held: list[OperationJob] = []
    while not held:
        tries += 1
        assert tries < 10, "it would have been tried for ever"
        try:
            held = Operation.all_objects.record(jobs)
        except OperationalError:
            connection.close()
    assert tries > 1
    assert held == jobs
    assert Operation.objects.finished().count() == 3
    kept = OperationJob.objects.values_list("operation_id", flat=True)
    assert set(kept) == {jobs[0].operation_id, jobs[2].operation_id}
