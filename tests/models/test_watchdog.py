"""The watchdog: whoever waits for one answer for too long is cut off, and nobody else is."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import Error, OperationalError, connection, transaction

from operator_app import signals
from operator_app.models import Operation, OperationJob, hooks, watchdog
from operator_app.models.watchdog import pausing, watching
from operator_app.runners import InlineRunner
from tests.kinds.models import Hooked, Note, Scripted
from tests.models.tools import Thread, claimed_job, in_thread, scripted
from tests.outages.support import end_sessions
from tests.processes import poll

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL is watched"
)
TIMEOUT = 0.4
LONGER = 1.5
"""Seconds that a statement takes which would be cut if it were watched."""


@pytest.fixture(autouse=True)
def _impatient(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.1, "timeout": TIMEOUT}}
    monkeypatch.setattr(watchdog, "LOOK", 0.05)
    yield
    connection.close()
    if connection.vendor == "postgresql":
        # A session that was told nothing sleeps on, and would keep the database from being dropped.
        poll(lambda: end_sessions() == 0, 10, "the sessions to end")


def wait(seconds: float) -> None:
    """Let the server be silent for so long."""
    sleep = "pg_sleep" if connection.vendor == "postgresql" else "SLEEP"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sleep}(%s)", [seconds])


def wait_unseen(seconds: float) -> None:
    """The same on the driver's own connection, whose errors somebody swallows."""
    connection.ensure_connection()
    with pytest.raises(Exception, match=r"."):
        connection.connection.execute("SELECT pg_sleep(%s)", [seconds])


def sessions(what: str) -> int:
    """How many sessions of this database there are besides our own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND pid <> pg_backend_pid() AND {what}"
        )
        return int(cursor.fetchone()[0])


def assert_cut(work: Callable[[], Any]) -> None:
    """The work is ended with an error that says why, soon after its time and not before."""
    begun = time.monotonic()
    with (
        pytest.raises(OperationalError, match=r"^no answer for 0.4 s: the connection is cut$"),
        watching("default"),
    ):
        work()
    assert TIMEOUT <= time.monotonic() - begun < 10


@needs_postgresql
class TestCut:
    """An answer that does not come."""

    def test_a_lock_that_somebody_holds(self) -> None:
        """The wait ends, and on the server too: sessions do not pile up behind the lock."""
        note = Note.dispatch()
        row = Operation.all_objects.filter(pk=note.pk)
        held, over = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                row.select_for_update().get()
                held.set()
                over.wait(30)

        holder = Thread(hold)
        assert held.wait(10)
        assert_cut(lambda: row.update(priority=7))
        connection.close()
        poll(lambda: sessions("wait_event_type = 'Lock'") == 0, 5, "nobody to wait for the lock")
        over.set()
        holder.result()
        assert row.get().priority != 7

    def test_a_server_that_does_not_heed_a_cancel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The socket is shut, after which nothing on that connection takes any time."""
        monkeypatch.setattr(watchdog, "_cancel", lambda connection: None)
        assert_cut(lambda: wait(30))
        begun = time.monotonic()
        assert not connection.is_usable()
        connection.close()
        assert Operation.objects.count() == 0
        assert time.monotonic() - begun < 1

    def test_a_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The wait for the answer to COMMIT, which no cursor sees; and leaving the block."""
        monkeypatch.setattr(watchdog, "_cancel", lambda connection: None)
        Note.dispatch()

        def commit() -> None:
            with transaction.atomic():
                Operation.all_objects.update(priority=7)
                connection.connection.commit = lambda: connection.connection.execute(
                    "SELECT pg_sleep(30)"
                )

        assert_cut(commit)
        connection.close()
        assert Operation.all_objects.get().priority != 7

    def test_while_connecting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Django's statements at the begin of a session are part of it."""
        connection.close()
        init = connection.init_connection_state

        def hang() -> None:
            connection.connection.execute("SELECT pg_sleep(30)")
            init()

        with monkeypatch.context() as patch:
            patch.setattr(connection, "init_connection_state", hang)
            assert_cut(lambda: Operation.objects.count())

    def test_that_nobody_hears_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """If the error is swallowed, the connection is closed and the log has a line."""
        with caplog.at_level(logging.WARNING, "operator_app"), watching("default"):
            wait_unseen(30)
        assert [record.action for record in caplog.records] == ["cut"]
        assert "no answer for 0.4 s" in caplog.text
        assert connection.connection is None

    def test_again_and_again(self) -> None:
        """What comes after a cut in the same block is watched too."""
        begun = time.monotonic()
        with pytest.raises(OperationalError), watching("default"):
            for _ in range(2):
                wait_unseen(30)
                connection.close()
            raise OperationalError
        assert 2 * TIMEOUT <= time.monotonic() - begun < 10

    def test_two_threads(self) -> None:
        """Each is judged by its own waiting."""
        other = Thread(lambda: assert_cut(lambda: wait(30)))
        with watching("default"):
            for _ in range(8):
                wait(TIMEOUT / 4)
        other.result()


