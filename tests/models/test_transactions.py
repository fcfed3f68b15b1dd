"""The engine's own transactions: for writing from the start, repeated where that is safe."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from operator_app.models import Operation, transactions
from operator_app.models.transactions import (
    TRIES,
    impatient,
    in_transaction,
    is_away,
    is_impatient,
    is_locked,
    lost_to_another,
    patient,
    writing,
)
from tests.kinds.models import Sweep
from tests.models.tools import Thread, queries

pytestmark = pytest.mark.django_db


class Cause(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


def deadlock(sqlstate: str = "40P01") -> OperationalError:
    error = OperationalError("deadlock detected")
    error.__cause__ = Cause(sqlstate)
    return error


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions.random, "uniform", lambda low, high: 0)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (deadlock("40P01"), True),
        (deadlock("40001"), True),
        (deadlock("57014"), False),
        (OperationalError(1213, "Deadlock found"), True),
        (OperationalError(1205, "Lock wait timeout"), True),
        (OperationalError(2006, "Server has gone away"), False),
        (OperationalError("database is locked"), False),
        (OperationalError(), False),
    ],
)
def test_what_counts_as_lost_to_another(error: OperationalError, lost: bool) -> None:
    """Deadlocks and serialization errors are worth another try; an outage is not."""
    assert lost_to_another(error) is lost


def failing(times: int, error: OperationalError, calls: list[int]) -> Any:
    def work() -> str:
        calls.append(len(calls))
        Sweep.dispatch()
        if len(calls) <= times:
            raise error
        return "done"

    return work


@pytest.mark.django_db(transaction=True)
def test_a_deadlock_is_tried_again() -> None:
    """The work is done anew, and what the lost tries wrote is undone."""
    calls: list[int] = []
    assert in_transaction("default", failing(TRIES - 1, deadlock(), calls)) == "done"
    assert len(calls) == TRIES and Operation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_tries_are_limited() -> None:
    """A transaction that loses every time raises what it lost to."""
    calls: list[int] = []
    error = deadlock()
    with pytest.raises(OperationalError) as caught:
        in_transaction("default", failing(TRIES, error, calls))
    assert caught.value is error and len(calls) == TRIES
    assert not Operation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_other_errors_are_raised_at_once() -> None:
    """Nothing but a lost transaction is tried again."""
    calls: list[int] = []
    with pytest.raises(OperationalError):
        in_transaction("default", failing(1, OperationalError("server closed"), calls))
    assert len(calls) == 1


def test_inside_the_callers_transaction_nothing_is_tried_again() -> None:
    """A lost deadlock has undone the caller's statements too: only the caller can repeat them."""
    calls: list[int] = []
    with pytest.raises(OperationalError):
        in_transaction("default", failing(1, deadlock(), calls))
    assert len(calls) == 1 and not Operation.objects.exists()


def test_inside_the_callers_transaction_an_error_undoes_the_work_only() -> None:
    """It is a savepoint there."""
    Sweep.dispatch()
    with pytest.raises(OperationalError), writing("default"):
        Sweep.dispatch()
        raise OperationalError
    assert Operation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite's lock")
@pytest.mark.parametrize("mode", ["DEFERRED", None, "IMMEDIATE"])
def test_on_sqlite_it_takes_the_lock_at_its_start(mode: str | None) -> None:
    """Whatever the project's mode, the engine's transactions begin IMMEDIATE; the mode stays."""

    def work() -> tuple[list[str], Any]:
        connection.ensure_connection()
        connection.transaction_mode = mode  # type: ignore[attr-defined]
        with queries() as seen, writing("default"), transaction.atomic():
            Operation.objects.exists()
        return seen, connection.transaction_mode  # type: ignore[attr-defined]

    seen, after = Thread(work).result()
    assert seen[0] == "BEGIN IMMEDIATE" and after == mode


