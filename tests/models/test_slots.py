"""Slots become operations: each once, whatever happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from operator_app import Policy, clock
from operator_app.exceptions import OperationExists
from operator_app.models import Operation, Recurrence, RecurrenceSlot, slots
from operator_app.models.slots import UnfitFieldsError, look, make_due, make_queued
from tests.kinds.models import Note, RankUp, Sweep
from tests.models.test_recurrence import HOUR, NOON, recurrence
from tests.models.tools import write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _at_noon() -> Any:
    """Recurrences are made at noon, so that their first slot is at one."""
    with clock.at(NOON):
        yield


def see_to(one: Recurrence, now: datetime) -> list[Operation]:
    with clock.at(now):
        return make_due(one, now, "default")


def states_of(one: Recurrence) -> list[tuple[int, str]]:
    """Each slot, by the hours since noon, and what became of it."""
    rows = RecurrenceSlot.objects.filter(recurrence=one).order_by("slot")
    return [((row.slot - NOON) // HOUR, row.state) for row in rows]


class TestMakeDue:
    """Due slots."""

    def test_a_slot_becomes_an_operation(self) -> None:
        one = recurrence(fields={"text": "hello"}, queue="q", priority=4)
        (operation,) = see_to(one, NOON + HOUR)
        stored = Note.objects.get(pk=operation.pk)
        assert (stored.text, stored.queue, stored.priority) == ("hello", "q", 4)
        assert stored.should_run_at == stored.slot == NOON + HOUR
        one.refresh_from_db()
        assert (one.last_slot, one.next_run_at) == (NOON + HOUR, NOON + 2 * HOUR)

    def test_policy_decides_what_is_left_open(self) -> None:
        (operation,) = see_to(recurrence(), NOON + HOUR)
        assert (operation.queue, operation.priority) == ("notes", 0)

    def test_nothing_is_due_yet(self) -> None:
        one = recurrence()
        assert see_to(one, NOON + HOUR - timedelta(microseconds=1)) == []
        assert not RecurrenceSlot.objects.exists()

    def test_once_only(self) -> None:
        one = recurrence()
        assert len(see_to(one, NOON + HOUR)) == 1
        assert see_to(one, NOON + HOUR) == []
        assert Note.objects.count() == 1

    def test_a_clock_that_was_set_back(self) -> None:
        """Or a backup: the row says that a slot is still to come which was made."""
        one = recurrence()
        assert len(see_to(one, NOON + HOUR)) == 1
        Recurrence.objects.filter(pk=one.pk).update(next_run_at=NOON + HOUR, last_slot=None)
        assert see_to(one, NOON + HOUR) == []
        one.refresh_from_db()
        assert one.next_run_at == NOON + 2 * HOUR and Note.objects.count() == 1

    @pytest.mark.parametrize(
        ("missed", "made"), [("skip", []), ("once", [5]), ("all", [*range(1, 6)])]
    )
    def test_missed_ones(self, missed: str, made: list[int]) -> None:
        one = recurrence(missed=missed)
        operations = see_to(one, NOON + 5.5 * HOUR)
        assert [(each.should_run_at - NOON) // HOUR for each in operations] == made
        one.refresh_from_db()
        assert one.next_run_at == NOON + 6 * HOUR

    def test_jitter(self) -> None:
        one = recurrence(jitter=600)
        (operation,) = see_to(one, NOON + HOUR)
        assert NOON + HOUR <= operation.should_run_at < NOON + HOUR + timedelta(seconds=600)
        assert operation.slot == NOON + HOUR

    def test_one_that_is_over(self) -> None:
        one = recurrence(end_at=NOON + 1.5 * HOUR)
        assert len(see_to(one, NOON + HOUR)) == 1
        one.refresh_from_db()
        assert one.next_run_at is None and look("default", 10) == []

    def test_a_disabled_one(self) -> None:
        one = recurrence()
        Recurrence.objects.disable()
        assert see_to(one, NOON + HOUR) == []

    def test_an_operation_that_was_not_made_of_a_recurrence(self) -> None:
        assert Note.dispatch().slot is None


class TestOverlap:
    """While the operation of an earlier slot has not ended."""

    def test_both(self) -> None:
        one = recurrence()
        assert see_to(one, NOON + HOUR) and see_to(one, NOON + 2 * HOUR)

    def test_skip(self) -> None:
        one = recurrence(overlap="skip")
        (first,) = see_to(one, NOON + HOUR)
        assert see_to(one, NOON + 2 * HOUR) == []
        write(first, started_run_at=NOON, finished_run_at=NOON)
        assert len(see_to(one, NOON + 3 * HOUR)) == 1
        assert states_of(one) == [(1, "made"), (2, "skipped"), (3, "made")]

    def test_queue(self) -> None:
        one = recurrence(overlap="queue")
        (first,) = see_to(one, NOON + HOUR)
        assert see_to(one, NOON + 2 * HOUR) == see_to(one, NOON + 3 * HOUR) == []
        assert make_queued(one, NOON + 3 * HOUR, "default") == []
        write(first, cancelled_at=NOON)
        (second,) = make_queued(one, NOON + 3 * HOUR, "default")
        assert second.should_run_at == second.slot == NOON + 2 * HOUR
        assert make_queued(one, NOON + 3 * HOUR, "default") == []
        write(second, failed_run_at=NOON, started_run_at=NOON)
        (third,) = make_queued(one, NOON + 3 * HOUR, "default")
        assert third.slot == NOON + 3 * HOUR
        assert states_of(one) == [(1, "made"), (2, "made"), (3, "made")]

    def test_all_missed_ones_one_after_the_other(self) -> None:
        one = recurrence(overlap="queue", missed="all")
        assert len(see_to(one, NOON + 3.5 * HOUR)) == 1
        assert states_of(one) == [(1, "made"), (2, "queued"), (3, "queued")]
        (found,) = look("default", 10)
        assert found.waits

    def test_what_has_waited_for_too_long_is_dropped(self) -> None:
        one = recurrence(overlap="queue", window=3 * 3600)
        (first,) = see_to(one, NOON + HOUR)
        see_to(one, NOON + 2 * HOUR)
        assert make_queued(one, NOON + 6 * HOUR, "default") == []
        assert states_of(one) == [(1, "made"), (2, "skipped")]
        assert RecurrenceSlot.objects.get(state="skipped").reason == "it waited for longer than 3 h"
        assert Operation.objects.get().pk == first.pk

    def test_an_operation_that_is_gone_has_ended(self) -> None:
        one = recurrence(overlap="skip")
        see_to(one, NOON + HOUR)
        Operation.objects.all().delete()
        assert len(see_to(one, NOON + 2 * HOUR)) == 1


class TestUnique:
    """A kind whose policy makes its operations unique."""

    @pytest.fixture(autouse=True)
    def _unique(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Note, "policy", Policy(unique=lambda note: "one"))

    def test_the_slot_is_skipped(self) -> None:
        one = recurrence()
        assert len(see_to(one, NOON + HOUR)) == 1
        assert see_to(one, NOON + 2 * HOUR) == []
        assert states_of(one) == [(1, "made"), (2, "skipped")]
        reason = RecurrenceSlot.objects.get(state="skipped").reason
        assert "with unique key 'one' has not ended yet" in reason
        with clock.at(NOON + 3 * HOUR), pytest.raises(OperationExists):
            one.run_now()

    def test_a_queued_slot_waits_for_it(self) -> None:
        one = recurrence(overlap="queue")
        (first,) = see_to(one, NOON + HOUR)
        see_to(one, NOON + 2 * HOUR)
        write(first, cancelled_at=NOON, active_key=None)
        other = Note.dispatch()
        assert make_queued(one, NOON + 2 * HOUR, "default") == []
        write(other, cancelled_at=NOON, active_key=None)
        assert len(make_queued(one, NOON + 2 * HOUR, "default")) == 1


class TestFields:
    """Fields that do not fit any more."""

    def test_a_row_that_is_gone_disables_the_recurrence(self) -> None:
        user = get_user_model().objects.create(username="ann")
        one = recurrence(kind=RankUp, fields={"user": user.pk})
        assert len(see_to(one, NOON + HOUR)) == 1
        pk = user.pk
        user.delete()
        assert see_to(one, NOON + 2 * HOUR) == []
        one.refresh_from_db()
        assert not one.enabled and one.next_run_at is None
        assert one.disabled_reason == f"its fields refer to what is gone: user {pk}"
        assert not Operation.objects.exists()

    def test_anything_else_is_left_to_those_who_know_better(self) -> None:
        """This process may have older code than the recurrence."""
        one = recurrence()
        Recurrence.objects.filter(pk=one.pk).update(fields={"colour": "red"})
        with pytest.raises(UnfitFieldsError, match="no field 'colour'"):
            see_to(one, NOON + HOUR)
        one.refresh_from_db()
        assert one.enabled and one.next_run_at == NOON + HOUR
        assert not RecurrenceSlot.objects.exists()

    def test_a_class_that_is_gone(self, gone_kind: Any) -> None:
        one = recurrence()
        Recurrence.objects.filter(pk=one.pk).update(kind=gone_kind)
        with pytest.raises(UnfitFieldsError, match=r"knows no class kinds\.deletedlongago"):
            see_to(one, NOON + HOUR)

    def test_an_insert_that_fails_writes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Operation, slot and the step to the next slot are one transaction."""
        one = recurrence(kind=Sweep)

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise IntegrityError("refused")

        with monkeypatch.context() as patch:
            patch.setattr(slots, "_note", refuse)
            with pytest.raises(UnfitFieldsError, match="the database refused it: refused"):
                see_to(one, NOON + HOUR)
        one.refresh_from_db()
        assert one.next_run_at == NOON + HOUR and not Operation.objects.exists()
        assert len(see_to(one, NOON + HOUR)) == 1


class TestLook:
    """What an operator asks, whenever it looks."""

    def test_the_next_one_first(self, django_assert_num_queries: Any) -> None:
        recurrence(name="hourly")
        recurrence(name="daily", expression="@daily")
        recurrence(name="off", enabled=False)
        with django_assert_num_queries(1):
            found = look("default", 10)
        assert [each.name for each in found] == ["hourly", "daily"]
        assert not any(each.waits for each in found)
