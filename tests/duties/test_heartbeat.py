"""Showing that this operator lives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError

from operator_app import clock
from operator_app.duties import Heartbeat
from operator_app.duties.base import Duty
from operator_app.models import OperatorProcess
from tests.processes import poll

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quick(settings: Any) -> None:
    """Twenty beats a second."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.05, "timeout": 3}}


@pytest.fixture
def heartbeat(quick: None) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat("default", queues=["a", "b"], capacity=3)
    yield heartbeat
    if heartbeat.process is not None and heartbeat.process.pk is not None:
        heartbeat.stop()


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "action", record.getMessage()) for record in caplog.records]


def test_the_row_of_an_operator(heartbeat: Heartbeat) -> None:
    """start() inserts a row that says who the operator is and until when it counts as alive."""
    assert heartbeat.process is None
    heartbeat.start()
    row = OperatorProcess.objects.get()
    assert heartbeat.process is not None
    assert row.uuid == heartbeat.process.uuid
    assert (row.queues, row.capacity, row.lost_at, row.draining) == (["a", "b"], 3, None, False)
    assert row.pid > 0 and row.hostname and row.version
    assert (row.alive_until - row.heartbeat_at).total_seconds() == pytest.approx(3)
    assert row.is_alive(clock.now())


def test_it_beats_by_itself(heartbeat: Heartbeat) -> None:
    """The row's times move on while the main thread does nothing, and `draining` gets there."""
    heartbeat.start()
    first = OperatorProcess.objects.get()
    poll(lambda: OperatorProcess.objects.get().heartbeat_at > first.heartbeat_at, 10, "a beat")
    second = OperatorProcess.objects.get()
    assert second.alive_until > first.alive_until
    assert second.uuid == first.uuid
    heartbeat.draining = True
    poll(lambda: OperatorProcess.objects.get().draining, 10, "the row to say that it drains")


def test_stop_ends_the_thread_and_deletes_the_row(heartbeat: Heartbeat) -> None:
    """After stop() neither the row nor the thread is there."""
    heartbeat.start()
    (thread,) = [each for each in threading.enumerate() if each.name == "heartbeat"]
    heartbeat.stop()
    assert not thread.is_alive()
    assert OperatorProcess.objects.count() == 0


def test_stop_before_start(heartbeat: Heartbeat) -> None:
    """An operator that never got to register can be stopped."""
    heartbeat.stop()
    assert OperatorProcess.objects.count() == 0


def test_run_returns_the_interval(heartbeat: Heartbeat) -> None:
    """One beat by hand moves the row's times and returns the interval."""
    heartbeat.register()
    before = OperatorProcess.objects.get()
    assert heartbeat.run() == 0.05
    assert OperatorProcess.objects.get().alive_until > before.alive_until


@pytest.mark.parametrize("row_is_gone", [True, False])
def test_taken_for_dead(
    heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture, row_is_gone: bool
) -> None:
    """Declared lost, or its row deleted: it goes on under a new identity and says so; the old row
    stays as it is."""
    old = heartbeat.register()
    if row_is_gone:
        OperatorProcess.objects.all().delete()
    else:
        OperatorProcess.objects.update(lost_at=clock.now())
    before = OperatorProcess.objects.filter(pk=old.pk).values().first()

    heartbeat.run()

    new = heartbeat.process
    assert new is not None
    assert new.uuid != old.uuid
    assert new.pk != old.pk
    assert OperatorProcess.objects.filter(pk=old.pk).values().first() == before
    assert OperatorProcess.objects.get(pk=new.pk).is_alive(clock.now())
    (line,) = [each for each in caplog.records if each.action == "declared_lost"]
    assert str(old.uuid) in line.getMessage() and str(new.uuid) in line.getMessage()
    assert line.operator == str(old.uuid)
    heartbeat.run()
    assert heartbeat.process is new


