"""Async operations under real operators: hundreds at once, taken back, timed out, and blocked."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from operator_app import clock
from operator_app.models import Changed, Operation, OperationJob, OperatorProcess
from tests.process.conftest import Start
from tests.process.support import (
    assert_calm,
    assert_each_once,
    assert_nothing_left,
    entries,
    lines,
    other_sessions,
    ready,
    wait_for_entries,
    wait_until_finished,
)
from tests.processes import OperatorUnderTest, poll
from tests.work.models import AsyncBlocker, AsyncHold, AsyncHoldAside, AsyncPatient, Hold, Tick

BEAT = {"interval": 0.2, "timeout": 1}
WISHES = {
    "cancel": lambda rows: rows.cancel("wrong customer"),
    "cancel and abort": lambda rows: rows.cancel("wrong customer", abort=True),
    "abort": lambda rows: rows.abort("wrong customer"),
    "delete": lambda rows: rows.cancel("wrong customer", delete=True),
    "delete and abort": lambda rows: rows.cancel("wrong customer", delete=True, abort=True),
}
Wish = Callable[[Any], Changed]


def row(operation: Operation) -> Operation:
    return Operation.all_objects.get(pk=operation.pk)


def resident(operator: OperatorUnderTest) -> float:
    """How much memory it takes, in MiB."""
    pages = int(Path(f"/proc/{operator.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1024


def outcomes() -> list[str | None]:
    return list(OperationJob.objects.order_by("number").values_list("outcome", flat=True))


def wish(operation: Operation, name: str) -> Changed:
    return WISHES[name](Operation.objects.filter(pk=operation.pk))


def leave(*operators: OperatorUnderTest) -> None:
    """Tell them to leave; nothing of theirs is left."""
    for operator in operators:
        operator.terminate()
    for operator in operators:
        assert operator.wait() == 0, operator.log
        assert "was destroyed" not in operator.log and "never retrieved" not in operator.log


MANY = 1_000


def test_a_thousand_hold_together(operate: Start, tmp_path: Path) -> None:
    """All of them wait for one gate at the same time, with one thread for sync ones; each ran once.
    As they do not use the database, they have no connection and no thread, and take little memory.
    They are marked, and the wish for one of them arrives, as if they were few."""
    gate, ledger = tmp_path / "gate", tmp_path / "gate.ledger"
    due = clock.now()
    operations = AsyncHoldAside.schedule_many(
        [AsyncHoldAside(path=str(gate), should_run_at=due) for _ in range(MANY)]
    )
    ledger.touch()
    operator = operate("--threads", "1", TASKS=MANY)
    poll(lambda: len(ledger.read_text().splitlines()) == MANY, 90, lambda: operator.log)
    assert "ended" not in ledger.read_text()
    # One thread, the main thread, the heartbeat, the listener; four that help.
    assert other_sessions() <= 8
    # The same, the loop, the watchdog, one to spare.
    assert len(list(Path(f"/proc/{operator.pid}/task").iterdir())) <= 11
    assert resident(operator) < 160
    poll(lambda: not Operation.objects.filter(begun_run_at=None).exists(), 20, "all to be marked")
    gone = operations.pop(500)
    Operation.objects.filter(pk=gone.pk).abort("wrong customer")
    poll(lambda: row(gone).state == "cancelled", 20, lambda: operator.log)
    gate.touch()
    wait_until_finished(MANY - 1, by=[operator], timeout=90)
    wanted = [f"{operation.pk} {line}" for operation in operations for line in ("begun", "ended")]
    assert sorted(ledger.read_text().splitlines()) == sorted([*wanted, f"{gone.pk} begun"])
    assert_calm(operator)
    leave(operator)
    assert_nothing_left()


def test_connections_are_closed_with_the_operations(operate: Start, tmp_path: Path) -> None:
    """Each that uses the ORM has one, until it ends; the operator lives on."""
    gate = tmp_path / "gate"
    operations = [AsyncHold.dispatch(path=str(gate)) for _ in range(12)]
    operator = operate("--threads", "1")
    wait_for_entries(12, "begun", by=[operator])
    if connection.vendor != "sqlite":
        assert 12 < other_sessions() <= 19
    gate.touch()
    wait_until_finished(12, by=[operator])
    assert_each_once([operation.pk for operation in operations], "ended")
    poll(lambda: other_sessions() <= 7, 10, lambda: f"{other_sessions()} sessions")
    assert_calm(operator)
    leave(operator)


def test_tasks_limits_them(operate: Start, tmp_path: Path) -> None:
    """No more than `OPERATOR["TASKS"]` at once; threads are not among them."""
    gate, other = tmp_path / "gate", tmp_path / "other"
    for _ in range(5):
        AsyncHold.dispatch(path=str(gate))
    Hold.dispatch(path=str(other))
    operator = operate("--threads", "1", TASKS=3, POLL_INTERVAL=0.1)
    wait_for_entries(4, "begun", by=[operator])
    Tick.dispatch()
    other.touch()
    wait_for_entries(1, by=[operator])  # It has looked for work since.
    assert Operation.objects.filter(started_run_at=None).count() == 2
    assert len(entries("begun")) == 4
    gate.touch()
    wait_until_finished(7, by=[operator])
    leave(operator)


# Pending and claimed, not begun


@pytest.mark.parametrize("name", WISHES)
def test_pending(operate: Start, tmp_path: Path, name: str) -> None:
    """Cancelled or deleted for good; an abort alone is for what runs, and leaves it."""
    operation = AsyncHold.schedule(timedelta(0), path=str(tmp_path / "gate"))
    changed = wish(operation, name)
    (tmp_path / "gate").touch()
    operator = operate("--once")
    assert operator.wait() == 0, operator.log
    if name == "abort":
        assert (changed.abort_requested, entries("ended")) == (0, [operation.pk])
        return
    assert int(changed) == 1 and entries("begun") == []
    if name.startswith("delete"):
        assert changed.deleted == 1 and not Operation.all_objects.exists()
    else:
        assert changed.cancelled == 1 and row(operation).state == "cancelled"


@pytest.mark.parametrize("name", WISHES)
def test_claimed_not_begun(operate: Start, tmp_path: Path, name: str) -> None:
    """The loop is blocked, so that what was claimed cannot begin; where somebody asked for an
    abort it never does. The others are left, and run."""
    gate, other = tmp_path / "gate", tmp_path / "other"
    AsyncBlocker.dispatch(path=str(gate))
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    operation = AsyncHold.dispatch(path=str(other))
    other.touch()
    poll(lambda: row(operation).started_run_at is not None, 20, lambda: operator.log)
    changed = wish(operation, name)
    # The wish arrives while the loop is blocked: it does not need it.
    asked = "abort" in name
    assert changed.abort_requested == asked and int(changed) == asked
    if asked:
        poll(lambda: lines(operator, "asked_to_abort"), 20, lambda: operator.log)
    gate.touch()
    if asked:
        poll(lambda: row(operation).state == "cancelled", 20, lambda: operator.log)
        assert row(operation).reason == "wrong customer"
        assert operation.pk not in entries("begun")
    else:
        wait_until_finished(2, by=[operator])
        assert entries("ended") == [operation.pk]
    assert row(operation).failures == 0
    leave(operator)
    assert_nothing_left()


def test_claimed_when_its_time_is_up(operate: Start, tmp_path: Path) -> None:
    """Somebody else blocks the loop for longer than its timeout: it is not charged for that."""
    gate, other = tmp_path / "gate", tmp_path / "other"
    AsyncBlocker.dispatch(path=str(gate))
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    operation = AsyncPatient.dispatch(path=str(other))
    other.touch()
    poll(lambda: lines(operator, "overran"), 20, lambda: operator.log)
    assert len(entries("begun")) == 1
    gate.touch()
    wait_until_finished(2, by=[operator])
    assert (row(operation).failures, row(operation).attempts) == (0, 2)
    assert outcomes()[0] == "released"
    leave(operator)


# Running


@pytest.mark.parametrize("name", WISHES)
def test_running(operate: Start, tmp_path: Path, name: str) -> None:
    """Asked to abort it is cancelled at its await, within a second or so, and not run again; asked
    for less it is left, and finishes. Its neighbour runs on."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    neighbour, operation = AsyncHold.dispatch(path=str(gate)), AsyncHold.dispatch(path=str(never))
    operator = operate()
    wait_for_entries(2, "begun", by=[operator])
    changed, asked = wish(operation, name), clock.now()
    if "abort" not in name:
        assert int(changed) == 0 and changed.left == 1
        never.touch()
        wait_until_finished(1, by=[operator])
        assert entries("cancelled") == []
    else:
        assert int(changed) == changed.abort_requested == 1
        poll(lambda: row(operation).state == "cancelled", 20, lambda: operator.log)
        ended = row(operation).cancelled_at
        assert ended is not None and (ended - asked).total_seconds() < 5
        assert (row(operation).reason, row(operation).failures) == ("wrong customer", 0)
        assert entries("cancelled") == [operation.pk] and outcomes() == ["aborted"]
    assert row(neighbour).state == "running"
    gate.touch()
    poll(lambda: row(neighbour).state == "finished", 20, lambda: operator.log)
    leave(operator)
    assert_nothing_left()


