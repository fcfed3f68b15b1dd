"""What a person's wish to abort makes of an ending that is on its way: the design's last line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from operator_app import Policy, clock
from operator_app.exceptions import OperationAborted, OperatorError, OperatorLost
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.notice import FailureNotice
from operator_app.models.rescues import rescued
from operator_app.outcomes import (
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
from tests.kinds.models import Hooked, Scripted, Sweep
from tests.models.tools import claimed_job, queries, raises, scripted, stored, write

pytestmark = pytest.mark.django_db

REPORT = ErrorReport("LookupError", "gone", "Traceback ...")


def asked(operation: Operation, reason: str = "wrong customer") -> None:
    write(operation, abort_requested_at=clock.now(), reason=reason)


@pytest.mark.parametrize(
    ("outcome", "state", "name", "reason"),
    [
        (Finished(), "finished", "finished", ""),
        (Cancelled("not needed"), "cancelled", "cancelled", "not needed"),
        (Aborted("as you wish"), "cancelled", "aborted", "as you wish"),
        (Failed("gone", error=REPORT), "failed", "failed", "gone"),
        (Stopped("later"), "cancelled", "aborted", "wrong customer"),
        (Released("told to leave"), "cancelled", "aborted", "wrong customer"),
        (Released("told to leave", delay=5), "cancelled", "aborted", "wrong customer"),
        (Retried("gone", error=REPORT), "failed", "failed", "gone"),
        (Retried("it died", error=REPORT, crashed=True), "cancelled", "aborted", "wrong customer"),
        (Failed("3 times", error=REPORT, crashed=True), "cancelled", "aborted", "wrong customer"),
    ],
    ids=repr,
)
def test_it_is_not_run_again(
    outcome: Outcome, state: str, name: str, reason: str, operator: OperatorProcess
) -> None:
    """Whatever would bring it back ends it; what has ended it stands. Its key is free."""
    operation = Sweep.dispatch(unique_key="k")
    job = claimed_job(operation, operator)
    asked(operation)
    ended_at = clock.now() - timedelta(seconds=5)
    job.end_as(outcome, at=ended_at)
    assert Operation.all_objects.record([job]) == [job]
    assert job.ended_at == ended_at
    row = stored(operation)
    assert (row.state, row.reason, row.active_key) == (state, reason, None)
    assert row.abort_requested_at is not None and row.operator_id == operator.pk
    assert job.outcome == name and job.ending is not None and job.ending.name == name
    if name != "finished":
        history = OperationJob.objects.get()
        assert (history.outcome, history.ended_at) == (name, job.ended_at)
    assert row.failures == int(isinstance(outcome, (Retried, Failed)) and name == "failed")
    assert (row.crashes, row.stops) == (0, 0)


def test_without_a_reason(operator: OperatorProcess) -> None:
    """There is always something to read."""
    job = claimed_job(Sweep.dispatch(), operator)
    asked(job.operation, reason="")
    job.end_as(Stopped("later"))
    Operation.all_objects.record([job])
    assert stored(job.operation).reason == "asked to abort"


def test_it_costs_nothing_where_nobody_asked(operator: OperatorProcess) -> None:
    """One guarded UPDATE, as for any other ending."""
    job = claimed_job(Sweep.dispatch(), operator)
    job.end_as(Stopped("later"))
    with queries("UPDATE") as made:
        Operation.all_objects.record([job])
    assert len(made) == 1
    assert stored(job.operation).stops == 1


def test_a_lost_claim_is_lost(operator: OperatorProcess) -> None:
    """A wish to abort another attempt is none for this one."""
    job = claimed_job(Sweep.dispatch(), operator)
    write(job.operation, attempts=7)
    asked(job.operation)
    job.end_as(Stopped("later"))
    assert Operation.all_objects.record([job]) == []
    assert stored(job.operation).cancelled_at is None


def test_hooks_hear_what_became_of_it(operator: OperatorProcess) -> None:
    """A failure that is not retried says so."""
    error = LookupError("gone")
    job = claimed_job(scripted(raises(error), kind=Hooked), operator)
    job.run()
    assert isinstance(job.ending, Retried)
    asked(job.operation)
    assert Operation.all_objects.record([job]) == [job]
    job.call_hooks()
    assert Scripted.hooks == [("errored", job.operation_id, error, False)]


def test_a_failure_that_is_not_tried_again_gives_notice(
    operator: OperatorProcess, settings: Any
) -> None:
    """It would have been tried again; now it has failed for good, and somebody is told."""
    settings.OPERATOR = {"ON_FAILURE": ["operator_app.failures.mail_admins"]}
    job = claimed_job(Sweep.dispatch(), operator)
    asked(job.operation)
    job.end_as(Retried("gone", error=REPORT))
    Operation.all_objects.record([job])
    assert FailureNotice.objects.get().failed_operation_id == job.operation_id


@pytest.mark.parametrize("on_stuck", ["retry", "fail", "leave"])
@pytest.mark.parametrize("crashes", [0, 2])
def test_the_rescue_of_one_that_was_to_abort(
    on_stuck: Any, crashes: int, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operator died; nobody wants it to be run again, whatever the policy says."""
    monkeypatch.setattr(Sweep, "policy", Policy(on_stuck=on_stuck))
    operation = Sweep.dispatch()
    write(operation, crashes=crashes)
    claimed_job(operation, operator)
    asked(operation)
    OperatorProcess.objects.all().update(lost_at=clock.now())
    job = rescued(stored(operation))
    assert job is not None and job.ending == Aborted("wrong customer")
    assert Operation.all_objects.record([job]) == [job]
    row = stored(operation)
    assert (row.state, row.crashes, row.reason) == ("cancelled", crashes, "wrong customer")


