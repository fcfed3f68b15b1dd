"""What the tests of outages share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from operator_app.models import Operation
from tests.process.support import lines, logs
from tests.processes import OperatorUnderTest, poll
from tests.work.models import HoldAside

needs_server = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="SQLite has neither server nor sessions"
)

RETRIED = 0.8
"""Seconds after the first failure in which the operator asks again: after half a second at most.
Each further try comes twice as late, and with it the end of the test."""


class Gate:
    """A gate for `HoldAside`, and the ledger beside it."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = folder / f"{name}.open"
        self.ledger = self.path.with_suffix(".ledger")

    def dispatch(self) -> int:
        """Let an operation wait at the gate; its id."""
        return HoldAside.dispatch(path=str(self.path)).pk

    def open(self) -> None:
        """Let everybody pass."""
        self.path.touch()

    def count(self, line: str) -> Counter[int]:
        """Which operations wrote this line, and how often."""
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return Counter(int(each.split()[0]) for each in text.splitlines() if each.endswith(line))

    def wait_for(self, line: str, ids: Iterable[int], *operators: OperatorUnderTest) -> None:
        """Wait until these operations have written this line."""
        __tracebackhide__ = True
        wanted = set(ids)
        poll(lambda: wanted <= set(self.count(line)), 30, lambda: f"{line}\n{logs(*operators)}")

    def assert_each_once(self, ids: Iterable[int]) -> None:
        """Each of these ran, from its begin to its end, exactly once."""
        __tracebackhide__ = True
        assert self.count("begun") == self.count("ended") == Counter(ids)


def wait_for_action(operator: OperatorUnderTest, action: str, times: int = 1) -> None:
    """Wait until the operator has logged this action so often."""
    __tracebackhide__ = True
    poll(lambda: len(lines(operator, action)) >= times, 30, lambda: f"{action}\n{operator.log}")


def wait_until_finished(ids: Iterable[int], operator: OperatorUnderTest) -> None:
    """Wait until these operations are recorded as finished."""
    __tracebackhide__ = True
    rows = Operation.objects.filter(pk__in=list(ids))

    def message() -> str:
        return f"{list(rows.filter(finished_run_at=None).values())}\n{operator.log}"

    poll(lambda: not rows.filter(finished_run_at=None).exists(), 40, message)


def leave(operator: OperatorUnderTest) -> None:
    """Tell the operator to leave; it has to do so in order."""
    __tracebackhide__ = True

    def beats() -> bool:
        failed = len(lines(operator, "heartbeat_failed"))
        return len(lines(operator, "heartbeat_back")) == failed

    poll(beats, 10, lambda: f"the heartbeat to be back\n{operator.log}")
    operator.terminate()
    assert operator.wait() == 0, operator.log


def assert_said_once(operator: OperatorUnderTest, outages: int = 1) -> None:
    """The log says that the database is away and back, once per outage: not a line per retry; or
    not at all where all connections had been idle long enough to be asked before they were used.
    """
    __tracebackhide__ = True
    counts = Counter(line.get("action") for line in lines(operator))
    assert counts["database_away"] == counts["database_back"] <= outages, operator.log
    assert counts["heartbeat_back"] <= counts["heartbeat_failed"] <= outages, operator.log
    assert "Traceback" not in operator.log, operator.log


def end_sessions() -> int:
    """End all sessions of this test's database but our own; how many there were."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
        cursor.execute(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        sessions = [row[0] for row in cursor.fetchall()]
        for session in sessions:
            try:
                cursor.execute("KILL CONNECTION %s", [session])
            except DatabaseError as error:
                if "Unknown thread id" not in str(error):
                    raise
        return len(sessions)
