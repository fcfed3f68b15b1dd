"""The row of an operator: alive, lost, beating."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection  # noqa: F401  (for conditions of skipif)

from operator_app import clock
from operator_app.models import OperatorProcess
from operator_app.models.process import DRAIN, STOP
from tests.models.tools import Make, queries

pytestmark = pytest.mark.django_db


def test_an_operator_is_named_by_host_and_pid(operator: OperatorProcess) -> None:
    """People know a process by where it runs."""
    assert str(operator) == "host:1"


def test_asking_is_for_those_that_live(make_operator: Make) -> None:
    """A lost one hears nothing; who is asked for as much already is not asked again."""
    now = clock.now()
    living = make_operator()
    for dead in ({"lost_at": now}, {"alive_until": now - timedelta(seconds=1)}):
        make_operator(**dead)
    rows = OperatorProcess.objects.all()
    assert rows.drain(by="ann") == 1
    row = rows.get(asked=DRAIN)
    assert (row.pk, row.asked_by) == (living.pk, "ann")
    assert row.asked_at is not None and row.asked_at >= now
    assert rows.drain(by="ben") == 0
    assert rows.get(asked=DRAIN).asked_by == "ann"


def test_a_drain_can_be_called_off_and_a_stop_cannot(operator: OperatorProcess) -> None:
    rows = OperatorProcess.objects.all()
    assert rows.resume() == 0
    rows.drain(by="ann")
    assert rows.resume() == 1
    row = rows.get()
    assert (row.asked, row.asked_by, row.asked_at) == ("", "", None)
    rows.drain()
    assert rows.stop(by="b" * 300) == 1, "a stop comes before a drain"
    assert rows.get().asked_by == "b" * 150
    assert (rows.stop(), rows.drain(), rows.resume()) == (0, 0, 0)


def test_a_beat_hears_what_is_asked(operator: OperatorProcess) -> None:
    """A beat that has nothing to hear asks no question."""
    OperatorProcess.objects.drain(by="ann")
    with queries() as made:
        assert operator.beat(clock.now(), timeout=30, rss=17)
    assert len(made) == 3 and operator.asked == DRAIN and operator.asked_by == "ann"
    row = OperatorProcess.objects.get()
    assert (row.draining, row.rss) == (True, 17)
    with queries() as made:
        assert operator.beat(clock.now(), timeout=30)
    assert len(made) == 1
    assert OperatorProcess.objects.get().rss is None
    OperatorProcess.objects.resume()
    assert operator.beat(clock.now(), timeout=30)
    assert not OperatorProcess.objects.get().draining and operator.asked == ""


def test_a_lost_one_does_not_beat_though_it_is_asked(operator: OperatorProcess) -> None:
    OperatorProcess.objects.drain()
    OperatorProcess.objects.update(lost_at=clock.now())
    assert not operator.beat(clock.now(), timeout=30)
    OperatorProcess.objects.all().delete()
    assert not operator.beat(clock.now(), timeout=30)


def test_who_has_drained_leaves_unless_that_was_called_off(operator: OperatorProcess) -> None:
    """From the moment it leaves on, nobody is told any more that it goes on."""
    OperatorProcess.objects.drain()
    operator.beat(clock.now(), timeout=30)
    assert operator.settle() and operator.asked == STOP
    assert OperatorProcess.objects.resume() == 0
    OperatorProcess.objects.update(asked=DRAIN)
    operator.asked = DRAIN
    OperatorProcess.objects.resume()
    assert not operator.settle() and operator.asked == ""
    OperatorProcess.objects.all().delete()
    assert operator.settle()


def test_alive_and_lost_are_opposites(make_operator: Make) -> None:
    """At each moment an operator is alive or lost, by its own word and by the queryset's."""
    now = clock.now()
    second = timedelta(seconds=1)
    living = {make_operator(alive_until=now).pk, make_operator(alive_until=now + second).pk}
    dead = {
        make_operator(alive_until=now - second).pk,
        make_operator(alive_until=now + second, lost_at=now).pk,
        make_operator(alive_until=now - second, lost_at=now - second).pk,
    }
    rows = OperatorProcess.objects
    assert set(rows.alive(now).values_list("pk", flat=True)) == living
    assert set(rows.lost(now).values_list("pk", flat=True)) == dead
    assert {row.pk for row in rows.all() if row.is_alive(now)} == living


def test_a_beat_is_good_for_the_timeout(operator: OperatorProcess) -> None:
    """A beat is one UPDATE that says until when the operator counts as alive."""
    now = clock.now() + timedelta(seconds=100)
    with queries() as made:
        assert operator.beat(now, timeout=30, draining=True)
    assert len(made) == 1
    row = OperatorProcess.objects.get()
    assert (row.heartbeat_at, row.alive_until) == (now, now + timedelta(seconds=30))
    assert row.draining and operator.draining
    assert row.is_alive(now + timedelta(seconds=30))
    assert not row.is_alive(now + timedelta(seconds=31))


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="NOTIFY is PostgreSQL's")
def test_a_beat_that_calls(operator: OperatorProcess) -> None:
    """It costs no further statement, and the operator's row is written as by any other."""
    now = clock.now()
    with queries() as made:
        assert operator.beat(now, timeout=30, call=("operator_app_echo_x", "1"))
    assert len(made) == 1 and "pg_notify" in made[0]
    assert OperatorProcess.objects.get().heartbeat_at == now
    OperatorProcess.objects.update(lost_at=now)
    assert not operator.beat(now, timeout=30, call=("operator_app_echo_x", "2"))


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="NOTIFY is PostgreSQL's")
def test_a_beat_that_calls_finds_that_the_time_has_jumped(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded anew, in the time that it is now: a clock was set, or a server replaced."""
    right = clock.now()
    measured = clock._measurements["default"]
    wrong = replace(measured, offset=measured.offset - 3600)
    monkeypatch.setitem(clock._measurements, "default", wrong)
    assert clock.now() < right
    assert operator.beat(clock.now(), timeout=30, call=("operator_app_echo_x", "1"))
    row = OperatorProcess.objects.get()
    assert timedelta(0) <= row.heartbeat_at - right < timedelta(seconds=60)
    assert operator.heartbeat_at == row.heartbeat_at


def test_the_beat_of_a_lost_operator_hits_nothing(operator: OperatorProcess) -> None:
    """An operator that was declared lost is told so, and stays lost."""
    now = clock.now()
    OperatorProcess.objects.update(lost_at=now, alive_until=now)
    assert not operator.beat(now + timedelta(seconds=5), timeout=30)
    row = OperatorProcess.objects.get()
    assert (row.lost_at, row.alive_until) == (now, now)


def test_the_beat_of_a_deleted_operator_hits_nothing(operator: OperatorProcess) -> None:
    """A beat does not bring a deleted row back."""
    OperatorProcess.objects.all().delete()
    assert not operator.beat(clock.now(), timeout=30)
    assert not OperatorProcess.objects.exists()


def test_each_operator_has_an_identity_of_its_own(make_operator: Make) -> None:
    """Two rows of one host and pid differ by their identity."""
    assert make_operator().uuid != make_operator().uuid
