"""The behaviours taken over from the system that this one descends from."""

from __future__ import annotations

from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob
from operator_app.testing import run_due
from tests.kinds.models import Hooked, Ledger, Note, Report, Scripted, Sweep, Tagged
from tests.models.tools import HOUR, nothing, scripted, stored, write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget() -> None:
    Scripted.forget()


def started(operation: Operation) -> bool:
    return stored(operation).started_run_at is not None


def test_ready_operations_of_several_kinds_are_dispatched_in_one_pass() -> None:
    """Each of them gets its `started_run_at` when it is dispatched."""
    before = clock.now()
    ready = [Note.dispatch(), Sweep.dispatch(), Report.dispatch(), scripted(nothing)]
    run_due()
    for operation in ready:
        row = stored(operation)
        assert before <= row.started_run_at <= row.finished_run_at


def test_operations_in_the_future_are_not_dispatched() -> None:
    """An operation whose time has not come stays as it is."""
    operation = Note.schedule(HOUR)
    assert run_due() == [] and not started(operation)


def test_started_operations_are_not_dispatched_again() -> None:
    """What somebody has started already is nobody else's."""
    operation = Note.dispatch()
    when = clock.now() - HOUR
    write(operation, started_run_at=when)
    assert run_due() == []
    assert stored(operation).started_run_at == when and not Ledger.objects.exists()


def test_cancelled_operations_are_not_dispatched() -> None:
    """What was cancelled is never run."""
    operation = Note.dispatch()
    write(operation, cancelled_at=clock.now())
    assert run_due() == [] and not started(operation)


def test_each_operation_goes_to_its_own_queue() -> None:
    """By its kind's policy, or as it was told; and an operator of one queue leaves the others."""
    note, report = Note.dispatch(), Report.dispatch()
    told = Note.dispatch(queue="reports")
    assert (note.queue, report.queue, told.queue) == ("notes", "reports", "reports")
    assert {job.operation_id for job in run_due(queues=["reports"])} == {report.pk, told.pk}
    assert not started(note)


def test_the_queued_hook_runs_when_dispatched_before_the_job() -> None:
    """And not for operations that are only pending."""
    order: list[Any] = []
    Hooked.schedule(HOUR, script=Hooked.does("later", nothing))
    operation = scripted(lambda operation: order.extend(Hooked.hooks), Hooked)
    assert Hooked.hooks == []
    run_due()
    assert order == [("queued", operation.pk)]
    assert {hook[1] for hook in Hooked.hooks} == {operation.pk}


def test_a_run_sets_finished_run_at() -> None:
    """After its `run()` an operation is finished, at that time."""
    operation = Note.dispatch()
    before = clock.now()
    run_due()
    assert before <= stored(operation).finished_run_at <= clock.now()


def test_stop_leaves_the_operation_to_be_run_again() -> None:
    """Neither started nor finished, and not deleted."""
    operation = scripted(lambda operation: operation.stop())
    run_due()
    row = Operation.objects.get(pk=operation.pk)
    assert row.started_run_at is None and row.finished_run_at is None
    assert row.cancelled_at is None and row.state == "scheduled"


def test_cancel_deletes_softly() -> None:
    """The operation leaves `objects`, is kept in `all_objects`, and was never finished."""
    operation = scripted(lambda operation: operation.cancel())
    run_due()
    assert not Operation.objects.exists() and not Scripted.objects.exists()
    row = stored(operation)
    assert row.cancelled_at is not None and row.finished_run_at is None
    assert run_due(now=clock.now() + HOUR) == []


def test_the_jobs_display_name_is_its_kind() -> None:
    """People see which kind of operation is running."""
    Note.dispatch()
    (job,) = run_due()
    assert job.display_name == "kinds.Note"


def test_default_tags_and_own_tags() -> None:
    """By default "operation" and the kind with its id; a kind may name its own."""
    note, tagged = Note.dispatch(), Tagged.dispatch(customer=4)
    tags = {job.operation_id: job.tags for job in run_due()}
    assert tags[note.pk] == ["operation", f"kinds.Note:{note.pk}"]
    assert tags[tagged.pk] == ["customer:4", "billing"]


def test_schedule_takes_the_kinds_own_columns() -> None:
    """They are stored with the operation and there when it runs."""
    Note.schedule(HOUR, text="mine")
    assert Note.objects.get().text == "mine"
    run_due(now=clock.now() + 2 * HOUR)
    assert Ledger.objects.get().line == "mine"


def test_dispatch_sets_should_run_at_to_now() -> None:
    """A dispatched operation is due at the moment it was dispatched."""
    before = clock.now()
    operation = Note.dispatch()
    assert before <= stored(operation).should_run_at <= clock.now()


def test_dispatch_now_runs_at_once() -> None:
    """It calls the hook, sets all three timestamps and leaves nothing to dispatch."""
    operation = Hooked.dispatch_now(script=Hooked.does("fine", nothing))
    row = stored(operation)
    assert row.should_run_at <= row.started_run_at <= row.finished_run_at
    assert ("queued", operation.pk) in Hooked.hooks
    assert run_due() == [] and not OperationJob.objects.exists()


@pytest.mark.parametrize("column", ["should_run_at", "started_run_at", "finished_run_at", "kind"])
def test_engine_columns_cannot_be_passed_to_schedule(column: str) -> None:
    """What the engine writes is nobody's argument."""
    with pytest.raises(TypeError, match=column):
        Note.schedule(HOUR, **{column: clock.now()})
    assert not Operation.all_objects.exists()
