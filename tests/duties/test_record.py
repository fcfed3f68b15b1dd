"""Writing how jobs ended."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.duties import Record
from operator_app.duties import record as record_module
from operator_app.duties.base import NEVER
from operator_app.duties.record import BATCH
from operator_app.models import Operation, OperationJob
from operator_app.models.querysets import OperationQuerySet
from operator_app.models.transactions import impatient
from operator_app.outcomes import Failed, Finished, Stopped
from operator_app.reports import REASON_LIMIT, TRACEBACK_LIMIT, ErrorReport
from tests.duties.conftest import Claim
from tests.models.tools import locked
from tests.work.models import Tick


@pytest.fixture
def recorded() -> list[OperationJob]:
    return []


@pytest.fixture
def record(recorded: list[OperationJob]) -> Record:
    return Record("default", recorded.append)


def finished(claim: Claim, count: int) -> list[OperationJob]:
    """So many claimed jobs that have finished."""
    now = clock.now()
    Tick.schedule_many([Tick(should_run_at=now) for _ in range(count)])
    jobs = claim()
    assert len(jobs) == count
    for job in jobs:
        job.end_as(Finished())
    return jobs


@pytest.mark.django_db(transaction=True)
def test_nothing_to_record(record: Record, recorded: list[OperationJob]) -> None:
    """Without a job it asks nothing of the database and waits to be woken."""
    with CaptureQueriesContext(connection) as queries:
        assert record.run() == NEVER
    assert len(queries) == 0
    assert record.is_empty
    assert recorded == []


def test_a_group_is_one_transaction(
    record: Record, recorded: list[OperationJob], claim: Claim
) -> None:
    """All jobs that have gathered are recorded in one transaction, then told about, each once."""
    jobs = finished(claim, 5)
    for job in jobs:
        record.add(job)
    assert not record.is_empty
    with CaptureQueriesContext(connection) as queries:
        assert record.run() == NEVER
    assert sum("UPDATE" in query["sql"] for query in queries) == 1
    assert sum(query["sql"].startswith("BEGIN") for query in queries) <= 1
    assert record.is_empty
    assert {id(job) for job in recorded} == {id(job) for job in jobs}
    assert len(recorded) == 5
    assert Operation.objects.finished().count() == 5


def test_a_large_load_is_recorded_in_groups(
    record: Record, recorded: list[OperationJob], claim: Claim
) -> None:
    """More jobs than one group holds: it asks to be run again at once, until all are recorded."""
    for job in finished(claim, BATCH + 1):
        record.add(job)
    assert record.run() == 0
    assert (Operation.objects.finished().count(), record.is_empty) == (BATCH, False)
    assert record.run() == NEVER
    assert (Operation.objects.finished().count(), record.is_empty) == (BATCH + 1, True)
    assert len(recorded) == BATCH + 1


def test_after_a_database_error_nothing_is_lost(
    record: Record,
    recorded: list[OperationJob],
    claim: Claim,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A group that could not be written is kept, and written with the next one; hooks wait."""
    first, second = finished(claim, 3), finished(claim, 2)
    write, failures = OperationQuerySet.record, [OperationalError("away")] * 2

    def fail(self: Any, jobs: Any) -> Any:
        if failures:
            raise failures.pop()
        return write(self, jobs)

    monkeypatch.setattr(OperationQuerySet, "record", fail)
    for job in first:
        record.add(job)
    for _ in range(2):
        with pytest.raises(OperationalError):
            record.run()
        assert not record.is_empty
        assert recorded == []
    for job in second:
        record.add(job)
    assert record.run() == NEVER
    assert record.is_empty
    assert len(recorded) == 5
    assert Operation.objects.finished().count() == 5


