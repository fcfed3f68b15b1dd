"""That a job has begun, and until when it may run."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from operator_app import Policy, clock
from operator_app.models import Operation, OperationQuerySet, OperatorProcess
from operator_app.outcomes import RELEASED_AFTER, Released
from operator_app.testing import run_due
from tests.kinds.models import Scripted, Sweep
from tests.models.tools import Thread, claimed_job, nothing, queries, scripted, stored, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Scripted` has a timeout of a minute."""
    monkeypatch.setattr(Scripted, "policy", Policy(timeout=60))


def test_nothing_is_written_where_nobody_has_to_know(operator: OperatorProcess) -> None:
    """An ordinary operation begins for free."""
    job = claimed_job(Sweep.dispatch(), operator)
    with queries() as made:
        assert job.begin()
    assert made == []
    assert stored(job.operation).begun_run_at is None


def test_a_kind_with_a_timeout(limited: None, operator: OperatorProcess) -> None:
    """When it begins, and until when it may run, is known before it does: one UPDATE."""
    job = claimed_job(scripted(nothing), operator)
    now = clock.now()
    with clock.at(now), queries() as made:
        assert job.begin()
    assert len(made) == 1
    row = stored(job.operation)
    assert (row.begun_run_at, row.times_out_at) == (now, now + timedelta(minutes=1))
    assert (job.operation.begun_run_at, job.operation.times_out_at) == (
        row.begun_run_at,
        row.times_out_at,
    )


def test_a_suspect(operator: OperatorProcess) -> None:
    """If it kills this process, everybody knows that it was running."""
    operation = Sweep.dispatch()
    write(operation, crashes=1)
    job = claimed_job(operation, operator)
    assert job.begin()
    row = stored(operation)
    assert row.begun_run_at is not None and row.times_out_at is None


def test_what_has_begun_does_not_begin_again(limited: None, operator: OperatorProcess) -> None:
    """The second call writes nothing."""
    job = claimed_job(scripted(nothing), operator)
    assert job.begin()
    with queries() as made:
        assert job.begin()
    assert made == []


def test_a_mark_of_the_operators_sets_no_time(limited: None, operator: OperatorProcess) -> None:
    """The operator, which marks all that runs, may be quicker: the timeout holds all the same."""
    job = claimed_job(scripted(nothing), operator)
    assert Operation.all_objects.mark_begun([job]) == 1
    assert job.begin()
    row = stored(job.operation)
    assert row.begun_run_at is not None and row.times_out_at is not None
    assert row.times_out_at - row.begun_run_at == timedelta(minutes=1)


def test_a_lost_claim_does_not_begin(limited: None, operator: OperatorProcess) -> None:
    """It is not run, and what it would write is nothing."""
    job = claimed_job(scripted(nothing), operator)
    write(job.operation, attempts=7)
    assert not job.begin()
    assert isinstance(job.ending, Released)
    assert stored(job.operation).begun_run_at is None
    assert Operation.all_objects.record([job]) == []


def test_an_outage_at_the_beginning(
    limited: None, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down does not begin; it is released for later."""
    job = claimed_job(scripted(nothing), operator)

    def away(*args: Any, **changes: Any) -> int:
        raise OperationalError("the server has gone away")

    with monkeypatch.context() as patched:
        patched.setattr(OperationQuerySet, "update", away)
        assert not job.begin()
    assert isinstance(job.ending, Released) and job.ending.delay == RELEASED_AFTER
    assert "the server has gone away" in job.ending.reason
    assert Operation.all_objects.record([job]) == [job]
    assert stored(job.operation).state == "scheduled"


def test_in_the_callers_thread(limited: None) -> None:
    """`run_due()` and the operator's main thread know the timeout, too."""
    operation = scripted(nothing)
    [job] = run_due()
    row = stored(operation)
    assert row.begun_run_at is not None and row.times_out_at is not None
    assert row.times_out_at - row.begun_run_at == timedelta(minutes=1)
    assert job.outcome == "finished"


def test_by_hand(limited: None) -> None:
    """`dispatch_now()` has the same limit, and so has `perform()`."""
    seen: list[tuple[Any, Any]] = []

    def look(operation: Scripted) -> None:
        row = stored(operation)
        seen.append((row.begun_run_at, row.times_out_at))

    Scripted.dispatch_now(script=Scripted.does("look", look))
    from operator_app.models import OperationJob

    OperationJob(operation=scripted(look)).perform()
    for begun, until in seen:
        assert until - begun == timedelta(minutes=1)
    assert len(seen) == 2


def test_all_at_once(operator: OperatorProcess) -> None:
    """Those that hold their claim, in one UPDATE; the other one is not taken for marked."""
    jobs = [claimed_job(Sweep.dispatch(), operator) for _ in range(3)]
    write(jobs[0].operation, attempts=7)
    with queries("UPDATE") as made:
        assert Operation.all_objects.mark_begun(jobs) == 2
    assert len(made) == 1
    begun = [stored(job.operation).begun_run_at is not None for job in jobs]
    assert begun == [False, True, True]
    assert [job.operation.begun_run_at is not None for job in jobs] == begun


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="has no locks of rows")
def test_a_run_that_has_locked_its_row_is_not_waited_for(operator: OperatorProcess) -> None:
    """The heartbeat's thread marks what runs, and must beat on, however long a transaction lasts.
    The others are marked; this one is, too, once it can be."""
    jobs = [claimed_job(Sweep.dispatch(), operator) for _ in range(2)]
    locked, let_go = threading.Event(), threading.Event()

    def lock() -> None:
        with transaction.atomic():
            Operation.objects.select_for_update().get(pk=jobs[0].operation_id)
            locked.set()
            assert let_go.wait(30)

    run = Thread(lock)
    try:
        assert locked.wait(30)
        marking = Thread(lambda: Operation.all_objects.mark_begun(jobs))
        assert marking.result(timeout=10) == 1
    finally:
        let_go.set()
        run.result()
    assert [job.operation.begun_run_at is not None for job in jobs] == [False, True]
    assert Operation.all_objects.mark_begun(jobs[:1]) == 1
