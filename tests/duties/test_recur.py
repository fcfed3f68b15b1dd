"""The duty that sees to slots."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.db.models import signals

from operator_app import Recurring, clock
from operator_app.duties import Recur
from operator_app.models import Operation, Recurrence, RecurrenceSlot, kinds, slots
from tests.kinds.models import Note, RankUp, Sweep
from tests.models.tools import write

pytestmark = pytest.mark.django_db

UTC = timezone.utc
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
BERLIN = ZoneInfo("Europe/Berlin")


def recurrence(start: datetime = NOON, **changed: Any) -> Recurrence:
    """An hourly recurrence that was made at `start`."""
    kind = kinds.content_type(changed.pop("model", Note), "default")
    values = {"name": "test", "expression": "@hourly", "time_zone": "UTC", **changed}
    with clock.at(start):
        return Recurrence.objects.create(kind=kind, **values)


@pytest.fixture
def recur() -> Recur:
    return Recur("default", interval=lambda: 1.0)


def run_at(recur: Recur, moment: datetime) -> float:
    with clock.at(moment):
        return recur.run()


def test_it_sleeps_until_the_next_slot(recur: Recur, django_assert_num_queries: Any) -> None:
    recurrence(expression="* * * * * *")
    with django_assert_num_queries(1):
        assert run_at(recur, NOON + timedelta(seconds=0.75)) == pytest.approx(0.25)


def test_it_looks_now_and_then_for_new_ones(recur: Recur, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert run_at(recur, NOON) == 5.0
    recurrence()
    assert run_at(recur, NOON) == 5.0


def test_a_slot_that_has_come(recur: Recur) -> None:
    recurrence()
    assert run_at(recur, NOON + HOUR) == 0.0
    assert run_at(recur, NOON + HOUR) == 5.0
    assert [each.slot for each in Note.objects.all()] == [NOON + HOUR]


def test_what_another_operator_has_just_seen_to(recur: Recur) -> None:
    """It has found the slot due, and when it comes to it the slot is done."""
    one = recurrence()
    others = Recur("default", interval=lambda: 1.0)
    assert recur._see_to(one, NOON + HOUR) == 0.0
    assert 0 < others._see_to(one, NOON + HOUR) <= 0.1
    assert Note.objects.count() == 1


def test_queued_ones_are_looked_after(recur: Recur) -> None:
    recurrence(overlap="queue")
    run_at(recur, NOON + HOUR)
    run_at(recur, NOON + 2 * HOUR)
    assert run_at(recur, NOON + 2 * HOUR) == 1.0
    write(Note.objects.get(), finished_run_at=NOON, started_run_at=NOON)
    run_at(recur, NOON + 2 * HOUR + timedelta(seconds=1))
    assert Note.objects.count() == 2
    assert run_at(recur, NOON + 2 * HOUR + timedelta(seconds=2)) == 5.0


def test_a_misfit_does_not_hold_up_the_others(
    recur: Recur, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left alone for a while, and said once."""
    bad = recurrence(name="bad")
    Recurrence.objects.filter(pk=bad.pk).update(fields={"colour": "red"})
    recurrence(name="good")
    for _ in range(3):
        run_at(recur, NOON + HOUR)
    assert Note.objects.count() == 1
    (record,) = caplog.records
    assert "for the recurrence bad: Note has no field 'colour'" in record.getMessage()
    assert Recurrence.objects.get(pk=bad.pk).next_run_at == NOON + HOUR


def test_whatever_a_kind_raises_does_not_hold_up_the_others(
    recur: Recur, caplog: pytest.LogCaptureFixture
) -> None:
    """As a receiver of `pre_save` that has a bug. Nothing is written, and nothing is lost."""
    bad = recurrence(name="bad", model=RankUp, fields={"user": _user().pk})
    recurrence(name="good")

    def refuse(**kwargs: Any) -> None:
        raise KeyError("a bug")

    signals.pre_save.connect(refuse, sender=RankUp)
    try:
        run_at(recur, NOON + HOUR)
    finally:
        signals.pre_save.disconnect(refuse, sender=RankUp)
    assert Note.objects.count() == 1 and not RankUp.objects.exists()
    assert "for the recurrence bad: 'a bug'" in caplog.text
    recur._aside.clear()
    run_at(recur, NOON + HOUR)
    assert RankUp.objects.count() == 1 and bad.slots.count() == 1


