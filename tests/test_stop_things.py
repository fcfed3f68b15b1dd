"""What people do who want to take something back, as they know it from other job queues."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.testing import run_due
from tests.process.support import entries, environment
from tests.processes import OperatorUnderTest, poll
from tests.work.models import AsyncHold, Deaf, Hold, Polite, Sulky, Tick

HOUR = timedelta(hours=1)


@pytest.fixture
def operate(start_operator: Callable[..., OperatorUnderTest]) -> Callable[..., OperatorUnderTest]:
    """Start an operator whose log is JSON."""

    def start(*arguments: str, **settings: Any) -> OperatorUnderTest:
        return start_operator(*arguments, env=environment(**settings))

    return start


def state(operation: Operation) -> str:
    return Operation.all_objects.get(pk=operation.pk).state


def begun(*operations: Operation, by: OperatorUnderTest) -> None:
    """Wait until these run."""
    wanted = {operation.pk for operation in operations}
    poll(lambda: wanted <= set(entries("begun")), 30, lambda: by.log)


def becomes(operation: Operation, word: str, by: OperatorUnderTest) -> None:
    poll(lambda: state(operation) == word, 30, lambda: by.log)


@pytest.mark.django_db
def test_a_mind_is_changed_before_it_runs() -> None:
    """It is out of sight, does not run when its time comes, and says why to whoever looks."""
    operation = Tick.schedule(HOUR)
    assert Tick.objects.cancel_by_id(operation.pk, "ordered twice").cancelled == 1
    assert run_due(now=clock.now() + 2 * HOUR) == []
    assert not Tick.objects.filter(pk=operation.pk).exists()
    (row,) = Tick.objects.cancelled()
    assert (row.state, row.reason) == ("cancelled", "ordered twice")


@pytest.mark.django_db
def test_no_trace_is_to_be_left() -> None:
    """With `delete` nothing is, and a second try says that there was nothing to do."""
    operation = Hold.schedule(HOUR, path="")
    assert Hold.objects.cancel_by_id(operation.pk, delete=True).deleted == 1
    assert not Operation.all_objects.exists() and not Hold._base_manager.exists()
    assert Hold.objects.cancel_by_id(operation.pk, delete=True) == 0
    assert run_due(now=clock.now() + 2 * HOUR) == []


@pytest.mark.django_db
def test_what_was_cancelled_is_wanted_after_all() -> None:
    """It begins anew."""
    operation = Tick.schedule(HOUR)
    Tick.objects.cancel_by_id(operation.pk)
    assert Tick.objects.cancelled().retry().retried == 1
    assert [job.outcome for job in run_due()] == ["finished"]


def test_it_runs_already(operate: Callable[..., OperatorUnderTest], tmp_path: Path) -> None:
    """Cancelling comes too late and says so. To abort is to ask: one that looks ends with the
    reason; one that does not is finished; one that fails then is not tried again, though its policy
    has attempts left."""
    gate, never = tmp_path / "gate", str(tmp_path / "never")
    polite, deaf, sulky = (
        Polite.dispatch(path=never),
        Hold.dispatch(path=str(gate)),
        Sulky.dispatch(path=never),
    )
    operator = operate()
    begun(polite, deaf, sulky, by=operator)
    changed = Operation.objects.all().cancel("wrong customer")
    assert (changed, changed.cancelled, changed.left) == (0, 0, 3)
    assert Operation.objects.abort("wrong customer").abort_requested == 3
    becomes(polite, "cancelled", operator)
    becomes(sulky, "failed", operator)
    assert state(deaf) == "running"
    gate.touch()
    becomes(deaf, "finished", operator)

    row = Operation.all_objects.get(pk=polite.pk)
    assert (row.reason, row.failures, row.attempts) == ("wrong customer", 0, 1)
    assert polite.jobs.get().outcome == "aborted"
    row = Operation.all_objects.get(pk=sulky.pk)
    assert (row.failures, row.attempts) == (1, 1)
    assert row.reason == "LookupError: no such customer"
    assert sorted(entries("begun")) == sorted([polite.pk, deaf.pk, sulky.pk])
    assert Operation.objects.abort() == 0, "nothing is left to ask"


def test_it_runs_as_a_coroutine(operate: Callable[..., OperatorUnderTest], tmp_path: Path) -> None:
    """An abort is a cancellation where it waits. A section that is shielded ends first, and the
    rest of the run is aborted then."""
    gate = tmp_path / "shield.gate"
    waiting = AsyncHold.dispatch(path=str(tmp_path / "never"))
    shielded = AsyncHold.dispatch(path=str(gate))
    operator = operate()
    begun(waiting, shielded, by=operator)
    assert Operation.objects.abort("wrong customer").abort_requested == 2
    becomes(waiting, "cancelled", operator)
    poll(lambda: len(entries("cancelled")) == 2, 30, lambda: operator.log)
    assert state(shielded) == "running"
    gate.touch()
    becomes(shielded, "cancelled", operator)
    assert entries("shielded") == [shielded.pk] and entries("ended") == []
    for operation in (waiting, shielded):
        assert Operation.all_objects.get(pk=operation.pk).reason == "wrong customer"
        assert operation.jobs.get().outcome == "aborted"


def test_it_runs_while_its_operator_leaves(
    operate: Callable[..., OperatorUnderTest], tmp_path: Path
) -> None:
    """An operator that was told to leave, and waits for what runs, still passes the wish on."""
    operation = Polite.dispatch(path=str(tmp_path / "never"))
    operator = operate("--grace", "60", HEARTBEAT={"interval": 0.2, "timeout": 5})
    begun(operation, by=operator)
    operator.terminate()
    leaving = OperatorProcess.objects.filter(draining=True)
    poll(leaving.exists, 20, lambda: operator.log)
    assert Operation.objects.abort("wrong customer").abort_requested == 1
    assert operator.wait(30) == 0, operator.log
    assert state(operation) == "cancelled"
    assert OperationJob.objects.get().outcome == "aborted"


def test_everything_of_a_customer(
    operate: Callable[..., OperatorUnderTest], tmp_path: Path
) -> None:
    """What waits is cancelled, what runs is asked, what is over is left; the answer has each."""
    never = str(tmp_path / "never")
    running = [Polite.dispatch(path=never) for _ in range(2)]
    done, gone = Tick.dispatch(), Polite.schedule(HOUR, path=never)
    assert Polite.objects.cancel_by_id(gone.pk) == 1
    operator = operate(THREADS=2)
    begun(*running, by=operator)
    # There is no thread left for these.
    waiting = [Polite.dispatch(path=never), Deaf.dispatch(path=never), Tick.schedule(HOUR)]
    # Both threads are taken.
    assert state(done) in {"finished", "due"}
    over = int(state(done) == "finished")
    changed = Operation.all_objects.all().cancel("gone", abort=True)
    assert changed.abort_requested == 2
    assert changed.cancelled == len(waiting) + (1 - over)
    assert changed.left == 1 + over
    assert changed == changed.cancelled + changed.abort_requested
    for operation in running:
        becomes(operation, "cancelled", operator)
    assert {state(operation) for operation in waiting} == {"cancelled"}
    assert sorted(entries("begun")) == sorted(operation.pk for operation in running)


@pytest.mark.parametrize("how", [{}, {"delete": True}], ids=["cancel", "delete"])
def test_at_the_last_moment(
    operate: Callable[..., OperatorUnderTest], how: dict[str, bool]
) -> None:
    """Hundreds of times somebody takes an operation back while operators are taking it: either it
    has not run, and never will, or the answer says that nothing was taken back."""
    operators = [operate("--threads", "2") for _ in range(2)]
    for operator in operators:
        operator.wait_for_log(" is ready.")
    # Who is faster depends on the machine and what else it does: the more there are, the surer is
    # it that both get some.
    for count in (500, 1_000, 2_000, 4_000, 8_000):
        taken_back, left = race(operators[0], count, how)
        if taken_back and left:
            return
    pytest.fail("They have never met.")


def race(
    operator: OperatorUnderTest, count: int, how: dict[str, bool]
) -> tuple[set[int], set[int]]:
    """Take so many operations back while they are being run; return which were, and which ran."""

    def ran() -> list[int]:
        return [pk for pk in entries() if pk in ids]

    ids: set[int] = set()
    made = Tick.schedule_many([Tick(should_run_at=clock.now()) for _ in range(count)])
    ids.update(operation.pk for operation in made)
    poll(ran, 30, lambda: operator.log, interval=0.001)
    taken_back = set()
    # From the other end, so that they meet, and not all in one place.
    for pk in sorted(ids, key=lambda pk: -pk + random.randint(0, 100)):
        changed = Tick.objects.cancel_by_id(pk, **how)
        assert changed in {0, 1} and changed + changed.left in {0, 1}
        if changed:
            taken_back.add(pk)
    left = ids - taken_back
    poll(lambda: len(ran()) >= len(left), 60, lambda: operator.log)
    poll(lambda: not Operation.objects.started().exists(), 60, lambda: operator.log)
    assert set(ran()) == left and len(ran()) == len(left)
    rows = Operation.all_objects.filter(pk__in=ids)
    assert set(rows.cancelled().values_list("pk", flat=True)) == (set() if how else taken_back)
    assert set(rows.finished().values_list("pk", flat=True)) == left
    return taken_back, left