@pytest.mark.parametrize("how", ["swallow", "shield", "fail"])
def test_what_it_may_make_of_an_abort(operate: Start, tmp_path: Path, how: str) -> None:
    """Swallowed: finished. Shielded: the section ends first. Another error: failed for good, though
    its policy has attempts left."""
    gate = tmp_path / f"{how}.gate"
    operation = AsyncHold.dispatch(path=str(gate))
    operator = operate()
    wait_for_entries(1, "begun", by=[operator])
    Operation.objects.all().abort("wrong customer")
    wait_for_entries(1, "cancelled", by=[operator])
    if how == "shield":
        assert row(operation).state == "running"
        gate.touch()
    state = {"swallow": "finished", "shield": "cancelled", "fail": "failed"}[how]
    poll(lambda: row(operation).state == state, 20, lambda: operator.log)
    assert entries("shielded") == ([operation.pk] if how == "shield" else [])
    assert row(operation).attempts == 1 and entries("ended") == []
    leave(operator)


def test_its_time_is_up(operate: Start, tmp_path: Path) -> None:
    """It is cancelled, counts as timed out, and is tried again until its attempts are used."""
    operation = AsyncPatient.dispatch(path=str(tmp_path / "never"))
    operator = operate()
    poll(lambda: row(operation).state == "failed", 30, lambda: operator.log)
    assert len(entries("begun")) == len(entries("cancelled")) == 2
    assert row(operation).reason.startswith("OperationTimedOut: ran ")
    assert (row(operation).failures, outcomes()) == (2, ["retried", "failed"])
    leave(operator)


