"""Once a second: what has begun, what a person wants to end, what runs too long."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from operator_app import clock
from operator_app.duties import Watch
from operator_app.duties.watch import WATCHING
from operator_app.exceptions import (
    OperationAborted,
    OperationLost,
    OperationTimedOut,
    OperatorLost,
)
from operator_app.models import Operation, OperationJob, begun, states
from operator_app.runners import Runner, Runners
from tests.duties.conftest import Claim
from tests.kinds.models import Sweep
from tests.models.tools import Thread, queries, stored, write

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


class Running(Runner):
    """A runner that runs what it is told that it runs."""

    def __init__(self) -> None:
        super().__init__(9, bool)
        self.jobs: list[OperationJob] = []

    free = 0
    is_idle = False

    @property
    def running(self) -> list[OperationJob]:
        """The jobs."""
        return self.jobs

    held = running

    def submit(self, job: OperationJob) -> None:
        """Run it."""
        self.jobs.append(job)

    def call(self, work: object) -> None:
        """Never."""

    def take_back(self) -> list[OperationJob]:
        """Nothing."""
        return []

    abandon = take_back

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def runner() -> Running:
    return Running()


@pytest.fixture
def watch(runner: Running) -> Watch:
    return Watch("default", Runners({"threads": runner}))


@pytest.fixture
def job(runner: Running, claim: Claim) -> OperationJob:
    """A job that runs."""
    Sweep.dispatch()
    (job,) = claim()
    runner.submit(job)
    return job


def test_nothing_runs(watch: Watch) -> None:
    """Nothing to look at: no query."""
    with queries() as made:
        assert watch.run() == WATCHING
    assert made == []


def test_what_has_begun_is_marked_once(watch: Watch, job: OperationJob) -> None:
    """One UPDATE the first time; after that one look for wishes."""
    watch.run()
    begun = stored(job.operation).begun_run_at
    assert begun is not None
    with queries() as made:
        watch.run()
    assert len(made) == 1 and made[0].startswith("SELECT")
    assert stored(job.operation).begun_run_at == begun


def test_a_person_asks(watch: Watch, job: OperationJob, caplog: pytest.LogCaptureFixture) -> None:
    """The wish reaches the job with its reason, once, and the log says so."""
    caplog.set_level("INFO", "operator_app")
    watch.run()
    assert job.interruption is None
    write(job.operation, abort_requested_at=clock.now(), reason="wrong customer")
    watch.run()
    first = job.interruption
    assert isinstance(first, OperationAborted) and first.reason == "wrong customer"
    watch.run()
    assert job.interruption is first
    assert told(caplog, "asked_to_abort") == [f"{job} was asked to abort: wrong customer"]


def told(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if getattr(each, "action", "") == action]


def test_a_wish_for_another_attempt_is_none_for_this(
    watch: Watch, job: OperationJob, caplog: pytest.LogCaptureFixture
) -> None:
    """The claim has changed hands: the run is to end, since what it does counts no more."""
    write(job.operation, abort_requested_at=clock.now(), reason="not for you", attempts=7)
    for _ in range(3):
        watch.run()
    assert isinstance(job.interruption, OperatorLost)
    assert str(job.interruption) == "its claim was lost, and others may be running it"
    (line,) = told(caplog, "claim_lost")
    assert "its claim was lost" in line


def test_one_given_back(watch: Watch, job: OperationJob) -> None:
    """So is a claim that somebody has released."""
    write(job.operation, operator=None, started_run_at=None)
    watch.run()
    assert isinstance(job.interruption, OperatorLost)


def test_one_deleted(watch: Watch, job: OperationJob, caplog: pytest.LogCaptureFixture) -> None:
    """Its row is gone: it is to end, and hears why, once; one look is still one query."""
    watch.run()
    Operation.all_objects.filter(pk=job.operation_id).delete()
    with queries() as made:
        watch.run()
    assert len(made) == 1
    first = job.interruption
    assert isinstance(first, OperationLost) and str(first) == "its row was deleted"
    watch.run()
    assert job.interruption is first
    assert len(told(caplog, "claim_lost")) == 1


def test_one_deleted_when_its_run_is_over(
    watch: Watch,
    runner: Running,
    job: OperationJob,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends between the look at what runs and the look at its row: nobody is told anything."""
    watch.run()
    requests = begun.requests

    def late(*arguments: Any) -> list[begun.Request]:
        Operation.all_objects.filter(pk=job.operation_id).delete()
        runner.jobs.clear()
        return requests(*arguments)

    monkeypatch.setattr(begun, "requests", late)
    watch.run()
    assert job.interruption is None and told(caplog, "claim_lost") == []