@pytest.mark.django_db(transaction=True)
def test_it_may_be_the_first_that_a_thread_asks_of_a_database() -> None:
    """An atomic run of a kind without columns of its own, in a thread that has just started."""

    def work() -> bool:
        assert connection.connection is None
        with writing("default"):
            return Operation.objects.exists()

    assert Thread(work).result() is False


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to end it")
@pytest.mark.django_db(transaction=True)
def test_a_process_that_falls_silent_keeps_no_lock(settings: Any) -> None:
    """The server ends a transaction of the engine in which nothing happens any more, so that what
    it has locked can be rescued; afterwards the session may be idle again.
    """
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.3, "timeout": 1}}
    operation = Sweep.dispatch()
    rows = Operation.all_objects.filter(pk=operation.pk)
    locked, rescued = threading.Event(), threading.Event()

    def fall_silent() -> None:
        assert transactions.unlocked(rows)
        locked.set()
        assert rescued.wait(30), "the lock was kept"
        rows.update(reason="too late")

    def paused() -> None:
        with pytest.raises(DatabaseError):
            in_transaction("default", fall_silent)

    thread = Thread(paused)
    assert locked.wait(30)
    assert rows.update(reason="rescued") == 1  # Waits for the lock.
    rescued.set()
    thread.result()
    assert rows.get().reason == "rescued"


@pytest.mark.skipif(connection.vendor != "mysql", reason="the others say it for a transaction only")
@pytest.mark.django_db(transaction=True)
def test_a_session_may_be_idle_after_the_transaction(settings: Any) -> None:
    """The server's own limit counts again, also after a transaction that failed."""

    def limit() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.wait_timeout")
            return int(cursor.fetchone()[0])

    settings.OPERATOR = {"HEARTBEAT": {"interval": 2, "timeout": 7}}
    usual = limit()
    assert in_transaction("default", limit) == 7
    assert limit() == usual
    with pytest.raises(ZeroDivisionError):
        in_transaction("default", lambda: 1 // 0)
    assert limit() == usual


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
@pytest.mark.django_db(transaction=True)
def test_an_impatient_thread_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears that the row is locked, which is no outage, after a second, once; what runs user
    code waits as usual, and so does everything after the block.
    """
    monkeypatch.setattr(transactions, "LOCK_WAIT", 1.0)
    operation = Sweep.dispatch()
    rows = Operation.all_objects.filter(pk=operation.pk)
    locked, over = threading.Event(), threading.Event()
    tries: list[str] = []

    def hold() -> None:
        with transaction.atomic():
            list(rows.select_for_update())
            locked.set()
            assert over.wait(60)

    def write(text: str) -> int:
        tries.append(text)
        return rows.update(reason=text)

    holder = Thread(hold)
    assert locked.wait(30)
    with impatient():
        with pytest.raises(OperationalError) as caught:
            in_transaction("default", lambda: write("impatient"))
        assert is_locked(caught.value) and not is_away(caught.value)
        assert tries == ["impatient"]
        with patient():
            waiter = Thread(lambda: in_transaction("default", lambda: write("patient")))
            assert not is_impatient()
        assert is_impatient()
    assert not is_impatient()
    over.set()
    holder.result()
    assert waiter.result() == 1 and rows.get().reason == "patient"
    assert not connection.in_atomic_block


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
@pytest.mark.django_db(transaction=True)
def test_the_limit_of_an_impatient_thread_ends_with_its_transaction() -> None:
    def limit() -> str:
        names = {"mysql": "@@SESSION.innodb_lock_wait_timeout"}
        with connection.cursor() as cursor:
            name = names.get(connection.vendor, "current_setting('lock_timeout')")
            cursor.execute(f"SELECT {name}")
            return str(cursor.fetchone()[0])

    usual = limit()
    with impatient():
        assert in_transaction("default", limit) in ("1", "1s")
        assert limit() == usual
        with pytest.raises(ZeroDivisionError):
            in_transaction("default", lambda: 1 // 0)
        assert limit() == usual
    assert in_transaction("default", limit) == usual


def test_what_counts_as_locked() -> None:
    assert is_locked(deadlock("55P03")) and not is_locked(deadlock("40P01"))
    assert is_locked(OperationalError(1205, "Lock wait timeout exceeded"))
    assert not is_locked(OperationalError("database is locked"))
    assert is_away(OperationalError("database is locked"))
