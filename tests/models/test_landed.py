"""Look before concluding: the answer to a commit got lost, and the commit may have happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connections

from operator_app import Policy
from operator_app.duties import Record
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Cancelled, Failed, Finished, Outcome, Released, Retried, Stopped
from operator_app.reports import ErrorReport
from tests.kinds.models import Hooked, Scripted, Sweep
from tests.models.tools import claimed_job, nothing, scripted, write

pytestmark = pytest.mark.django_db(transaction=True)

REPORT = ErrorReport("LookupError", "gone", "Traceback ...")


@contextmanager
def answer_lost(*, committed: bool) -> Iterator[None]:
    """Let the next COMMIT fail, after it has happened or before."""
    connection = connections["default"]
    real = connection.commit

    def commit() -> None:
        if committed:
            real()
        else:
            connection.rollback()
        raise OperationalError("server closed the connection unexpectedly")

    connection.commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        del connection.commit


def hold(operator: OperatorProcess, outcome: Outcome, **columns: Any) -> OperationJob:
    job = claimed_job(Sweep.dispatch(), operator)
    job.end_as(outcome)
    for name, value in columns.items():
        setattr(job, name, value)
    return job


def snapshot() -> tuple[list[Any], list[Any]]:
    jobs = OperationJob.objects.order_by("id").values("number", "outcome", "ended_at", "message")
    return list(Operation.all_objects.order_by("id").values()), list(jobs)


OUTCOMES: list[Outcome] = [
    Finished(),
    Stopped("later", delay=60),
    Cancelled("not needed"),
    Retried("LookupError: gone", error=REPORT, delay=10),
    Retried("its operator died", error=REPORT, crashed=True),
    Failed("LookupError: gone", error=REPORT),
    Released("told to leave", delay=5),
    Released("told to leave"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: f"{each.name}-{each.reason[:8]}")
def test_what_was_committed_is_not_written_twice(
    operator: OperatorProcess, outcome: Outcome
) -> None:
    """Recorded again it counts as held, so that hooks are called, and changes nothing."""
    job = hold(operator, outcome)
    with answer_lost(committed=True), pytest.raises(OperationalError):
        Operation.all_objects.record([job])
    before = snapshot()
    assert Operation.all_objects.record([job]) == [job]
    assert snapshot() == before


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: f"{each.name}-{each.reason[:8]}")
def test_what_was_not_committed_is_written(operator: OperatorProcess, outcome: Outcome) -> None:
    """The second try writes what the first one could not, once."""
    job = hold(operator, outcome)
    before = snapshot()
    with answer_lost(committed=False), pytest.raises(OperationalError):
        Operation.all_objects.record([job])
    assert snapshot() == before
    assert Operation.all_objects.record([job]) == [job]
    assert snapshot() != before
    counter = outcome.counter
    assert counter is None or Operation.all_objects.values_list(counter, flat=True).get() == 1


def test_what_another_has_written_since_is_not_ours(operator: OperatorProcess) -> None:
    """A claim that was lost between two tries is lost: an ending at another time is another's."""
    job = hold(operator, Finished())
    with answer_lost(committed=False), pytest.raises(OperationalError):
        Operation.all_objects.record([job])
    other = OperationJob.of(job.operation)
    other.end_as(Finished())
    assert Operation.all_objects.record([other]) == [other]
    assert Operation.all_objects.record([job]) == []


@pytest.mark.parametrize("delay", [0, 5])
def test_a_release_is_not_taken_for_a_rescue(operator: OperatorProcess, delay: float) -> None:
    """Rescued between two tries, a claim that was to be released is somebody else's."""
    job = hold(operator, Released("told to leave", delay=delay))
    with answer_lost(committed=False), pytest.raises(OperationalError):
        Operation.all_objects.record([job])
    rescue = OperationJob.of(job.operation)
    rescue.end_as(Retried("lost", error=REPORT, crashed=True))
    assert Operation.all_objects.record([rescue]) == [rescue]
    assert Operation.all_objects.record([job]) == []
    assert OperationJob.objects.get().outcome == "retried"


def test_a_first_try_that_finds_nothing_concludes(operator: OperatorProcess) -> None:
    """Without an earlier try there is nothing to look for: a lost claim costs one query."""
    job = hold(operator, Finished())
    write(job.operation, attempts=7)
    assert Operation.all_objects.record([job]) == []


def test_hooks_once(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch, settle: Callable[[Record], None]
) -> None:
    """Through the duty: one group, its commit's answer lost, recorded and told once."""
    monkeypatch.setattr(Hooked, "policy", Policy(keep_jobs="all"))
    job = claimed_job(scripted(nothing, kind=Hooked), operator)
    job.run()
    record = Record("default", OperationJob.call_hooks)
    record.add(job)
    with answer_lost(committed=True), pytest.raises(OperationalError):
        record.run()
    assert Scripted.hooks == []
    settle(record)
    assert Scripted.hooks == [("succeeded", job.operation_id)]
    assert OperationJob.objects.count() == 1


@pytest.fixture
def settle() -> Callable[[Record], None]:
    """Runs a record duty until it has nothing left."""

    def settle(record: Record) -> None:
        while not record.is_empty:
            record.run()

    return settle


@pytest.mark.parametrize("committed", [True, False])
def test_the_commit_of_an_atomic_run(
    operator: OperatorProcess,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its answer is lost: it has finished, and its hooks are called; or it is tried again."""
    monkeypatch.setattr(Hooked, "policy", Policy(atomic=True, backoff=[1]))
    job = claimed_job(scripted(nothing, kind=Hooked), operator)
    with answer_lost(committed=committed):
        job.run()
    assert isinstance(job.ending, Retried)
    assert Operation.all_objects.record([job]) == [job]
    job.call_hooks()
    row = Operation.all_objects.get()
    assert (row.finished_run_at is not None, row.failures) == (committed, int(not committed))
    hooks = [note[0] for note in Scripted.hooks]
    assert hooks == (["succeeded"] if committed else ["errored"])
    assert not [record for record in caplog.records if getattr(record, "action", "") == "lost"]
    if committed:
        assert (job.ending, job.ended_at, job.error) == (Finished(), row.finished_run_at, None)