@needs_postgresql
class TestLeftAlone:
    """Answers that come, and waiting that is none of the engine's business."""

    def test_much_work(self) -> None:
        """Many statements may take longer than the timeout; each is a sign of life."""
        with watching("default"):
            for _ in range(8):
                wait(TIMEOUT / 2)

    def test_after_the_block(self) -> None:
        """Outside, as in the threads of jobs, a statement takes as long as it takes."""
        with watching("default"):
            Operation.objects.count()
        wait(LONGER)

    def test_time_without_a_statement(self) -> None:
        """A thread that is busy with something else has nothing to cut."""
        with watching("default"):
            Operation.objects.count()
            before = connection.connection
            moment = time.monotonic() + LONGER
            poll(lambda: time.monotonic() > moment)
            Operation.objects.count()
        assert connection.connection is before

    def test_a_pause(self) -> None:
        """User code is left alone; what follows is watched again, for a whole timeout."""
        with watching("default"):
            with pausing():
                wait(LONGER)
                with pausing():
                    wait(0)
                wait(LONGER)
            wait(TIMEOUT / 2)

        def work() -> None:
            with pausing():
                wait(0)
            wait(30)

        assert_cut(work)

    def test_the_queued_hook(self, operator: Any, caplog: pytest.LogCaptureFixture) -> None:
        """What is called for a claimed operation, on the operator's main thread."""
        job = claimed_job(Hooked.dispatch(), operator)

        def receive(**kwargs: Any) -> None:
            wait(LONGER)

        signals.operation_claimed.connect(receive)
        try:
            with watching("default"):
                hooks.claimed(job)
        finally:
            signals.operation_claimed.disconnect(receive)
        assert not caplog.records and Hooked.hooks == [("queued", job.operation_id)]

    def test_a_run_in_the_main_thread(self, operator: Any) -> None:
        """An operation of the inline runner."""
        done: list[OperationJob] = []
        job = claimed_job(scripted(lambda operation: wait(LONGER), Scripted), operator)
        with watching("default"):
            InlineRunner(done.append).submit(job)
        assert [each.outcome for each in done] == ["finished"]


class TestOtherServers:
    """MySQL has `read_timeout`, SQLite has no server."""

    @pytest.mark.skipif("connection.vendor == 'postgresql'", reason="which is watched")
    def test_are_left_alone(self) -> None:
        """Nothing is counted, nothing is cut."""
        before = list(connection.execute_wrappers)
        with watching("default"):
            assert connection.execute_wrappers == before
            assert threading.get_ident() not in watchdog._sections
            if connection.vendor == "mysql":
                wait(LONGER)
            assert Operation.objects.count() == 0


class Pretended:
    """A driver's connection that waits for an answer; `numbers` are what it says its socket is."""

    def __init__(self, *numbers: int | Exception) -> None:
        self.info = SimpleNamespace(transaction_status=1)
        self._numbers = list(numbers)
        self.cancelled = 0

    def cancel_safe(self, *, timeout: float) -> None:
        self.cancelled += 1
        raise RuntimeError("no answer")

    def fileno(self) -> int:
        number = self._numbers.pop(0)
        if isinstance(number, Exception):
            raise number
        return number


class TestSockets:
    """What is shut is the connection's socket and no other."""

    @pytest.fixture
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        one, other = socket.socketpair()
        other.settimeout(5)
        with one, other:
            yield one, other

    def test_the_connections_own(self, pair: tuple[socket.socket, socket.socket]) -> None:
        one, other = pair
        pytest.importorskip("psycopg")
        pretended = Pretended(one.fileno(), one.fileno())
        assert watchdog._cut(pretended)
        assert other.recv(1) == b"" and pretended.cancelled == 1

    @pytest.mark.parametrize("then", [OSError("closed"), -1])
    def test_a_number_that_somebody_else_has_now(
        self, pair: tuple[socket.socket, socket.socket], then: Any
    ) -> None:
        """The connection was closed between the question for its number and the copy."""
        one, other = pair
        assert watchdog._cut(Pretended(one.fileno(), then))
        one.send(b"!")
        assert other.recv(1) == b"!"

    def test_one_that_is_closed(self) -> None:
        """Nothing to cut, nothing to fail for."""
        closed = Pretended(OSError("closed"))
        assert watchdog._cut(closed)
        del closed.info
        assert not watchdog._cut(closed) and not watchdog._cut(None)

    def test_one_that_waits_for_nothing(self) -> None:
        """The statement has been answered."""
        idle = Pretended()
        idle.info.transaction_status = 0
        assert not watchdog._cut(idle) and not idle.cancelled


