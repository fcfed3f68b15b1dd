"""Real jobs in the runners: what `run()` raises ends nothing but the attempt."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, connections

from operator_app import clock
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.runners import InlineRunner, Runner, ThreadRunner
from tests.kinds.models import Scripted
from tests.processes import poll

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def done() -> list[OperationJob]:
    return []


@pytest.fixture(params=["inline", "threads"])
def runner(request: pytest.FixtureRequest, done: list[OperationJob]) -> Iterator[Runner]:
    runner = InlineRunner(done.append)
    if request.param == "threads":
        runner = ThreadRunner(2, done.append)
    yield runner
    runner.close()


def claimed(script: Callable[[Scripted], object]) -> OperationJob:
    """A job of an operation that follows `script`, claimed as an operator does it."""
    operation = Scripted.dispatch(script=Scripted.does(script.__name__, script))
    now = clock.now()
    process = OperatorProcess.objects.create(
        hostname="here", pid=1, version="0", capacity=1, started_at=now, heartbeat_at=now,
        alive_until=now,
    )  # fmt: skip
    rows = Operation.all_objects.all()
    (mine,) = rows.claim(process, rows.lanes(), limit=1, now=clock.now())
    assert mine.pk == operation.pk
    return OperationJob.of(mine)


def exits(operation: Scripted) -> None:
    sys.exit(3)


def fails(operation: Scripted) -> None:
    raise ValueError("no")


def generates(operation: Scripted) -> None:
    raise GeneratorExit


def interrupts(operation: Scripted) -> None:
    raise KeyboardInterrupt


def succeeds(operation: Scripted) -> None:
    Operation.objects.count()


@pytest.mark.parametrize("script", [exits, fails, generates])
def test_any_error_of_run_is_an_ordinary_one(
    runner: Runner, done: list[OperationJob], script: Callable[[Scripted], object]
) -> None:
    """SystemExit, GeneratorExit and errors of run() end as Retried; the runner goes on."""
    runner.submit(claimed(script))
    runner.submit(claimed(succeeds))
    poll(lambda: len(done) == 2, 10, "both jobs")
    poll(lambda: runner.is_idle, 10)
    assert sorted(job.outcome for job in done) == ["finished", "retried"]


def test_keyboard_interrupt_in_a_thread_is_an_ordinary_error(done: list[OperationJob]) -> None:
    """Ctrl-C never reaches a thread, so a KeyboardInterrupt there is run()'s own: Retried."""
    runner = ThreadRunner(1, done.append)
    try:
        runner.submit(claimed(interrupts))
        poll(lambda: done, 10, "the job")
        assert done[0].outcome == "retried"
    finally:
        runner.close()


def test_keyboard_interrupt_inline_is_released_and_raised(done: list[OperationJob]) -> None:
    """Inline a KeyboardInterrupt is Ctrl-C: the job is Released, and it is raised again."""
    with pytest.raises(KeyboardInterrupt):
        InlineRunner(done.append).submit(claimed(interrupts))
    assert [job.outcome for job in done] == ["released"]


def test_a_thread_keeps_its_connection_from_job_to_job(done: list[OperationJob]) -> None:
    """One thread runs many jobs on one connection, which is closed when the thread ends."""
    seen: list[object] = []

    def look(operation: Scripted) -> None:
        connection.ensure_connection()
        seen.append(connection.connection)

    runner = ThreadRunner(1, done.append)
    jobs = [claimed(look) for _ in range(5)]
    for job in jobs:
        runner.submit(job)
    poll(lambda: len(done) == 5, 10, "five jobs")
    poll(lambda: runner.is_idle, 10)
    assert [job.outcome for job in done] == ["finished"] * 5
    assert len({id(raw) for raw in seen}) == 1
    wrapper: list[object] = []
    runner.call(lambda: wrapper.append(connections["default"]))
    poll(lambda: wrapper, 10)
    runner.close()
    assert wrapper[0].connection is None


def test_a_transaction_left_open_is_rolled_back(done: list[OperationJob]) -> None:
    """A run() that leaves autocommit off takes nothing into the next job of its thread."""
    states: list[bool] = []

    def opens(operation: Scripted) -> None:
        connection.set_autocommit(False)
        Scripted.objects.filter(pk=operation.pk).update(script="changed")

    def looks(operation: Scripted) -> None:
        states.append(connection.get_autocommit())

    runner = ThreadRunner(1, done.append)
    try:
        first, second = claimed(opens), claimed(looks)
        runner.submit(first)
        runner.submit(second)
        poll(lambda: len(done) == 2, 10, "both jobs")
        assert states == [True]
        assert Scripted.objects.get(pk=first.operation_id).script == "opens"
    finally:
        runner.close()


def test_jobs_of_one_runner_see_their_own_job(done: list[OperationJob]) -> None:
    """`self.job` is the right one, however many jobs run at once."""
    both = threading.Barrier(2, timeout=10)
    seen: dict[int, int] = {}

    def look(operation: Scripted) -> None:
        both.wait()
        seen[operation.pk] = operation.job.operation_id

    runner = ThreadRunner(2, done.append)
    try:
        for job in [claimed(look), claimed(look)]:
            runner.submit(job)
        poll(lambda: len(done) == 2, 10, "both jobs")
        assert len(seen) == 2
        assert all(key == value for key, value in seen.items())
    finally:
        runner.close()