def test_an_outage_is_the_operators_to_meet(recur: Recur, monkeypatch: pytest.MonkeyPatch) -> None:
    recurrence()

    def away(*args: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(slots, "make_due", away)
    with pytest.raises(OperationalError):
        run_at(recur, NOON + HOUR)
    assert not len(recur._aside)


def test_an_operator_that_starts_inserts_what_the_code_declares(
    recur: Recur, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "recurrences", [Recurring("@daily", name="sweep")], raising=False)
    run_at(recur, NOON)
    assert Recurrence.objects.get().name == "sweep"


@pytest.mark.parametrize(
    ("expression", "made"),
    [("30 2 * * *", 5), ("*/15 * * * *", 4 * 24 * 5), ("0 2,3 * * *", 10)],
)
@pytest.mark.parametrize("day", [datetime(2026, 3, 27), datetime(2026, 10, 23)])  # noqa: DTZ001
def test_a_soak_over_both_changes_of_clocks(
    expression: str, made: int, day: datetime, recur: Recur
) -> None:
    """Five days, the third of which has 23 or 25 hours, looked at every 20 minutes and now and then
    too late: no slot is made twice, and none is left out.
    """
    start, end = (
        each.replace(tzinfo=BERLIN).astimezone(UTC) for each in (day, day + timedelta(days=5))
    )
    recurrence(
        start - timedelta(seconds=1),
        expression=expression,
        time_zone="Europe/Berlin",
        missed="all",
        model=Sweep,
    )
    moment, step = start, 0
    while moment < end:
        while run_at(recur, moment) == 0.0:
            pass
        step += 1
        moment += timedelta(minutes=200 if step % 7 == 0 else 20)
    while run_at(recur, end - timedelta(seconds=1)) == 0.0:
        pass
    seen = list(RecurrenceSlot.objects.order_by("slot").values_list("slot", flat=True))
    hours = (end - start) / HOUR
    extra = 0 if made != 4 * 24 * 5 else round(4 * (hours - 120))
    # On the day without 02:00, that and 03:00 are one moment.
    lost = 1 if expression == "0 2,3 * * *" and hours == 119 else 0
    assert len(seen) == made + extra - lost
    assert len(set(seen)) == len(seen) == Operation.objects.count()


def test_two_operators_of_which_one_is_frozen_for_two_slots(recur: Recur) -> None:
    """When it wakes it finds them seen to; a clock that steps back changes nothing."""
    recurrence(missed="all")
    frozen = Recur("default", interval=lambda: 1.0)
    run_at(frozen, NOON)
    for hours in (1, 2, 3):
        run_at(recur, NOON + hours * HOUR)
    run_at(frozen, NOON + 3 * HOUR)
    run_at(recur, NOON + 2 * HOUR)
    run_at(recur, NOON + 3 * HOUR)
    seen = RecurrenceSlot.objects.order_by("slot").values_list("slot", flat=True)
    assert list(seen) == [NOON + hours * HOUR for hours in (1, 2, 3)]
    assert Operation.objects.count() == 3


def _user() -> Any:
    return get_user_model().objects.create(username="ann")


def test_many_that_wait_do_not_hide_one_that_is_due(
    recur: Recur, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    """However many wait for the operation of an earlier slot, or cannot be made here."""
    monkeypatch.setattr("operator_app.duties.recur.MOST", 2)
    for number in range(5):
        waiting = recurrence(name=f"waiting {number}", overlap="queue", model=Sweep)
        RecurrenceSlot.objects.create(
            recurrence=waiting, slot=NOON - HOUR, state="made", operation=Sweep.schedule(HOUR),
            created_at=NOON,
        )  # fmt: skip
        RecurrenceSlot.objects.create(
            recurrence=waiting, slot=NOON, state="queued", created_at=NOON
        )
    broken = [recurrence(name=f"broken {number}", model=RankUp, fields={}) for number in range(3)]
    due = recurrence(name="due", start=NOON + timedelta(minutes=1))
    run_at(recur, NOON + HOUR)
    assert due.slots.count() == 1
    assert all(each.pk in recur._aside for each in broken)
    # Where nothing waits, and nothing is due, the first page is the last.
    RecurrenceSlot.objects.filter(state="queued").delete()
    Recurrence.objects.exclude(name="due").update(next_run_at=NOON + 9 * HOUR)
    recur._aside.clear()
    with django_assert_max_num_queries(1):
        assert run_at(recur, NOON + HOUR) == 5.0


def test_one_that_waits_for_a_lock_is_tried_again_soon(
    recur: Recur, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no outage, others are made, and the log says it once."""
    held, other = recurrence(name="held"), recurrence(name="other", model=Sweep)
    make = slots.make_due

    def make_due(each: Recurrence, *arguments: Any) -> Any:
        if each.pk == held.pk:
            raise OperationalError(1205, "Lock wait timeout exceeded")
        return make(each, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(slots, "make_due", make_due)
        run_at(recur, NOON + HOUR)
        assert other.slots.count() == 1 and held.pk in recur._aside
        assert recur._aside._until[held.pk] < time.monotonic() + 6
        recur._aside.clear()
        run_at(recur, NOON + HOUR)
    assert [each.action for each in caplog.records] == ["recurrence_waits"]
    recur._aside.clear()
    run_at(recur, NOON + HOUR)
    assert held.slots.count() == 1
