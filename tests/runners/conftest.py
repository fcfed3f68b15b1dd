"""Runners that start processes, on the database of the test."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from operator_app.duties import Heartbeat
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.runners import ProcessRunner, Runner
from tests.processes import poll


@pytest.fixture
def in_children(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes find the settings and the database of this test."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setenv("OPERATOR_TEST_NAME", str(connections["default"].settings_dict["NAME"]))


@pytest.fixture
def process(in_children: None) -> Iterator[OperatorProcess]:
    """The row of the operator that claims."""
    heartbeat = Heartbeat("default", queues=[], capacity=2)
    yield heartbeat.register()
    heartbeat.stop()


@pytest.fixture
def claimed(process: OperatorProcess) -> Callable[[Operation], OperationJob]:
    """Claims a due operation; returns its job."""

    def claim(operation: Operation) -> OperationJob:
        rows = Operation.all_objects.all()
        (row,) = rows.claim(process, rows.lanes(), limit=1, now=rows._now())
        assert row.pk == operation.pk
        return OperationJob.of(row, operator=str(process))

    return claim


@pytest.fixture
def suspect(claimed: Callable[[Operation], OperationJob]) -> Callable[[Operation], OperationJob]:
    """Claims an operation that an operator has died with."""

    def claim(operation: Operation) -> OperationJob:
        Operation.all_objects.filter(pk=operation.pk).update(crashes=1)
        return claimed(operation)

    return claim


class Collected(list[OperationJob]):
    """What a runner is done with."""

    def wait(self, count: int) -> OperationJob:
        """Wait for so many; return the last of them."""
        poll(lambda: len(self) >= count, 60, lambda: f"{count} jobs, got {len(self)}")
        return self[-1]


@pytest.fixture
def collected() -> Collected:
    """What the runner of the test is done with."""
    return Collected()


@pytest.fixture
def runner(in_children: None, collected: Collected) -> Iterator[Runner]:
    """A runner of one child."""
    runner = ProcessRunner(1, collected.append)
    yield runner
    closed(runner)


@pytest.fixture
def run(
    runner: Runner, collected: Collected, claimed: Callable[[Operation], OperationJob]
) -> Callable[[Operation], OperationJob]:
    """Runs an operation in a child; returns its job once `done` has it."""

    def run(operation: Operation) -> OperationJob:
        job, count = claimed(operation), len(collected) + 1
        runner.submit(job)
        assert collected.wait(count) is job
        poll(lambda: runner.is_idle, 10, "the runner to be idle")
        return job

    return run


def closed(runner: Runner) -> None:
    """Close a runner, and see that none of its processes is left."""
    runner.close()
    poll(lambda: not multiprocessing.active_children(), 10, "the children to be gone")
