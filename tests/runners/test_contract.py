"""What every runner promises; jobs are stand-ins, so that each moment can be held."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from operator_app.runners import AsyncRunner, InlineRunner, Runner, ThreadRunner
from tests.processes import poll

# Between jobs the runners look after whatever connections their thread has open.
pytestmark = pytest.mark.django_db

PATIENCE = 10

Make = Callable[[int, "Done"], Runner]


class Job:
    """Stands in for an `OperationJob`: calls `work`, and has ended."""

    kind_id = 1

    error: BaseException | None = None
    interruption: BaseException | None = None
    outcome: str | None = None

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.work = work
        self.runs = 0
        self.ran_in: threading.Thread | None = None

    def begin(self) -> bool:
        return True

    def run(self, *, interruptible: bool = False, final: bool = False) -> None:
        self.runs += 1
        self.ran_in = threading.current_thread()
        self.work()
        self.outcome = "finished"

    def prepare(self) -> bool:
        return self.begin()

    async def arun(self) -> None:
        self.runs += 1
        self.ran_in = threading.current_thread()
        await self.awork()

    async def awork(self) -> None:
        self.work()

    def conclude(self, error: BaseException | None) -> None:
        assert error is None
        self.outcome = "finished"

    def end_as(self, outcome: Any) -> None:
        self.outcome = outcome.name


class Held(Job):
    """A job that begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()
        super().__init__(self._hold)

    def _hold(self) -> None:
        self.begun.set()
        assert self.let_go.wait(PATIENCE), "nobody let go"

    async def awork(self) -> None:
        self.begun.set()
        while not self.let_go.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Done(list[Job]):
    """Collects what a runner is done with."""

    def wait(self, count: int) -> None:
        poll(lambda: len(self) >= count, PATIENCE, lambda: f"{count} jobs, got {len(self)}")


@pytest.fixture
def done() -> Done:
    return Done()


def threads(count: int, done: Done) -> ThreadRunner:
    return ThreadRunner(count, done.append)


def tasks(count: int, done: Done) -> AsyncRunner:
    return AsyncRunner(count, done.append)


@pytest.fixture(params=["inline", "threads", "asyncio"])
def runner(request: pytest.FixtureRequest, done: Done) -> Iterator[Runner]:
    """Each runner, closed after the test."""
    if request.param == "inline":
        runner: Runner = InlineRunner(done.append)
    else:
        runner = threads(2, done) if request.param == "threads" else tasks(2, done)
    yield runner
    runner.close()


@pytest.fixture
def held() -> Iterator[Callable[[], Held]]:
    """Makes held jobs, which are let go after the test at the latest."""
    made: list[Held] = []

    def make() -> Held:
        made.append(Held())
        return made[-1]

    yield make
    for job in made:
        job.let_go.set()


