"""Jobs on an event loop: real operations, whose `run()` is a coroutine of the test."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.db.backends.signals import connection_created

from operator_app import Policy, clock
from operator_app.exceptions import OperationAborted, OperationTimedOut, OperatorLost
from operator_app.models import Operation, OperationJob, OperatorProcess, specific
from operator_app.models.current import current_job
from operator_app.outcomes import Aborted, Cancelled, Failed, Finished, Released, Retried, Stopped
from operator_app.runners import AsyncRunner, aio, family, pulse
from tests.kinds.models import AsyncNote, Ledger
from tests.models.tools import stored
from tests.process.support import other_sessions
from tests.processes import poll
from tests.runners.conftest import Collected

pytestmark = pytest.mark.django_db(transaction=True)

Script = Callable[[Any], Coroutine[Any, Any, object]]
ENOUGH = OperationAborted("enough")
needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")


@pytest.fixture
def runner(transactional_db: None, collected: Collected) -> Iterator[AsyncRunner]:
    """A runner of 300 tasks, which leaves nothing behind."""
    before = set(threading.enumerate())
    runner = AsyncRunner(300, collected.append)
    yield runner
    runner.close()

    def left() -> set[str]:
        return {thread.name for thread in set(threading.enumerate()) - before} - {"watchdog"}

    # It does not wait for a helper that is busy, if only to tidy up after the last job.
    poll(lambda: not left(), 10, lambda: f"these threads to end: {left()}")
    poll(lambda: other_sessions() == 0, 10, "the connections to be closed")


class Stage:
    """Submits operations whose `run()` is the given coroutine function."""

    def __init__(self, runner: AsyncRunner, process: OperatorProcess, collected: Collected) -> None:
        self.runner, self.collected = runner, collected
        self._process = process
        self.scripts: dict[str, Script] = {}

    def claim(self, *scripts: Script) -> list[OperationJob]:
        """Return claimed jobs of these, in this order."""
        notes = []
        for script in scripts:
            name = str(len(self.scripts))
            self.scripts[name] = script
            notes.append(AsyncNote(text=name, should_run_at=clock.now()))
        made = [note.pk for note in AsyncNote.schedule_many(notes)]
        rows = Operation.all_objects.all()
        claimed = rows.claim(self._process, rows.lanes(), limit=1000, now=clock.now())
        jobs = {row.pk: OperationJob.of(row, operator="me") for row in claimed}
        return [jobs[pk] for pk in made]

    def submit(self, *scripts: Script) -> list[OperationJob]:
        """Claim them and hand them to the runner."""
        jobs = self.claim(*scripts)
        for job in jobs:
            self.runner.submit(job)
        return jobs

    def run(self, *scripts: Script) -> list[OperationJob]:
        """Do so, and wait for their end."""
        jobs = self.submit(*scripts)
        self.end(jobs)
        return jobs

    def end(self, jobs: list[OperationJob]) -> None:
        """Wait until each of these was handed over, once."""
        for job in jobs:
            poll(lambda job=job: any(job is each for each in self.collected), 20, str(job))
        poll(lambda: self.runner.is_idle, 20, "the runner to be idle")
        assert len({id(job) for job in self.collected}) == len(self.collected)


@pytest.fixture
def stage(
    runner: AsyncRunner,
    process: OperatorProcess,
    collected: Collected,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    """Where the operations of the test play."""
    stage = Stage(runner, process, collected)

    async def run(self: AsyncNote) -> None:
        await stage.scripts[self.text](self)

    monkeypatch.setattr(AsyncNote, "run", run)
    return stage


class Waiting:
    """A script that waits for ever, and notes what it meets."""

    def __init__(self, catch: Script | None = None) -> None:
        self.begun = threading.Event()
        self.met: list[BaseException] = []
        self._catch = catch

    async def __call__(self, operation: Any) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.met.append(error)
            if self._catch is None:
                raise
            await self._catch(operation)


async def nothing(operation: Any) -> None:
    """Return at once."""


async def until(let_go: threading.Event) -> None:
    """Wait for what another thread does."""
    while not let_go.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def interrupted(
    stage: Stage, script: Waiting, error: BaseException = ENOUGH, *, overrun: bool = False
) -> OperationJob:
    """Run a waiting script, and interrupt it while it waits; return its job."""
    (job,) = stage.submit(script)
    assert script.begun.wait(10)
    if overrun:
        job.operation.times_out_at = clock.now()
    stage.runner.interrupt(job, error)
    stage.end([job])
    return job


# Many at once


def test_three_hundred_wait_together(stage: Stage) -> None:
    """Each waits until all have begun, and until then no slot is free."""
    inside: list[int] = []
    together = asyncio.Event()
    free: list[int] = []

    async def wait(operation: Any) -> None:
        inside.append(operation.pk)
        if len(inside) == 300:
            free.append(stage.runner.free)
            together.set()
        await together.wait()

    jobs = stage.run(*[wait] * 300)
    assert {type(job.ending) for job in jobs} == {Finished}
    assert sorted(inside) == sorted(job.operation_id for job in jobs)
    assert free == [0] and stage.runner.free == 300


def test_all_share_one_thread_and_one_loop(stage: Stage) -> None:
    """The loop's own, which is not the thread of whoever submits."""
    seen: set[tuple[int, int]] = set()

    async def look(operation: Any) -> None:
        seen.add((threading.get_ident(), id(asyncio.get_running_loop())))

    stage.run(*[look] * 20)
    stage.run(look)
    assert len(seen) == 1
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_the_async_orm(stage: Stage) -> None:
    """All of it, by many at once, transactions in `sync_to_async` included; what was opened for an
    operation is closed when it has been handed over."""
    opened: list[Any] = []
    open_at_the_end: list[int] = []
    done = stage.runner.done

    def note(*, connection: Any, **kwargs: Any) -> None:
        if threading.current_thread().name.startswith("ThreadPoolExecutor"):
            opened.append(connection)

    def hand_over(job: OperationJob) -> None:
        open_at_the_end.append(sum(each.connection is not None for each in opened))
        done(job)

    def both(operation: Any) -> None:
        with transaction.atomic():
            Ledger.objects.create(operation_id_seen=operation.pk, line="both")
            Ledger.objects.filter(operation_id_seen=operation.pk, line="both").update(line="both!")

    async def use(operation: Any) -> None:
        await Ledger.objects.acreate(operation_id_seen=operation.pk, line="one")
        await sync_to_async(both)(operation)
        mine = Ledger.objects.filter(operation_id_seen=operation.pk)
        lines = [entry.line async for entry in mine.order_by("id")]
        assert lines == ["one", "both!"], lines
        operation.text = "changed"
        await operation.asave()

    stage.runner.done = hand_over
    connection_created.connect(note)
    try:
        jobs = stage.run(*[use] * 8)
        assert [job.message for job in jobs] == [""] * 8
        # By identity: some versions of Django open one for a moment first, to ask for its version.
        assert len({id(each) for each in opened}) == 8
        # The last one to be handed over had nobody beside it.
        assert open_at_the_end[-1] == 0
        assert [each for each in opened if each.connection is not None] == []
        assert AsyncNote.all_objects.filter(text="changed").count() == 8
    finally:
        connection_created.disconnect(note)


