"""The connections of an operator's threads: kept, checked, recycled."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import override_settings

from operator_app.models import Operation, connections
from operator_app.models.connections import KEPT_FOR, reset, tidy
from tests.kinds.models import Note
from tests.models.tools import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _leave_a_good_connection() -> Iterator[None]:
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


def test_a_connection_that_broke_is_replaced() -> None:
    """After the server has dropped it, the next job gets a new connection."""
    before = session()
    if connection.vendor == "sqlite":
        connection.errors_occurred = True
        connection.is_usable, is_usable = lambda: False, connection.is_usable
        tidy()
        connection.is_usable = is_usable
    else:
        kill = (
            "SELECT pg_terminate_backend(%s)"
            if connection.vendor == "postgresql"
            else "KILL CONNECTION %s"
        )

        def end() -> None:
            with connection.cursor() as cursor:
                cursor.execute(kill, [before])

        in_thread(end)
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
