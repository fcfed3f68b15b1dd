"""The time of the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from operator_app import clock

THEN = datetime(2030, 1, 1, tzinfo=timezone.utc)
HOST_TIME = ("sqlite",)
"""Databases without a clock of their own."""


@pytest.fixture(autouse=True)
def _unmeasured(settings: Any) -> Iterator[None]:
    """Each test starts with time zones and without a measurement, and leaves none."""
    settings.USE_TZ = True
    clock._measurements.clear()
    yield
    clock._measurements.clear()


def own_clock() -> bool:
    return connection.vendor not in HOST_TIME


@pytest.mark.django_db
def test_the_time_of_the_database_is_that_of_this_host() -> None:
    """Database and tests share a machine here, so their clocks agree within two seconds."""
    assert abs(clock.now() - datetime.now(timezone.utc)) < timedelta(seconds=2)
    assert clock.now().tzinfo is timezone.utc


@pytest.mark.django_db
def test_a_measurement_is_near_the_host() -> None:
    """`measure()` itself is right on every database."""
    offset = clock.measure("default").offset
    assert abs(offset + time.monotonic() - time.time()) < 2


@pytest.mark.django_db
def test_time_does_not_go_backwards() -> None:
    """Between measurements the monotonic clock carries the time."""
    moments = [clock.now() for _ in range(200)]
    assert moments == sorted(moments)


@pytest.mark.django_db
def test_one_measurement_serves_many_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is asked at first, not for each `now()`; then once a minute."""
    asked: list[int] = []
    real = clock._epoch
    monkeypatch.setattr(clock, "_epoch", lambda on: asked.append(1) or real(on))
    for _ in range(10):
        clock.now()
    assert len(asked) == (3 if own_clock() else 0)
    if own_clock():
        clock.measure("default")
        assert len(asked) == 4


@pytest.mark.django_db
def test_of_the_first_answers_the_quickest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may be off by half of its round trip, and at first there is nothing to compare."""
    ticks = iter([100.0, 100.1, 100.5, 101.0, 101.002, 102.0, 102.3, 102.4])
    epochs = iter([5_100.5, 5_101.001, 5_102.0])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(clock, "_epoch", lambda on: next(epochs))
    measured = clock.measure("default")
    assert measured.offset == pytest.approx(5_000)
    assert measured.taken == 102.4


@pytest.mark.django_db
def test_the_time_shows_in_no_query_count(django_assert_num_queries: Any) -> None:
    """It is asked for on the raw connection."""
    with django_assert_num_queries(0):
        clock.now()


@pytest.mark.django_db
def test_an_old_measurement_is_taken_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute, or a jump of the host's clock, the database is asked again."""
    if not own_clock():
        pytest.skip("SQLite's time is the host's")
    first = clock.measure("default")
    for stale in (
        clock._Measurement(first.taken - 61, first.offset + 500, first.host_offset),
        clock._Measurement(first.taken, first.offset + 500, first.host_offset - 5),
    ):
        clock._measurements["default"] = stale
        assert abs(clock.now() - datetime.now(timezone.utc)) < timedelta(seconds=2)


@pytest.mark.django_db
@pytest.mark.parametrize(("late", "kept"), [(0.015, True), (0.025, False)])
def test_what_a_slow_answer_confirms_is_kept(
    late: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time does not jump back and forth by what nobody can know: an answer that took 40 ms says
    what time it was, give or take 20.
    """
    ticks = iter([99.9, 100.0, 100.04, 100.05])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(clock, "_epoch", lambda on: 100.02 + 5_000 - late)
    clock._measurements["default"] = clock._Measurement(40.0, 5_000.0, 0.0)
    measured = clock.measure("default")
    assert measured.taken == 100.05
    assert measured.offset == (5_000.0 if kept else pytest.approx(5_000 - late))


@pytest.mark.django_db
def test_the_measurement_is_kept_when_the_database_cannot_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In an outage the clock goes on from what it knew."""
    known = clock._Measurement(time.monotonic() - 100, 1_000_000.0, 0.0)
    clock._measurements["default"] = known

    def away(on: object) -> float:
        raise DatabaseError("away")

    monkeypatch.setattr(clock, "_epoch", away)
    assert clock.measure("default") is known
    assert clock._measurements["default"] is known


@pytest.mark.django_db
def test_without_any_measurement_the_hosts_clock_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that never answered leaves the host's time, and nothing is remembered."""

    def away(on: object) -> float:
        raise DatabaseError("away")

    monkeypatch.setattr(clock, "_epoch", away)
    assert abs(clock.now() - datetime.now(timezone.utc)) < timedelta(seconds=2)
    assert clock._measurements == {}


@pytest.mark.django_db
def test_a_failed_transaction_does_not_break_the_clock() -> None:
    """Where PostgreSQL answers nothing until the rollback, the last measurement serves."""
    with pytest.raises(DatabaseError), transaction.atomic():
        clock.now()
        with connection.cursor() as cursor:
            try:
                cursor.execute("SELECT no_such_column")
            except DatabaseError:
                clock._measurements.update(
                    {
                        alias: clock._Measurement(old.taken - 61, old.offset, old.host_offset)
                        for alias, old in clock._measurements.items()
                    }
                )
                assert abs(clock.now() - datetime.now(timezone.utc)) < timedelta(seconds=2)
                raise


@pytest.mark.django_db
def test_without_time_zones_the_time_is_naive_and_local(settings: Any) -> None:
    """With USE_TZ=False the ORM wants local time without a zone."""
    settings.USE_TZ = False
    assert clock.now().tzinfo is None
    assert abs(clock.now() - datetime.now()) < timedelta(seconds=2)  # noqa: DTZ005


def test_an_epoch_becomes_what_the_orm_wants(settings: Any) -> None:
    """Aware in UTC with USE_TZ, naive and local without."""
    epoch = 1_750_000_000.5
    assert clock.from_epoch(epoch) == datetime.fromtimestamp(epoch, tz=timezone.utc)
    settings.USE_TZ = False
    assert clock.from_epoch(epoch) == datetime.fromtimestamp(epoch)  # noqa: DTZ006


def test_the_clock_can_be_stopped() -> None:
    """Inside `at()` it is what it is said to be, without a database; blocks nest."""
    first, second = THEN, THEN + timedelta(days=365)
    with clock.at(first):
        assert clock.now() == first
        with clock.at(second):
            assert clock.now() == second
        assert clock.now() == first
        with clock.at(None):
            assert clock.now() == first


@pytest.mark.django_db
def test_a_stopped_clock_goes_on_after_an_error() -> None:
    """An exception leaves the block as any other end does."""
    with pytest.raises(ValueError, match="oops"), clock.at(THEN):
        raise ValueError("oops")
    assert clock.now() != THEN


def test_other_threads_have_their_own_time() -> None:
    """A test that stops the clock does not stop it for others."""
    seen = []
    with clock.at(THEN):
        thread = threading.Thread(target=lambda: seen.append(clock._stopped_at.get()))
        thread.start()
        thread.join()
    assert seen == [None]
