"""LISTEN: word of what people want arrives at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from operator_app import clock
from operator_app.duties import Heartbeat
from operator_app.models import Operation, OperatorProcess, announcements, notify
from operator_app.wakeups import Calls, Echo
from operator_app.wakeups import postgresql as module
from operator_app.wakeups.postgresql import Listener
from tests.kinds.models import Sweep
from tests.models.tools import claimed_job, queries
from tests.outages.support import end_sessions
from tests.process.support import other_sessions
from tests.processes import poll
from tests.wakeups.support import Heard
from tests.work.models import Tick

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL has NOTIFY"),
]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def listener(transactional_db: None, heard: Heard, echo: Echo) -> Iterator[Listener]:
    """One that listens."""
    listener = Listener("default", {notify.CHANNEL: heard}, echo)
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


def test_what_comes_in_one_packet_is_heard_as_a_whole(
    listener: Listener, heard: Heard, echo: Echo
) -> None:
    """Also what comes behind the operator's own echo."""
    with connection.cursor() as cursor:
        for word in range(1, 6):
            cursor.execute(
                "SELECT PG_NOTIFY(%s, %s), PG_NOTIFY(%s, %s), PG_NOTIFY(%s, %s)",
                [echo.channel, "0", notify.CHANNEL, f"a{word}", notify.CHANNEL, f"b{word}"],
            )
            poll(lambda word=word: heard.count == 1 + 2 * word, 2, "both words to be heard")


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


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = (getattr(record, "action", "") for record in caplog.records)
    return [name for name in names if name in {"polling", "hearing"}]


def beat(heartbeat: Heartbeat, echo: Echo) -> None:
    """Beat once, and wait until the listener has heard it."""
    heartbeat.run()
    poll(lambda: echo.is_heard, 10, "the beat to be heard")


def test_each_channel_has_its_call(transactional_db: None) -> None:
    """What is due is told apart from what people want."""
    due, asked = Heard(), Heard()
    calls = Calls("default", due=due, asked=asked)
    calls.start()
    try:
        poll(lambda: (due.count, asked.count) == (1, 1), 10, "it to listen")
        # As another process would: not through the call within this one.
        announcements.unsubscribe("default", calls._something)
        tick = Tick.dispatch()
        poll(lambda: due.count == 2, 10, "the operation to be heard of")
        assert asked.count == 1
        assert due.words == ["", f"{tick.kind_id} 0 default"]
    finally:
        calls.stop()


def test_while_calls_arrive_it_looks_less_often(
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every POLL_INTERVAL until it is known that they do, and as soon as they do not; then it says
    so once, and once more when they are back.
    """
    settings.OPERATOR = {"POLL_INTERVAL": 0.5}
    monkeypatch.setattr(module, "RETRY", (0.05, 0.1))
    monkeypatch.setattr("operator_app.wakeups.calls.PATIENCE", 1.0)
    due = Heard()
    calls = Calls("default", due=due, asked=bool)
    echo = calls.echo
    assert echo is not None
    heartbeat = Heartbeat("default", queues=[], capacity=1, echo=echo)
    heartbeat.register()
    calls.start()
    try:
        poll(lambda: due.count == 1, 10, "it to listen")
        assert (calls.interval(), actions(caplog)) == (0.5, [])
        beat(heartbeat, echo)
        assert (calls.interval(), actions(caplog)) == (announcements.PLANNED, [])
        assert calls._listener is not None
        monkeypatch.setattr(Listener, "_connection", lambda self: 1 / 0)
        assert end_sessions() >= 1
        poll(lambda: due.count >= 2, 10, "the operator to be woken, so that it plans anew")
        assert (calls.interval(), actions(caplog)) == (0.5, [])
        poll(lambda: (calls.interval(), actions(caplog))[1], 10, "it to be said")
        assert [calls.interval() for _ in range(3)] == [0.5] * 3
        assert actions(caplog) == ["polling"]
        monkeypatch.undo()
        settings.OPERATOR = {"POLL_INTERVAL": 0.5}
        poll(lambda: other_sessions() >= 1, 40, "it to connect again")
        poll(lambda: (heartbeat.run(), echo.is_heard)[1], 40, "calls to be heard", interval=0.5)
        assert [calls.interval() for _ in range(3)] == [announcements.PLANNED] * 3
        assert actions(caplog) == ["polling", "hearing"]
    finally:
        calls.stop()
        heartbeat.stop()


def test_a_session_that_hears_nothing_is_replaced(
    listener: Listener, heard: Heard, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection looks healthy, and two calls have not arrived: a pooler, or a host that is
    gone. The next session may do better.
    """
    monkeypatch.setattr(module, "RETRY", (0.05, 0.1))
    monkeypatch.setattr(module, "LOOK", 0.05)
    for _ in range(2):
        echo.called()  # In vain: nobody has notified anything.
    Operation.objects.abort("wake it, since it sleeps by the old LOOK")
    poll(lambda: echo.is_lost and heard.count >= 2, 20, "it to listen anew")
    heartbeat = Heartbeat("default", queues=[], capacity=1, echo=echo)
    heartbeat.register()
    beat(heartbeat, echo)
    heartbeat.stop()


def test_without_notify_it_polls(transactional_db: None, settings: Any) -> None:
    """No session is opened, and nothing is said of it."""
    settings.OPERATOR = {"NOTIFY": False, "POLL_INTERVAL": 0.7}
    calls = Calls("default", due=bool, asked=bool)
    calls.start()
    try:
        assert calls.echo is None
        assert calls.interval() == 0.7
        # Those of the test before may just be ending; one that was opened would stay.
        poll(lambda: other_sessions() == 0, 10, "no session to be left")
    finally:
        calls.stop()


@pytest.mark.parametrize("start", [False, True])
def test_stop_before_it_has_connected(transactional_db: None, start: bool) -> None:
    """It ends, whether it listens or not, and leaves no session."""
    listener = Listener("default", {notify.CHANNEL: bool}, Echo())
    if start:
        listener.start()
    listener.stop()
    poll(lambda: not listener.is_alive(), 10, "it to end")
    poll(lambda: other_sessions() == 0, 10, "its session to end")
