"""A job's row that two processes write: the operator for its stack, its child for the rest."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from operator_app import Policy
from operator_app.child import _ending_of
from operator_app.models import Operation, OperationJob, OperatorProcess, rows, stack
from operator_app.outcomes import Aborted
from operator_app.runners import endings
from tests.kinds.models import Ledger, Scripted, Sweep
from tests.models.tools import Thread, claimed_job, in_thread, nothing, scripted

pytestmark = pytest.mark.django_db(transaction=True)

Pair = tuple[OperationJob, OperationJob]


def pair_of(operation: Operation, operator: OperatorProcess) -> Pair:
    """The job as the operator has it, and as its child has it."""
    here = claimed_job(operation, operator)
    there = OperationJob.of(Operation.all_objects.get(pk=operation.pk), operator=here.operator)
    here.ran_apart = there.ran_apart = True
    return here, there


@pytest.fixture
def pair(operator: OperatorProcess) -> Pair:
    return pair_of(Sweep.dispatch(), operator)


def told(job: OperationJob, text: str = "line 1") -> bool:
    """Write a stack as the operator's own thread does; return whether it was written."""
    return bool(in_thread(lambda: stack.answer(job, text)))


def progressed(job: OperationJob, done: float) -> None:
    job.progress_done = done
    job.store()


@pytest.mark.parametrize("atomic", [False, True])
def test_the_operator_is_first(pair: Pair, atomic: bool) -> None:
    """The child adds to its row, in the run's transaction if there is one; the stack stays."""
    here, there = pair
    assert told(here)
    with transaction.atomic() if atomic else nullcontext():
        Ledger.objects.create(operation_id_seen=1)
        progressed(there, 1)
        progressed(there, 2)
    row = OperationJob.objects.get()
    assert (row.progress_done, row.pk) == (2, there.pk)
    assert row.stack.endswith("line 1") and Ledger.objects.count() == 1


def test_the_child_is_first(pair: Pair) -> None:
    """The operator adds the stack to its row, and nothing else."""
    here, there = pair
    progressed(there, 1)
    assert told(here) and told(here, "line 2")
    progressed(there, 2)
    row = OperationJob.objects.get()
    assert row.stack.endswith("line 2") and (row.progress_done, row.pk) == (2, there.pk)


def test_the_operator_is_quicker_by_a_moment(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has looked, and there was no row; its INSERT is refused, and the transaction of the
    run survives that."""
    here, there = pair
    insert = rows._insert

    def late(job: OperationJob) -> None:
        if job is there:
            assert told(here)
        insert(job)

    monkeypatch.setattr(rows, "_insert", late)
    # SQLite has one writer at a time: within a transaction there is no such moment.
    with nullcontext() if connection.vendor == "sqlite" else transaction.atomic():
        Ledger.objects.create(operation_id_seen=1)
        progressed(there, 1)
    row = OperationJob.objects.get()
    assert (row.progress_done, row.pk) == (1, there.pk)
    assert row.stack.endswith("line 1") and Ledger.objects.count() == 1


def test_the_child_is_quicker_by_a_moment(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack is written at the next look."""
    if connection.vendor != "postgresql":
        pytest.skip("one writer at a time, or the child waits for the lock of the operation")
    here, there = pair
    insert = rows._insert

    def late(job: OperationJob) -> None:
        if job is here:
            in_thread(lambda: progressed(there, 1))
        insert(job)

    monkeypatch.setattr(rows, "_insert", late)
    assert not told(here)
    assert told(here)
    row = OperationJob.objects.get()
    assert row.progress_done == 1 and row.stack.endswith("line 1")


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_the_child_has_not_committed(pair: Pair, ending: str) -> None:
    """Nobody can write the row, nor wait for it; the run notices nothing. Later it is written."""
    here, there = pair
    inside, let_go = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic():
            Ledger.objects.create(operation_id_seen=1)
            progressed(there, 1)
            inside.set()
            assert let_go.wait(20)
            progressed(there, 2)
            transaction.set_rollback(ending == "rollback")

    running = Thread(run)
    assert inside.wait(20)
    if connection.vendor == "sqlite":
        with pytest.raises(OperationalError, match="locked"):
            told(here)
    else:
        assert not told(here)
    let_go.set()
    running.result(20)
    assert told(here)
    progressed(there, 3)
    row = OperationJob.objects.get()
    assert row.progress_done == 3 and row.stack.endswith("line 1")
    assert Ledger.objects.count() == (ending == "commit")


def test_a_row_that_cannot_be_inserted_at_all(pair: Pair) -> None:
    """Its operation was deleted: the error says so, as ever."""
    _, there = pair
    Operation.all_objects.all().delete()
    with pytest.raises(IntegrityError):
        progressed(there, 1)


def test_its_end(pair: Pair) -> None:
    """What the child says of the end, and the stack that it knows nothing of, are in one row."""
    here, there = pair
    assert told(here)
    there.end_as(Aborted("enough"))
    endings.tell(here, _ending_of(there))
    assert Operation.all_objects.record([here]) == [here]
    row = OperationJob.objects.get()
    assert (row.outcome, row.message) == ("aborted", "enough")
    assert row.stack.endswith("line 1")


def test_killed(pair: Pair) -> None:
    """What the child had written and what the operator had are both kept."""
    here, there = pair
    progressed(there, 0.5)
    assert told(here)
    here.end_as(Aborted("enough"))
    assert Operation.all_objects.record([here]) == [here]
    row = OperationJob.objects.get()
    assert (row.outcome, row.progress_done) == ("aborted", 0.5) and row.stack.endswith("line 1")


@pytest.mark.parametrize("asked", [True, False])
def test_an_atomic_run(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """It records its own end, and with it completes a row that only the operator knows of; where
    nobody asked there is none."""
    monkeypatch.setattr(Scripted, "policy", Policy(atomic=True))
    operation = scripted(nothing)
    here, there = pair_of(operation, operator)
    if asked:
        assert told(here)
    there.run()
    assert there.is_recorded
    assert [(row.outcome, bool(row.stack)) for row in OperationJob.objects.all()] == (
        [("finished", True)] if asked else []
    )