def test_a_connection_is_given_back_while_it_sleeps(stage: Stage) -> None:
    """By the operation itself; its next query opens another one."""
    let_go, slept = threading.Event(), threading.Event()

    async def use(operation: Any) -> None:
        await Ledger.objects.acreate(operation_id_seen=operation.pk, line="before")
        await sync_to_async(connections.close_all)()
        slept.set()
        await until(let_go)
        await Ledger.objects.acreate(operation_id_seen=operation.pk, line="after")

    (job,) = stage.submit(use)
    assert slept.wait(20)
    poll(lambda: other_sessions() <= aio.HELPERS, 10, "the connection to be closed")
    let_go.set()
    stage.end([job])
    assert job.ending == Finished() and Ledger.objects.count() == 2


def test_an_operation_without_the_orm_opens_nothing(stage: Stage) -> None:
    """It costs no thread and no connection but those of the helpers."""
    # Django's own for async code may be there from an earlier test.
    before = set(threading.enumerate())
    seen: set[threading.Thread] = set()

    async def look(operation: Any) -> None:
        seen.update(threading.enumerate())

    stage.run(*[look] * 10)
    new = {thread.name for thread in seen - before}
    assert not any(name.startswith("ThreadPoolExecutor") for name in new)


# What a run may do


async def in_child(work: Callable[[], object]) -> None:
    """Do the work in a task that the run starts."""

    async def child() -> None:
        await asyncio.sleep(0)
        work()

    await asyncio.create_task(child())


