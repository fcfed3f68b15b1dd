"""G7: servers that are stopped and started, and networks that swallow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.runners.aio import HELPERS
from tests.outages.conftest import Start
from tests.outages.proxy import Proxy
from tests.outages.support import (
    RETRIED,
    Gate,
    assert_said_once,
    leave,
    wait_for_action,
    wait_until_finished,
)
from tests.process.support import entries, lines, pause, ready
from tests.processes import poll
from tests.work.models import AsyncHoldAside, AtomicDeed, Entry, Mixed

pytestmark = pytest.mark.django_db(transaction=True)

RECOMMENDED: dict[str, dict[str, Any]] = {
    "postgresql": {
        "connect_timeout": 3,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 2000,
    },
    "mysql": {"connect_timeout": 3, "read_timeout": 2, "write_timeout": 2},
}
"""As docs/how-to/deploy.md has them, with shorter times."""

WATCHED = "no answer for 3 s: the connection is cut"
"""What the operator says when its watchdog has ended the wait."""

COMMIT = {"postgresql": b"\x0bCOMMIT", "mysql": b"\x03COMMIT"}
"""The statement as it goes over the wire; MySQL's SET AUTOCOMMIT is another one."""
CLAIM = COMMIT | {"postgresql": b"WITH LANE_0"}
"""What commits a claim: a statement of its own on PostgreSQL."""
COMMITS_OF_A_CLAIM = int(connection.vendor != "postgresql")


class TestStoppedAndStarted:
    """The server is stopped, and started some seconds later."""

    def test_idle(self, operate: Start, proxy: Proxy, tmp_path: Path) -> None:
        """An idle operator waits, and runs what was scheduled meanwhile."""
        operator, gate = operate(port=proxy.port), Gate(tmp_path)
        gate.open()
        ready(operator)
        proxy.refuse()
        wait_for_action(operator, "database_away")
        ids = [gate.dispatch()]
        pause(RETRIED)
        assert operator.running
        proxy.accept()
        wait_until_finished(ids, operator)
        leave(operator)
        assert_said_once(operator)
        gate.assert_each_once(ids)

    @pytest.mark.parametrize("moment", ["while they run", "at the finish write"])
    def test_with_jobs(self, operate: Start, proxy: Proxy, tmp_path: Path, moment: str) -> None:
        """Operations that run, or end, during the outage are recorded once when it is over."""
        operator, gate = operate("--threads", "3", port=proxy.port), Gate(tmp_path)
        ids = [gate.dispatch() for _ in range(3)]
        gate.wait_for("begun", ids, operator)
        proxy.refuse()
        if moment == "while they run":
            wait_for_action(operator, "database_away")
        else:
            gate.open()
            gate.wait_for("ended", ids, operator)
        pause(RETRIED)
        assert Operation.objects.started().count() == 3
        proxy.accept()
        wait_for_action(operator, "database_back")
        gate.open()
        wait_until_finished(ids, operator)
        leave(operator)
        assert_said_once(operator)
        gate.assert_each_once(ids)
        assert set(Operation.objects.values_list("attempts", "failures")) == {(1, 0)}

    def test_told_to_leave_meanwhile(self, operate: Start, proxy: Proxy, tmp_path: Path) -> None:
        """After one SIGTERM it leaves only when the outcome is written, and with exit code 0."""
        operator, gate = operate(port=proxy.port), Gate(tmp_path)
        ids = [gate.dispatch()]
        gate.wait_for("begun", ids, operator)
        proxy.refuse()
        wait_for_action(operator, "database_away")
        gate.open()
        operator.terminate()
        pause(RETRIED)
        assert operator.running
        proxy.accept()
        assert operator.wait() == 0, operator.log
        wait_until_finished(ids, operator)
        assert_said_once(operator)
        assert not OperatorProcess.objects.exists()

    @pytest.mark.gives_up
    @pytest.mark.parametrize("busy", [False, True])
    def test_told_to_leave_twice(
        self, operate: Start, proxy: Proxy, tmp_path: Path, busy: bool
    ) -> None:
        """After a second SIGTERM it gives up at once and exits with 1, also if a thread is still
        busy; what it could not write stays claimed, to be found stuck.
        """
        operator, gate = operate(port=proxy.port), Gate(tmp_path)
        ids = [gate.dispatch()]
        gate.wait_for("begun", ids, operator)
        proxy.refuse()
        wait_for_action(operator, "database_away")
        if not busy:
            gate.open()
            gate.wait_for("ended", ids, operator)
        operator.terminate()
        pause(0.3)
        operator.terminate()
        assert operator.wait(10) == 1, operator.log
        assert lines(operator, "gave_up")
        assert Operation.objects.started().count() == 1
        assert OperatorProcess.objects.count() == 1


