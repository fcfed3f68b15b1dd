"""What the chaos tests share: the processes of an operator, and the account of the ledger."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.moments import later
from tests.chaos.work.models import Effect, Task
from tests.process.support import lines, logs, ready
from tests.processes import OperatorUnderTest, poll

QUICK = {"interval": 0.25, "timeout": 2}
"""A heartbeat that makes tests quick where a living operator may be taken for dead."""
STEADY = {"interval": 0.25, "timeout": 3}
"""One that a busy machine with two cores can keep up, where it may not."""

DATABASE = os.environ.get("OPERATOR_TEST_DATABASE") or "sqlite"


def seed() -> int:
    """The seed to use: OPERATOR_CHAOS_SEED to replay one, else a new one."""
    return int(os.environ.get("OPERATOR_CHAOS_SEED") or random.SystemRandom().randrange(10**6))


def rounds(short: int) -> int:
    """How many rounds: OPERATOR_CHAOS_ROUNDS in the long form, else `short`."""
    return int(os.environ.get("OPERATOR_CHAOS_ROUNDS") or short)


def due(kind: type[Task], count: int = 1, **fields: object) -> list[int]:
    """Insert operations that are due now; return their ids."""
    now = clock.now()
    rows = [kind(should_run_at=now, **fields) for _ in range(count)]
    return [operation.pk for operation in kind.schedule_many(rows)]


def decoy(alive_for: float = 0) -> Callable[[], bool]:
    """Insert the row of an operator that gives no sign of life, and lives so many seconds more.

    Returns:
        Whether somebody has declared it lost, and so has judged all others, too, since then.
    """
    now = clock.now()
    dead = OperatorProcess.objects.create(
        hostname="decoy", pid=0, version="", capacity=1, started_at=now, heartbeat_at=now,
        alive_until=later(now, alive_for),
    )  # fmt: skip
    return OperatorProcess.objects.exclude(lost_at=None).filter(pk=dead.pk).exists


def wait_at_gate(gate: Path, ids: Iterable[int], *by: OperatorUnderTest, attempt: int = 1) -> None:
    """Wait until these operations wait at the gate, in this attempt."""
    __tracebackhide__ = True
    files = [Path(f"{gate}.{pk}.{attempt}") for pk in ids]
    poll(
        lambda: all(file.exists() for file in files),
        30,
        lambda: f"operations to come to {gate}\n{logs(*by)}",
    )


def wait_until_ended(ids: Iterable[int], *by: OperatorUnderTest, timeout: float = 60) -> None:
    """Wait until these operations have ended, however."""
    __tracebackhide__ = True
    rows = Operation.all_objects.filter(pk__in=list(ids)).filter(
        finished_run_at=None, failed_run_at=None, cancelled_at=None
    )

    def message() -> str:
        left = [str(values) for values in rows.values()[:20]]
        return f"{rows.count()} operations to end:\n" + "\n".join(left) + f"\n{logs(*by)}"

    poll(lambda: not rows.exists(), timeout, message, interval=0.1)


def said(operator: OperatorUnderTest, action: str) -> bool:
    """Whether the operator has logged this action."""
    return bool(lines(operator, action))


def terminate(*operators: OperatorUnderTest) -> None:
    """Tell them to leave, once they have come up; each must do so with 0."""
    __tracebackhide__ = True
    ready(*operators)
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0 for _ in operators], logs(*operators)


def row(pk: int) -> dict[str, object]:
    """All that the engine knows of an operation."""
    return Operation.all_objects.filter(pk=pk).values().get()


def evidence(ids: Iterable[int], operators: Iterable[OperatorUnderTest]) -> str:
    """All that is known of these operations: ledger, row, jobs, and what operators have logged."""
    text = []
    for pk in list(ids)[:3]:
        effects = Effect.objects.filter(operation_number=pk).order_by("id").values()
        jobs = OperationJob.objects.filter(operation=pk).order_by("number")
        found = Operation.all_objects.filter(pk=pk).values()
        told = jobs.values("number", "outcome", "operator", "started_at", "ended_at", "message")
        text += [f"Operation {pk}", *map(str, effects), *map(str, found), *map(str, told)]
        for operator in operators:
            said = [line for line in operator.stderr.splitlines() if f"#{pk} (" in line]
            text += [f"pid {operator.pid}: {line}" for line in said]
    dead = OperatorProcess.objects.exclude(lost_at=None).order_by("pk")
    text += [
        str(each) for each in dead.values("id", "pid", "started_at", "heartbeat_at", "lost_at")
    ]
    return "\n".join(text)


@dataclass
class Account:
    """What the ledger says of a set of operations."""

    operations: int
    kills: int
    lost: list[int]
    """Those that have not finished, or have no effect."""
    duplicated: list[int]
    """Those whose effects happened more often than they may."""
    repeated: int
    """Plain runs that were repeated since their operator had died: allowed."""

    def __add__(self, other: Account) -> Account:
        return Account(
            self.operations + other.operations,
            self.kills + other.kills,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.repeated + other.repeated,
        )

    def __str__(self) -> str:
        return (
            f"{DATABASE}: {self.operations} operations, {self.kills} kills, "
            f"{self.repeated} repeated after a kill, "
            f"{len(self.lost)} lost, {len(self.duplicated)} duplicated"
        )


told: list[Account] = []
"""The accounts of this run of pytest, for the summary at its end."""


def tell(result: Account) -> None:
    """Print an account, and keep it for the summary."""
    print(result)
    told.append(result)


def account(
    plain: Iterable[int], atomic: Iterable[int], kills: int, *, operators_died: bool = True
) -> Account:
    """Compare the ledger with the operations.

    Plain ones: at least one run that came to its end, one run per claim, and every claim but the
    last was held by an operator that is lost; so at most one run more than there were crashes, and
    at most one more than there were kills. Atomic ones: exactly one.

    Args:
        plain: the operations that may be repeated after a kill.
        atomic: those that may not.
        kills: how often something was killed or paused.
        operators_died: whether those were operators, and not child processes of theirs.
    """
    plain, atomic = set(plain), set(atomic)
    begun: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    for pk, attempt, operator in Effect.objects.filter(line="begun").values_list(
        "operation_number", "attempt", "operator_number"
    ):
        begun[pk].append((attempt, operator))
    ended = Counter(Effect.objects.filter(line="ended").values_list("operation_number", flat=True))
    rows = {operation.pk: operation for operation in Operation.all_objects.all()}
    # Operators that left in order have deleted their rows; those that died have been declared lost.
    dead = set(OperatorProcess.objects.exclude(lost_at=None).values_list("pk", flat=True))
    lost = [
        pk
        for pk in plain | atomic
        if pk not in rows or rows[pk].finished_run_at is None or not ended[pk]
    ]
    duplicated = [pk for pk in atomic if ended[pk] != 1 or len(begun[pk]) != 1]
    for pk in plain:
        runs = sorted(begun[pk])
        earlier = {operator for _, operator in runs[:-1]}
        if (
            len({attempt for attempt, _ in runs}) != len(runs)
            or (operators_died and not earlier <= dead)
            or len(runs) > 1 + rows[pk].crashes
            or len(runs) > 1 + kills
        ):
            duplicated.append(pk)
    repeated = sum(len(begun[pk]) - 1 for pk in plain if begun[pk])
    return Account(len(plain | atomic), kills, sorted(lost), sorted(duplicated), repeated)