@pytest.mark.parametrize("where", ["run", "child"])
def test_verbs(stage: Stage, where: str) -> None:
    """stop(), cancel(), retry() and `self.job`, in the coroutine and in a task of it."""

    def play(work: Callable[[Any], object]) -> Script:
        async def script(operation: Any) -> None:
            await asyncio.sleep(0)
            if where == "child":
                await in_child(lambda: work(operation))
            else:
                work(operation)

        return script

    jobs = stage.run(
        play(lambda operation: operation.stop("later", delay=7)),
        play(lambda operation: operation.cancel("never")),
        play(lambda operation: operation.retry("again", delay=3)),
        play(lambda operation: operation.job.meta.update(seen=operation.job.number)),
    )
    assert jobs[0].ending == Stopped("later", delay=7)
    assert jobs[1].ending == Cancelled("never")
    assert isinstance(jobs[2].ending, Retried) and jobs[2].ending.delay == 3
    assert jobs[3].ending == Finished() and jobs[3].meta == {"seen": 1}


def test_progress_is_seen_from_outside(stage: Stage) -> None:
    """It is written while the coroutine runs, once a second, and kept at the end."""
    let_go = threading.Event()

    async def count(operation: Any) -> None:
        for step in range(1, 21):
            operation.progress(step, 20, f"step {step}")
        await until(let_go)

    (job,) = stage.submit(count)
    row = poll(lambda: OperationJob.objects.first(), 10, "the progress")
    assert row.operation_id == job.operation_id and row.outcome is None
    let_go.set()
    stage.end([job])
    Operation.all_objects.record([job])
    row = OperationJob.objects.get()
    assert (row.progress_done, row.progress_total, row.progress_message) == (20, 20, "step 20")
    assert row.outcome == "finished"


def test_progress_that_cannot_be_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a warning, and written with the outcome."""

    def refuse(self: OperationJob) -> None:
        raise DatabaseError("full")

    async def tell(operation: Any) -> None:
        operation.progress(1, 2)

    with monkeypatch.context() as patch:
        patch.setattr(OperationJob, "store", refuse)
        (job,) = stage.run(tell)
    assert job.ending == Finished()
    assert [record.action for record in caplog.records] == ["progress_lost"]
    Operation.all_objects.record([job])
    assert OperationJob.objects.get().progress_done == 1


def test_each_has_its_own_context(stage: Stage) -> None:
    """The current job and the captured log, in the coroutine, its tasks and threads, however the
    operations take turns."""
    logger = logging.getLogger("plays")
    turns = 0

    def say(operation: Any, where: str) -> None:
        assert operation.job.operation_id == operation.pk
        logger.warning("%s of %s", where, operation.pk)

    async def talk(operation: Any) -> None:
        nonlocal turns
        for _ in range(3):
            turns += 1
            say(operation, "run")
            await asyncio.sleep(0.001)
        await asyncio.gather(*[in_child(lambda: say(operation, "child")) for _ in range(2)])
        await asyncio.to_thread(say, operation, "thread")
        await sync_to_async(say)(operation, "orm")

    jobs = stage.run(*[talk] * 20)
    assert turns == 60 and {type(job.ending) for job in jobs} == {Finished}
    for job in jobs:
        said = [line.partition("plays: ")[2] for line in job.log.splitlines()]
        where = ["run"] * 3 + ["child"] * 2 + ["thread", "orm"]
        assert said == [f"{each} of {job.operation_id}" for each in where]
    assert current_job.get() is None


def test_a_backoff_may_use_the_orm(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are judged in a thread, as in all other runners."""

    def backoff(error: BaseException, operation: Operation) -> float:
        return 100.0 + Ledger.objects.count()

    async def fail(operation: Any) -> None:
        raise LookupError("no")

    monkeypatch.setattr(AsyncNote, "policy", Policy(backoff=backoff))
    (job,) = stage.run(fail)
    assert isinstance(job.ending, Retried) and job.ending.delay == 100.0