@pytest.fixture(params=[threads, tasks])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a runner of so many threads, or tasks."""
    maker: Make = request.param
    return maker


@pytest.fixture
def pool(make: Make, done: Done) -> Iterator[Runner]:
    """A runner of two threads, or two tasks."""
    runner = make(2, done)
    yield runner
    runner.close()


def begin(runner: Runner, *jobs: Held) -> None:
    """Submit these jobs and wait until each has begun."""
    for job in jobs:
        runner.submit(job)
    for job in jobs:
        assert job.begun.wait(PATIENCE), "it was not begun"


class TestAll:
    """What inline, threads and tasks have in common."""

    def test_each_job_is_run_once_and_done_once(self, runner: Runner, done: Done) -> None:
        """Every submitted job is run once, and `done` gets each of them once, ended."""
        jobs = [Job() for _ in range(50)]
        for job in jobs:
            runner.submit(job)
        done.wait(50)
        poll(lambda: runner.is_idle, PATIENCE)
        assert {id(job) for job in done} == {id(job) for job in jobs}
        assert len(done) == 50
        assert [job.runs for job in jobs] == [1] * 50
        assert {job.outcome for job in done} == {"finished"}

    def test_free_is_the_capacity_when_idle(self, runner: Runner, done: Done) -> None:
        """An idle runner can start as many jobs as its capacity, before and after it ran some."""
        assert runner.free == runner.capacity
        runner.submit(Job())
        done.wait(1)
        poll(lambda: runner.is_idle, PATIENCE)
        assert runner.free == runner.capacity

    def test_nothing_to_take_back_or_abandon_when_idle(self, runner: Runner, done: Done) -> None:
        """An idle runner has no job that waits and none that runs."""
        runner.submit(Job())
        done.wait(1)
        poll(lambda: runner.is_idle, PATIENCE)
        assert (runner.take_back(), runner.abandon()) == ([], [])

    def test_call_does_the_work(self, runner: Runner) -> None:
        """call() does a piece of work, once, where jobs run."""
        where: list[threading.Thread] = []
        runner.call(lambda: where.append(threading.current_thread()))
        poll(lambda: runner.is_idle, PATIENCE)
        assert len(where) == 1
        inline = isinstance(runner, InlineRunner)
        assert (where[0] is threading.current_thread()) == inline

    def test_close_twice(self, runner: Runner) -> None:
        """A runner may be closed again."""
        runner.close()
        runner.close()

    def test_a_job_is_accounted_for_until_it_was_handed_over(self, runner: Runner) -> None:
        """At every moment a job is either in the runner's books or has been handed to `done`: while
        `done` is being called with it a runner in threads is not idle."""
        idle: list[bool] = []
        runner.done = lambda job: idle.append(runner.is_idle)
        runner.submit(Job())
        poll(lambda: idle, PATIENCE)
        # Inline nobody can ask meanwhile: the one who asks is the one who submits.
        assert idle == [isinstance(runner, InlineRunner)]


class TestInline:
    """Jobs in the caller's thread."""

    def test_a_job_has_ended_when_submit_returns(self) -> None:
        """submit() runs the job in the calling thread and hands it over before it returns."""
        done = Done()
        job = Job()
        InlineRunner(done.append).submit(job)
        assert done == [job]
        assert job.ran_in is threading.current_thread()

    def test_ctrl_c_is_raised_after_the_job_was_handed_over(self) -> None:
        """A job released by KeyboardInterrupt is handed to `done`; then that is raised again."""
        done = Done()
        job = Job()

        def interrupted(*, interruptible: bool = False) -> None:
            assert interruptible
            job.error, job.outcome = KeyboardInterrupt(), "released"

        job.run = interrupted
        runner = InlineRunner(done.append)
        with pytest.raises(KeyboardInterrupt):
            runner.submit(job)
        assert done == [job]


