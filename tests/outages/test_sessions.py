"""G7: sessions that the server ends."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from operator_app.models import Operation, OperationJob
from tests.outages.conftest import Start
from tests.outages.support import (
    RETRIED,
    Gate,
    assert_said_once,
    end_sessions,
    leave,
    needs_server,
    wait_for_action,
    wait_until_finished,
)
from tests.process.support import assert_calm, lines, pause, ready
from tests.processes import poll

pytestmark = [pytest.mark.django_db(transaction=True), needs_server]


def test_all_sessions_end_while_it_is_idle(operate: Start, tmp_path: Path) -> None:
    """An idle operator whose sessions are all ended reconnects and works on; both are said once."""
    operator, gate = operate(), Gate(tmp_path)
    ready(operator)
    gate.open()
    first = gate.dispatch()
    wait_until_finished([first], operator)
    poll(end_sessions, 10, "a session to end")
    second = gate.dispatch()
    wait_until_finished([second], operator)
    leave(operator)
    assert_said_once(operator)
    gate.assert_each_once([first, second])
    assert set(Operation.objects.values_list("attempts", flat=True)) == {1}


def test_all_sessions_end_while_jobs_run(operate: Start, tmp_path: Path) -> None:
    """What was running goes on, is recorded once, and is charged nothing."""
    operator, gate = operate("--threads", "3"), Gate(tmp_path)
    ids = [gate.dispatch() for _ in range(3)]
    gate.wait_for("begun", ids, operator)
    end_sessions()
    gate.open()
    wait_until_finished(ids, operator)
    leave(operator)
    assert_said_once(operator)
    gate.assert_each_once(ids)
    assert set(Operation.objects.values_list("attempts", "failures", "crashes")) == {(1, 0, 0)}
    assert not OperationJob.objects.exists()


def test_sessions_end_around_the_finish_write(operate: Start, tmp_path: Path) -> None:
    """Sessions ended at random moments of a busy operator: each operation runs and is recorded
    exactly once; none is charged, none stays claimed.
    """
    operator, gate = operate("--threads", "4"), Gate(tmp_path)

    def outages() -> list[str]:
        said = [line.get("action", "") for line in lines(operator)]
        return [action for action in said if action in {"database_away", "database_back"}]

    ready(operator)
    gate.open()
    ids: list[int] = []
    for _ in range(12):
        ids += [gate.dispatch() for _ in range(8)]
        pause(random.uniform(0, 0.15))
        end_sessions()
    # One more, so that it has met the last end, too: it may have had nothing left to do.
    ids.append(gate.dispatch())
    wait_until_finished(ids, operator)
    # One that is told to leave in an outage has no reason to wait for its end.
    poll(lambda: len(outages()) % 2 == 0, 30, lambda: operator.log)
    leave(operator)
    gate.assert_each_once(ids)
    assert set(Operation.objects.values_list("failures", "crashes")) == {(0, 0)}
    assert set(OperationJob.objects.values_list("outcome", flat=True)) <= {"released"}
    assert not lines(operator, "lost") and not lines(operator, "set_aside"), operator.log
    assert outages() == ["database_away", "database_back"] * (len(outages()) // 2), operator.log
    assert len(outages()) <= 2 * 12


def test_a_server_that_ends_idle_sessions(operate: Start, tmp_path: Path) -> None:
    """Sessions that the server drops for idleness are replaced without a word: no operation is
    charged, set aside or late for it.
    """
    # Two seconds more than the one for which a connection is trusted: that much may pass on a busy
    # machine between the look at a connection and the statement that uses it.
    options: dict[str, Any] = {
        "postgresql": {"options": "-c idle_session_timeout=3000"},
        "mysql": {"init_command": "SET SESSION wait_timeout = 3"},
    }[connection.vendor]
    idle = 3.6
    heartbeat = {"interval": 5, "timeout": 30}
    operator = operate("--threads", "1", options=options, HEARTBEAT=heartbeat, POLL_INTERVAL=5)
    opened, closed = Gate(tmp_path, "opened"), Gate(tmp_path, "closed")
    opened.open()
    ids = [opened.dispatch()]
    wait_until_finished(ids, operator)
    pause(idle)  # the thread's session is dropped, and it has the next operation to load
    ids.append(closed.dispatch())
    closed.wait_for("begun", ids[1:], operator)
    pause(idle)  # that of the main thread is, and it has the outcome to record
    closed.open()
    wait_until_finished(ids, operator)
    leave(operator)
    assert_calm(operator)
    assert set(Operation.objects.values_list("attempts", flat=True)) == {1}
    assert not Operation.objects.started().exists()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="about PostgreSQL's standbys")
def test_a_database_that_turns_read_only(operate: Start, tmp_path: Path) -> None:
    """Failover to a standby that is not promoted yet: the outcome waits, and is written after."""
    operator, gate = operate(), Gate(tmp_path)
    ids = [gate.dispatch()]
    gate.wait_for("begun", ids, operator)
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(str(connection.settings_dict["NAME"]))
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            end_sessions()
            gate.open()
            gate.wait_for("ended", ids, operator)
            wait_for_action(operator, "database_away")
            pause(RETRIED)
        finally:
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    end_sessions()
    wait_until_finished(ids, operator)
    leave(operator)
    gate.assert_each_once(ids)
    assert not lines(operator, "history_lost")
    assert "Traceback" not in operator.log, operator.log