# Blocked, and leaving


def test_a_blocked_loop(operate: Start, tmp_path: Path) -> None:
    """It is reported once, by name and with its stack; meanwhile the heart beats on, threads work,
    and a person's wish is passed on to them."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    blocker = AsyncBlocker.dispatch(path=str(gate))
    operator = operate(HEARTBEAT=BEAT)
    wait_for_entries(1, "begun", by=[operator])
    (told,) = poll(lambda: lines(operator, "loop_blocked"), 20, lambda: operator.log)
    who = re.escape(f"work.AsyncBlocker #{blocker.pk} (claim 1)")
    said = rf"The event loop has been blocked for [23] s by {who}; "
    assert re.match(said, told["message"]), told["message"]
    assert "in run" in told["message"] and "time.sleep(0.01)" in told["message"]
    assert told["operation_id"] == blocker.pk
    beat = OperatorProcess.objects.get().heartbeat_at
    Tick.dispatch()
    wait_for_entries(1, by=[operator])
    operation = AsyncHold.dispatch(path=str(never))
    poll(lambda: row(operation).started_run_at is not None, 20, lambda: operator.log)
    poll(
        lambda: (OperatorProcess.objects.get().heartbeat_at - beat).total_seconds() > 3,
        20,
        lambda: operator.log,
    )
    assert len(lines(operator, "loop_blocked")) == 1
    assert OperatorProcess.objects.get().lost_at is None
    gate.touch()
    never.touch()
    wait_until_finished(3, by=[operator])
    leave(operator)
    assert_nothing_left()


def test_they_may_end_within_the_grace(operate: Start, tmp_path: Path) -> None:
    """Told to leave, an operator waits for them, and passes on what a person wants."""
    gate, never = tmp_path / "gate", tmp_path / "never"
    first, second = AsyncHold.dispatch(path=str(gate)), AsyncHold.dispatch(path=str(never))
    operator = operate("--grace", "60")
    wait_for_entries(2, "begun", by=[operator])
    operator.terminate()
    poll(lambda: OperatorProcess.objects.get().draining, 20, lambda: operator.log)
    wish(second, "abort")
    poll(lambda: row(second).state == "cancelled", 20, lambda: operator.log)
    gate.touch()
    assert operator.wait() == 0, operator.log
    assert row(first).state == "finished"
    assert_calm(operator)
    assert_nothing_left()


@pytest.mark.parametrize("kind", [AsyncHold, AsyncBlocker])
def test_after_the_grace_they_are_released(operate: Start, tmp_path: Path, kind: Any) -> None:
    """Also one that keeps the loop: uncharged, and due again after five seconds."""
    never = tmp_path / "never"
    operation = kind.dispatch(path=str(never))
    operator = operate("--grace", "0.5")
    wait_for_entries(1, "begun", by=[operator])
    leave(operator)
    assert (row(operation).state, row(operation).failures) == ("scheduled", 0)
    assert outcomes() == ["released"]
    assert_nothing_left()


def test_its_operator_is_killed(operate: Start, tmp_path: Path) -> None:
    """All that were on its loop are run again, suspects one by one in a child of their own."""
    gate = tmp_path / "gate"
    operations = [AsyncHold.dispatch(path=str(gate)) for _ in range(3)]
    first = operate(HEARTBEAT=BEAT)
    wait_for_entries(3, "begun", by=[first])
    first.signal(signal.SIGKILL)
    gate.touch()
    second = operate(HEARTBEAT=BEAT)
    ready(second)
    wait_until_finished(3, by=[second], timeout=60)
    assert sorted(entries("ended")) == sorted(operation.pk for operation in operations)
    assert {row(operation).crashes for operation in operations} == {1}
    leave(second)


def test_its_operator_is_taken_for_dead(operate: Start, tmp_path: Path) -> None:
    """It is cancelled, since others may be running it, and run again, uncharged."""
    gate = tmp_path / "gate"
    operation = AsyncHold.dispatch(path=str(gate))
    operator = operate(HEARTBEAT=BEAT)
    wait_for_entries(1, "begun", by=[operator])
    assert OperatorProcess.objects.update(lost_at=clock.now()) == 1
    wait_for_entries(1, "cancelled", by=[operator])
    gate.touch()
    wait_until_finished(1, by=[operator])
    assert (row(operation).failures, row(operation).attempts) == (0, 2)
    assert entries("begun") == [operation.pk] * 2 and entries("ended") == [operation.pk]
    leave(operator)
