"""What the timeline tells, from facts alone: no database is asked."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from operator_app.models import Operation, OperationJob, OperatorProcess, Pause
from operator_app.models.events import Event
from operator_app.models.timeline import tell
from tests.once import once

pytestmark = once

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
OPERATOR = OperatorProcess(pk=1, hostname="web", pid=4711, capacity=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def operation(**columns: Any) -> Operation:
    moments = {name: at(value) for name, value in columns.items() if name.endswith("_at")}
    values = {"created_at": START, "should_run_at": START, **columns, **moments}
    if values.get("started_run_at") and "operator" not in values:
        values["operator"] = OPERATOR
    return Operation(pk=1, **values)


def job(number: int, start: float, end: float | None, outcome: str | None, **more: Any) -> Any:
    values = {"operator": "web:4711", "begun_at": at(start), **more}
    ended = None if end is None else at(end)
    return OperationJob(
        number=number, started_at=at(start), ended_at=ended, outcome=outcome, **values
    )


def told(
    row: Operation, state: str, *, now: float, jobs: Any = (), pauses: Any = ()
) -> list[tuple[str, str]]:
    return [(e.code, e.gap) for e in events(row, state, now=now, jobs=jobs, pauses=pauses)]


def events(
    row: Operation, state: str, *, now: float, jobs: Any = (), pauses: Any = ()
) -> list[Event]:
    found = tell(row, jobs, at(now), state=state, pauses=pauses)
    assert [each.at for each in found] == sorted(each.at for each in found)
    assert [each.is_ahead for each in found] == [each.at > at(now) for each in found]
    return found


def test_one_that_waits_for_its_time() -> None:
    row = operation(should_run_at=3600)
    assert told(row, "scheduled", now=60) == [("created", ""), ("due", "waits 60 min for its time")]


def test_one_that_waits_for_an_operator() -> None:
    row = operation(should_run_at=600)
    assert told(row, "due", now=780) == [
        ("created", ""),
        ("due", "waited 10 min for its time"),
        ("now", "has been waiting 3 min for an operator"),
    ]


def test_one_that_was_due_at_once() -> None:
    assert told(operation(), "due", now=180) == [
        ("created", ""),
        ("now", "has been waiting 3 min for an operator"),
    ]


def test_one_that_was_planned_for_the_past() -> None:
    row = operation(should_run_at=-600)
    assert told(row, "due", now=30)[1:] == [("now", "has been waiting 30 s for an operator")]


def test_a_plain_finish_leaves_no_row() -> None:
    row = operation(started_run_at=180, finished_run_at=192, attempts=1)
    found = events(row, "finished", now=500)
    assert [(each.code, each.gap) for each in found] == [
        ("created", ""),
        ("claimed", "waited 3 min for an operator"),
        ("finished", "ran 12 s"),
    ]
    assert found[1].sentence == "Claimed by web:4711"
    assert found[2].seconds == 12


def test_a_wait_between_claim_and_beginning() -> None:
    row = operation(started_run_at=10, begun_run_at=15, finished_run_at=17, attempts=1)
    assert told(row, "finished", now=500)[1:] == [
        ("claimed", "waited 10 s for an operator"),
        ("begun", "waited 5 s for its turn"),
        ("finished", "ran 2 s"),
    ]


def test_one_that_runs() -> None:
    row = operation(started_run_at=1, begun_run_at=1, times_out_at=61, attempts=1)
    assert told(row, "running", now=13)[2:] == [("now", "has been running 12 s"), ("timed_out", "")]


def test_one_that_is_not_known_to_have_begun() -> None:
    row = operation(started_run_at=1, attempts=1)
    assert told(row, "running", now=13)[-1] == ("now", "has been held 12 s")


def test_one_that_is_stuck() -> None:
    lost = OperatorProcess(hostname="web", pid=4711, capacity=1, lost_at=at(40))
    row = operation(started_run_at=1, begun_run_at=1, attempts=1, operator=lost)
    assert told(row, "stuck", now=60)[2:] == [("operator_lost", ""), ("now", "has been held 59 s")]


def test_failures_and_what_comes_of_them() -> None:
    jobs = [
        job(2, 45, 46, "retried", exception_class="shop.BankDown", message="closed"),
        job(1, 1, 13, "retried", exception_class="shop.BankDown", message="closed"),
    ]
    row = operation(should_run_at=76, attempts=2, failures=2)
    found = events(row, "scheduled", now=50, jobs=jobs)
    assert [(each.code, each.gap, each.claim) for each in found] == [
        ("created", "", None),
        ("claimed", "waited 1 s in all", 1),
        ("retried", "ran 12 s", 1),
        # When the first retry was due, nobody has written down.
        ("claimed", "waited 32 s in all", 2),
        ("retried", "ran 1 s", 2),
        ("due", "backs off 30 s", None),
    ]
    assert found[2].sentence == "Failed, to be tried again: BankDown: closed"


def test_the_last_claim_tells_when_it_was_due() -> None:
    jobs = [job(1, 1, 13, "retried")]
    row = operation(should_run_at=43, started_run_at=46, finished_run_at=48, attempts=2)
    assert told(row, "finished", now=99, jobs=jobs)[3:] == [
        ("due", "backed off 30 s"),
        ("claimed", "waited 3 s for an operator"),
        ("finished", "ran 2 s"),
    ]


@pytest.mark.parametrize(
    ("outcome", "gap"),
    [("stopped", "held back 60 s"), ("released", "waited 60 s"), ("failed", "was over for 60 s")],
)
def test_what_the_time_to_the_next_attempt_is_called(outcome: str, gap: str) -> None:
    row = operation(should_run_at=62, started_run_at=62, finished_run_at=63, attempts=2)
    found = told(row, "finished", now=99, jobs=[job(1, 1, 2, outcome)])
    assert found[3] == ("renewed" if outcome == "failed" else "due", gap)


def test_a_crash_is_rescued() -> None:
    crash = job(
        1,
        1,
        41,
        "retried",
        exception_class="operator_app.exceptions.OperatorLost",
        message="operator web:4711 gave no heartbeat since 12:00:11",
    )
    row = operation(should_run_at=41, attempts=1, crashes=1)
    found = events(row, "due", now=50, jobs=[crash])
    assert (found[2].code, found[2].gap) == ("rescued", "was held 40 s")
    assert found[2].sentence.startswith("Rescued: its operator was lost: operator web:4711 gave")
    assert (found[3].code, found[3].gap) == ("now", "has been waiting 9 s for an operator")


def test_attempts_whose_rows_are_not_there() -> None:
    row = operation(should_run_at=500, started_run_at=500, finished_run_at=501, attempts=9)
    found = told(row, "finished", now=999, jobs=[job(8, 400, 401, "stopped")])
    assert found[1] == ("claimed", "7 claims that are not shown, 6.7 min in all")
    assert found[3] == ("due", "held back 99 s")
    found = told(row, "finished", now=999)
    assert found[1] == ("claimed", "8 claims that are not shown, 8.3 min in all")


def test_one_that_was_cancelled_before_it_was_claimed() -> None:
    row = operation(should_run_at=3600, cancelled_at=60, reason="paid")
    found = events(row, "cancelled", now=99)
    assert [(each.code, each.gap) for each in found] == [
        ("created", ""),
        ("cancelled", "waited 60 s in all"),
    ]
    assert found[1].sentence == "Cancelled: paid"


def test_one_that_was_aborted() -> None:
    row = operation(
        started_run_at=1, abort_requested_at=5, cancelled_at=7, attempts=1, reason="too long"
    )
    aborted = job(1, 1, 7, "aborted", message="too long")
    assert told(row, "cancelled", now=99, jobs=[aborted])[1:] == [
        ("claimed", "waited 1 s for an operator"),
        ("abort_requested", ""),
        ("aborted", "ran 6 s"),
    ]


def test_a_row_that_is_not_complete() -> None:
    row = operation(started_run_at=1, failed_run_at=7, attempts=1, reason="so it failed")
    assert told(row, "failed", now=99, jobs=[job(1, 1, None, None)])[-1] == ("failed", "ran 6 s")
    row = operation(started_run_at=1, attempts=1)
    assert told(row, "running", now=9, jobs=[job(1, 1, None, None)])[-1] == (
        "now",
        "has been running 8 s",
    )


def test_by_hand_and_by_one_that_has_left() -> None:
    row = operation(started_run_at=1, finished_run_at=2, attempts=1, operator=None)
    assert events(row, "finished", now=9)[1].sentence == "Begun by hand"
    row = operation(started_run_at=1, finished_run_at=2, attempts=1, operator=None)
    row.operator_id = 17
    row._state.fields_cache["operator"] = None
    assert events(row, "finished", now=9)[1].sentence == "Claimed by an operator that has left"


def test_a_pause() -> None:
    pause = Pause(queue="mail", until=at(120), created_at=at(-60), reason="holiday")
    found = events(operation(), "due", now=30, pauses=[pause])
    assert [each.code for each in found] == ["created", "paused", "now", "resumed"]
    assert found[1].at == START and "holiday" in found[1].sentence


def test_as_json() -> None:
    assert events(operation(), "due", now=180)[1].facts() == {
        "at": at(180),
        "code": "now",
        "sentence": "Now",
        "gap": "has been waiting 3 min for an operator",
        "seconds": 180,
        "claim": None,
        "is_ahead": False,
    }