def test_a_traceback_begins_with_the_users_code(stage: Stage) -> None:
    """The engine's frames say nothing."""

    async def fail(operation: Any) -> None:
        raise LookupError("no such customer")

    (job,) = stage.run(fail)
    assert job.traceback.count('  File "') == 2, job.traceback
    assert "operator_app" not in job.traceback


# Asked to end


def test_an_abort_is_a_cancelled_error_where_it_waits(stage: Stage) -> None:
    """Nothing is charged, and the reason is kept."""
    script = Waiting()
    job = interrupted(stage, script)
    assert job.ending == Aborted("enough")
    assert [type(error) for error in script.met] == [asyncio.CancelledError]


def test_a_timeout(stage: Stage) -> None:
    """The same, counted as a failure that timed out."""
    job = interrupted(stage, Waiting(), OperationTimedOut("ran 2 s"), overrun=True)
    assert isinstance(job.ending, Retried)
    assert isinstance(job.error, OperationTimedOut)
    assert job.exception_class.endswith("OperationTimedOut")


def test_a_lost_operator(stage: Stage) -> None:
    """Nobody wanted it to end for good: it is given back."""
    job = interrupted(stage, Waiting(), OperatorLost("taken for dead"))
    assert isinstance(job.ending, Released) and job.ending.reason == "taken for dead"


async def clean_up(operation: Any) -> None:
    """Take some turns and write something, after the cancellation."""
    for _ in range(3):
        await asyncio.sleep(0.001)
    await Ledger.objects.acreate(operation_id_seen=operation.pk, line="cleaned")


@pytest.mark.parametrize("overrun", [False, True])
def test_swallowed_is_finished(stage: Stage, overrun: bool) -> None:
    """One that catches the error and returns has finished, whatever it was asked."""
    error = OperationTimedOut("ran") if overrun else ENOUGH
    job = interrupted(stage, Waiting(clean_up), error, overrun=overrun)
    assert job.ending == Finished()
    assert Ledger.objects.get().line == "cleaned"


def test_raised_again_is_aborted(stage: Stage) -> None:
    """After as many awaits as it likes."""

    async def clean_up_and_go(operation: Any) -> None:
        await clean_up(operation)
        raise asyncio.CancelledError

    assert interrupted(stage, Waiting(clean_up_and_go)).ending == Aborted("enough")
    assert Ledger.objects.get().line == "cleaned"


def test_another_error_is_a_failure(stage: Stage) -> None:
    """Which is not tried again, since somebody wanted it to end: the record sees to that."""

    async def fail(operation: Any) -> None:
        raise LookupError("in the cleaning up")

    job = interrupted(stage, Waiting(fail))
    assert isinstance(job.ending, Retried) and isinstance(job.error, LookupError)
    Operation.all_objects.filter(pk=job.operation_id).update(abort_requested_at=clock.now())
    Operation.all_objects.record([job])
    assert stored(job.operation).state == "failed"


def test_one_that_looks_need_not_be_cancelled(stage: Stage) -> None:
    """should_abort() and raise_if_aborted() tell a coroutine that has caught the error."""
    asked: list[bool] = []

    async def look(operation: Any) -> None:
        asked.append(operation.should_abort())
        operation.raise_if_aborted()

    assert interrupted(stage, Waiting(look)).ending == Aborted("enough")
    assert asked == [True]


@pytest.mark.parametrize("how", ["raised", "awaited"])
def test_a_cancelled_error_that_nobody_asked_for(stage: Stage, how: str) -> None:
    """It is a failure like any other."""

    async def cancelled(operation: Any) -> None:
        if how == "raised":
            raise asyncio.CancelledError
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    (job,) = stage.run(cancelled)
    assert isinstance(job.ending, Retried)
    assert isinstance(job.error, asyncio.CancelledError)


def test_a_shielded_section_ends_first(stage: Stage) -> None:
    """The abort does not reach it, and the job is not over before it is: no next attempt, and no
    closed connection, gets between."""
    let_go, order = threading.Event(), []
    begun = threading.Event()
    done = stage.runner.done
    stage.runner.done = lambda job: (order.append("over"), done(job))

    async def section(operation: Any) -> None:
        begun.set()
        await until(let_go)
        await Ledger.objects.acreate(operation_id_seen=operation.pk, line="shielded")
        order.append("section")

    async def script(operation: Any) -> None:
        try:
            await asyncio.shield(section(operation))
        except asyncio.CancelledError:
            order.append("cancelled")
            raise

    (job,) = stage.submit(script)
    assert begun.wait(10)
    stage.runner.interrupt(job, ENOUGH)
    poll(lambda: order == ["cancelled"], 10, lambda: str(order))
    assert stage.runner.running == [job] and not stage.runner.is_idle
    let_go.set()
    stage.end([job])
    assert order == ["cancelled", "section", "over"]
    assert job.ending == Aborted("enough")
    assert Ledger.objects.get().line == "shielded"