class TestAnAnswerIsLost:
    """A transaction is committed, and the connection ends before that is heard."""

    def test_of_a_claim(self, operate: Start, proxy: Proxy, tmp_path: Path) -> None:
        """The operator finds what it has claimed unheard, releases it, and runs it."""
        operator, gate = operate(port=proxy.port), Gate(tmp_path)
        gate.open()
        ready(operator)
        proxy.swallow_answer(CLAIM[connection.vendor])
        ids = [gate.dispatch()]
        wait_until_finished(ids, operator)
        leave(operator)
        assert proxy.swallowed == 1
        assert len(lines(operator, "recounted")) == 1, operator.log
        gate.assert_each_once(ids)
        row = Operation.objects.get()
        assert (row.attempts, row.failures, row.crashes) == (2, 0, 0)
        assert OperationJob.objects.get().outcome == "released"

    def test_of_a_finish(self, operate: Start, proxy: Proxy, tmp_path: Path) -> None:
        """The operator looks before it concludes: the outcome has been recorded, by itself."""
        operator, gate = operate(port=proxy.port), Gate(tmp_path)
        ids = [gate.dispatch()]
        gate.wait_for("begun", ids, operator)
        proxy.swallow_answer(COMMIT[connection.vendor])
        gate.open()
        wait_for_action(operator, "finished")
        leave(operator)
        assert proxy.swallowed == 1
        assert len(lines(operator, "finished")) == 1 and not lines(operator, "lost")
        gate.assert_each_once(ids)
        assert Operation.objects.get().attempts == 1

    def test_of_a_failure(self, operate: Start, proxy: Proxy) -> None:
        """The same with a job row, which is there once."""
        operator = operate(port=proxy.port)
        ready(operator)
        proxy.swallow_answer(COMMIT[connection.vendor], after=COMMITS_OF_A_CLAIM)
        Mixed.dispatch(ending="fail")
        wait_for_action(operator, "failed")
        leave(operator)
        assert proxy.swallowed == 1
        assert not lines(operator, "lost") and not lines(operator, "history_lost"), operator.log
        row = Operation.objects.get()
        assert (row.state, row.attempts, row.failures) == ("failed", 1, 1)
        assert OperationJob.objects.get().outcome == "failed"

    def test_of_an_atomic_finish(self, operate: Start, proxy: Proxy) -> None:
        """Effects and outcome are there, so they are what the operator reports: nothing is lost,
        and the hook is called.
        """
        operator = operate(port=proxy.port)
        ready(operator)
        proxy.swallow_answer(COMMIT[connection.vendor], after=COMMITS_OF_A_CLAIM)
        ids = [AtomicDeed.dispatch().pk]
        wait_until_finished(ids, operator)
        wait_for_action(operator, "finished")
        leave(operator)
        assert proxy.swallowed == 1
        assert len(lines(operator, "finished")) == 1 and not lines(operator, "lost"), operator.log
        assert Operation.objects.get().attempts == 1
        assert list(OperationJob.objects.values_list("outcome", flat=True)) == ["finished"]
        assert entries("succeeded") == ids
        assert Entry.objects.exclude(line="succeeded").count() == 1


