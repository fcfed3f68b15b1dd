"""The connections of an operator's threads: kept, checked, recycled."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from operator_app.models import Operation, connections
from operator_app.models.connections import (
    KEPT_FOR,
    TRUSTED_FOR,
    answers,
    freshen,
    lost,
    reset,
    tidy,
)
from tests.kinds.models import Note
from tests.models.tools import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _leave_a_good_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connections, "_doubted_at", -1.0)
    yield
    connection.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock for ages, which a test may set."""
    fake = SimpleNamespace(now=1_000.0)
    fake.monotonic = lambda: fake.now
    monkeypatch.setattr(connections, "time", fake)
    return fake


def session() -> Any:
    """What tells one connection from the next: the server's number of it, or the object."""
    Operation.objects.exists()
    if connection.vendor == "sqlite":
        return connection.connection
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_backend_pid()"
            if connection.vendor == "postgresql"
            else "SELECT CONNECTION_ID()"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def pings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the connection said each time that it was asked whether it still answers."""
    said: list[bool] = []
    is_usable = connection.is_usable
    monkeypatch.setattr(connection, "is_usable", lambda: said.append(bool(is_usable())) or said[-1])
    return said


def end_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server end our session behind our back; SQLite, which has none, is to say so."""
    number = session()
    if connection.vendor == "sqlite":
        monkeypatch.setattr(connection, "is_usable", lambda: False)
        return
    kill = (
        "SELECT pg_terminate_backend(%s, 5000)"
        if connection.vendor == "postgresql"
        else "KILL CONNECTION %s"
    )

    def end() -> None:
        with connection.cursor() as cursor:
            cursor.execute(kill, [number])

    in_thread(end)


def fail() -> None:
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")


def test_a_healthy_connection_is_kept() -> None:
    """Job after job goes over the same session of the server."""
    before = session()
    for _ in range(3):
        Note.dispatch()
        tidy()
    assert session() == before


def test_tidying_a_healthy_connection_asks_nothing(django_assert_num_queries: Any) -> None:
    """No query, not even a ping, between two jobs."""
    session()
    usable: list[int] = []
    connection.is_usable, is_usable = lambda: usable.append(1) or True, connection.is_usable
    try:
        with django_assert_num_queries(0):
            tidy()
    finally:
        connection.is_usable = is_usable
    assert usable == []


def test_a_connection_that_still_answers_after_an_error_is_kept() -> None:
    """A refused statement says nothing against the connection."""
    before = session()
    fail()
    assert connection.errors_occurred
    tidy()
    assert session() == before and not connection.errors_occurred


def test_a_connection_that_broke_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the server has dropped it, the next job gets a new connection."""
    before = session()
    with monkeypatch.context() as patch:
        end_session(patch)
        if connection.vendor == "sqlite":
            connection.errors_occurred = True
        else:
            with pytest.raises(DatabaseError):
                Operation.objects.exists()
        tidy()
    assert connection.connection is None
    assert session() != before


def test_a_transaction_left_open_is_rolled_back() -> None:
    """What user code began by hand and did not end is undone, and autocommit is on again."""
    session()
    connection.set_autocommit(False)
    Note.dispatch()
    tidy()
    assert connection.get_autocommit() and not Operation.objects.exists()
    Note.dispatch()
    assert in_thread(lambda: Operation.objects.count()) == 1


def test_a_transaction_that_cannot_be_rolled_back_costs_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If even the rollback fails, the connection is closed."""
    before = session()
    connection.set_autocommit(False)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "_rollback", lambda: 1 / 0)
        tidy()
    assert session() != before


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no sessions")
def test_a_transaction_left_open_in_a_session_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to roll back and nothing to ask; the next job gets a new connection."""
    before = session()
    connection.set_autocommit(False)
    end_session(monkeypatch)
    with pytest.raises(DatabaseError):
        Note.objects.count()
    tidy()
    assert connection.connection is None
    assert session() != before
    Note.dispatch()
    assert in_thread(lambda: Operation.objects.count()) == 1


@override_settings(DEBUG=True)
def test_the_query_log_is_emptied_under_debug() -> None:
    """A process that runs for weeks does not keep its queries."""
    Note.dispatch()
    assert connection.queries_log
    tidy()
    assert not connection.queries_log


def test_an_old_connection_is_recycled(later: SimpleNamespace) -> None:
    """One older than ten minutes is opened anew, one younger is not; the age is its own."""
    before = session()
    tidy()
    later.now += KEPT_FOR - 1
    tidy()
    assert session() == before
    later.now += 2
    tidy()
    assert connection.connection is None
    young = session()
    tidy()
    later.now += KEPT_FOR - 1
    tidy()
    assert session() == young != before


def test_nothing_is_touched_inside_a_transaction(later: SimpleNamespace) -> None:
    """Inside `atomic()`, as in a test, the connection is the caller's."""
    with transaction.atomic():
        Note.dispatch()
        tidy()
        later.now += 2 * KEPT_FOR
        connection.errors_occurred = True
        tidy()
        reset()
        connection.errors_occurred = False
    assert Operation.objects.count() == 1


