"""Outcomes: what each of them writes, row by row of the design's table of transitions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from operator_app.outcomes import (
    RELEASED_AFTER,
    SHORTEST_STOP,
    Aborted,
    Cancelled,
    Failed,
    Finished,
    Outcome,
    Released,
    Retried,
    Stopped,
)
from operator_app.reports import ErrorReport
from tests.once import once

pytestmark = once

NOW = datetime(2026, 3, 29, 0, 59, 30, tzinfo=timezone.utc)
REPORT = ErrorReport("ValueError", "no", "Traceback ...")
GIVEN_BACK = {
    "started_run_at": None,
    "begun_run_at": None,
    "operator": None,
    "abort_requested_at": None,
    "stack_requested_at": None,
    "times_out_at": None,
}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("outcome", "column"),
    [
        (Finished(), "finished_run_at"),
        (Failed("broken", error=REPORT), "failed_run_at"),
        (Cancelled("no need"), "cancelled_at"),
        (Aborted("asked to"), "cancelled_at"),
    ],
)
def test_an_ending_sets_its_time_and_frees_the_key(outcome: Outcome, column: str) -> None:
    """Endings write one timestamp and the reason; claim, operator and abort request stay."""
    assert outcome.changes(NOW) == {column: NOW, "reason": outcome.reason, "active_key": None}
    assert outcome.ended is True


@pytest.mark.parametrize(
    ("outcome", "should_run_at"),
    [
        (Stopped(delay=60), after(60)),
        (Stopped(until=after(3600)), after(3600)),
        (Retried(delay=10, error=REPORT), after(10)),
        (Retried(delay=0), after(0)),
        (Released(delay=RELEASED_AFTER), after(5)),
    ],
)
def test_a_way_back_gives_the_claim_back_and_waits(
    outcome: Outcome, should_run_at: datetime
) -> None:
    """Ways back to pending null claim, operator and abort request, and say when it is due again."""
    assert outcome.changes(NOW) == GIVEN_BACK | {"should_run_at": should_run_at}
    assert outcome.ended is False


def test_a_release_of_what_had_not_begun_keeps_its_time() -> None:
    """An operation that was given back unrun is as due as it was."""
    assert Released("leaving").changes(NOW) == GIVEN_BACK


@pytest.mark.parametrize(
    ("outcome", "counter"),
    [
        (Finished(), None),
        (Stopped(), "stops"),
        (Retried(), "failures"),
        (Failed(), "failures"),
        (Cancelled(), None),
        (Aborted(), None),
        (Released(), None),
    ],
)
def test_each_outcome_charges_its_own_counter(outcome: Outcome, counter: str | None) -> None:
    """A stop is no failure, a release is nothing, `attempts` is never touched."""
    assert outcome.counter == counter
    assert not {"attempts", "failures", "crashes", "stops"} & set(outcome.changes(NOW))


def test_the_names_are_those_that_jobs_store() -> None:
    """The names of outcomes are data: they stand in the database."""
    kinds = (Finished, Stopped, Cancelled, Retried, Failed, Aborted, Released)
    assert [kind.name for kind in kinds] == [kind.__name__.lower() for kind in kinds]


@pytest.mark.parametrize(
    "outcome",
    [
        Stopped(delay=0),
        Stopped(delay=0.2),
        Stopped(until=after(-3600)),
        Stopped(until=after(0)),
        Stopped(until=after(0.5)),
    ],
)
def test_a_stopped_operation_never_spins(outcome: Stopped) -> None:
    """It waits one second at least, even for a moment that has passed."""
    assert outcome.changes(NOW)["should_run_at"] == after(SHORTEST_STOP)


def test_until_wins_over_the_delay() -> None:
    """A moment is more exact than a delay."""
    assert Stopped(delay=60, until=after(7)).changes(NOW)["should_run_at"] == after(7)


@pytest.mark.parametrize(
    "outcome", [Stopped(delay=1e30), Retried(delay=1e30), Released(delay=1e30)]
)
def test_an_endless_delay_ends_with_the_calendar(outcome: Outcome) -> None:
    """A delay beyond the year 9998 is cut there instead of failing where it is recorded."""
    moment = outcome.changes(NOW)["should_run_at"]
    assert isinstance(moment, datetime)
    assert moment.year == 9998


def test_outcomes_work_with_naive_times() -> None:
    """With USE_TZ=False, `now` and what is written are naive."""
    naive = NOW.replace(tzinfo=None)
    assert Finished().changes(naive)["finished_run_at"] == naive
    assert Stopped(delay=5).changes(naive)["should_run_at"] == naive + timedelta(seconds=5)


@pytest.mark.parametrize("outcome", [Failed, Cancelled, Aborted])
def test_a_reason_fits_into_its_column(outcome: type[Outcome]) -> None:
    """A reason of any length and content is cut and cleaned to what the column holds."""
    stored = outcome("\x00\ud800" + "why " * 1000).changes(NOW)["reason"]
    assert isinstance(stored, str)
    assert len(stored) <= 255
    assert stored.startswith("\\x00\\ud800why why")
    stored.encode("utf-8")


@pytest.mark.parametrize(
    ("outcome", "report"),
    [
        (Failed("x", error=REPORT), REPORT),
        (Retried("x", error=REPORT), REPORT),
        (Failed("x"), None),
        (Finished(), None),
        (Stopped("x"), None),
        (Cancelled("x"), None),
        (Aborted("x"), None),
        (Released("x"), None),
    ],
)
def test_an_outcome_knows_the_error_behind_it(outcome: Outcome, report: ErrorReport | None) -> None:
    """Only failures have one."""
    assert outcome.report is report


@pytest.mark.parametrize("outcome", [Finished(), Stopped(), Failed()])
def test_an_outcome_is_a_value(outcome: Any) -> None:
    """It compares by content, can be a key, and cannot be changed."""
    assert outcome == type(outcome)()
    assert len({outcome, type(outcome)()}) == 1
    with pytest.raises(FrozenInstanceError):
        outcome.reason = "another"
