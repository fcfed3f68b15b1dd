"""LISTEN: word of what people want arrives at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from operator_app import clock
from operator_app.models import Operation, OperatorProcess
from operator_app.wakeups import Listener
from operator_app.wakeups import postgresql as module
from tests.kinds.models import Sweep
from tests.models.tools import claimed_job, queries
from tests.outages.support import end_sessions
from tests.process.support import other_sessions
from tests.processes import poll

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has NOTIFY"),
]


class Heard:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def listener(transactional_db: None, heard: Heard) -> Iterator[Listener]:
    """One that listens."""
    listener = Listener("default", heard)
    listener.start()
    poll(lambda: heard.count == 1, 10, "it to listen")
    yield listener
    listener.stop()
    assert not listener.is_alive()
    poll(lambda: other_sessions() == 0, 10, "its session to end")


@pytest.fixture
def running(db: None) -> Operation:
    """An operation that somebody has claimed."""
    now = clock.now()
    process = OperatorProcess.objects.create(
        hostname="host", pid=1, capacity=1, started_at=now, heartbeat_at=now, alive_until=now
    )
    operation = Sweep.dispatch()
    claimed_job(operation, process)
    return operation


def test_a_wish_is_heard(listener: Listener, heard: Heard, running: Operation) -> None:
    """Each of the verbs that want something of what runs, once it is committed."""
    rows = Operation.objects.filter(pk=running.pk)
    with transaction.atomic():
        assert rows.abort("enough") == 1
        with connection.cursor() as cursor:  # The server has got so far.
            cursor.execute("SELECT 1")
        assert heard.count == 1
    poll(lambda: heard.count == 2, 10, "the wish to be heard")
    assert rows.request_stack() == 1
    poll(lambda: heard.count == 3, 10, "the second wish to be heard")


def test_nothing_is_said_where_nothing_is_wanted(running: Operation) -> None:
    """What changes nothing tells nobody, and a project may say so for all."""
    with queries("SELECT PG_NOTIFY") as said:
        Operation.objects.exclude(pk=running.pk).abort("enough")
        Operation.objects.filter(pk=running.pk).cancel("enough")
    assert said == []


def test_a_project_may_switch_it_off(running: Operation, settings: Any) -> None:
    """PgBouncer in transaction mode has no LISTEN."""
    settings.OPERATOR = {"NOTIFY": False}
    with queries("SELECT PG_NOTIFY") as said:
        assert Operation.objects.abort("enough") == 1
    assert said == []


def test_a_session_that_ends_is_followed_by_another(
    listener: Listener, heard: Heard, running: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks once more, since it may have missed something, and listens on."""
    monkeypatch.setattr(module, "RETRY", (0.05, 0.1))
    assert end_sessions() >= 1
    poll(lambda: heard.count >= 2, 20, "it to be back")
    before = heard.count
    Operation.objects.abort("enough")
    poll(lambda: heard.count > before, 10, "the wish to be heard")


@pytest.mark.parametrize("start", [False, True])
def test_stop_before_it_has_connected(transactional_db: None, start: bool) -> None:
    """It ends, whether it listens or not, and leaves no session."""
    listener = Listener("default", threading.Event().set)
    if start:
        listener.start()
    listener.stop()
    poll(lambda: not listener.is_alive(), 10, "it to end")
    poll(lambda: other_sessions() == 0, 10, "its session to end")