def test_a_wish_from_before_is_none_for_a_run_by_hand() -> None:
    """As for any other claim."""
    operation = Sweep.dispatch()
    asked(operation)
    OperationJob(operation=stored(operation)).perform()
    assert stored(operation).abort_requested_at is None


# Inside run()


@pytest.fixture
def run(operator: OperatorProcess) -> Callable[..., OperationJob]:
    """Run a script as the job of a claim, that was asked to end with an error."""

    def run(script: Callable[[Any], object], asked: BaseException | None) -> OperationJob:
        job = claimed_job(scripted(script), operator)
        job.interruption = asked
        with queries() as made:
            job.run()
        assert not [sql for sql in made if "operator_app_operation" in sql and "UPDATE" in sql]
        return job

    return run


def test_nobody_asks(run: Callable[..., OperationJob]) -> None:
    """`should_abort()` says no, `raise_if_aborted()` does nothing."""
    seen = []

    def look(operation: Scripted) -> None:
        seen.append(operation.should_abort())
        operation.raise_if_aborted()

    assert run(look, None).ending == Finished()
    assert seen == [False]


def test_somebody_asks(run: Callable[..., OperationJob]) -> None:
    """The reason that was given is the outcome's."""

    def look(operation: Scripted) -> None:
        assert operation.should_abort()
        operation.raise_if_aborted()

    assert run(look, OperationAborted("wrong customer")).ending == Aborted("wrong customer")


def test_one_that_does_not_look_is_finished(run: Callable[..., OperationJob]) -> None:
    """Asking is asking."""
    job = run(lambda operation: None, OperationAborted("wrong customer"))
    assert job.ending == Finished()


def test_neither_works_outside_its_own_job(operator: OperatorProcess) -> None:
    """There is nothing to ask, and the error says so."""
    operation = Sweep.dispatch()
    for ask in (operation.should_abort, operation.raise_if_aborted):
        with pytest.raises(OperatorError, match="job"):
            ask()


def test_a_lost_operator_asks(run: Callable[..., OperationJob]) -> None:
    """Nobody wanted it to be over: what gives up because its operator was taken for dead is run
    again, should nobody have rescued it yet."""

    def look(operation: Scripted) -> None:
        operation.raise_if_aborted()

    job = run(look, OperatorLost("taken for dead"))
    assert isinstance(job.ending, Released)
    assert Operation.all_objects.record([job]) == [job]
    row = stored(job.operation)
    assert (row.state, row.failures) == ("scheduled", 0)
