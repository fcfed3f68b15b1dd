"""What is to begin in the next hours: scheduled operations, and slots of recurrences."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, Recurrence, forecast, kinds
from operator_app.models.forecast import HOUR, look_ahead
from tests.kinds.models import Note, Sweep

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return clock.now().replace(minute=30, second=0, microsecond=0)


def recur(expression: str, **fields: Any) -> Recurrence:
    return Recurrence.objects.create(
        name=expression, kind=kinds.content_type(Sweep, "default"), expression=expression, **fields
    )


def test_nothing(now: datetime) -> None:
    found = look_ahead("default", now)
    assert (found.total, found.counted_until, len(found.hours)) == (0, None, 25)
    assert found.hours[0].start == now.replace(minute=0)


def test_scheduled_ones_are_in_their_hour(now: datetime, django_assert_num_queries: Any) -> None:
    Note.schedule(now - HOUR)  # Due, and not to come.
    Note.schedule(now + timedelta(minutes=10))
    Note.schedule(now + timedelta(minutes=31), priority=7)
    Sweep.schedule(now + timedelta(minutes=40), queue="other")
    Note.schedule(now + 30 * HOUR)
    ended = Note.schedule(now + HOUR)
    Operation.objects.filter(pk=ended.pk).cancel()
    with django_assert_num_queries(3):
        found = look_ahead("default", now)
    assert [hour.scheduled for hour in found.hours[:3]] == [1, 2, 0]
    assert found.total == 3 and found.counted_until is None


def test_what_is_too_much_is_counted_up_to_a_moment(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "READ", 4)
    monkeypatch.setattr(forecast, "LEAST", 2)
    for minutes in (5, 10, 70, 130, 190):
        Note.schedule(now + timedelta(minutes=minutes))
    found = look_ahead("default", now)
    assert found.total == 4
    assert found.counted_until == now + timedelta(minutes=130)


def test_many_lanes_are_read_in_parts(
    now: datetime, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(forecast, "AT_ONCE", 2)
    for number in range(5):
        Note.schedule(now + timedelta(minutes=5), queue=f"queue-{number}")
    with django_assert_num_queries(5):
        assert look_ahead("default", now).total == 5


def test_recurrences_are_in_their_hours(now: datetime) -> None:
    recur("15,45 * * * *")
    recur("0 0 1 1 *")
    recur("*/10 * * * *", enabled=False)
    found = look_ahead("default", now)
    assert [hour.recurring for hour in found.hours[:3]] == [1, 2, 2]
    assert sum(hour.recurring for hour in found.hours) in (49, 50)


def test_one_that_recurs_often_goes_on_as_it_began(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "SLOTS", 130)
    forecast._slots.cache_clear()
    recur("* * * * *")
    found = look_ahead("default", now)
    forecast._slots.cache_clear()
    assert [hour.recurring for hour in found.hours[1:]] == pytest.approx([60] * 24, abs=1)
    assert found.hours[0].recurring == 29


def test_the_end_of_a_recurrence_is_kept(now: datetime) -> None:
    recur("*/30 * * * *", end_at=now + 2 * HOUR)
    assert look_ahead("default", now).total == 4
