"""Circuit breakers with real operators, one of which is killed."""

from __future__ import annotations

from pathlib import Path

from operator_app import clock
from operator_app.models import Circuit, Operation, Pause
from tests.process.conftest import Start
from tests.process.support import (
    entries,
    lines,
    logs,
    pause,
    ready,
    wait_for_entries,
    wait_until_finished,
)
from tests.processes import OperatorUnderTest, poll
from tests.work.models import Call

EFFECTIVE = 1.0
"""Seconds within which all operators know of a pause."""


def call(there: Path, count: int) -> None:
    now = clock.now()
    Call.schedule_many([Call(path=str(there), should_run_at=now) for _ in range(count)])


def wait_until_open(*operators: OperatorUnderTest) -> int:
    """Wait until the circuit is open for all; return how many calls were made till then."""
    poll(lambda: Pause.objects.filter(from_breaker=True).exists(), 30, lambda: logs(*operators))
    pause(EFFECTIVE)
    return len(entries("called"))


def cooldown() -> float:
    return Circuit.objects.get().cooldown


def test_nobody_calls_who_is_not_there(operate: Start, tmp_path: Path) -> None:
    """Two operators stop calling after three failures, try once after the cool-down and once after
    a longer one, and go on when there is an answer. Who waits is charged nothing.
    """
    there = tmp_path / "there"
    operators = [operate("--threads", "2") for _ in range(2)]
    ready(*operators)
    call(there, 200)
    before = wait_until_open(*operators)
    assert 3 <= before < 150
    for count in (1, 2):
        wait_for_entries(before + count, "called", by=operators)
        poll(lambda: cooldown() == 3, 10, lambda: logs(*operators))
        pause(EFFECTIVE)
        assert len(entries("called")) == before + count
    failures = Operation.objects.values_list("failures", flat=True)
    assert sum(failures) == before + 2
    there.touch()
    wait_until_finished(200, by=operators)
    assert not Pause.objects.exists()
    assert sorted(entries("answered")) == sorted(Operation.objects.values_list("pk", flat=True))
    for operator in operators:
        operator.terminate()
    assert [operator.wait() for operator in operators] == [0, 0]
    said = [line["action"] for each in operators for line in lines(each) if "action" in line]
    assert said.count("circuit_opened") == said.count("circuit_closed") == 1
    assert said.count("circuit_stays_open") == 2


def test_who_tries_is_killed(operate: Start, tmp_path: Path) -> None:
    """While a trial lasts there is no other one, however long; when its operator was killed and it
    was rescued, another operator tries.
    """
    there, hang = tmp_path / "there", tmp_path / "there.hang"
    settings = {"HEARTBEAT": {"interval": 0.5, "timeout": 3}}
    operators = [operate("--threads", "1", **settings) for _ in range(2)]
    ready(*operators)
    call(there, 10)
    before = wait_until_open(*operators)
    hang.touch()
    wait_for_entries(before + 1, "called", by=operators)
    poll(lambda: Circuit.objects.get().trial is not None, 10)
    pause(3.0)  # Longer than the cool-down.
    assert len(entries("called")) == before + 1
    trial = Operation.objects.select_related("operator").get(pk=Circuit.objects.get().trial)
    assert trial.operator is not None
    (killed,) = [each for each in operators if each.pid == trial.operator.pid]
    (left,) = [each for each in operators if each is not killed]
    killed.kill()
    killed.wait()
    there.touch()
    hang.unlink()
    wait_until_finished(10, by=[left], timeout=60)
    assert not Pause.objects.exists()
    assert sorted(set(entries("answered"))) == sorted(
        Operation.objects.values_list("pk", flat=True)
    )
    left.terminate()
    assert left.wait() == 0
