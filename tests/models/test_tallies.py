"""Tallies: what is written is what comes out, however long ago it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app import clock
from operator_app.models import OperationJob, Tally, kinds
from operator_app.models.tallies import (
    LEVELS,
    Key,
    Summary,
    compact,
    series,
    summary,
    total,
    write,
)
from operator_app.outcomes import Failed, Finished, Outcome, Released, Retried, Stopped
from tests.kinds.models import Note, Sweep

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def now() -> datetime:
    return clock.now().replace(hour=12, minute=34, second=56, microsecond=0)


def job(outcome: Outcome, *, late: float = 1, took: float = 2) -> OperationJob:
    moment = clock.now()
    note = Note(
        kind=kinds.content_type(Note, "default"),
        queue="notes",
        should_run_at=moment,
        started_run_at=moment + timedelta(seconds=late),
    )
    found = OperationJob.of(note)
    found.begun_at = moment + timedelta(seconds=late)
    found.end_as(outcome, at=moment + timedelta(seconds=late + took))
    return found


def counted(*outcomes: Outcome) -> Summary:
    found = Summary()
    for outcome in outcomes:
        found.add(job(outcome))
    return found


def key(kind: type = Note, queue: str = "notes") -> Key:
    return Key(kinds.content_type(kind, "default").pk, queue)


def drained(now: datetime) -> int:
    steps = 0
    while compact(now, "default"):
        steps += 1
        assert steps < 1000
    return steps


def test_a_summary_knows_outcomes_run_times_and_lateness() -> None:
    found = counted(Finished(), Finished(), Failed("x"), Retried("y"), Stopped(), Released())
    assert (found.finished, found.failed, found.retried) == (2, 1, 1)
    assert (found.stopped, found.released, found.ended) == (1, 1, 3)
    assert found.failure_rate == 0.5
    # What was released has not been run to its end.
    assert found.durations.count == found.delays.count == 5
    assert found.durations.percentile(0.5) == pytest.approx(2, rel=0.2)
    assert found.delays.percentile(0.5) == pytest.approx(1, rel=0.2)


def test_a_crash_is_counted_apart_and_tells_no_run_time() -> None:
    found = counted(Retried("died", crashed=True), Failed("died", crashed=True))
    assert (found.crashed, found.retried, found.failed) == (2, 1, 1)
    assert found.durations.count == 0


def test_nothing_has_no_failure_rate() -> None:
    assert counted(Stopped()).failure_rate is None


def test_what_is_written_is_what_comes_out(now: datetime, django_assert_num_queries: Any) -> None:
    keys = {key(): counted(Finished(), Failed("x")), key(Sweep, "default"): counted(Finished())}
    with django_assert_num_queries(1):
        write(keys, now, "default")
    write({key(queue="other"): counted(Finished())}, now - timedelta(minutes=5), "default")
    with django_assert_num_queries(1):
        by_kind = summary("default", now - HOUR, now, by="kind")
    assert {kind: each.finished for kind, each in by_kind.items()} == {
        key().kind_id: 2,
        key(Sweep).kind_id: 1,
    }
    by_queue = summary("default", now - HOUR, now, by="queue")
    assert {queue: each.ended for queue, each in by_queue.items()} == {
        "notes": 2,
        "default": 1,
        "other": 1,
    }
    assert total(by_queue.values()).durations.count == 4


def test_a_series_has_a_step_for_each_even_where_nothing_was(
    now: datetime, django_assert_num_queries: Any
) -> None:
    write({key(): counted(Finished())}, now, "default")
    write({key(): counted(Failed("x"))}, now - timedelta(minutes=9), "default")
    write({key(queue="other"): counted(Finished())}, now - timedelta(minutes=9), "default")
    with django_assert_num_queries(1):
        steps = series("default", now - timedelta(minutes=10), now + HOUR / 60, 60)
    assert [moment.second for moment, _ in steps] == [0] * 12
    assert [each.ended for _, each in steps] == [0, 2, *[0] * 8, 1, 0]
    ours = series("default", now - timedelta(minutes=10), now, 60, queue="notes")
    assert sum(each.ended for _, each in ours) == 2
    assert series("default", now - HOUR, now, 60, kind_id=-1)[0][1].ended == 0


def test_spans_grow_with_age_and_nothing_is_lost_on_the_way(now: datetime) -> None:
    for minutes in range(0, 60 * 48, 13):
        write(
            {key(): counted(Finished(), Failed("x"))}, now - timedelta(minutes=minutes), "default"
        )
    before = total(summary("default", now - 200 * HOUR, now + HOUR, by="queue").values())
    rows = Tally.objects.count()
    drained(now)
    after = total(summary("default", now - 200 * HOUR, now + HOUR, by="queue").values())
    assert Tally.objects.count() < rows
    assert (after.finished, after.failed) == (before.finished, before.failed)
    assert after.durations.stored == before.durations.stored
    assert after.delays.stored == before.delays.stored
    for row in Tally.objects.all():
        age = (now - row.start).total_seconds()
        allowed = [seconds for seconds, limit in LEVELS if age <= limit + 2 * 3600]
        assert row.seconds >= allowed[0] or age < 3600, (row, age)
    assert not compact(now, "default")


def test_rows_of_many_operators_become_one(now: datetime) -> None:
    moment = now - timedelta(minutes=10)
    for _ in range(5):
        write({key(): counted(Finished())}, moment, "default")
    drained(now)
    row = Tally.objects.get()
    assert (row.seconds, row.finished) == (60, 5)
    assert row.start == moment.replace(second=0)


def test_what_is_too_old_goes(now: datetime) -> None:
    write({key(): counted(Finished())}, now - timedelta(days=91), "default")
    write({key(): counted(Finished())}, now - timedelta(days=89), "default")
    drained(now)
    assert Tally.objects.get().start > now - timedelta(days=90)


def test_what_nobody_has_to_do_costs_four_queries(
    now: datetime, django_assert_num_queries: Any
) -> None:
    write({key(): counted(Finished())}, now, "default")
    with django_assert_num_queries(4):
        assert not compact(now, "default")


def test_the_tally_of_a_kind_that_is_gone_stays(now: datetime) -> None:
    kind = ContentType.objects.create(app_label="gone", model="gone")
    write({Key(kind.pk, "default"): counted(Finished())}, now, "default")
    kind.delete()
    assert total(summary("default", now - HOUR, now, by="kind").values()).finished == 1