def test_tasks_that_are_left_behind_are_cancelled_in_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a finished run, too, and what they start in turn."""
    monkeypatch.setattr(family, "OUTLIVING", 0.3)
    ended: list[float] = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(time.monotonic())
            raise
        finally:
            asyncio.create_task(asyncio.sleep(60))  # noqa: RUF006

    async def leave(operation: Any) -> None:
        left.append(asyncio.create_task(for_ever()))

    left: list[asyncio.Task[None]] = []
    since = time.monotonic()
    (job,) = stage.run(leave)
    assert job.ending == Finished()
    assert left[0].cancelled() and ended[0] - since >= 0.3
    assert time.monotonic() - since < 10


def test_an_abort_reaches_what_was_left_behind(stage: Stage) -> None:
    """At once, if the run itself has ended; that it finished stands."""
    begun = threading.Event()

    async def linger() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def leave(operation: Any) -> None:
        left.append(asyncio.create_task(linger()))

    left: list[asyncio.Task[None]] = []
    (job,) = stage.submit(leave)
    assert begun.wait(10)
    since = time.monotonic()
    stage.runner.interrupt(job, ENOUGH)
    stage.end([job])
    assert time.monotonic() - since < family.OUTLIVING / 2
    assert job.ending == Finished()


def test_a_thread_is_waited_for(stage: Stage) -> None:
    """Nobody can end what `asyncio.to_thread()` runs; so the job is not over, and not run again
    elsewhere, while it goes on. It leaves no connection."""
    let_go, begun = threading.Event(), threading.Event()

    def work(operation: Any) -> None:
        begun.set()
        assert let_go.wait(20)
        Ledger.objects.create(operation_id_seen=operation.pk, line="worked")

    async def script(operation: Any) -> None:
        await asyncio.to_thread(work, operation)

    (job,) = stage.submit(script)
    assert begun.wait(10)
    stage.runner.interrupt(job, ENOUGH)
    (neighbour,) = stage.submit(nothing)
    poll(lambda: neighbour in list(stage.collected), 10, "the neighbour")
    assert stage.runner.running == [job]
    let_go.set()
    stage.end([job])
    assert job.ending == Aborted("enough")
    assert Ledger.objects.get().line == "worked"
    poll(lambda: other_sessions() <= aio.HELPERS, 10, "its connection to be closed")


# Groups


@needs_groups
@pytest.mark.parametrize("depth", [1, 3])
def test_verbs_in_a_group(stage: Stage, depth: int) -> None:
    """A child of a TaskGroup, however deep, may end the run; its siblings are cancelled."""

    def play(work: Callable[[Any], object], sibling: Script = nothing) -> Script:
        async def group(operation: Any, level: int) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(60))
                if level > 1:
                    tasks.create_task(group(operation, level - 1))
                else:
                    tasks.create_task(in_child(lambda: work(operation)))
                    tasks.create_task(sibling(operation))

        return lambda operation: group(operation, depth)

    async def fail(operation: Any) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise LookupError("really")

    def abort(operation: Any) -> None:
        raise OperationAborted("had enough")

    jobs = stage.run(
        play(lambda operation: operation.stop("later", delay=7)),
        play(lambda operation: operation.cancel("never")),
        play(lambda operation: operation.retry("again", delay=3)),
        play(abort),
        play(lambda operation: operation.stop(), Waiting(fail)),
        play(lambda operation: None, fail),
    )
    assert jobs[0].ending == Stopped("later", delay=7)
    assert jobs[1].ending == Cancelled("never")
    assert isinstance(jobs[2].ending, Retried) and jobs[2].ending.delay == 3
    assert jobs[3].ending == Aborted("had enough")
    for job in jobs[4:]:
        assert isinstance(job.ending, Retried)
        assert "ExceptionGroup" in job.exception_class
        assert "really" in job.traceback


@needs_groups
def test_an_abort_while_a_group_waits(stage: Stage) -> None:
    """The children are cancelled, and the run is aborted; one whose child then fails is not."""

    async def fail(operation: Any) -> None:
        raise LookupError("in the cleaning up")

    def play(child: Waiting) -> Waiting:
        class Grouped(Waiting):
            async def __call__(self, operation: Any) -> None:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(child(operation))

        script = Grouped()
        script.begun = child.begun
        return script

    assert interrupted(stage, play(Waiting())).ending == Aborted("enough")
    failed = interrupted(stage, play(Waiting(fail)))
    assert isinstance(failed.ending, Retried)


# What must not end the loop


@pytest.mark.parametrize("where", ["run", "child", "left", "callback"])
@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("bare"), LookupError("x")],
    ids=lambda error: type(error).__name__,
)
def test_no_error_ends_the_loop(stage: Stage, error: BaseException, where: str) -> None:
    """Whatever is raised, wherever, is an outcome; the neighbours on the loop go on."""

    def fail() -> None:
        raise error

    async def script(operation: Any) -> None:
        if where == "run":
            fail()
        elif where == "child":
            await in_child(fail)
        elif where == "left":
            asyncio.create_task(in_child(fail))  # noqa: RUF006
            await asyncio.sleep(0.05)
        else:
            asyncio.get_running_loop().call_soon(fail)
            await asyncio.sleep(0.05)

    neighbour = Waiting(nothing)
    (beside,) = stage.submit(neighbour)
    assert neighbour.begun.wait(10)
    (job,) = stage.submit(script)
    poll(lambda: any(job is each for each in stage.collected), 10, "the end of it")
    assert isinstance(job.ending, Retried if where in {"run", "child"} else Finished)
    if where in {"run", "child"}:
        assert type(job.error) is type(error)
    stage.runner.interrupt(beside, ENOUGH)
    stage.end([beside])
    assert beside.ending == Finished() and len(neighbour.met) == 1
    gc.collect()


# Blocked


@pytest.fixture
def blockages(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[], list[str]]:
    """Looks as the heartbeat does; returns what has been reported so far."""
    monkeypatch.setattr(pulse, "BLOCKED_FOR", 0.3)

    def look() -> list[str]:
        stage.runner.look()
        records = [each for each in caplog.records if each.message.startswith("The event loop")]
        assert {each.action for each in records} <= {"loop_blocked"}
        return [each.message for each in records]

    return look


@pytest.mark.parametrize("where", ["run", "child", "callback"])
def test_who_blocks_the_loop_is_named(
    stage: Stage, blockages: Callable[[], list[str]], where: str
) -> None:
    """Once for each time, with the operation and the place in its code."""
    let_go, begun = threading.Event(), threading.Event()

    def keep_the_loop() -> None:
        begun.set()
        assert let_go.wait(20)

    async def block(operation: Any) -> None:
        if where == "run":
            keep_the_loop()
        elif where == "child":
            await in_child(keep_the_loop)
        else:
            asyncio.get_running_loop().call_soon(keep_the_loop)
            await asyncio.sleep(0.01)

    assert blockages() == []
    for _ in range(2):
        innocent, (job,) = stage.submit(Waiting(nothing)), stage.submit(block)
        assert begun.wait(10)
        # On a busy machine the loop may have been slow before, with nobody to blame.
        before = len(blockages())
        poll(lambda count=before: len(blockages()) == count + 1, 10, "a report", 0.05)
        told = blockages()[-1]
        who = "something that is no operation" if where == "callback" else str(job)
        assert re.match(rf"The event loop has been blocked for \d+ s by {re.escape(who)}", told)
        assert "in keep_the_loop" in told
        deadline = time.monotonic() + 0.6
        poll(
            lambda count=before + 1, end=deadline: (
                len(blockages()) > count or time.monotonic() > end
            )
        )
        assert len(blockages()) == before + 1
        let_go.set()
        stage.runner.interrupt(innocent[0], ENOUGH)
        stage.end([job, *innocent])
        poll(lambda: blockages() and not stage.runner._loop._pulse.is_awaited, 10)
        let_go.clear()
        begun.clear()


def test_a_busy_loop_is_not_a_blocked_one(stage: Stage, blockages: Callable[[], list[str]]) -> None:
    """Many that take a little each make it slow; none of them is accused."""
    over = threading.Event()

    async def work(operation: Any) -> None:
        while not over.is_set():
            time.sleep(0.02)  # noqa: ASYNC251
            await asyncio.sleep(0)

    jobs = stage.submit(*[work] * 30)
    deadline = time.monotonic() + 1.5
    poll(lambda: blockages() or time.monotonic() > deadline, 10, "time to pass", 0.05)
    assert blockages() == []
    over.set()
    stage.end(jobs)


# Before it runs


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds every loading of an operation until it is set."""
    gate, load = threading.Event(), specific.load

    def wait(operation: Operation) -> Operation:
        loading.append(operation.pk)
        assert gate.wait(20)
        return load(operation)

    loading: list[int] = []
    gate.loading = loading
    monkeypatch.setattr(specific, "load", wait)
    yield gate
    gate.set()


