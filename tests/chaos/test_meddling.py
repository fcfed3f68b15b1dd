"""G4, G11: rows that are changed behind the operator's back while it runs them, and bad rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from operator_app import clock
from operator_app.exceptions import OperationStarted
from operator_app.models import Operation, OperationJob
from tests.chaos.conftest import Start
from tests.chaos.support import due, row, wait_at_gate, wait_until_ended
from tests.chaos.work.models import AtomicTask, Effect, Task
from tests.process.support import lines
from tests.processes import poll
from tests.work.models import BadInit

SETTINGS = {"HEARTBEAT": {"interval": 1, "timeout": 20}, "POLL_INTERVAL": 0.2}


def _raw_delete(table: str, column: str, pk: int) -> None:
    """Delete a row as somebody at the database's prompt would."""
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        name = connection.ops.quote_name
        if connection.vendor == "postgresql":  # deferred there: children go first
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(f"DELETE FROM {name(table)} WHERE {name(column)} = %s", [pk])


def test_rows_changed_while_they_run(operate: Start, tmp_path: Path) -> None:
    """Operations that are deleted, cancelled, ended, or handed out anew by a direct UPDATE while
    they run end as that says: their outcome is void, atomic effects vanish, the operator goes on.
    """
    gate = tmp_path / "gate"
    # One write lock on SQLite: an atomic run would hold it while the test meddles.
    kind = Task if connection.vendor == "sqlite" else AtomicTask
    deleted, cancelled, failed, again, edited = due(Task, 5, gate=str(gate))
    (undone,) = due(kind, gate=str(gate))
    operator = operate("--threads", "6", **SETTINGS)
    wait_at_gate(gate, [deleted, cancelled, failed, again, edited, undone], operator)
    rows = Operation.all_objects
    now = clock.now()

    Task.objects.get(pk=deleted).delete()
    rows.filter(pk__in=[cancelled, undone]).update(cancelled_at=now)
    rows.filter(pk=failed).update(failed_run_at=now)
    later = now.replace(year=now.year + 1)
    rows.filter(pk=again).update(should_run_at=later, started_run_at=None, operator=None)
    stale = Task.objects.get(pk=edited)
    stale.should_run_at = later
    with pytest.raises(OperationStarted):
        stale.save()
    before = {pk: row(pk) for pk in (cancelled, failed, again, undone)}
    gate.touch()
    wait_until_ended([edited], operator)
    poll(lambda: len(lines(operator, "lost")) == 5, 20, lambda: f"5 void\n{operator.log}")

    assert not rows.filter(pk=deleted).exists()
    assert {pk: row(pk) for pk in before} == before
    assert Operation.objects.get(pk=edited).state == "finished"
    assert not OperationJob.objects.filter(operation__in=list(before)).exists()
    ended = Effect.objects.filter(operation_number=undone, line="ended").count()
    assert ended == (1 if connection.vendor == "sqlite" else 0)
    more = due(Task, 3)
    wait_until_ended(more, operator)
    assert Operation.objects.filter(pk__in=more).finished().count() == 3
    assert "Traceback" not in operator.log
    rows.filter(pk=again).delete()
    operator.terminate()
    assert operator.wait() == 0, operator.log


def test_bad_rows_in_a_claimed_batch(operate: Start) -> None:
    """A row without its child row and one whose class cannot be made fail, a row of no known kind
    is left alone; their neighbours in the same batch finish.
    """
    first = due(Task, 3)
    (orphan,) = due(Task)
    unmade = BadInit(should_run_at=clock.now())
    unmade.save()
    (stranger,) = due(Task)
    gone = ContentType.objects.create(app_label="attic", model="forgotten")
    assert Operation.all_objects.filter(pk=stranger).update(kind=gone) == 1
    last = due(Task, 3)
    _raw_delete(Task._meta.db_table, "operation_ptr_id", orphan)
    operator = operate("--threads", "8", **SETTINGS)
    wait_until_ended([*first, orphan, unmade.pk, *last], operator)
    assert Operation.objects.filter(pk__in=first + last).finished().count() == 6
    bad = Operation.objects.get(pk=orphan)
    assert bad.state == "failed" and "has no row in" in bad.reason
    assert row(unmade.pk)["failed_run_at"] is not None
    assert Operation.objects.due().filter(attempts=0).get().pk == stranger
    operator.terminate()
    assert operator.wait() == 0, operator.log
