"""Rule 5.4: what ends after its time is up, and how."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from operator_app import Policy, clock
from operator_app.exceptions import (
    OperationAborted,
    OperationLost,
    OperationTimedOut,
)
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.attempts import interrupted
from operator_app.outcomes import Aborted, Cancelled, Failed, Finished, Retried, Stopped
from tests.kinds.models import Scripted
from tests.models.tools import claimed_job, nothing, raises, scripted, stored

pytestmark = pytest.mark.django_db

Late = Callable[..., OperationJob]


@pytest.fixture
def late(operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch) -> Late:
    """Run a script that returns, or raises, `after` seconds; its timeout is a minute."""
    monkeypatch.setattr(Scripted, "policy", Policy(timeout=60, backoff=[1, 2]))

    def late(
        script: Callable[[Any], object], *, after: float = 90, asked: BaseException | None = None
    ) -> OperationJob:
        job = claimed_job(scripted(script), operator)
        now = clock.now()
        with clock.at(now):
            assert job.begin()
        job.interruption = asked
        with clock.at(now + timedelta(seconds=after)):
            job.run()
        return job

    return late


def test_an_error_after_the_time_is_a_timeout(late: Late) -> None:
    """An ordinary failure, which may be retried, and says how long it ran and where it was."""
    job = late(raises(LookupError("gone")))
    assert isinstance(job.ending, Retried) and not job.ending.crashed
    assert job.ending.reason == "OperationTimedOut: ran 90 s, timeout 60 s"
    assert isinstance(job.error, OperationTimedOut)
    assert job.exception_class == "operator_app.exceptions.OperationTimedOut"
    assert "LookupError: gone" in job.traceback and "in raiser" in job.traceback
    assert Operation.all_objects.record([job]) == [job]
    row = stored(job.operation)
    assert (row.failures, row.times_out_at, row.begun_run_at) == (1, None, None)


def test_an_error_in_time_is_itself(late: Late) -> None:
    """Nothing is different before."""
    job = late(raises(LookupError("gone")), after=59)
    assert isinstance(job.error, LookupError)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (nothing, Finished),
        (lambda operation: operation.stop("later"), Stopped),
        (lambda operation: operation.cancel("not needed"), Cancelled),
        (lambda operation: operation.retry("again"), Retried),
        (raises(OperationLost("gone")), Failed),
    ],
    ids=["finished", "stopped", "cancelled", "retried", "lost"],
)
def test_what_it_says_itself_counts(late: Late, script: Any, kind: type) -> None:
    """Finishing late is finishing."""
    job = late(script)
    assert type(job.ending) is kind
    assert not isinstance(job.error, OperationTimedOut)


def test_giving_up_because_the_time_is_up_is_a_timeout(late: Late) -> None:
    """Only a person's abort keeps it from being retried."""
    asked = OperationTimedOut("ran 61 s, timeout 60 s")
    job = late(lambda operation: operation.raise_if_aborted(), asked=asked)
    assert isinstance(job.ending, Retried)
    assert isinstance(job.error, OperationTimedOut)


def test_a_persons_abort_stands(late: Late) -> None:
    """However late it is heeded."""
    asked = OperationAborted("wrong customer")
    job = late(lambda operation: operation.raise_if_aborted(), asked=asked)
    assert job.ending == Aborted("wrong customer")


def test_killed_for_its_time(operator: OperatorProcess, late: Late) -> None:
    """A job whose process is ended for it has timed out, too; once all attempts are used it has
    failed."""
    job = claimed_job(scripted(nothing), operator)
    with clock.at(clock.now() - timedelta(seconds=61)):
        assert job.begin()
    error = OperationTimedOut("ran 61 s, timeout 60 s")
    policy = type(job.load()).resolved_policy()
    outcome = interrupted(job, error, policy)
    assert isinstance(outcome, Retried) and not outcome.crashed
    assert job.error is error
    job.operation.failures = 2
    assert isinstance(interrupted(job, error, policy), Failed)
    assert interrupted(job, OperationAborted("no"), policy) == Aborted("no")
