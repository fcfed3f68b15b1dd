"""Old attempts of operations that live on are deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import Policy, clock
from operator_app.models import OperationJob, attempt_pruning, kinds, pruning
from operator_app.models.pruning import Pruned, Rules, prune, rules_of_settings
from tests.kinds.models import Note, Sweep
from tests.models.test_pruning import FOR_EVER
from tests.models.tools import Thread, write

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
RULES = Rules({"attempts": 86_400.0})


def going_on(kind: Any = Note, ages: tuple[float, ...] = (3, 2, 0.5, 0), **columns: Any) -> Any:
    """An operation that was stopped so many days ago, one time after the other."""
    now = clock.now()
    operation = kind.dispatch()
    write(operation, attempts=len(ages), stops=len(ages), **columns)
    OperationJob.objects.bulk_create(
        OperationJob(
            operation_id=operation.pk,
            number=number,
            started_at=now - days * DAY,
            ended_at=now - days * DAY,
            outcome="stopped",
        )
        for number, days in enumerate(ages, 1)
    )
    return operation


def left(operation: Any) -> list[int]:
    jobs = OperationJob.objects.filter(operation=operation.pk)
    return list(jobs.order_by("number").values_list("number", flat=True))


def go(rules: Rules = RULES, **options: Any) -> Pruned:
    return prune(rules, clock.now(), "default", **options)


def test_what_is_old_goes() -> None:
    operation = going_on()
    assert go().counts == {"attempts": 2}
    assert left(operation) == [3, 4]
    assert Note.objects.due().count() == 1


def test_the_latest_stays_however_old() -> None:
    operation = going_on(ages=(9, 8, 7))
    go()
    assert left(operation) == [3]


def test_those_of_what_has_ended_go_with_it_only() -> None:
    operation = going_on(started_run_at=clock.now(), failed_run_at=clock.now())
    assert go().counts == {}
    assert left(operation) == [1, 2, 3, 4]


def test_one_that_runs_stays() -> None:
    operation = going_on()
    OperationJob.objects.filter(number=1).update(ended_at=None, outcome=None)
    assert go().counts == {"attempts": 1}
    assert left(operation) == [1, 3, 4]


def test_a_dry_run_deletes_nothing() -> None:
    operation = going_on()
    assert go(dry_run=True).counts == {"attempts": 2}
    assert len(left(operation)) == 4


def test_rules_of_the_settings_and_policies(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OPERATOR = settings.OPERATOR | {"RETENTION": FOR_EVER | {"attempts": DAY}}
    monkeypatch.setattr(Note, "policy", Policy(retention={"attempts": None}))
    note, sweep = going_on(Note), going_on(Sweep)
    assert rules_of_settings("default").by_kind[kinds.content_type(Note, "default").pk] == {}
    go(rules_of_settings("default"))
    assert (left(note), left(sweep)) == ([1, 2, 3, 4], [3, 4])


def test_other_ages_leave_them() -> None:
    operation = going_on()
    go(Rules({"finished": 0.0, "failed": 0.0, "cancelled": 0.0}))
    assert len(left(operation)) == 4


def test_step_by_step(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any) -> None:
    """The walk ends where all of it is young."""
    monkeypatch.setattr(pruning, "WINDOW", 3)
    old = going_on(ages=(3, 3, 3, 3, 3))
    going_on(ages=(0,) * 12)
    now = clock.now()
    first = attempt_pruning.prune_next(RULES, now, "default")
    assert first.counts == {"attempts": 3} and not first.is_over
    second = attempt_pruning.prune_next(RULES, now, "default", after=first.after)
    assert second.counts == {"attempts": 1} and not second.is_over
    with django_assert_num_queries(1):
        assert attempt_pruning.prune_next(RULES, now, "default", after=second.after).is_over
    assert left(old) == [5]


@pytest.mark.django_db(transaction=True)
def test_two_at_once() -> None:
    operation = going_on(ages=(3,) * 60)
    threads = [Thread(go) for _ in range(3)]
    assert sum(thread.result(60).counts["attempts"] for thread in threads) == 59
    assert left(operation) == [60]
