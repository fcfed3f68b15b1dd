"""Finding operators that are dead, and rescuing what they held."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from operator_app import clock
from operator_app.duties import Heartbeat, Rescue
from operator_app.duties.rescue import rescue_deserted, rescue_operator
from operator_app.exceptions import OperatorLost
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models.transactions import impatient
from tests.kinds.models import Hooked, Scripted
from tests.models.tools import claimed_job, elsewhere, locked, nothing, queries, scripted, stored
from tests.processes import poll
from tests.work.models import LeftDeed, Tick

pytestmark = pytest.mark.django_db(transaction=True)

second = timedelta(seconds=1)


@pytest.fixture
def other(db: None) -> OperatorProcess:
    """An operator whose last sign of life is too old."""
    now = clock.now()
    return OperatorProcess.objects.create(
        hostname="elsewhere",
        pid=77,
        version="0",
        capacity=1,
        started_at=now - 100 * second,
        heartbeat_at=now - 40 * second,
        alive_until=now - 10 * second,
    )


@pytest.fixture
def recorded() -> list[OperationJob]:
    return []


@pytest.fixture
def rescue(
    heartbeat: Heartbeat, recorded: list[OperationJob], monkeypatch: pytest.MonkeyPatch
) -> Rescue:
    """A rescuer whose own heartbeat is steady."""
    monkeypatch.setattr(Heartbeat, "is_steady", True)
    return Rescue("default", heartbeat=heartbeat, recorded=recorded.append)


def held_by(operator: OperatorProcess, kind: Callable[..., Operation] = Tick.dispatch) -> Operation:
    operation = kind()
    claimed_job(operation, operator)
    return operation


def test_what_a_dead_operator_held_is_due_again(
    rescue: Rescue, other: OperatorProcess, recorded: list[OperationJob], caplog: Any
) -> None:
    """The death is recorded, what it held has crashed once and is due at once, and the log says so
    once."""
    operation = held_by(other)
    rescue.run()
    other.refresh_from_db()
    assert other.lost_at is not None
    row = stored(operation)
    assert (row.crashes, row.failures, row.attempts) == (1, 0, 1)
    assert (row.started_run_at, row.begun_run_at, row.operator_id) == (None, None, None)
    assert row.state == "due"
    assert [job.operation_id for job in recorded] == [operation.pk]
    history = OperationJob.objects.get()
    assert (history.outcome, history.operator, history.number) == ("retried", "elsewhere:77", 1)
    assert "gave no heartbeat since" in history.message
    (line,) = [each for each in caplog.records if getattr(each, "action", "") == "operator_lost"]
    assert "elsewhere:77" in line.getMessage()


def test_the_living_are_left_alone(
    rescue: Rescue, heartbeat: Heartbeat, recorded: list[OperationJob]
) -> None:
    """What a living operator holds is its own, however long it takes."""
    assert heartbeat.process is not None
    mine = held_by(heartbeat.process)
    Operation.all_objects.update(started_run_at=clock.now() - timedelta(days=9))
    rescue.run()
    assert stored(mine).operator_id == heartbeat.process.pk
    assert recorded == []


def test_rescue_twice_is_rescue_once(
    rescue: Rescue, other: OperatorProcess, recorded: list[OperationJob]
) -> None:
    """A second look finds nothing to do, and a second rescuer of the same rows is too late."""
    operation = held_by(other)
    rescue.run()
    rescue.run()
    assert len(recorded) == 1
    assert stored(operation).crashes == 1


def test_two_rescuers_of_the_same_row(other: OperatorProcess) -> None:
    """Of two that have read the same deserted row only one writes."""
    from operator_app.models.rescues import rescued

    operation = held_by(other)
    other.declare_lost(clock.now())
    rows = [Operation.all_objects.select_related("operator").get() for _ in range(2)]
    jobs = [rescued(row) for row in rows]
    written = [Operation.all_objects.record([job]) for job in jobs if job is not None]
    assert [len(each) for each in written] == [1, 0]
    assert stored(operation).crashes == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
def test_what_somebody_has_locked_holds_up_nobody(
    rescue: Rescue, other: OperatorProcess, recorded: list[OperationJob], caplog: Any
) -> None:
    """As the run() of an operator that is stopped, and not dead: all others are rescued, and it is
    as soon as it can be. The log names it once.
    """
    busy, free = held_by(other), held_by(other)

    def waiting() -> list[Any]:
        return [each for each in caplog.records if getattr(each, "action", "") == "rescue_waits"]

    with locked(Operation.all_objects.filter(pk=busy.pk)):
        rescue.run()
        assert [job.operation_id for job in recorded] == [free.pk]
        assert waiting() == []  # It might be another rescuer.
        rescue.run()
        rescue.run()
        assert stored(busy).operator_id == other.pk
    (line,) = waiting()
    assert line.levelname == "WARNING" and f"#{busy.pk}" in line.getMessage()
    rescue.run()
    assert [job.operation_id for job in recorded] == [free.pk, busy.pk]
    assert stored(busy).crashes == 1


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
@pytest.mark.parametrize("is_there", [False, True], ids=["being inserted", "being updated"])
def test_an_attempt_that_somebody_writes_holds_up_nobody(
    rescue: Rescue, other: OperatorProcess, recorded: list[OperationJob], is_there: bool
) -> None:
    """As a run that has shown progress in a transaction, and whose process is stopped."""
    busy, free = held_by(other), held_by(other)
    now = clock.now()
    row = OperationJob(operation_id=busy.pk, number=1, operator="elsewhere:77", started_at=now)
    if is_there:
        row.save()
    row.progress_done = 0.5
    with elsewhere(row.save):
        with impatient():
            rescue.run()
        assert [job.operation_id for job in recorded] == [free.pk]
    rescue.run()
    assert [job.operation_id for job in recorded] == [free.pk, busy.pk]
    assert OperationJob.objects.get(operation=busy).outcome == "retried"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no locks of rows")
def test_an_operator_whose_row_somebody_has_locked_is_judged_later(
    rescue: Rescue, other: OperatorProcess
) -> None:
    """As by a request that asks it to leave, and hangs."""
    row = OperatorProcess.objects.filter(pk=other.pk)
    with elsewhere(lambda: row.update(asked="drain")):
        rescue.run()
        assert OperatorProcess.objects.get(pk=other.pk).lost_at is None
    rescue.run()
    assert OperatorProcess.objects.get(pk=other.pk).lost_at is not None


def test_nobody_is_judged_by_one_that_was_away_itself(
    rescue: Rescue, other: OperatorProcess, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A rescuer that has not beaten without a gap for a whole timeout declares nobody dead, and
    looks again after an interval."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 2, "timeout": 9}}
    monkeypatch.setattr(Heartbeat, "is_steady", False)
    operation = held_by(other)
    assert rescue.run() == 2
    other.refresh_from_db()
    assert other.lost_at is None
    assert stored(operation).operator_id == other.pk


def test_a_heartbeat_is_steady_after_one_timeout(settings: Any, transactional_db: None) -> None:
    """Beats without a gap for a whole timeout make it steady; a failure begins it anew."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.05, "timeout": 0.4}}
    heartbeat = Heartbeat("default", queues=[], capacity=1)
    assert not heartbeat.is_steady
    heartbeat.start()
    try:
        assert not heartbeat.is_steady
        poll(lambda: heartbeat.is_steady, 20, "the heartbeat to be steady")
        heartbeat._note_failure(RuntimeError("away"))
        assert not heartbeat.is_steady
    finally:
        heartbeat.stop()