class TestSeveral:
    """Jobs beside each other, in threads or tasks."""

    def test_jobs_run_beside_each_other(
        self, pool: Runner, done: Done, held: Callable[[], Held]
    ) -> None:
        """Several jobs run at once, in threads of their own or all in one, none in the caller's."""
        first, second = held(), held()
        begin(pool, first, second)
        assert pool.free == 0
        assert not pool.is_idle
        second.let_go.set()
        done.wait(1)
        assert done == [second]
        poll(lambda: pool.free == 1, PATIENCE)
        first.let_go.set()
        done.wait(2)
        assert threading.current_thread() not in {first.ran_in, second.ran_in}
        assert (first.ran_in is second.ran_in) == isinstance(pool, AsyncRunner)

    def test_free_counts_what_waits(self, pool: Runner, held: Callable[[], Held]) -> None:
        """A job takes its slot at submission, not only when a thread has begun it."""
        begin(pool, held(), held())
        pool.submit(Job())
        assert pool.free == 0

    def test_take_back(self, done: Done, held: Callable[[], Held]) -> None:
        """take_back() returns the jobs that wait; they are never run, and `done` never has them."""
        pool = threads(2, done)
        running = [held(), held()]
        begin(pool, *running)
        waiting = [Job() for _ in range(3)]
        for job in waiting:
            pool.submit(job)
        assert pool.take_back() == waiting
        assert pool.take_back() == []
        for job in running:
            job.let_go.set()
        done.wait(2)
        last = Job()
        pool.submit(last)
        done.wait(3)
        assert [job.runs for job in waiting] == [0, 0, 0]
        assert {id(job) for job in done} == {id(job) for job in [*running, last]}
        pool.close()

    def test_abandon(self, pool: Runner, done: Done, held: Callable[[], Held]) -> None:
        """abandon() returns the jobs that run; `done` is not called when they end after all."""
        running = [held(), held()]
        begin(pool, *running)
        assert {id(job) for job in pool.abandon()} == {id(job) for job in running}
        assert pool.abandon() == []
        for job in running:
            job.let_go.set()
        poll(lambda: all(job.outcome for job in running), PATIENCE)
        last = Job()
        pool.submit(last)
        done.wait(1)
        assert done == [last]

    def test_close_waits_for_no_job(self, make: Make, held: Callable[[], Held], done: Done) -> None:
        """close() returns at once while jobs run, abandoned or not; then their threads end."""
        for abandoned in (False, True):
            runner = make(2, done)
            job = held()
            begin(runner, job)
            if abandoned:
                runner.abandon()
            closing = threading.Thread(target=runner.close)
            closing.start()
            closing.join(2)
            waited = closing.is_alive()
            job.let_go.set()
            closing.join(PATIENCE)
            thread = job.ran_in
            assert thread is not None
            thread.join(PATIENCE)
            assert not thread.is_alive()
            assert not waited, f"close() waited for a job, abandoned: {abandoned}"

    def test_close_ends_the_threads(self, make: Make, done: Done) -> None:
        """After close() of an idle runner none of its threads lives."""
        before = set(threading.enumerate())
        runner = make(3, done)
        runner.submit(Job())
        done.wait(1)
        poll(lambda: runner.is_idle, PATIENCE)
        started = set(threading.enumerate()) - before
        # The helpers and the loop's own, however many tasks there may be.
        assert len(started) == (3 if make is threads else 5)
        assert all(thread.daemon for thread in started)
        runner.close()
        assert not any(thread.is_alive() for thread in started)

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("engine")])
    def test_an_error_of_the_engine_costs_neither_thread_nor_slot(
        self, make: Make, error: BaseException, done: Done, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If running a job raises in the engine itself, the thread lives on, the slot is free
        again, and the error is in the log."""

        def fail() -> None:
            raise error

        runner = make(1, done)
        try:
            runner.submit(Job(fail))
            healthy = Job()
            runner.submit(healthy)
            poll(lambda: healthy in done, PATIENCE, "the next job to be run")
            # On a loop the two are prepared side by side.
            poll(lambda: type(error).__name__ in caplog.text, PATIENCE, lambda: caplog.text)
            poll(lambda: runner.is_idle, 2, "the runner to forget the job that it cannot run")
            assert runner.free == 1
        finally:
            runner.close()

    def test_work_that_raises_costs_no_thread(self, make: Make, done: Done) -> None:
        """A piece of work that raises, SystemExit included, does not end the thread it ran on."""
        runner = make(1, done)
        try:
            runner.call(lambda: sys.exit(3))
            assert not runner.take_back()
            runner.submit(Job())
            done.wait(1)
            poll(lambda: runner.is_idle, PATIENCE)
        finally:
            runner.close()

    def test_a_call_under_way_is_not_idle(self, pool: Runner, held: Callable[[], Held]) -> None:
        """A hook that is running keeps the runner from being idle, but takes no slot."""
        work = held()
        pool.call(work.work)
        assert work.begun.wait(PATIENCE)
        assert not pool.is_idle
        assert pool.free == 2
        work.let_go.set()
        poll(lambda: pool.is_idle, PATIENCE)
