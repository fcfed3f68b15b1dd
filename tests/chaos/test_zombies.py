"""G4: an operator that was taken for dead and wakes up again changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from django.db import connection

from operator_app import clock
from operator_app.duties.rescue import rescue_operator
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.moments import later
from tests.chaos.conftest import Start
from tests.chaos.support import (
    QUICK,
    due,
    row,
    said,
    terminate,
    wait_at_gate,
    wait_until_ended,
)
from tests.chaos.work.models import AtomicTask, Effect, Task
from tests.process.support import entries, lines, logs
from tests.processes import poll
from tests.work.models import HoldLocked


def _effects(pk: int, line: str) -> list[int]:
    """The attempts of an operation that wrote this line."""
    rows = Effect.objects.filter(operation_number=pk, line=line).order_by("id")
    return list(rows.values_list("attempt", flat=True))


def test_a_zombie_changes_nothing(operate: Start, tmp_path: Path) -> None:
    """An operator paused past its heartbeat is rescued; awake again its outcomes are void, its
    atomic effects are rolled back, and it goes on under a new identity.
    """
    gate = tmp_path / "gate"
    # An atomic run holds SQLite's only write lock while it is paused: see the next test.
    atomic = due(AtomicTask, gate=str(gate)) if connection.vendor != "sqlite" else []
    plain = due(Task, gate=str(gate))
    settings = {"HEARTBEAT": QUICK, "POLL_INTERVAL": 0.2}
    zombie = operate("--threads", "2", **settings)
    wait_at_gate(gate, atomic + plain, zombie)
    first = OperatorProcess.objects.get()

    zombie.freeze()
    gate.touch()
    rescuer = operate("--threads", "2", **settings)
    wait_until_ended(atomic + plain, rescuer)
    after_rescue = [row(pk) for pk in atomic + plain]
    zombie.thaw()
    poll(
        lambda: len(lines(zombie, "lost")) == len(atomic + plain) and said(zombie, "declared_lost"),
        30,
        lambda: f"the zombie to notice\n{logs(zombie, rescuer)}",
    )

    assert [row(pk) for pk in atomic + plain] == after_rescue
    for pk in atomic + plain:
        operation = Operation.objects.get(pk=pk)
        facts = (operation.state, operation.attempts, operation.crashes, operation.failures)
        assert facts == ("finished", 2, 1, 0)
        assert list(operation.jobs.values_list("number", "outcome")) == [(1, "retried")]
    assert [_effects(pk, "ended") for pk in atomic] == [[2] for _ in atomic]
    assert [_effects(pk, "begun") for pk in atomic] == [[2] for _ in atomic]
    # A plain run cannot be undone, only its outcome is void.
    assert [sorted(_effects(pk, "ended")) for pk in plain] == [[1, 2]]

    rescuer.terminate()
    assert rescuer.wait() == 0
    more = due(Task) + due(AtomicTask)
    wait_until_ended(more, zombie)
    identities = set(Operation.objects.filter(pk__in=more).values_list("operator", flat=True))
    assert len(identities) == 1 and first.pk not in identities
    zombie.terminate()
    assert zombie.wait() == 0, zombie.log
    assert not OperatorProcess.objects.filter(lost_at=None).exists()


def test_a_paused_run_that_has_locked_its_row_holds_up_nobody(
    operate: Start, tmp_path: Path
) -> None:
    """Others rescue all else, and go on with their work; it is named in the log, and ends once when
    it goes on.
    """
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one lock, and no locks of rows")
    gate, path = tmp_path / "gate", tmp_path / "hold"
    settings = {"HEARTBEAT": QUICK, "POLL_INTERVAL": 0.2}
    zombie = operate("--threads", "2", **settings)
    held = HoldLocked.dispatch(path=str(path)).pk
    plain = due(Task, gate=str(gate))
    poll(path.with_suffix(".locked").exists, 30, lambda: logs(zombie))
    wait_at_gate(gate, plain, zombie)

    zombie.freeze()
    gate.touch()
    rescuer = operate("--threads", "2", **settings)
    wait_until_ended(plain, rescuer)
    poll(lambda: said(rescuer, "rescue_waits"), 30, lambda: logs(rescuer))
    more = due(Task, 20)
    wait_until_ended(more, rescuer)
    assert not said(rescuer, "database_away"), logs(rescuer)
    assert [line["operation_id"] for line in lines(rescuer, "rescue_waits")] == [held]

    path.touch()
    zombie.thaw()
    wait_until_ended([held], zombie, rescuer)
    assert Operation.objects.get(pk=held).state == "finished"
    assert entries("ended").count(held) == 1
    terminate(zombie, rescuer)


def test_a_paused_atomic_run_holds_sqlite(operate: Start, tmp_path: Path) -> None:
    """On SQLite nobody can rescue a paused atomic run, since it holds the write lock; when it goes
    on, it has run exactly once.
    """
    if connection.vendor != "sqlite":
        pytest.skip("how SQLite differs from the others")
    gate = tmp_path / "gate"
    (pk,) = due(AtomicTask, gate=str(gate))
    settings = {"HEARTBEAT": QUICK, "POLL_INTERVAL": 0.2}
    zombie = operate("--threads", "2", **settings)
    wait_at_gate(gate, [pk], zombie)
    before = OperatorProcess.objects.get()

    zombie.signal(signal.SIGSTOP)
    other = operate("--threads", "2", **settings)
    poll(lambda: Operation.objects.stuck().filter(pk=pk).exists(), 30, "it to be stuck")
    gate.touch()
    zombie.thaw()
    wait_until_ended([pk], zombie, other)
    more = due(Task, 4, seconds=0.1)
    wait_until_ended(more, zombie, other)

    assert _effects(pk, "ended") == [Operation.objects.get(pk=pk).attempts]
    assert before.pk is not None
    for operator in (zombie, other):
        operator.terminate()
    assert [operator.wait() for operator in (zombie, other)] == [0, 0], logs(zombie, other)


@pytest.mark.django_db(transaction=True)
def test_a_claim_lost_before_it_began_is_not_run() -> None:
    """What a zombie had claimed and not begun when it was paused is run by whoever claimed it
    since, and not, with the number of that claim, by the zombie too.
    """
    (pk,) = due(Task)
    zombie, other = [_operator(pid) for pid in (1, 2)]
    rows = Operation.all_objects
    (claimed,) = rows.claim(zombie, rows.lanes(), limit=1, now=clock.now())
    job = OperationJob.of(claimed)
    rescue_operator("default", zombie.uuid)
    rows.update(should_run_at=clock.now())
    (again,) = rows.claim(other, rows.lanes(), limit=1, now=clock.now())

    job.run()

    assert _effects(pk, "begun") == []
    assert rows.record([job]) == []
    OperationJob.of(again).run()
    assert _effects(pk, "begun") == [2]


def _operator(pid: int) -> OperatorProcess:
    now = clock.now()
    return OperatorProcess.objects.create(
        hostname="here", pid=pid, version="", capacity=1, started_at=now, heartbeat_at=now,
        alive_until=later(now, 60),
    )  # fmt: skip