def test_reset_closes() -> None:
    """After `reset()` the next query opens a new connection."""
    before = session()
    reset()
    assert connection.connection is None
    assert session() != before


def test_a_thread_without_connections_has_nothing_to_tidy() -> None:
    """No connection is opened in order to be tidied."""

    def work() -> bool:
        tidy()
        reset()
        return connection.connection is None

    assert in_thread(work)


class TestFreshen:
    """Before a job: is the connection still one?"""

    def test_a_session_that_the_server_has_ended(
        self, later: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection is dropped, and the job's first statement succeeds on a new one."""
        before = session()
        tidy()
        with monkeypatch.context() as patch:
            end_session(patch)
            later.now += TRUSTED_FOR + 0.1
            freshen()
        assert connection.connection is None
        assert session() != before

    def test_an_idle_one_is_asked_once(self, later: SimpleNamespace, pings: list[bool]) -> None:
        """One that answers is kept, and trusted again for as long."""
        before = session()
        tidy()
        later.now += TRUSTED_FOR
        freshen()
        assert pings == []
        later.now += 0.1
        freshen()
        assert pings == [True]
        later.now += TRUSTED_FOR
        freshen()
        assert pings == [True] and session() == before

    def test_one_that_was_just_used_is_not_asked(
        self, pings: list[bool], django_assert_num_queries: Any
    ) -> None:
        """Job after job: no query between them."""
        session()
        tidy()
        with django_assert_num_queries(0):
            freshen()
        assert pings == []

    def test_one_that_was_never_tidied_is_asked(self, pings: list[bool]) -> None:
        """Nothing is known of it."""
        session()
        setattr(connection, connections._USED, None)
        freshen()
        assert pings == [True]

    def test_after_an_outage_that_another_thread_met(
        self, later: SimpleNamespace, pings: list[bool]
    ) -> None:
        """It is asked though it was used just now; once."""
        before = session()
        tidy()
        later.now += 0.1
        in_thread(lost)
        freshen()
        freshen()
        assert pings == [True] and session() == before

    def test_inside_a_transaction(self, later: SimpleNamespace, pings: list[bool]) -> None:
        """The connection is the caller's, whatever is known of it."""
        with transaction.atomic():
            Note.dispatch()
            later.now += 2 * TRUSTED_FOR
            in_thread(lost)
            freshen()
        assert pings == [] and Operation.objects.count() == 1

    def test_no_connection(self, pings: list[bool]) -> None:
        """None is opened in order to be asked."""
        reset()
        freshen()
        assert connection.connection is None and pings == []


class TestAnswers:
    """After an error: whose fault was it?"""

    def test_one_that_lives(self, pings: list[bool]) -> None:
        """A refused statement is the statement's own fault. One ping."""
        session()
        fail()
        assert answers("default") is True
        assert pings == [True]

    def test_one_whose_session_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server's fault."""
        end_session(monkeypatch)
        assert answers("default") is False

    def test_one_that_could_not_be_opened(self, pings: list[bool]) -> None:
        """No try to open it is made."""
        reset()
        assert answers("default") is False
        assert connection.connection is None and pings == []


class TestLost:
    """The database was away."""

    def test_closes_this_threads(self) -> None:
        """And the next query opens a new one."""
        before = session()
        lost()
        assert connection.connection is None
        assert session() != before

    def test_leaves_other_threads_theirs(self) -> None:
        """They are to ask, not to find it closed under their hands."""
        before = session()
        in_thread(lost)
        assert session() == before

    def test_leaves_a_transaction_alone(self) -> None:
        """Inside `atomic()`, as in a test, the connection is the caller's."""
        with transaction.atomic():
            Note.dispatch()
            lost()
        assert Operation.objects.count() == 1
