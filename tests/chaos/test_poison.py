"""G5, G11: operations that kill their process are found out; their neighbours get on."""

from __future__ import annotations

import sys

from operator_app.models import Operation
from tests.chaos.conftest import Start
from tests.chaos.support import (
    due,
    wait_until_ended,
)
from tests.chaos.work.models import Effect, Neighbour, Poison
from tests.process.support import logs

SETTINGS = {"HEARTBEAT": {"interval": 2, "timeout": 20}, "POLL_INTERVAL": 0.2}
"""The parent tells of deaths; no heartbeat is waited for."""


def _assert_parked(pk: int, word: str) -> None:
    operation = Operation.objects.get(pk=pk)
    facts = (operation.state, operation.attempts, operation.crashes, operation.failures)
    assert facts == ("failed", 3, 3, 0), (facts, operation.reason)
    assert "its operator died 3 times (max_crashes=3)" in operation.reason
    assert word in operation.reason
    jobs = operation.jobs.order_by("number").values_list("number", "outcome")
    assert list(jobs) == [(1, "retried"), (2, "retried"), (3, "failed")]
    assert Effect.objects.filter(operation_number=pk, line="begun").count() == 3


def test_a_poison_job_among_its_neighbours(operate: Start) -> None:
    """A job that kills its process each time, beside 7 long and 200 short ones: it is parked as
    failed after three crashes, and each neighbour finishes.
    """
    long = due(Neighbour, 7, seconds=0.5, priority=2)
    (poison,) = due(Poison, way="os._exit", priority=1)
    short = due(Neighbour, 200)

    parent = operate("--processes", "2", "--threads", "8", **SETTINGS)
    wait_until_ended([poison, *long, *short], parent, timeout=100)

    neighbours = Operation.objects.filter(pk__in=long + short)
    assert neighbours.finished().count() == 207, logs(parent)
    assert set(neighbours.values_list("failures", flat=True)) == {0}
    assert set(neighbours.values_list("crashes", flat=True)) <= {0, 1}
    _assert_parked(poison, "exit code 3")
    parent.terminate()
    assert parent.wait() == 0, logs(parent)


def test_ways_to_die(operate: Start) -> None:
    """A segmentation fault is a crash as os._exit is: after three of them it is parked, and the
    reason says how the process ended.
    """
    (poison,) = due(Poison, way="segfault")
    neighbours = due(Neighbour, 3, seconds=0.1)
    parent = operate("--processes", "1", **SETTINGS)
    wait_until_ended([poison, *neighbours], parent)
    _assert_parked(poison, "SIGSEGV")
    assert Operation.objects.finished().count() == 3
    parent.terminate()
    assert parent.wait() == 0, logs(parent)


def test_ways_to_fail(operate: Start) -> None:
    """Endless recursion and sys.exit are ordinary errors: the process lives on."""
    bad = due(Poison, way="sys.exit") + due(Poison, way="recurse")
    neighbours = due(Neighbour, 3, seconds=0.1)
    operator = operate(**SETTINGS)
    wait_until_ended(bad + neighbours, operator)
    exited, recursed = [Operation.objects.get(pk=pk) for pk in bad]
    for operation in (exited, recursed):
        facts = (operation.state, operation.attempts, operation.crashes, operation.failures)
        assert facts == ("failed", 3, 0, 3)
    assert "SystemExit" in exited.reason
    assert "RecursionError" in recursed.reason
    assert Operation.objects.finished().count() == 3
    operator.terminate()
    assert operator.wait() == 0, operator.log


def test_recursion_through_c(operate: Start) -> None:
    """Recursion through C overflows the stack of an old Python, which is a crash, and raises in a
    new one, which is an error: either way it ends as failed, and its neighbour finishes.
    """
    (poison,) = due(Poison, way="overflow")
    (neighbour,) = due(Neighbour)
    parent = operate("--processes", "1", **SETTINGS)
    wait_until_ended([poison, neighbour], parent)
    operation = Operation.objects.get(pk=poison)
    assert (operation.state, operation.crashes + operation.failures) == ("failed", 3), (
        sys.version,
        operation.reason,
    )
    assert Operation.objects.get(pk=neighbour).state == "finished"
    parent.terminate()
    assert parent.wait() == 0, logs(parent)