@pytest.mark.parametrize(
    "error", [ENOUGH, OperationTimedOut("ran"), OperatorLost("dead")], ids=["abort", "time", "lost"]
)
def test_interrupted_before_it_has_run(
    stage: Stage, gate: Any, error: BaseException, collected: Collected
) -> None:
    """It is not run, nothing is charged, and it is handed over once, when the helper is back."""
    script = Waiting()
    (job,) = stage.submit(script)
    poll(lambda: gate.loading, 10, "a helper to load it")
    assert stage.runner.running == [job]
    stage.runner.interrupt(job, error)
    assert collected == []
    gate.set()
    stage.end([job])
    assert isinstance(job.ending, Released) and job.ending.delay == 5
    assert not script.begun.is_set()


def test_abandoned_before_it_has_run(stage: Stage, gate: Any, collected: Collected) -> None:
    """It is not run, and what the helper comes back with is nobody's business any more."""
    script = Waiting()
    (job,) = stage.submit(script)
    poll(lambda: gate.loading, 10, "a helper to load it")
    assert stage.runner.abandon() == [job]
    gate.set()
    stage.run(nothing)
    assert not script.begun.is_set()
    assert not any(job is each for each in collected)


def test_taken_back_while_the_helpers_are_busy(
    stage: Stage, gate: Any, collected: Collected
) -> None:
    """What no helper has begun with is given back: an outage keeps nobody from leaving."""
    ran: list[int] = []

    async def script(operation: Any) -> None:
        ran.append(operation.pk)

    jobs = stage.submit(*[script] * (aio.HELPERS + 3))
    poll(lambda: len(gate.loading) == aio.HELPERS, 10, "the helpers to be busy")
    assert {id(job) for job in stage.runner.held} == {id(job) for job in jobs}
    assert stage.runner.take_back() == jobs[-3:]
    assert stage.runner.free == 300 - aio.HELPERS
    gate.set()
    stage.end(jobs[: aio.HELPERS])
    assert sorted(ran) == [job.operation_id for job in jobs[: aio.HELPERS]]
    assert len(collected) == aio.HELPERS


