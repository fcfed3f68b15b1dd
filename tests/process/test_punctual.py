"""G9: an idle operator starts an operation when it is due, however seldom it looks by itself."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created

from operator_app import clock
from operator_app.models import Operation, announcements, lanes
from operator_app.process import Operator
from tests.kinds.models import Scripted
from tests.models.tools import scripted, stored
from tests.process.support import pause, ready, wait_until_finished
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Tick

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[..., OperatorUnderTest]

SELDOM = 60.0
"""Seconds between two looks of the operators here: far more than a test waits."""
SOON = 20.0
"""Seconds within which something happens if it does not wait for the next look."""

only_looking = pytest.mark.skipif("connection.vendor == 'mysql'", reason="there it only looks")


@pytest.fixture
def operator(settings: Any) -> Iterator[Operator]:
    """One in a thread of this process, idle, that looks seldom."""
    # On SQLite a heartbeat changes the file, which would wake it, too.
    beat = {"interval": SELDOM, "timeout": 10 * SELDOM}
    settings.OPERATOR = {"POLL_INTERVAL": SELDOM, "HEARTBEAT": beat, "THREADS": 2, "GRACE": 5}
    operator = Operator()
    thread = threading.Thread(target=operator.run)
    thread.start()
    poll(lambda: operator._dispatch.found_nothing, SOON, "it to be idle")
    yield operator
    operator.stop()
    thread.join(SOON)
    assert not thread.is_alive()


def listening() -> bool:
    """Whether an operator listens to PostgreSQL; elsewhere there is nothing to wait for."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'LISTEN%%'"
        )
        return bool(cursor.fetchone()[0])


@only_looking
class TestFromAnotherProcess:
    """NOTIFY, or the file that has changed."""

    @pytest.fixture
    def idle(self, operate: Start) -> OperatorUnderTest:
        operator = operate(POLL_INTERVAL=SELDOM)
        ready(operator)
        poll(listening, SOON, "it to listen")
        return operator

    def test_due_now(self, idle: OperatorUnderTest) -> None:
        """One after the other, alone and in transactions, it starts long before the next look."""
        for number in range(1, 4):
            with transaction.atomic():
                Tick.dispatch()
            wait_until_finished(number, by=[idle], timeout=SOON)

    def test_due_soon(self, idle: OperatorUnderTest) -> None:
        """Before the next look, and never before its time."""
        due_at = Tick.schedule(timedelta(seconds=1)).should_run_at
        wait_until_finished(1, by=[idle], timeout=SOON)
        started = Operation.objects.get().started_run_at
        assert started is not None and started >= due_at

    def test_moved(self, idle: OperatorUnderTest) -> None:
        """By a verb, or by hand."""
        first, second = (Tick.schedule(timedelta(hours=1)) for _ in range(2))
        assert Operation.objects.filter(pk=first.pk).run_now() == 1
        wait_until_finished(1, by=[idle], timeout=SOON)
        second.should_run_at = clock.now()
        second.save()
        wait_until_finished(2, by=[idle], timeout=SOON)


class TestInThisProcess:
    """On every database, by a call after the commit."""

    def test_from_another_thread(self, operator: Operator) -> None:
        """As a test, or a web server with an operator in it, would."""
        with transaction.atomic():
            operation = Tick.dispatch()
            pause(0.1)
        poll(lambda: stored(operation).finished_run_at, SOON, "it to be finished")

    def test_from_within_a_run(self, operator: Operator) -> None:
        """What an operation schedules starts at once, too, and so on."""

        def chain(operation: Scripted) -> None:
            Tick.dispatch()
            Tick.schedule(timedelta(seconds=0.3))

        first = scripted(chain)
        poll(lambda: Operation.objects.finished().count() == 3, SOON, "all three to be finished")
        assert stored(first).finished_run_at is not None

    def test_what_ran_is_tried_again(self, operator: Operator) -> None:
        """After its backoff, without a look in between."""
        failed: list[int] = []

        def fail(operation: Scripted) -> None:
            failed.append(1)
            operation.retry("again", delay=0.2)

        operation = scripted(fail)
        poll(lambda: len(failed) == 3, SOON, "three attempts")
        poll(lambda: stored(operation).failed_run_at, SOON, "its failure to be recorded")