class TestHalfOpen:
    """Connections whose other end is gone without a word. With the settings of deploy.md."""

    @pytest.mark.parametrize("busy", [False, True])
    def test_no_packet_is_acknowledged(
        self, operate: Start, proxy: Proxy, tmp_path: Path, busy: bool
    ) -> None:
        """The operator notices by itself, reconnects, and records what it ran, once."""
        operator = operate(port=proxy.port, options=RECOMMENDED[connection.vendor])
        gate = Gate(tmp_path)
        ready(operator)
        ids = [gate.dispatch()] if busy else []
        gate.wait_for("begun", ids, operator)
        assert poll(proxy.go_deaf, 10, "a connection") >= 1
        gate.open()
        ids.append(gate.dispatch())
        wait_until_finished(ids, operator)
        leave(operator)
        assert_said_once(operator)
        gate.assert_each_once(ids)

    @pytest.mark.parametrize("busy", [False, True])
    def test_a_server_that_takes_everything_and_answers_nothing(
        self, operate: Start, proxy: Proxy, tmp_path: Path, busy: bool
    ) -> None:
        """MySQL's client has a limit for reading; where PostgreSQL's waits, the watchdog cuts."""
        operator = operate(
            port=proxy.port,
            options=RECOMMENDED[connection.vendor],
            HEARTBEAT={"interval": 0.5, "timeout": 3},
        )
        gate = Gate(tmp_path)
        ready(operator)
        ids = [gate.dispatch()] if busy else []
        gate.wait_for("begun", ids, operator)
        # Both threads are to be in the middle of something, not about to connect.
        born = OperatorProcess.objects.get().heartbeat_at
        poll(lambda: OperatorProcess.objects.filter(heartbeat_at__gt=born), 10, "a beat")
        proxy.hang()
        gate.open()
        for action in ("database_away", "heartbeat_failed"):
            wait_for_action(operator, action)
        if connection.vendor == "postgresql":
            for action in ("database_away", "heartbeat_failed"):
                assert WATCHED in lines(operator, action)[0]["message"], operator.log
        proxy.cut()
        proxy.go_on()
        ids.append(gate.dispatch())
        wait_until_finished(ids, operator)
        leave(operator)
        assert_said_once(operator)
        gate.assert_each_once(ids)

    def test_the_helpers_of_the_event_loop(
        self, operate: Start, proxy: Proxy, tmp_path: Path
    ) -> None:
        """They wait for answers that do not come, and what runs on the loop goes on meanwhile. What
        they were to load is not charged, and runs when the network is back.
        """
        gate, ledger = tmp_path / "gate", tmp_path / "gate.ledger"
        ledger.touch()
        operator = operate(
            port=proxy.port,
            options=RECOMMENDED[connection.vendor],
            HEARTBEAT={"interval": 0.5, "timeout": 3},
        )
        first = AsyncHoldAside.dispatch(path=str(gate)).pk
        poll(lambda: f"{first} begun" in ledger.read_text(), 30, lambda: operator.log)
        proxy.hang_at(b"WORK_HOLD")
        now = clock.now()
        due = [AsyncHoldAside(path=str(gate), should_run_at=now) for _ in range(HELPERS + 2)]
        ids = [first, *(operation.pk for operation in AsyncHoldAside.schedule_many(due))]
        poll(lambda: proxy.hangs, 30, lambda: operator.log)
        gate.touch()
        poll(lambda: f"{first} ended" in ledger.read_text(), 30, lambda: operator.log)
        assert ledger.read_text().count("begun") == 1
        wait_for_action(operator, "database_away")
        proxy.cut()
        proxy.go_on()
        wait_until_finished(ids, operator)
        leave(operator)
        assert_said_once(operator)
        wanted = [f"{pk} {line}" for pk in ids for line in ("begun", "ended")]
        assert sorted(ledger.read_text().splitlines()) == sorted(wanted)
        assert set(Operation.objects.values_list("failures", "crashes")) == {(0, 0)}
        assert not lines(operator, "loop_blocked")