def test_one_that_cannot_be_loaded(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """As in threads: a lost row is a failure, a lost claim is nobody's, a late one has expired."""
    ran: list[int] = []

    async def script(operation: Any) -> None:
        ran.append(operation.pk)

    gone, lost = stage.claim(script, script)
    with connection.cursor() as cursor:
        table = AsyncNote._meta.db_table
        cursor.execute(f"DELETE FROM {table} WHERE operation_ptr_id = %s", [gone.operation_id])
    Operation.all_objects.filter(pk=lost.operation_id).update(attempts=7)
    for job in (gone, lost):
        stage.runner.submit(job)
    stage.end([gone, lost])
    assert isinstance(gone.ending, Failed) and "no row in" in gone.ending.reason
    assert Operation.all_objects.record([lost]) == []
    assert ran == []


def test_a_database_that_will_not_give_it_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is released, as one that could not be loaded."""

    def refuse(operation: Operation) -> Operation:
        raise DatabaseError("no such column")

    with monkeypatch.context() as patch:
        patch.setattr(specific, "load", refuse)
        (job,) = stage.run(nothing)
    assert isinstance(job.ending, Released) and job.ending.delay == 5
    assert job.could_not_be_loaded


def test_expired(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too late is cancelled unrun."""
    monkeypatch.setattr(AsyncNote, "policy", Policy(expires_after=10))
    script = Waiting()
    (job,) = stage.claim(script)
    job.operation.should_run_at -= timedelta(minutes=1)
    stage.runner.submit(job)
    stage.end([job])
    assert isinstance(job.ending, Cancelled) and not script.begun.is_set()


def test_a_timeout_is_written_down_before_it_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others can see until when it may run."""
    monkeypatch.setattr(AsyncNote, "policy", Policy(timeout=60))
    seen: list[Any] = []

    async def look(operation: Any) -> None:
        row = await Operation.all_objects.aget(pk=operation.pk)
        seen.append((row.begun_run_at, row.times_out_at))

    (job,) = stage.run(look)
    assert job.ending == Finished()
    begun, until = seen[0]
    assert (until - begun).total_seconds() == 60


# Races and ends


def test_interrupts_race_with_ends(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Each job is handed over once, as finished, aborted or released; the engine is never hit."""

    async def short(operation: Any) -> None:
        for _ in range(operation.pk % 4):
            await asyncio.sleep(0)

    jobs = stage.submit(*[short] * 200)
    for job in jobs:
        stage.runner.interrupt(job, ENOUGH)
    stage.end(jobs)
    assert len(stage.collected) == 200
    assert {type(job.ending) for job in jobs} <= {Finished, Aborted, Released}
    assert "could not be run" not in caplog.text


def test_the_first_jobs_come_from_two_threads(stage: Stage) -> None:
    """The heartbeat gives back what it took by mistake: there is one loop all the same."""
    before = set(threading.enumerate())
    jobs = stage.claim(*[nothing] * 20)
    ready = threading.Barrier(20)

    def submit(job: OperationJob) -> None:
        ready.wait(10)
        stage.runner.submit(job)

    threads = [threading.Thread(target=submit, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    stage.end(jobs)
    new = set(threading.enumerate()) - before
    assert [each.name for each in new].count("operation-loop") == 1


def test_what_is_abandoned_is_cancelled(stage: Stage, collected: Collected) -> None:
    """The grace is over: its coroutines get to clean up if there is time, and nobody hears."""
    script = Waiting()
    (job,) = stage.submit(script)
    assert script.begun.wait(10)
    assert stage.runner.abandon() == [job]
    poll(lambda: script.met, 10, "it to be cancelled")
    assert stage.runner.held == []
    poll(lambda: stage.runner.is_idle, 10, "the helper to be back")
    assert stage.run(nothing) == collected


def test_a_closed_loop_leaves_nothing(
    process: OperatorProcess, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """No task, thread, generator or warning, whatever the operations have left lying around."""
    closed: list[str] = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                yield number
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            closed.append("generator")

    async def leave(operation: Any) -> None:
        kept.append(numbers())
        await kept[0].__anext__()
        await asyncio.to_thread(Ledger.objects.count)
        asyncio.create_task(asyncio.sleep(0.01))  # noqa: RUF006

    kept: list[Any] = []
    (job,) = stage.run(leave)
    assert job.ending == Finished()
    stage.runner.close()
    assert closed == ["generator"]
    gc.collect()
    assert [each.message for each in caplog.records if each.name == "asyncio"] == []


def test_a_task_that_belongs_to_nobody(stage: Stage) -> None:
    """What a callback has started in a context of its own is no part of any run: it is cancelled
    when the loop is closed, and may clean up."""
    met: list[str] = []
    strays: list[asyncio.Task[None]] = []

    async def stray() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            met.append("cleaned up")
            raise

    async def leave(operation: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: strays.append(loop.create_task(stray())), context=Context())
        await asyncio.sleep(0.01)

    (job,) = stage.run(leave)
    assert job.ending == Finished() and not strays[0].done()
    stage.runner.close()
    assert met == ["cleaned up"] and strays[0].cancelled()


def test_closed_while_one_is_loaded(stage: Stage, gate: Any) -> None:
    """It is not lost: it is handed over, released."""
    (job,) = stage.submit(nothing)
    poll(lambda: gate.loading, 10, "a helper to load it")
    stage.runner.close()
    gate.set()
    poll(lambda: stage.collected == [job], 10, "it to be handed over")
    assert isinstance(job.ending, Released)
