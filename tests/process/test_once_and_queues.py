"""What an operator takes, and when: --once, --queue, punctuality, classes it does not know."""

from __future__ import annotations

import time
from datetime import timedelta

from django.contrib.contenttypes.models import ContentType

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_each_once,
    assert_nothing_left,
    entries,
    lines,
    ready,
    wait_for_entries,
)
from tests.processes import poll
from tests.work.models import Broken, Entry, Mixed, OtherTick, Tick


def test_once_with_nothing_due(operate: Start) -> None:
    """--once with nothing due says so and exits with 0; what is scheduled for later stays."""
    later = Tick.schedule(timedelta(hours=1))
    operator = operate("--once")
    assert operator.wait() == 0
    assert operator.stdout == "Nothing is due.\n"
    later.refresh_from_db()
    assert later.state == "scheduled"
    assert_calm(operator)
    assert_nothing_left()


def test_once_runs_what_is_due(operate: Start) -> None:
    """--once runs all that is due, more than there are threads, says how many, and exits with 0."""
    due = [Tick.dispatch().pk for _ in range(7)]
    later = Tick.schedule(timedelta(hours=1))
    operator = operate("--once", "--threads", "2")
    assert operator.wait() == 0
    assert operator.stdout == "7 run.\n"
    assert_each_once(due)
    assert set(Operation.objects.finished().values_list("pk", flat=True)) == set(due)
    later.refresh_from_db()
    assert later.state == "scheduled"
    assert_calm(operator)
    assert_nothing_left()


def test_queue_serves_only_those_queues(operate: Start) -> None:
    """--queue serves the queues that it names and leaves all others alone."""
    wanted = [OtherTick.dispatch().pk, Tick.dispatch(queue="third").pk]
    left = Tick.dispatch()
    operator = operate("--once", "--queue", "other", "--queue", "third")
    assert operator.wait() == 0
    assert_each_once(wanted)
    left.refresh_from_db()
    assert (left.state, left.attempts) == ("due", 0)
    assert_calm(operator)


def test_an_operator_shows_what_it_serves(operate: Start) -> None:
    """While an operator lives its row names its process, queues and threads."""
    operator = operate("--queue", "other", "--threads", "3")
    ready(operator)
    process = OperatorProcess.objects.get()
    assert (process.pid, process.queues, process.capacity) == (operator.pid, ["other"], 3)
    assert process.is_alive(clock.now())
    operator.terminate()
    assert operator.wait() == 0
    assert_nothing_left()


def test_an_unknown_kind_is_left_alone(operate: Start) -> None:
    """G8: operations of a class the process does not know stay due; it warns once per kind."""
    gone = ContentType.objects.create(app_label="attic", model="forgotten")
    strangers = [Tick.dispatch().pk for _ in range(3)]
    assert Operation.all_objects.filter(pk__in=strangers).update(kind=gone) == 3
    Operation.all_objects.filter(pk=strangers[0]).update(priority=9, queue="elsewhere")
    known = [Tick.dispatch().pk for _ in range(2)]

    operator = operate(POLL_INTERVAL=0.05)
    wait_for_entries(2, by=[operator])
    more = Tick.dispatch().pk  # seen by a later look than the one that warned
    wait_for_entries(3, by=[operator])
    operator.terminate()

    assert operator.wait() == 0
    assert_each_once([*known, more])
    assert Operation.objects.due().filter(pk__in=strangers, attempts=0).count() == 3
    (warning,) = lines(operator, "unknown_kind")
    assert warning["level"] == "WARNING"
    assert "attic.forgotten" in warning["message"]
    assert_nothing_left()


def test_punctuality(operate: Start) -> None:
    """G9: an operation scheduled two seconds ahead starts not before its time, and soon after."""
    operator = operate(POLL_INTERVAL=60)
    operation = Tick.schedule(timedelta(seconds=2.5))
    ready(operator)
    wait_for_entries(1, by=[operator])
    written = Entry.objects.get().written_at
    late = written - operation.should_run_at.timestamp()
    assert 0 <= late < 1.5, late
    poll(lambda: Operation.objects.finished().exists(), 10, "the operation to be recorded")
    operation.refresh_from_db()
    assert operation.started_run_at >= operation.should_run_at
    operator.terminate()
    assert operator.wait() == 0
    assert_calm(operator)


def test_an_idle_operator_sees_what_is_dispatched(operate: Start) -> None:
    """An operation dispatched while the operator sleeps is run within its poll interval."""
    operator = operate(POLL_INTERVAL=1)
    ready(operator)
    started = time.monotonic()
    Tick.dispatch()
    wait_for_entries(1, by=[operator], timeout=10)
    assert time.monotonic() - started < 5
    operator.terminate()
    assert operator.wait() == 0


def test_one_log_line_per_transition(operate: Start) -> None:
    """Each transition is one log line that names its action, operation, kind and attempt."""
    finish = Tick.dispatch()
    stop, cancel, fail = (Mixed.dispatch(ending=ending) for ending in ("stop", "cancel", "fail"))
    retry = Broken.dispatch()
    operator = operate("--once")
    assert operator.wait() == 0
    # Its retry is due in 10 ms: --once may have left by then.
    if not Operation.objects.get(pk=retry.pk).failed_run_at:
        again = operate("--once")
        assert again.wait() == 0
        rest = lines(again)
    else:
        rest = []

    facts = ("action", "operation_id", "kind", "attempt", "level")
    said = sorted(
        tuple(line[name] for name in facts)
        for line in lines(operator) + rest
        if "operation_id" in line
    )
    wanted = [
        ("claimed", finish.pk, "work.Tick", 1, "DEBUG"),
        ("finished", finish.pk, "work.Tick", 1, "INFO"),
        ("claimed", stop.pk, "work.Mixed", 1, "DEBUG"),
        ("stopped", stop.pk, "work.Mixed", 1, "INFO"),
        ("claimed", cancel.pk, "work.Mixed", 1, "DEBUG"),
        ("cancelled", cancel.pk, "work.Mixed", 1, "INFO"),
        ("claimed", fail.pk, "work.Mixed", 1, "DEBUG"),
        ("failed", fail.pk, "work.Mixed", 1, "ERROR"),
        ("claimed", retry.pk, "work.Broken", 1, "DEBUG"),
        ("retried", retry.pk, "work.Broken", 1, "ERROR"),
        ("claimed", retry.pk, "work.Broken", 2, "DEBUG"),
        ("failed", retry.pk, "work.Broken", 2, "ERROR"),
    ]
    assert said == sorted(wanted)
    failed = [line for line in lines(operator, "failed") if line["operation_id"] == fail.pk]
    assert "LookupError: no such customer" in failed[0]["exc_info"]
    assert "LookupError: no such customer" in failed[0]["message"]
    jobs = OperationJob.objects.order_by("operation_id", "number")
    assert [(job.operation_id, job.number, job.outcome) for job in jobs] == [
        (stop.pk, 1, "stopped"),
        (cancel.pk, 1, "cancelled"),
        (fail.pk, 1, "failed"),
        (retry.pk, 1, "retried"),
        (retry.pk, 2, "failed"),
    ]
    assert entries() == [finish.pk]