def test_an_error_within_the_transaction_undoes_all_of_it(
    record: Record,
    recorded: list[OperationJob],
    claim: Claim,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection breaks in the middle of a group: no part of it stays, and no job is told."""
    jobs = finished(claim, 5)
    jobs[2].end_as(Stopped())
    for job in jobs:
        record.add(job)

    def fail(self: Any, **changes: Any) -> int:
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(OperationQuerySet, "update", fail)
        with pytest.raises(OperationalError):
            record.run()
    assert Operation.objects.finished().count() == 0
    assert recorded == []
    record.run()
    assert Operation.objects.finished().count() == 4
    assert len(recorded) == 5


def test_a_lost_claim_has_no_hook(
    record: Record,
    recorded: list[OperationJob],
    claim: Claim,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A job whose claim was lost changes nothing, is logged as lost, and is not handed on."""
    held, lost = finished(claim, 2)
    Operation.all_objects.filter(pk=lost.operation_id).update(attempts=7)
    for job in (held, lost):
        record.add(job)
    record.run()
    assert recorded == [held]
    assert Operation.objects.get(pk=lost.operation_id).finished_run_at is None
    (line,) = [entry for entry in caplog.records if entry.action == "lost"]
    assert line.operation_id == lost.operation_id


def test_a_group_of_long_tracebacks_is_recorded(record: Record, claim: Claim) -> None:
    """A full group of failures, each with the longest traceback that is kept, can be written."""
    report = ErrorReport("SomeError", "no", "x" * TRACEBACK_LIMIT)
    jobs = finished(claim, BATCH)
    for job in jobs:
        job.end_as(Failed("no", error=report))
        record.add(job)
    record.run()
    assert record.is_empty
    assert Operation.objects.failed().count() == BATCH
    assert OperationJob.objects.filter(outcome="failed").count() == BATCH
    kept = OperationJob.objects.values_list("traceback", flat=True).first()
    assert kept is not None and len(kept) == TRACEBACK_LIMIT


@pytest.mark.parametrize(
    "meta", [{"what": object()}, {"not a number": float("nan")}, {"nul": "\x00"}, {("a",): 1}]
)
def test_what_cannot_be_stored_takes_no_neighbour_along(
    record: Record, recorded: list[OperationJob], claim: Claim, meta: dict[Any, Any]
) -> None:
    """A job whose history no database takes keeps its outcome, and so do those beside it."""
    jobs = finished(claim, 3)
    jobs[1].meta = meta
    for job in jobs:
        record.add(job)
    record.run()
    assert record.is_empty
    assert Operation.objects.finished().count() == 3
    assert len(recorded) == 3


def test_a_long_reason_fits(record: Record, claim: Claim) -> None:
    """However long the reason of an outcome is, it is cut to what its column holds."""
    (job,) = finished(claim, 1)
    job.end_as(Failed("ä" * 5_000, error=ErrorReport("E" * 500, "ä" * 5_000, "")))
    record.add(job)
    record.run()
    operation = Operation.objects.get()
    assert operation.state == "failed"
    assert len(operation.reason) <= REASON_LIMIT


def test_outcomes_gather_while_more_are_coming(
    recorded: list[OperationJob], claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of a group waits for others, but not for long, and not for more than fit into one
    transaction; nothing waits where no more are expected. Who adds one is told when to call.
    """
    more = [True]
    record = Record("default", recorded.append, lambda: more[0])
    monkeypatch.setattr(record_module, "GATHER", 60.0)
    jobs = finished(claim, 8)
    assert [record.add(job) for job in jobs[:2]] == [True, False]
    assert 59 < record.run() <= 60
    assert recorded == [] and not record.is_empty
    assert record.add(jobs[2]) is False
    more[0] = False
    assert record.run() == NEVER
    assert recorded == jobs[:3]

    more[0] = True
    assert record.add(jobs[3]) is True
    assert record.run() > 0
    monkeypatch.setattr(record_module, "GATHER", 0.0)
    assert record.run() == NEVER
    assert recorded == jobs[:4]

    monkeypatch.setattr(record_module, "GATHER", 60.0)
    monkeypatch.setattr(record_module, "BATCH", 3)
    assert [record.add(job) for job in jobs[4:7]] == [True, False, True]
    assert record.run() == NEVER
    assert recorded == jobs[:7]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
@pytest.mark.parametrize("ending", [Finished(), Stopped("later", delay=60)])
@pytest.mark.django_db(transaction=True)
def test_one_that_somebody_has_locked_holds_up_no_other(  # noqa: PLR0917
    record: Record,
    recorded: list[OperationJob],
    claim: Claim,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    ending: Any,
) -> None:
    """It waits, named in the log once, until its row is free; it counts as not recorded."""
    jobs = finished(claim, 5)
    jobs[2].end_as(ending)
    pk = jobs[2].operation_id

    def waiting() -> list[Any]:
        return [each for each in caplog.records if getattr(each, "action", "") == "record_waits"]

    for job in jobs:
        record.add(job)
    with impatient():
        with locked(Operation.all_objects.filter(pk=pk)):
            assert record.run() == 0
            assert 0 < record.run() <= record_module.LOCKED
            assert {job.operation_id for job in recorded} == {
                job.operation_id for job in jobs if job.operation_id != pk
            }
            assert record.waits_for_locks and not record.is_empty
            assert record.unwritten == [jobs[2]]
            monkeypatch.setattr(record_module, "LOCKED", 0.0)
            record._locked = [(0.0, job) for _, job in record._locked]
            record.run()
            assert record.waits_for_locks
            (line,) = waiting()
            assert line.operation_id == pk
        assert record.run() == NEVER
    assert recorded[-1] is jobs[2] and record.is_empty and len(recorded) == 5
    assert len(waiting()) == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
@pytest.mark.django_db(transaction=True)
def test_one_that_was_deleted_is_not_taken_for_locked(
    record: Record, recorded: list[OperationJob], claim: Claim
) -> None:
    gone, busy = finished(claim, 2)
    Operation.all_objects.filter(pk=gone.operation_id).delete()
    for job in (gone, busy):
        record.add(job)
    with impatient():
        with locked(Operation.all_objects.filter(pk=busy.operation_id)):
            record.run()
            record.run()
            # MariaDB may look for one that is gone by way of one that is there.
            assert busy in record.unwritten and recorded == []
            assert connection.vendor == "mysql" or record.unwritten == [busy]
        record._locked = [(0.0, job) for _, job in record._locked]
        record.run()
    assert recorded == [busy] and record.is_empty
