"""The row of an operator: alive, lost, beating."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection  # noqa: F401  (for conditions of skipif)

from operator_app import clock
from operator_app.models import OperatorProcess
from tests.models.tools import Make, queries

pytestmark = pytest.mark.django_db


def test_an_operator_is_named_by_host_and_pid(operator: OperatorProcess) -> None:
    """People know a process by where it runs."""
    assert str(operator) == "host:1"


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