def test_one_that_deletes_itself_in_a_transaction(watch: Watch, job: OperationJob) -> None:
    """Until that is committed it is nobody's business, and afterwards there is nothing to lose."""
    watch.run()
    let_go, inside = threading.Event(), threading.Event()

    def delete() -> None:
        with transaction.atomic():
            Operation.all_objects.filter(pk=job.operation_id).delete()
            inside.set()
            assert let_go.wait(20)

    deleting = Thread(delete)
    assert inside.wait(20)
    watch.run()
    let_go.set()
    deleting.result(20)
    assert job.interruption is None


@pytest.mark.parametrize("ending", states.ENDINGS)
def test_one_that_has_just_recorded_its_end(watch: Watch, job: OperationJob, ending: str) -> None:
    """An atomic run commits its outcome itself, and returns a moment later: it is left alone."""
    watch.run()
    now = clock.now()
    write(job.operation, abort_requested_at=now, stack_requested_at=now, **{ending: now})
    watch.run()
    assert job.interruption is None


def test_a_thousand(watch: Watch, runner: Running, claim: Claim) -> None:
    """They are marked in groups, and one query looks after all of them."""
    due = clock.now()
    Sweep.schedule_many([Sweep(should_run_at=due) for _ in range(1_100)])
    while len(runner.jobs) < 1_100:
        for job in claim():
            runner.submit(job)
    watch.run()
    assert not Operation.objects.filter(begun_run_at=None).exists()
    asked, gone, taken = runner.jobs[0], runner.jobs[500], runner.jobs[-1]
    write(asked.operation, abort_requested_at=due, reason="enough")
    Operation.all_objects.filter(pk=gone.operation_id).delete()
    write(taken.operation, attempts=7)
    with queries() as made:
        watch.run()
    assert len(made) == 1
    ended = {id(job): job.interruption for job in runner.jobs if job.interruption is not None}
    assert set(ended) == {id(asked), id(gone), id(taken)}
    assert isinstance(ended[id(asked)], OperationAborted)
    assert isinstance(ended[id(gone)], OperationLost)
    assert isinstance(ended[id(taken)], OperatorLost)


def test_the_time_is_up(watch: Watch, job: OperationJob, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked to end and that is logged, once; it stays claimed and shows as stuck."""
    now = clock.now()
    job.operation.begun_run_at, job.operation.times_out_at = now - MINUTE, now + MINUTE
    watch.run()
    assert job.interruption is None
    write(job.operation, begun_run_at=now - 12 * MINUTE, times_out_at=now - 7 * MINUTE)
    job.operation.begun_run_at = now - 12 * MINUTE
    job.operation.times_out_at = now - 7 * MINUTE
    for _ in range(3):
        watch.run()
    assert isinstance(job.interruption, OperationTimedOut)
    (line,) = [each for each in caplog.records if getattr(each, "action", "") == "overran"]
    assert "ran 12 min, timeout 5 min" in line.getMessage()
    row = stored(job.operation)
    assert (row.state, row.stuck_reason) == ("stuck", "ran 12 min, timeout 5 min")
    assert list(Operation.objects.deserted()) == []


def test_one_claimed_under_an_identity_that_is_dead(
    watch: Watch, runner: Running, job: OperationJob
) -> None:
    """However late it comes: it is asked to end, since others may be running it."""
    assert job.operation.operator_id is not None
    error = OperatorLost("taken for dead")
    runner.jobs.clear()
    watch._runners.disown(job.operation.operator_id, error)
    runner.submit(job)
    watch.run()
    assert job.interruption is error


def test_a_person_outranks_the_clock(watch: Watch, job: OperationJob) -> None:
    """Whoever asks last: a person's wish is what it ends with."""
    now = clock.now()
    job.operation.begun_run_at, job.operation.times_out_at = now - MINUTE, now
    with clock.at(now + MINUTE):
        watch.run()
    assert isinstance(job.interruption, OperationTimedOut)
    write(job.operation, abort_requested_at=now, reason="")
    watch.run()
    assert isinstance(job.interruption, OperationAborted)
    assert job.interruption.reason == "asked to abort"