def test_an_outage_is_logged_once_and_survived(
    heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away it tries again and again but says so once, and once when it is
    back; the row is the same."""
    beat, failed = OperatorProcess.beat, [0]
    away = threading.Event()

    def fail(self: OperatorProcess, *args: Any, **options: Any) -> bool:
        if away.is_set():
            failed[0] += 1
            raise OperationalError("server closed the connection unexpectedly\n")
        return beat(self, *args, **options)

    monkeypatch.setattr(OperatorProcess, "beat", fail)
    heartbeat.start()
    row = OperatorProcess.objects.get()
    away.set()
    poll(lambda: failed[0] >= 2, 10, "two failed beats")
    assert actions(caplog) == ["heartbeat_failed"]
    assert "server closed the connection unexpectedly" in caplog.text
    away.clear()
    poll(lambda: len(actions(caplog)) > 1, 10, "the heartbeat to be back")
    assert actions(caplog) == ["heartbeat_failed", "heartbeat_back"]
    again = OperatorProcess.objects.get()
    assert (again.uuid, again.heartbeat_at > row.heartbeat_at) == (row.uuid, True)


def test_a_closed_connection_is_replaced(
    heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat whose connection was lost fails once; the next one has a new connection."""
    from django.db import connection

    beat, raw = OperatorProcess.beat, list[object]()

    def spoil(self: OperatorProcess, *args: Any, **options: Any) -> bool:
        raw.append(connection.connection)
        if len(raw) == 1:
            raise DatabaseError("the connection is lost")
        return beat(self, *args, **options)

    monkeypatch.setattr(OperatorProcess, "beat", spoil)
    heartbeat.start()
    first = OperatorProcess.objects.get()
    poll(lambda: OperatorProcess.objects.get().heartbeat_at > first.heartbeat_at, 10, "a beat")
    assert len(raw) >= 2
    assert raw[0] is None or raw[1] is not raw[0]


def test_an_unexpected_error_does_not_end_the_beat(
    heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even an error that is not the database's leaves the operator beating: it is not dead."""
    beat, failed = OperatorProcess.beat, threading.Event()

    def fail(self: OperatorProcess, *args: Any, **options: Any) -> bool:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("who would have thought")
        return beat(self, *args, **options)

    monkeypatch.setattr(OperatorProcess, "beat", fail)
    monkeypatch.setattr(threading, "excepthook", lambda *args: None)
    heartbeat.start()
    first = OperatorProcess.objects.get()
    assert failed.wait(10)
    poll(lambda: OperatorProcess.objects.get().heartbeat_at > first.heartbeat_at, 5, "a beat")
    assert "who would have thought" in caplog.text


def test_a_call_to_look(settings: Any) -> None:
    """What it watches is looked at when somebody calls, not only when its time has come."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 1000, "timeout": 3000}}
    looks: list[int] = []

    class Patient(Duty):
        def run(self) -> float:
            looks.append(1)
            return 1000

    heartbeat = Heartbeat("default", queues=[], capacity=1, watch=Patient())
    heartbeat.start()
    poll(lambda: len(looks) == 1, 10, "the first look")
    heartbeat.look()
    poll(lambda: len(looks) == 2, 10, "the look that was called for")
    heartbeat.stop()
    assert not heartbeat._thread.is_alive()


def test_it_tells_what_is_asked(quick: None) -> None:
    """Once for each change, from the beat that has heard of it; what was asked of an operator that
    was taken for dead, it does under its new identity."""
    told: list[str] = []
    heartbeat = Heartbeat("default", queues=[], capacity=1, asked=told.append)
    heartbeat.register()
    rows = OperatorProcess.objects.all()
    heartbeat.run()
    assert told == []
    rows.drain(by="ann")
    heartbeat.run()
    heartbeat.run()
    assert told == ["drain"]
    rows.resume()
    heartbeat.run()
    assert told == ["drain", ""]
    rows.stop(by="ben")
    heartbeat.run()
    assert told == ["drain", "", "stop"]
    rows.update(lost_at=clock.now())
    heartbeat.run()
    row = rows.get(lost_at=None)
    assert (row.asked, row.asked_by, row.draining) == ("stop", "ben", True)
    heartbeat.stop()


def test_it_tells_how_much_memory_it_takes(heartbeat: Heartbeat) -> None:
    """From its first moment on."""
    heartbeat.register()
    first = OperatorProcess.objects.get().rss
    assert first is not None and first > 1024 * 1024
    OperatorProcess.objects.update(rss=None)
    heartbeat.run()
    assert OperatorProcess.objects.get().rss is not None
