"""`expires_after`, and the other ways in which a policy says: not again, not now, not so soon."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from operator_app import Backoff, Policy, clock
from operator_app.duties import Heartbeat
from operator_app.models import Operation, OperationJob
from operator_app.outcomes import Released
from operator_app.testing import run_due
from tests.kinds.models import Hooked, Note, Scripted
from tests.models.tools import claimed_job, nothing, raises, scripted, stored, write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> None:
    Scripted.forget()


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give `Scripted` another policy."""

    def change(**options: Any) -> None:
        monkeypatch.setattr(Scripted, "policy", Policy(**options))

    return change


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_one_that_could_not_begin_in_time_is_cancelled(policy: Any) -> None:
    policy(expires_after=60)
    ran: list[int] = []
    operation = scripted(lambda o: ran.append(o.pk))
    [job] = run_due(now=operation.should_run_at + seconds(60.001))
    row = stored(operation)
    assert job.outcome == "cancelled" and row.state == "cancelled" and ran == []
    assert row.reason == "expired: it could not begin within 60 s of when it should have run"
    assert row.failures == row.stops == 0 and row.active_key is None
    assert OperationJob.objects.get().message == row.reason
    assert not Scripted.objects.exists() and Scripted.all_objects.exists()


def test_one_that_begins_in_time_runs(policy: Any) -> None:
    policy(expires_after=60)
    operation = scripted(nothing)
    [job] = run_due(now=operation.should_run_at + seconds(60))
    assert job.outcome == "finished"


@pytest.mark.parametrize("column", ["failures", "stops", "crashes"])
def test_one_that_has_begun_once_does_not_expire(policy: Any, column: str) -> None:
    policy(expires_after=60)
    operation = scripted(nothing)
    write(operation, **{column: 1})
    [job] = run_due(now=operation.should_run_at + timedelta(days=1))
    assert job.outcome == "finished"


@pytest.mark.parametrize("begun", [True, False])
def test_one_that_was_released(policy: Any, begun: bool) -> None:
    """A release charges nothing and leaves no counter; whether it had begun is known all the same:
    what had begun is run to its end, however late, and what had not may still expire.
    """
    policy(expires_after=60)
    operation = scripted(nothing)
    freed(operation, begun=begun)
    [job] = run_due(now=operation.should_run_at + timedelta(days=1))
    assert job.outcome == ("finished" if begun else "cancelled")


def freed(operation: Operation, *, begun: bool) -> None:
    """Claim an operation and release it."""
    heartbeat = Heartbeat("default", queues=[], capacity=1)
    job = claimed_job(operation, heartbeat.register())
    if begun:
        job.run()
    job.end_as(Released("the operator was told to leave", delay=5 if begun else 0))
    Operation.all_objects.record([job])
    heartbeat.stop()


def test_none_expires_without_a_limit() -> None:
    Note.dispatch()
    [job] = run_due(now=clock.now() + timedelta(days=3650))
    assert job.outcome == "finished"


def test_one_that_expires_calls_no_hook_of_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Hooked, "policy", Policy(expires_after=1))
    operation = scripted(nothing, Hooked)
    run_due(now=operation.should_run_at + seconds(5))
    assert [name for name, *_ in Hooked.hooks] == ["queued"]


def test_a_retried_one_may_expire_anew(policy: Any) -> None:
    """`retry()` makes it due now, so its time begins anew."""
    policy(expires_after=60)
    operation = scripted(nothing)
    later = operation.should_run_at + seconds(61)
    run_due(now=later)
    with clock.at(later):
        assert Operation.objects.cancelled().retry() == 1
    [job] = run_due(now=later + seconds(59))
    assert job.outcome == "finished"


# A retry with its own delay


