"""Twenty operators at the same moment: one operation for a slot, one row for a declaration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import OperationalError

from operator_app import Recurring, clock
from operator_app.models import Operation, Recurrence, RecurrenceSlot
from operator_app.models.declared import insert_missing, synchronize
from operator_app.models.slots import make_due, make_queued
from tests.kinds.models import Note
from tests.models.test_recurrence import recurrence
from tests.models.tools import Thread, write

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
OPERATORS = 20


def all_at_once(work: Callable[[], Any]) -> list[Any]:
    """Do it twenty times at the same moment; return what was returned."""
    barrier = threading.Barrier(OPERATORS)

    def one() -> Any:
        barrier.wait(30)
        return work()

    threads = [Thread(one) for _ in range(OPERATORS)]
    return [thread.result() for thread in threads]


def test_a_slot() -> None:
    with clock.at(NOON):
        one = recurrence()
    made = all_at_once(lambda: make_due(one, NOON + HOUR, "default"))
    assert sorted(map(len, made)) == [0] * (OPERATORS - 1) + [1]
    assert Operation.objects.count() == RecurrenceSlot.objects.count() == 1
    one.refresh_from_db()
    assert one.next_run_at == NOON + 2 * HOUR


def test_a_queued_slot() -> None:
    with clock.at(NOON):
        one = recurrence(overlap="queue")
    (first,) = make_due(one, NOON + HOUR, "default")
    make_due(one, NOON + 2 * HOUR, "default")
    write(first, cancelled_at=NOON)
    made = all_at_once(lambda: make_queued(one, NOON + 2 * HOUR, "default"))
    assert sorted(map(len, made)) == [0] * (OPERATORS - 1) + [1]
    assert Operation.all_objects.count() == 2


@pytest.mark.parametrize("bring", [insert_missing, synchronize])
def test_a_declaration(bring: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Note, "recurrences", [Recurring("@hourly", name="declared")], raising=False)
    all_at_once(lambda: bring("default"))
    assert Recurrence.objects.get().name == "declared"


@pytest.mark.parametrize("bring", [insert_missing, synchronize])
def test_a_declaration_whose_insert_loses_a_deadlock(
    bring: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in hundreds of those twenty does on MariaDB."""
    monkeypatch.setattr(Note, "recurrences", [Recurring("@hourly", name="declared")], raising=False)
    save, losses = Recurrence.save, [OperationalError(1213, "Deadlock found")]

    def lose(self: Recurrence, **options: Any) -> None:
        save(self, **options)
        if losses:
            raise losses.pop()

    monkeypatch.setattr(Recurrence, "save", lose)
    bring("default")
    assert not losses and Recurrence.objects.get().name == "declared"
