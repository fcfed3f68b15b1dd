"""Old slots of recurrences are deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import Policy, clock
from operator_app.models import Operation, Recurrence, RecurrenceSlot, kinds, pruning, slot_pruning
from operator_app.models.pruning import Pruned, Rules, prune, rules_of_settings
from operator_app.models.results import LATEST, latest
from tests.kinds.models import Note, Sweep
from tests.models.test_pruning import FOR_EVER
from tests.models.tools import Thread

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
RULES = Rules({"slots": 86_400.0})


def recurrence(kind: type[Operation] = Note, *, slots: int, **columns: Any) -> Recurrence:
    """One with so many slots, the last of them of two days ago, whose operations are gone."""
    made = Recurrence.objects.create(
        name=f"each minute {Recurrence.objects.count()}",
        kind=kinds.content_type(kind, "default"),
        expression="* * * * *",
    )
    last = clock.now() - 2 * DAY
    RecurrenceSlot.objects.bulk_create(
        RecurrenceSlot(
            recurrence=made,
            slot=last - number * timedelta(minutes=1),
            created_at=last - number * timedelta(minutes=1),
            **{"state": "made", "operation_id": 10**9 + 1_000 * made.pk + number, **columns},
        )
        for number in reversed(range(slots))
    )
    return made


def go(rules: Rules = RULES, **options: Any) -> Pruned:
    return prune(rules, clock.now(), "default", **options)


def test_all_but_the_newest_of_each_go() -> None:
    """What its results are told from stays, however old."""
    many, few = recurrence(slots=LATEST + 7), recurrence(slots=LATEST)
    before = latest([many, few], "default")
    assert go(dry_run=True).counts == {"slots": 7}
    assert go().counts == {"slots": 7}
    assert (many.slots.count(), few.slots.count()) == (LATEST, LATEST)
    assert latest([many, few], "default") == before
    assert go().counts == {}


def test_what_is_young_stays() -> None:
    many = recurrence(slots=LATEST + 7)
    assert go(Rules({"slots": 3 * 86_400.0})).counts == {}
    assert many.slots.count() == LATEST + 7


def test_what_still_counts_stays() -> None:
    """A slot whose operation is there, which knows itself by it; and one that waits for its turn.
    One that was skipped does not.
    """
    many = recurrence(slots=LATEST + 3)
    first, second, third = many.slots.order_by("slot")[:3]
    RecurrenceSlot.objects.filter(pk=first.pk).update(operation=Note.dispatch())
    RecurrenceSlot.objects.filter(pk=second.pk).update(state="queued", operation=None)
    RecurrenceSlot.objects.filter(pk=third.pk).update(state="skipped", operation=None)
    assert go().counts == {"slots": 1}
    assert set(many.slots.order_by("slot").values_list("pk", flat=True)[:2]) == {
        first.pk,
        second.pk,
    }


def test_rules_of_the_settings_and_policies(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": FOR_EVER | {"slots": DAY}}
    monkeypatch.setattr(Note, "policy", Policy(retention={"slots": None}))
    kept, other = recurrence(Note, slots=LATEST + 2), recurrence(Sweep, slots=LATEST + 2)
    go(rules_of_settings("default"))
    assert (kept.slots.count(), other.slots.count()) == (LATEST + 2, LATEST)


def test_step_by_step(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    """The walk ends where all of it is young."""
    monkeypatch.setattr(pruning, "WINDOW", 3)
    many = recurrence(slots=LATEST + 5)
    many.slots.filter(pk__gt=many.slots.order_by("pk")[7].pk).update(created_at=clock.now())
    now, after, counts = clock.now(), 0, []
    for _ in range(3):
        step = slot_pruning.prune_next(RULES, now, "default", after=after)
        counts.append(step.counts["slots"])
        assert not step.is_over
        after = step.after
    assert counts == [3, 2, 0]
    with django_assert_num_queries(1):
        assert slot_pruning.prune_next(RULES, now, "default", after=after).is_over


@pytest.mark.django_db(transaction=True)
def test_two_at_once() -> None:
    many = recurrence(slots=LATEST + 60)
    threads = [Thread(go) for _ in range(3)]
    assert sum(thread.result(60).counts["slots"] for thread in threads) == 60
    assert many.slots.count() == LATEST