def test_nobody_is_judged_after_a_jump_of_the_clock(
    other: OperatorProcess, recorded: list[OperationJob], settings: Any
) -> None:
    """The database's time jumps past the last beat of all operators, our own included: a laptop
    that was asleep, a clock that was set, summer time with USE_TZ=False. Nobody is declared dead
    before a whole timeout has passed again.
    """
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.05, "timeout": 0.4}}
    heartbeat = Heartbeat("default", queues=[], capacity=1)
    rescue = Rescue("default", heartbeat=heartbeat, recorded=recorded.append)
    operation = held_by(other)
    OperatorProcess.objects.update(alive_until=clock.now() + 100 * second)
    heartbeat.start()
    try:
        poll(lambda: heartbeat.is_steady, 20, "the heartbeat to be steady")
        with clock.at(clock.now() + 3600 * second):
            rescue.run()
            # The next beat is of the new time, but of the other operator there is none yet.
            assert heartbeat.run() == 0.05
            heartbeat._note_success()
            rescue.run()
    finally:
        heartbeat.stop()
    other.refresh_from_db()
    assert other.lost_at is None
    assert stored(operation).operator_id == other.pk


def test_one_whose_row_is_gone_is_rescued_too(
    rescue: Rescue, other: OperatorProcess, heartbeat: Heartbeat
) -> None:
    """Operations of an operator without a row belong to nobody; no death need be declared."""
    operation = held_by(other)
    OperatorProcess.objects.filter(pk=other.pk).delete()
    rescue.run()
    row = stored(operation)
    assert (row.crashes, row.operator_id) == (1, None)
    assert OperationJob.objects.get().message == "its operator process is gone"


def test_what_is_to_be_left_is_left(rescue: Rescue, other: OperatorProcess) -> None:
    """With `on_stuck="leave"` the row stays claimed and stuck, for a person to decide."""
    operation = held_by(other, LeftDeed.dispatch)
    neighbour = held_by(other)
    rescue.run()
    row = stored(operation)
    assert (row.crashes, row.state, row.operator_id) == (0, "stuck", other.pk)
    assert stored(neighbour).state == "due"


