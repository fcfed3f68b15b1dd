"""What becomes of an operation whose operator is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.contenttypes.models import ContentType

from operator_app import Policy, clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.rescues import rescued
from operator_app.models.states import BY_HAND_FOR
from operator_app.outcomes import Failed, Released, Retried
from tests.kinds.models import Note, Sweep
from tests.models.tools import HOUR, claimed_job, stored, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def held(operator: OperatorProcess) -> Operation:
    """An operation that the operator holds."""
    operation = Sweep.dispatch()
    claimed_job(operation, operator)
    return operation


def outcome_of(operation: Operation, **columns: object) -> OperationJob:
    """The job of a rescue, where there is one."""
    if columns:
        write(operation, **columns)
    job = rescued(stored(operation))
    assert job is not None
    return job


def test_the_first_crash_makes_a_suspect(held: Operation) -> None:
    """Begun or not, it has crashed and is due at once: nobody can tell who did it."""
    for begun in (None, clock.now()):
        outcome = outcome_of(held, begun_run_at=begun).ending
        assert isinstance(outcome, Retried)
        assert (outcome.crashed, outcome.delay) == (True, 0)


def test_a_suspect_that_had_not_begun_is_innocent(held: Operation) -> None:
    """It was waiting for its turn in quarantine: released, uncharged, due at its old time."""
    job = outcome_of(held, crashes=2, begun_run_at=None)
    assert isinstance(job.ending, Released)
    before = stored(held)
    assert Operation.all_objects.record([job]) == [job]
    after = stored(held)
    assert (after.crashes, after.should_run_at) == (2, before.should_run_at)
    assert after.state == "due"


def test_a_suspect_that_had_begun_is_guilty(held: Operation) -> None:
    """It is charged, and waits; the last time it has failed, saying whose death it was."""
    second = outcome_of(held, crashes=1, begun_run_at=clock.now()).ending
    assert isinstance(second, Retried)
    assert second.delay > 0
    job = outcome_of(held, crashes=2)
    assert isinstance(job.ending, Failed)
    Operation.all_objects.record([job])
    row = stored(held)
    assert (row.crashes, row.state) == (3, "failed")
    assert "3 times (max_crashes=3)" in row.reason
    assert "operator host:1 gave no heartbeat since" in row.reason


@pytest.mark.parametrize("how", ["retry", "fail", "leave"])
def test_the_policy_decides(held: Operation, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`on_stuck` is read when the operator is lost."""
    monkeypatch.setattr(Sweep, "policy", Policy(on_stuck=how))  # type: ignore[arg-type]
    job = rescued(stored(held))
    names = {"retry": "retried", "fail": "failed", "leave": None}
    assert (job.outcome if job else None) == names[how]


def test_started_by_hand_and_overdue(operator: OperatorProcess) -> None:
    """Whoever called `dispatch_now` is gone; it has failed, and is never run twice."""
    operation = Note.dispatch()
    long_ago = clock.now() - BY_HAND_FOR - HOUR
    write(operation, started_run_at=long_ago, begun_run_at=long_ago, attempts=1)
    job = outcome_of(operation)
    assert isinstance(job.ending, Failed)
    assert "started by hand" in job.ending.reason
    assert list(Operation.all_objects.deserted(clock.now())) == [stored(operation)]
    write(operation, started_run_at=clock.now() - timedelta(minutes=59))
    assert list(Operation.all_objects.deserted(clock.now())) == []


def test_a_kind_that_is_not_known_is_left_to_others(
    held: Operation, gone_kind: ContentType
) -> None:
    """Only a process that knows its policy may decide."""
    write(held, kind=gone_kind)
    assert rescued(stored(held)) is None


def test_the_job_says_where_it_was(held: Operation, operator: OperatorProcess) -> None:
    """The history of the attempt names the dead operator, and has the error for hooks."""
    job = outcome_of(held)
    assert (job.operator, job.number) == (str(operator), 1)
    assert job.error is not None
    assert str(operator) in str(job.error)
