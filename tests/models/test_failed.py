"""What has failed: by exception and age, and by the sort of error."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess, failed, kinds
from operator_app.models.choice import Choice
from operator_app.outcomes import Failed
from operator_app.reports import ErrorReport
from tests.kinds.models import Note, Sweep
from tests.models.tools import claimed_job, queries, scripted, stored, write

pytestmark = pytest.mark.django_db


def gone_wrong(
    operator: OperatorProcess,
    exception: str = "app.Broken",
    mark: str = "a" * 16,
    *,
    ago: timedelta = timedelta(minutes=5),
    kind: type[Operation] = Note,
    message: str = "no",
) -> Operation:
    """An operation that has failed with such an error."""
    operation = kind.dispatch()
    job = claimed_job(operation, operator)
    job.end_as(Failed("no", error=ErrorReport(exception, message, "", mark)), clock.now() - ago)
    assert Operation.all_objects.record([job])
    return operation


def look() -> failed.Failures:
    return failed.look("default", clock.now())


def test_nothing_has_failed() -> None:
    Note.dispatch()
    found = look()
    assert (found.total, found.is_all, found.exceptions, found.sorts) == (0, True, [], [])


def test_by_exception_and_age(operator: OperatorProcess) -> None:
    """Each column has what is as young as it says, and those before it; the last one has all."""
    for ago in (timedelta(minutes=5), timedelta(hours=2), timedelta(days=2), timedelta(days=30)):
        gone_wrong(operator, "app.Broken", ago=ago)
    gone_wrong(operator, "app.Other", "b" * 16, ago=timedelta(hours=5))
    found = look()
    assert found.total == 5
    assert {each.name: each.counts for each in found.exceptions} == {
        "app.Broken": [1, 2, 2, 3, 3, 4],
        "app.Other": [0, 0, 1, 1, 1, 1],
    }
    assert found.exceptions[0].name == "app.Broken", "the most frequent one first"


def test_by_sort(operator: OperatorProcess) -> None:
    """Those with one fingerprint are one sort, whatever their kind; the newest is the sample."""
    day = timedelta(days=1)
    first = gone_wrong(operator, ago=day, message="old")
    gone_wrong(operator, kind=Sweep, ago=timedelta(hours=1))
    last = gone_wrong(operator, message="new")
    other = gone_wrong(operator, mark="b" * 16, ago=2 * day)
    sorts = look().sorts
    assert [sort.fingerprint for sort in sorts] == ["a" * 16, "b" * 16], "the last one first"
    (sort, rarer) = sorts
    assert (sort.count, sort.exception, len(sort.by_kind)) == (3, "app.Broken", 2)
    assert (sort.first, sort.last) == (stored(first).failed_run_at, stored(last).failed_run_at)
    assert sort.sample is not None and sort.sample.message == "new"
    assert rarer.sample is not None and rarer.sample.operation_id == other.pk


def test_only_the_last_attempt_counts(operator: OperatorProcess) -> None:
    """What an earlier attempt has met is history."""
    note = gone_wrong(operator)
    OperationJob.objects.create(
        operation_id=note.pk,
        number=17,
        started_at=clock.now(),
        exception_class="app.Other",
        fingerprint="b" * 16,
    )
    assert [sort.fingerprint for sort in look().sorts] == ["a" * 16]
    rows = Choice(states=["failed"], fingerprint="b" * 16).rows("default")
    assert list(rows) == []
    rows = Choice(states=["failed"], fingerprint="a" * 16).rows("default")
    assert [row.pk for row in rows] == [note.pk]


def test_what_is_not_known_is_a_sort_of_its_own(operator: OperatorProcess) -> None:
    """Attempts of an earlier version have no fingerprint; a lost history has no job at all."""
    OperationJob.objects.filter(operation=gone_wrong(operator).pk).update(fingerprint=None)
    bare = Note.dispatch()
    write(bare, started_run_at=clock.now(), failed_run_at=clock.now(), attempts=1)
    found = look()
    assert {(sort.exception, sort.fingerprint) for sort in found.sorts} == {
        ("app.Broken", ""),
        ("", ""),
    }
    assert {each.name for each in found.exceptions} == {"app.Broken", ""}
    assert [sort.sample for sort in found.sorts if not sort.exception] == [None]


def test_of_some_kinds_only(operator: OperatorProcess) -> None:
    gone_wrong(operator)
    gone_wrong(operator, kind=Sweep)
    found = failed.look("default", clock.now(), [kinds.content_type(Sweep, "default").pk])
    assert found.total == 1 and len(found.sorts[0].by_kind) == 1
    assert failed.look("default", clock.now(), []).total == 0


def test_what_it_costs(operator: OperatorProcess, monkeypatch: Any) -> None:
    """Three queries however many there are; of more than are looked at, the newest."""
    for number in range(6):
        gone_wrong(operator, f"app.E{number}", str(number) * 16, ago=timedelta(hours=number))
    monkeypatch.setattr(failed, "LOOKED_AT", 4)
    monkeypatch.setattr(failed, "SHOWN", 3)
    with queries() as made:
        found = look()
    assert len(made) == 3, made
    assert (found.total, found.is_all) == (4, False)
    assert [sort.exception for sort in found.sorts] == ["app.E0", "app.E1", "app.E2"]
    assert (found.more_sorts, found.more_exceptions) == (1, 1)


def test_many_that_have_failed_at_one_instant(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `fail()` lets them: exactly so many are looked at, those with the highest ids."""
    made = [gone_wrong(operator, f"app.E{number}").pk for number in range(5)]
    gone_wrong(operator, "app.Old", ago=timedelta(hours=1))
    Operation.all_objects.filter(pk__in=made).update(failed_run_at=clock.now())
    for looked_at, total, is_all in ((3, 3, False), (5, 5, False), (6, 6, True), (7, 6, True)):
        monkeypatch.setattr(failed, "LOOKED_AT", looked_at)
        found = look()
        assert (found.total, found.is_all) == (total, is_all)
    monkeypatch.setattr(failed, "LOOKED_AT", 3)
    assert {each.name for each in look().exceptions} == {"app.E2", "app.E3", "app.E4"}


def test_a_failure_leaves_its_fingerprint(operator: OperatorProcess) -> None:
    """What `run()` raises is told apart by where it was raised."""

    def one(operation: Any) -> None:
        raise ValueError(operation.pk)

    def other(operation: Any) -> None:
        raise ValueError(operation.pk)

    found = []
    for script in (one, one, other):
        job = claimed_job(scripted(script), operator)
        job.run()
        assert Operation.all_objects.record([job])
        found.append(OperationJob.objects.get(pk=job.pk).fingerprint)
    assert found[0] and found[0] == found[1] != found[2]