@pytest.mark.parametrize("where", ["here", pytest.param("elsewhere", marks=only_looking)])
def test_committed_during_an_empty_claim(
    operator: Operator, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator has just found nothing and does not sleep yet when an operation is committed and
    the call for it arrives: it is not lost.
    """
    poll(listening, SOON, "it to listen")
    find, armed, done = lanes.lanes, threading.Event(), threading.Event()

    def find_and_schedule(alias: str) -> list[lanes.Lane]:
        found = find(alias)
        if armed.is_set() and not found and not done.is_set():
            done.set()
            Tick.dispatch()
            poll(lambda: not operator._wakeup._calls.empty(), SOON, "the call to arrive")
            pause(0.3)  # The last one, too, where it comes in two ways.
        return found

    monkeypatch.setattr(lanes, "lanes", find_and_schedule)
    if where == "elsewhere":
        # Nothing is told within this process, as if another one had committed it.
        monkeypatch.setitem(announcements._listeners, "default", ())
    armed.set()
    operator._wakeup.call()
    poll(lambda: Operation.objects.finished().count() == 1, SOON, "it to be finished")
    assert done.is_set()


def test_it_sleeps_until_the_next_one_is_due(operator: Operator) -> None:
    """Each is begun after its time and before that of the next one, though the operator does not
    look in between; woken too early, by a clock that is not the database's, it sleeps on.
    """
    begun: list[float] = []

    def note(operation: Scripted) -> None:
        begun.append(clock.now().timestamp())

    name = f"note-{id(begun)}"
    script = Scripted.does(name, note)
    first = clock.now() + timedelta(seconds=1)
    moments = [first + timedelta(seconds=0.5 * number) for number in range(6)]
    Scripted.schedule_many([Scripted(should_run_at=each, script=script) for each in moments])
    poll(lambda: len(begun) == 6, SOON, "all to be begun")
    late = [moment - due.timestamp() for moment, due in zip(begun, moments, strict=True)]
    assert min(late) >= 0, late


class TestQuiet:
    """An idle operator hardly asks."""

    SECONDS = 10.0

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
        """Every statement on connections that are opened from now on, also those on raw cursors."""
        asked: Counter[str] = Counter()

        def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            asked[sql[:60]] += 1
            return execute(sql, params, many, context)

        def watch(connection: Any, **_: Any) -> None:
            if count not in connection.execute_wrappers:
                connection.execute_wrappers.append(count)

        measured = clock._epoch

        def epoch(connection: Any) -> float:
            asked["the time"] += connection.vendor != "sqlite"
            return measured(connection)

        monkeypatch.setattr(clock, "_epoch", epoch)
        connection_created.connect(watch)
        yield asked
        connection_created.disconnect(watch)

    def test_queries(self, asked: Counter[str]) -> None:
        """At most two a second, on PostgreSQL a quarter of that, with its default settings."""
        operator = Operator()
        thread = threading.Thread(target=operator.run)
        thread.start()
        try:
            pause(6)  # Until its first heartbeat has been heard.
            asked.clear()
            pause(self.SECONDS)
            made = Counter(asked)
        finally:
            operator.stop()
            thread.join(SOON)
        # Half a turn more or less of each duty falls into so short a time.
        allowed = {"postgresql": 0.5 * self.SECONDS + 2}.get(connection.vendor, 2 * self.SECONDS)
        assert 1 <= made.total() <= allowed, made

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_processor(self, operate: Start) -> None:
        """It takes next to none: a busy loop would take all of it."""
        operator = operate()
        ready(operator)
        pause(2)

        def used() -> float:
            line = Path(f"/proc/{operator.pid}/stat").read_text()
            user, system = line.rsplit(")", 1)[1].split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

        before, began = used(), time.monotonic()
        pause(5)
        assert (used() - before) / (time.monotonic() - began) < 0.1
