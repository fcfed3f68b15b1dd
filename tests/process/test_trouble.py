"""Operators that die, and databases that are not there."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import assert_calm, assert_each_once, lines, wait_for_entries
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Hold


def test_kill_9_leaves_the_claims_to_be_found(operate: Start, tmp_path: Path) -> None:
    """After kill -9 the claimed rows stay claimed, and are stuck once the heartbeat has run out."""
    rows = [Hold(should_run_at=clock.now(), path=str(tmp_path / "never")) for _ in range(3)]
    held = {operation.pk for operation in Hold.schedule_many(rows)}
    # The timeout leaves a busy machine time to look at the rows while their operator lives.
    operator = operate("--threads", "3", HEARTBEAT={"interval": 0.5, "timeout": 4})
    wait_for_entries(3, "begun", by=[operator])
    assert set(Operation.objects.running().values_list("pk", flat=True)) == held
    assert Operation.objects.stuck().count() == 0

    operator.kill()

    assert operator.returncode == -9
    assert Operation.objects.started().count() == 3
    process = OperatorProcess.objects.get()
    assert process.pid == operator.pid
    poll(lambda: Operation.objects.stuck().count() == 3, 15, "the three to be stuck")
    assert clock.now() > process.alive_until
    assert Operation.objects.running().count() == 0
    assert {operation.state for operation in Operation.objects.all()} == {"stuck"}
    assert set(Operation.objects.stuck().values_list("attempts", flat=True)) == {1}


def test_a_living_operator_is_never_stuck(operate: Start, tmp_path: Path) -> None:
    """An operation that lasts many heartbeat timeouts is running, never stuck."""
    gate = tmp_path / "gate"
    operation = Hold.dispatch(path=str(gate))
    operator = operate(HEARTBEAT={"interval": 0.2, "timeout": 2})
    wait_for_entries(1, "begun", by=[operator])
    born = OperatorProcess.objects.get()
    seen: set[str] = set()

    def outlived() -> bool:
        seen.add(Operation.objects.get(pk=operation.pk).state)
        return clock.now() > born.alive_until

    poll(outlived, 10, "the first promise of the heartbeat to have passed")
    assert seen == {"running"}
    gate.touch()
    operator.terminate()
    assert operator.wait() == 0
    assert_each_once([operation.pk], "ended")
    assert_calm(operator)


def _away(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose database is not there."""
    return {
        "sqlite": {"OPERATOR_TEST_NAME": str(tmp_path / "no" / "such" / "folder" / "db.sqlite3")},
        "postgresql": {"POSTGRES_PORT": "1"},
        "mysql": {"MARIADB_PORT": "1", "MYSQL_PORT": "1"},
    }[connection.vendor]


def _assert_clear(operator: OperatorUnderTest) -> None:
    __tracebackhide__ = True
    assert "CommandError: The database cannot be used: " in operator.stderr, operator.log
    assert "Traceback" not in operator.log
    assert len([line for line in operator.stderr.splitlines() if line.strip()]) <= 3, operator.log


def test_once_without_a_database(operate: Start, tmp_path: Path) -> None:
    """--once says in a sentence that the database cannot be used, and exits with an error."""
    operator = operate("--once", env=_away(tmp_path))
    assert operator.wait() == 1
    _assert_clear(operator)


def test_an_operator_waits_for_its_database_and_can_be_told_to_leave(
    operate: Start, tmp_path: Path
) -> None:
    """Without a database the operator says so once, keeps waiting, and leaves on SIGTERM with 0."""
    operator = operate(env=_away(tmp_path))
    operator.wait_for_log("cannot be used")
    assert operator.running
    operator.terminate()
    assert operator.wait(10) == 0
    assert len(lines(operator, "database_away")) == 1
    assert "Traceback" not in operator.log


@pytest.mark.skipif(
    os.environ.get("OPERATOR_TEST_DATABASE", "sqlite") not in {"", "sqlite"},
    reason="an empty database is made most easily where it is a file",
)
class TestWithoutTables:
    """A database that has not been migrated."""

    def test_once(self, operate: Start, tmp_path: Path) -> None:
        """--once on a database without tables says in a sentence what is missing; no traceback."""
        operator = operate("--once", env={"OPERATOR_TEST_NAME": str(tmp_path / "empty.sqlite3")})
        assert operator.wait() == 1
        _assert_clear(operator)
        assert "no such table" in operator.stderr

    def test_the_operator_starts_once_the_tables_are_there(
        self, operate: Start, start_operator: Start, tmp_path: Path
    ) -> None:
        """An operator started before `migrate` says so once and works as soon as that is done."""
        path = tmp_path / "empty.sqlite3"
        env = {"OPERATOR_TEST_NAME": str(path)}
        operator = operate(env=env)
        operator.wait_for_log("no such table")
        migrate = start_operator("--verbosity", "0", command="migrate", env=env)
        assert migrate.wait() == 0, migrate.log
        operator.wait_for_log(" is ready.")
        with closing(sqlite3.connect(path)) as database:
            found = database.execute("SELECT pid FROM operator_app_operatorprocess").fetchall()
        assert found == [(operator.pid,)]
        operator.terminate()
        assert operator.wait(10) == 0
        assert len(lines(operator, "database_away")) == 1
        assert "Traceback" not in operator.log