@pytest.mark.parametrize(("delay", "waits"), [(90, 90), (0, 0), (0.5, 0.5), (None, 7)])
def test_retry_waits_as_long_as_it_says(policy: Any, delay: float | None, waits: float) -> None:
    policy(backoff=[7, 7])
    operation = scripted(lambda o: o.retry("busy", delay=delay))
    moment = clock.now()
    [job, *_] = run_due(now=moment, limit=1)
    row = stored(operation)
    assert (job.outcome, job.message, row.failures) == ("retried", "busy", 1)
    assert row.should_run_at == moment + seconds(waits)


def test_retry_obeys_max_attempts_whatever_its_delay(policy: Any) -> None:
    policy(max_attempts=2, backoff=[1])
    operation = scripted(lambda o: o.retry("busy", delay=5))
    now = clock.now()
    outcomes = [job.outcome for n in range(3) for job in run_due(now=now + seconds(10 * n))]
    assert outcomes == ["retried", "failed"]
    assert stored(operation).failures == 2 and "busy" in stored(operation).reason


# Stops


def test_a_stop_too_many_is_a_failure(policy: Any) -> None:
    policy(max_stops=2)
    operation = scripted(lambda o: o.stop("the bank is closed", delay=1))
    now = clock.now()
    outcomes = [job.outcome for n in range(4) for job in run_due(now=now + seconds(10 * n))]
    assert outcomes == ["stopped", "stopped", "failed"]
    row = stored(operation)
    assert row.reason == "stopped more than 2 times (max_stops=2): the bank is closed"
    assert (row.stops, row.failures) == (2, 1)


def test_without_max_stops_one_may_stop_for_ever() -> None:
    operation = scripted(lambda o: o.stop(delay=1))
    now = clock.now()
    for number in range(20):
        run_due(now=now + seconds(10 * number))
    row = stored(operation)
    assert (row.stops, row.failures, row.failed_run_at) == (20, 0, None)


# Backoffs that are functions


def test_a_backoff_that_returns_none_gives_up(policy: Any) -> None:
    asked: list[tuple[str, int]] = []

    def backoff(error: BaseException, operation: Any) -> float | None:
        asked.append((str(error), operation.failures))
        return 3 if not operation.failures else None

    policy(backoff=backoff, max_attempts=10)
    operation = scripted(raises(ValueError("no")))
    moment = clock.now()
    [first] = run_due(now=moment)
    assert stored(operation).should_run_at == moment + seconds(3)
    [second] = run_due(now=moment + seconds(3))
    assert (first.outcome, second.outcome) == ("retried", "failed")
    assert asked == [("no", 0), ("no", 1)]
    assert stored(operation).reason == "ValueError: no" and stored(operation).failures == 2


@pytest.mark.parametrize("wrong", [-1, "soon", float("nan"), float("inf"), True])
def test_a_backoff_that_returns_nonsense_fails_the_operation(policy: Any, wrong: Any) -> None:
    policy(backoff=lambda error, operation: wrong, max_attempts=10)
    operation = scripted(raises(ValueError("no")))
    [job] = run_due()
    assert job.outcome == "failed" and job.exception_class == "ValueError"
    assert "its backoff raised TypeError" in stored(operation).reason


def test_a_backoff_that_raises_does_not_hide_the_error(policy: Any) -> None:
    def backoff(error: BaseException, operation: Any) -> float:
        raise KeyError("oops")

    policy(backoff=backoff, max_attempts=10)
    operation = scripted(raises(ValueError("no")))
    [job] = run_due()
    assert job.exception_class == "ValueError" and stored(operation).state == "failed"
    assert "KeyError" in stored(operation).reason


def test_attempt_500_is_as_good_as_any(policy: Any) -> None:
    policy(max_attempts=1000, backoff=Backoff.exponential(10, factor=10, cap=3600, jitter=0))
    operation = scripted(raises(ValueError("no")))
    write(operation, failures=499)
    moment = clock.now()
    [job] = run_due(now=moment)
    assert job.outcome == "retried" and stored(operation).failures == 500
    assert stored(operation).should_run_at == moment + seconds(3600)