def test_more_than_one_batch(
    rescue: Rescue, other: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are rescued, batch by batch, also when some of each batch are to be left."""
    monkeypatch.setattr("operator_app.duties.rescue.BATCH", 3)
    left = [held_by(other, LeftDeed.dispatch) for _ in range(4)]
    ticks = [held_by(other) for _ in range(7)]
    rescue.run()
    assert {stored(operation).state for operation in ticks} == {"due"}
    assert {stored(operation).state for operation in left} == {"stuck"}


def test_looking_costs_what_runs_not_what_has_ended(heartbeat: Heartbeat) -> None:
    """The question that every operator asks every few seconds is answered from an index that holds
    running rows only, however many have ended."""
    now = clock.now()
    Tick.schedule_many([Tick(should_run_at=now) for _ in range(2000)])
    Operation.all_objects.update(started_run_at=now, finished_run_at=now)
    with queries() as made:
        rescue_deserted("default", now, bool)
    (question,) = made
    explain = {"sqlite": "EXPLAIN QUERY PLAN"}.get(connection.vendor, "EXPLAIN")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" + " TABLE operator_app_operation" * (connection.vendor == "mysql"))
        if connection.vendor == "mysql":
            cursor.fetchall()
        cursor.execute(f"{explain} {question}")
        plan = str(cursor.fetchall())
    # Where there are no partial indexes that of the claim, which begins with the same columns.
    names = ["operator_app_started"] + ["operator_app_pending"] * (connection.vendor == "mysql")
    assert any(name in plan for name in names), plan


def test_hooks_of_the_rescued(other: OperatorProcess) -> None:
    """errored() hears of a crash, and that it will be tried again."""
    Scripted.forget()
    operation = scripted(nothing, kind=Hooked)
    claimed_job(operation, other)
    other.declare_lost(clock.now())
    rescue_deserted("default", clock.now(), OperationJob.call_hooks)
    ((name, pk, error, will_retry),) = Scripted.hooks
    assert (name, pk, will_retry) == ("errored", operation.pk, True)
    assert "elsewhere:77" in str(error)


def test_a_parent_rescues_without_waiting(heartbeat: Heartbeat) -> None:
    """An operator that is known to be dead is declared lost though its heartbeat is fresh."""
    process = heartbeat.process
    assert process is not None
    operation = held_by(process)
    rescue_operator("default", process.uuid)
    assert stored(operation).state == "due"
    assert OperatorProcess.objects.get().lost_at is not None
    rescue_operator("default", process.uuid)
    rescue_operator("default", uuid.uuid4())
    assert stored(operation).crashes == 1


def test_a_parent_calls_hooks(heartbeat: Heartbeat) -> None:
    """Those of what it has rescued, in its own process."""
    Scripted.forget()
    process = heartbeat.process
    assert process is not None
    operation = held_by(process, lambda: scripted(nothing, kind=Hooked))
    rescue_operator("default", process.uuid)
    ((name, number, error, will_retry),) = Scripted.hooks
    assert (name, number, will_retry) == ("errored", operation.pk, True)
    assert isinstance(error, OperatorLost)


def test_a_parent_finds_a_child_that_was_taken_for_dead(transactional_db: None) -> None:
    """It went on under new identities, of which its parent has not heard."""
    identity = uuid.uuid4()
    child = Heartbeat("default", queues=[], capacity=1, identity=identity)
    child.register()
    for _ in range(2):
        OperatorProcess.objects.update(lost_at=clock.now())
        child.run()
    assert child.process is not None and child.process.uuid != identity
    operation = held_by(child.process)
    rescue_operator("default", identity)
    assert not OperatorProcess.objects.filter(lost_at__isnull=True).exists()
    assert stored(operation).state == "due"


def test_the_delay_is_until_the_next_death(rescue: Rescue, settings: Any) -> None:
    """It looks again when the first operator could be dead, and after a timeout at the latest. One
    query if all is well.
    """
    settings.OPERATOR = {"HEARTBEAT": {"interval": 5, "timeout": 15}}
    OperatorProcess.objects.update(alive_until=clock.now() + 20 * second)
    with queries() as made:
        assert rescue.run() == 15
    assert len(made) == 1
    OperatorProcess.objects.update(alive_until=clock.now() + 2 * second)
    assert 1 < rescue.run() < 2.2


def test_the_lost_are_forgotten_after_a_week(rescue: Rescue, other: OperatorProcess) -> None:
    """Rows of lost operators are kept to look at, and deleted after seven days."""
    OperatorProcess.objects.filter(pk=other.pk).update(lost_at=clock.now() - timedelta(days=6))
    rescue.run()
    assert OperatorProcess.objects.filter(pk=other.pk).exists()
    OperatorProcess.objects.filter(pk=other.pk).update(lost_at=clock.now() - timedelta(days=8))
    rescue.run()
    assert not OperatorProcess.objects.filter(pk=other.pk).exists()