class TestSection:
    """Looks, steps, and the end."""

    @pytest.fixture
    def cuts(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        cuts: list[Any] = []
        monkeypatch.setattr(watchdog, "_cut", lambda connection: cuts.append(connection) or True)
        monkeypatch.setattr(watchdog, "LOOK", 1.0)
        return cuts

    def section(self, timeout: float = 3.0) -> Any:
        wrapper = SimpleNamespace(connection="it", execute_wrappers=[])
        return watchdog._Section([wrapper], timeout)

    def test_age_is_counted_in_looks(self, cuts: list[Any]) -> None:
        """So a process that was stopped for an hour is not late. And the count begins anew."""
        section = self.section()
        for _ in range(3):
            section.look()
        assert cuts == [] and not section.was_cut
        section.look()
        assert cuts == ["it"] and section.was_cut
        section.look()
        section.look()
        assert cuts == ["it"]
        section.look()
        assert cuts == ["it", "it"]

    def test_a_step_begins_the_count_anew(self, cuts: list[Any]) -> None:
        """A statement is one when it is sent, and one when it is answered or has failed."""
        section = self.section()
        for _ in range(3):
            section.look()

        def fail() -> None:
            for _ in range(3):
                section.look()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            section.step(fail)
        for _ in range(3):
            section.look()
        assert cuts == []
        section.look()
        assert cuts == ["it"]

    def test_so_does_a_pause(self, cuts: list[Any]) -> None:
        """However short it was."""
        section = self.section()
        for _ in range(3):
            section.look()
        with section.pausing():
            pass
        for _ in range(3):
            section.look()
        assert cuts == []

    def test_nothing_is_cut_after_the_end(
        self, cuts: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who leaves while somebody cuts waits for it; and then nobody looks any more."""
        section = self.section(timeout=1.0)
        cutting, go_on = threading.Event(), threading.Event()
        order: list[str] = []

        def cut(connection: Any) -> bool:
            cutting.set()
            go_on.wait(10)
            order.append("cut")
            return True

        monkeypatch.setattr(watchdog, "_cut", cut)
        section.look()
        with section.open():
            looker = Thread(section.look)
            assert cutting.wait(10)
            threading.Timer(0.2, go_on.set).start()
        order.append("left")
        looker.result()
        assert order == ["cut", "left"] and section.was_cut
        for _ in range(5):
            section.look()
        assert order == ["cut", "left"]

    def test_a_wrapper_of_somebody_else_stays(self) -> None:
        """One that is added inside, for good, is not the one that goes at the end."""

        def theirs(execute: Any, *arguments: Any) -> Any:
            return execute(*arguments)

        section = self.section()
        (wrapper,) = section.wrappers
        with section.open():
            assert wrapper.execute_wrappers == [section.step]
            wrapper.execute_wrappers.append(theirs)
        assert wrapper.execute_wrappers == [theirs]


@needs_postgresql
class TestBlocks:
    def test_one_inside_another(self) -> None:
        """Changes nothing: the outer one watches on."""

        def work() -> None:
            with watching("default"):
                pass
            wait(30)

        assert_cut(work)

    def test_an_error_of_ones_own(self) -> None:
        """Goes through as it is."""
        error = Error("mine")
        with pytest.raises(Error) as raised, watching("default"):
            raise error
        assert raised.value is error

    def test_the_thread_survives_its_own_errors(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A bug in here must not leave the operator unwatched."""
        calls: list[int] = []
        cut = watchdog._cut

        def fail_once(connection: Any) -> bool:
            calls.append(1)
            if len(calls) == 1:
                raise ZeroDivisionError
            return cut(connection)

        monkeypatch.setattr(watchdog, "_cut", fail_once)
        assert_cut(lambda: wait(30))
        assert "error of its own" in caplog.text

    def test_a_pause_in_a_thread_that_nobody_watches(self) -> None:
        """Nothing happens."""

        def work() -> int:
            with pausing():
                return Operation.objects.count()

        assert in_thread(work) == 0
