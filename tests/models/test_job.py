"""One attempt: load, run, decide; and what user code may do to it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, IntegrityError, OperationalError, connection

from operator_app import Policy, clock
from operator_app.exceptions import (
    OperationAborted,
    OperationLost,
    OperationStarted,
    OperatorError,
)
from operator_app.models import Operation, OperationJob, OperatorProcess, kinds
from operator_app.models.current import current_job
from operator_app.models.runs import READ_FOR
from operator_app.outcomes import Aborted, Cancelled, Failed, Finished, Released, Retried, Stopped
from operator_app.runners import ThreadRunner
from operator_app.testing import run_due
from tests.kinds.models import AsyncNote, Hooked, Ledger, LongNote, Note, Scripted, Sweep
from tests.models.tools import HOUR, claimed_job, nothing, queries, raises, scripted, stored, write
from tests.processes import poll

pytestmark = pytest.mark.django_db

second = timedelta(seconds=1)


@pytest.fixture
def run(operator: OperatorProcess) -> Callable[..., OperationJob]:
    """Run a script as a claimed job, without recording it."""

    def run(script: Callable[[Any], object], kind: Any = Scripted, **options: Any) -> OperationJob:
        job = claimed_job(scripted(script, kind), operator)
        job.run(**options)
        return job

    return run


# Outcomes


def test_a_run_that_returns_is_finished(run: Callable[..., OperationJob]) -> None:
    """Whatever it returns."""
    for value in (None, False, 3, ValueError("returned")):
        assert run(lambda operation, value=value: value).ending == Finished()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LookupError("x"), Retried),
        (SystemExit(1), Retried),
        (SystemExit(), Retried),
        (GeneratorExit(), Retried),
        (BaseException("bare"), Retried),
        (KeyboardInterrupt(), Retried),
        (asyncio.CancelledError(), Retried),
        (OperationAborted("asked"), Aborted),
        (OperationLost("gone"), Failed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_an_error_means(
    error: BaseException, kind: type, run: Callable[..., OperationJob]
) -> None:
    """Whatever `run()` raises becomes an outcome, and nothing gets past the job."""
    job = run(raises(error))
    assert type(job.ending) is kind and job.error is error
    assert current_job.get() is None


def test_ctrl_c_is_for_whoever_can_be_interrupted(run: Callable[..., OperationJob]) -> None:
    """In the main thread it releases the operation; in a thread it is an error like any other."""
    released = run(raises(KeyboardInterrupt()), interruptible=True)
    assert released.ending == Released("interrupted", delay=5.0)
    assert isinstance(run(raises(KeyboardInterrupt())).ending, Retried)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), LookupError("x")])
def test_what_an_error_of_a_coroutine_means(
    error: BaseException, operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in an async `run()`: nobody asked for an abort, so it is an ordinary error."""

    async def fail(self: AsyncNote) -> None:
        raise error

    monkeypatch.setattr(AsyncNote, "run", fail)
    job = claimed_job(AsyncNote.dispatch(), operator)
    assert isinstance(job.run(), Retried)
    assert type(job.error) is type(error)


def test_interrupts_get_through_except_exception(run: Callable[..., OperationJob]) -> None:
    """`stop`, `cancel` and `retry` inside nested `try ... except Exception` end the run."""

    def swallow(operation: Scripted, verb: str) -> None:
        try:
            try:
                getattr(operation, verb)("why")
            except Exception:
                pytest.fail("swallowed")
            finally:
                Note.dispatch(text=verb)
        except Exception:
            pytest.fail("swallowed")
        pytest.fail("went on")

    outcomes = [
        run(lambda operation, verb=verb: swallow(operation, verb)).ending
        for verb in ("stop", "cancel", "retry")
    ]
    assert [type(outcome) for outcome in outcomes] == [Stopped, Cancelled, Retried]
    assert Note.objects.count() == 3


def test_stop_waits_as_it_was_told(run: Callable[..., OperationJob]) -> None:
    """By its delay, until its moment, or as the policy says."""
    until = clock.now() + HOUR
    assert run(lambda operation: operation.stop("a", delay=7)).ending == Stopped("a", delay=7)
    assert run(lambda operation: operation.stop(until=until)).ending == Stopped(
        delay=30, until=until
    )
    assert run(lambda operation: operation.stop()).ending == Stopped(delay=30)


def test_retry_waits_as_it_was_told(run: Callable[..., OperationJob]) -> None:
    """By its delay, or by the policy's backoff."""
    own = run(lambda operation: operation.retry("busy", delay=77)).ending
    assert isinstance(own, Retried) and own.delay == 77
    backoff = run(lambda operation: operation.retry("busy")).ending
    assert isinstance(backoff, Retried) and backoff.delay == 1


def test_the_number_of_runs_that_may_fail_is_limited(run: Callable[..., OperationJob]) -> None:
    """A backoff list of two means three runs; the failures in the row count, not the claims."""
    operation = scripted(raises(LookupError("x")))
    write(operation, attempts=50)
    seen = []
    for hours in range(4):
        seen += [job.outcome for job in run_due(now=clock.now() + hours * HOUR)]
    row = stored(operation)
    assert seen == ["retried", "retried", "failed"]
    assert (row.failures, row.attempts, row.state) == (3, 53, "failed")


def test_stops_may_be_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond `max_stops` the operation has failed, and says so."""
    monkeypatch.setattr(Scripted, "policy", Policy(max_stops=1, stop_delay=1))
    operation = scripted(lambda operation: operation.stop("busy"))
    outcomes = [job.outcome for n in range(3) for job in run_due(now=clock.now() + n * HOUR)]
    assert outcomes == ["stopped", "failed"]
    assert stored(operation).reason == "stopped more than once (max_stops=1): busy"


def test_a_kind_may_give_up_on_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a type in `give_up_on` is final at once."""
    monkeypatch.setattr(Scripted, "policy", Policy(give_up_on=(LookupError,)))
    operation = scripted(raises(KeyError("x")))
    run_due()
    assert stored(operation).state == "failed"


def test_a_broken_backoff_fails_the_operation_with_both_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error it was asked about is not hidden by the backoff's own."""
    monkeypatch.setattr(Scripted, "policy", Policy(backoff=lambda error, operation: 1 / 0))
    operation = scripted(raises(LookupError("first")))
    run_due()
    reason = stored(operation).reason
    assert "LookupError: first" in reason and "ZeroDivisionError" in reason


def test_run_writes_nothing(operator: OperatorProcess) -> None:
    """Between claim and record the engine sends no query, if the row was read a moment ago; else
    one that looks whether the claim holds, and one that loads, which a proxy does not need.
    """
    for kind, is_old, number in [
        (Note, False, 1),
        (Sweep, False, 1),
        (LongNote, False, 1),
        (Note, True, 3),
        (Sweep, True, 2),
        (LongNote, True, 3),
    ]:
        job = claimed_job(kind.dispatch(), operator)
        job.read_at = time.monotonic() - (2 * READ_FOR if is_old else 0)
        with queries() as seen:
            job.run()
        statements = [sql for sql in seen if "SAVEPOINT" not in sql]
        assert len(statements) == number, statements  # the last one is run()'s own
        assert stored(job.operation).state == "running"


# Loading


def test_an_operation_without_its_own_row_has_failed() -> None:
    """A base row whose child row is gone is Failed with that reason, and not tried again."""
    note = Note.dispatch()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM kinds_note WHERE operation_ptr_id = %s", [note.pk])
    (job,) = run_due()
    row = stored(note)
    assert (job.outcome, row.state) == ("failed", "failed")
    assert f"Operation {note.pk} has no row in kinds_note" in row.reason


def test_an_operation_whose_class_is_gone_is_released(
    operator: OperatorProcess, gone_kind: ContentType
) -> None:
    """If the class went away after the claim, it is given back: another process may know it."""
    job = claimed_job(Note.dispatch(), operator)
    write(job.operation, kind=gone_kind)
    job = OperationJob.of(stored(job.operation), str(operator))
    outcome = job.run()
    assert isinstance(outcome, Released) and "kinds.deletedlongago" in outcome.reason
    assert job.error is None


def test_a_kind_that_is_not_known_is_not_claimed(
    gone_kind: ContentType, caplog: pytest.LogCaptureFixture
) -> None:
    """Its operations are left for a process that knows it, with one warning."""
    note, known = Note.dispatch(), Sweep.dispatch()
    write(note, kind=gone_kind)
    jobs = run_due()
    assert [job.operation_id for job in jobs] == [known.pk]
    assert stored(note).attempts == 0 and stored(note).state == "due"
    warnings = [
        record for record in caplog.records if "kinds.deletedlongago" in record.getMessage()
    ]
    assert len(warnings) == 1


def test_a_table_that_is_not_there_yet_releases_the_operation(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema older or newer than the code is no failure of the operation."""
    job = claimed_job(Note.dispatch(), operator)
    # Django keeps the name of a column, with its table, once it has been in a query.
    str(Note.objects.filter(text="", operation_ptr=1).query)
    monkeypatch.setattr(Note._meta, "db_table", "kinds_note_of_tomorrow")
    from django.db import transaction

    try:
        with transaction.atomic():
            outcome = job.run()
            transaction.set_rollback(True)
    finally:
        monkeypatch.undo()
    assert isinstance(outcome, Released) and outcome.delay == 5
    assert job.could_not_be_loaded and job.error is None


def test_an_outage_while_the_class_is_looked_up_releases_the_operation(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content type is asked of the database once a process: an outage then is not raised out of
    the job, where it would cost the runner a slot.
    """
    job = claimed_job(Note.dispatch(), operator)

    def away(kind_id: int, alias: str) -> None:
        raise OperationalError("server closed the connection")

    with monkeypatch.context() as patch:
        patch.setattr(kinds, "model_of", away)
        try:
            outcome = job.run()
        except OperationalError:
            pytest.fail("the outage got past the job")
    assert isinstance(outcome, Released)


@pytest.mark.parametrize("error", [LookupError("init"), SystemExit(1)])
def test_an_init_that_raises_is_an_error_of_its_operation(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind that cannot be made strands no neighbour."""
    bad, good = scripted(nothing), Note.dispatch()
    init = Scripted.__init__

    def broken(self: Scripted, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Scripted, "__init__", broken)
        jobs = run_due(limit=2)
    assert {job.operation_id: job.outcome for job in jobs} == {
        bad.pk: "retried",
        good.pk: "finished",
    }
    assert jobs[0].instance is None or jobs[1].instance is None


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")

    __repr__ = __str__


def test_an_error_without_words_is_recorded() -> None:
    """An error whose `__str__` and `__repr__` raise ends its operation as any other does."""
    bad, good = scripted(raises(Unspeakable())), Note.dispatch()
    run_due(limit=2)
    job = OperationJob.objects.get(operation_id=bad.pk)
    assert (job.outcome, job.message) == ("retried", "(its __str__ raised LookupError)")
    assert job.exception_class.endswith("Unspeakable")
    assert stored(good).state == "finished"


def test_errors_that_nest_for_ever_are_recorded() -> None:
    """A chain of causes that bites its tail, or one a thousand long, is reported in bounds."""
    error: BaseException = LookupError("first")
    for number in range(1_000):
        error, previous = LookupError(str(number)), error
        error.__cause__ = previous
    scripted(raises(error))
    first, second_ = LookupError("a"), LookupError("b")
    first.__cause__, second_.__cause__ = second_, first
    scripted(raises(first))
    run_due(limit=2)
    assert list(OperationJob.objects.values_list("outcome", flat=True)) == ["retried"] * 2
    assert all(len(job.traceback) <= 64_000 for job in OperationJob.objects.all())


# Hooks


def test_hooks_are_called_around_the_run() -> None:
    """`queued` before; `succeeded` after it was recorded, `errored` with whether it comes back."""
    states = []

    def look(operation: Hooked) -> None:
        states.append([hook[0] for hook in Hooked.hooks])

    fine = scripted(look, Hooked)
    run_due()
    assert states == [["queued"]]
    assert Hooked.hooks == [("queued", fine.pk), ("succeeded", fine.pk)]
    Hooked.hooks.clear()
    error = LookupError("x")
    bad = scripted(raises(error), Hooked)
    for hours in range(3):
        run_due(now=clock.now() + hours * HOUR)
    assert [hook for hook in Hooked.hooks if hook[0] == "errored"] == [
        ("errored", bad.pk, error, will_retry) for will_retry in (True, True, False)
    ]


def test_hooks_see_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When `succeeded` runs, the finish is in the database."""
    seen = []
    monkeypatch.setattr(
        Hooked, "succeeded", lambda self: seen.append(stored(self).finished_run_at is not None)
    )
    scripted(nothing, Hooked)
    run_due()
    assert seen == [True]


@pytest.mark.parametrize("verb", ["stop", "cancel"])
def test_stop_and_cancel_call_no_ending_hook(verb: str) -> None:
    """Neither a success nor an error."""
    scripted(lambda operation: getattr(operation, verb)(), Hooked)
    run_due()
    assert [hook[0] for hook in Hooked.hooks] == ["queued"]


@pytest.mark.parametrize("hook", ["queued", "succeeded", "errored"])
@pytest.mark.parametrize(
    "error",
    [LookupError("hook"), SystemExit(1), GeneratorExit(), asyncio.CancelledError(), Unspeakable()],
    ids=lambda error: type(error).__name__,
)
def test_a_hook_that_raises_changes_nothing(
    hook: str,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged; the outcome stands, the neighbours run, and the process goes on."""

    def broken(self: Hooked, *arguments: Any) -> None:
        raise error

    monkeypatch.setattr(Hooked, hook, broken)
    script = raises(LookupError("x")) if hook == "errored" else nothing
    operation, neighbour = scripted(script, Hooked), Note.dispatch()
    escaped: BaseException | None = None
    try:
        run_due(limit=2)
    except (Exception, SystemExit, GeneratorExit, asyncio.CancelledError) as got_out:
        escaped = got_out
    assert escaped is None, f"{type(escaped).__name__} got out of {hook}()"
    after = stored(operation)
    if hook == "errored":  # to be retried, which after a short backoff may be now
        assert (after.failures, after.started_run_at, after.failed_run_at) == (1, None, None)
    else:
        assert after.state == "finished"
    assert stored(neighbour).state == "finished"
    assert f"{hook}_raised" in [getattr(record, "action", "") for record in caplog.records]


def test_stop_in_a_hook_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt raised where no `run()` is under way is a hook that raises."""
    monkeypatch.setattr(Hooked, "queued", lambda self: self.stop("too early"))
    operation = scripted(nothing, Hooked)
    run_due()
    assert stored(operation).state == "finished"


# The current job


def test_the_job_is_known_inside_run(run: Callable[..., OperationJob]) -> None:
    """`self.job` is the attempt under way: its number, operation, name, tags."""
    seen: list[OperationJob] = []
    job = run(lambda operation: seen.append(operation.job))
    assert seen == [job] and job.number == 1
    assert job.display_name == "kinds.Scripted"
    assert job.tags == ["operation", f"kinds.Scripted:{job.operation_id}"]
    assert str(job) == f"kinds.Scripted #{job.operation_id} (claim 1)"


def test_an_operation_may_run_another_by_hand(run: Callable[..., OperationJob]) -> None:
    """A `dispatch_now` inside a run has its own job, and the outer one is there again after it."""
    seen: list[Any] = []

    def inner(operation: Scripted) -> None:
        seen.append(operation.job.operation_id == operation.pk)
        operation.stop("inner")

    def outer(operation: Scripted) -> None:
        seen.append(Scripted.dispatch_now(script=Scripted.does("inner", inner)).state)
        seen.append(operation.job.operation_id == operation.pk)

    assert run(outer).outcome == "finished"
    assert seen == [True, "scheduled", True]


@pytest.mark.django_db(transaction=True)
def test_each_thread_has_its_own_current_job(operator: OperatorProcess) -> None:
    """Of two jobs that run at once, each sees itself, and the submitting thread none."""
    barrier = threading.Barrier(2)
    seen: list[bool] = []

    def meet(operation: Scripted) -> None:
        barrier.wait(20)
        seen.append(operation.job.operation_id == operation.pk)
        other = Scripted.objects.exclude(pk=operation.pk).get()
        with suppress(OperatorError):
            _ = other.job
            seen.append(False)
        barrier.wait(20)

    done: list[OperationJob] = []
    jobs = [claimed_job(scripted(meet), operator) for _ in range(2)]
    runner = ThreadRunner(2, done.append)
    try:
        for job in jobs:
            runner.submit(job)
        poll(lambda: len(done) == 2, message="two jobs done")
    finally:
        runner.close()
        for thread in runner._threads:
            thread.join(20)
    assert seen == [True, True] and current_job.get() is None
    assert [job.outcome for job in done] == ["finished"] * 2


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_in_a_thread_is_an_ordinary_error(operator: OperatorProcess) -> None:
    """A KeyboardInterrupt that user code raises in a thread neither releases nor ends anything."""
    done: list[OperationJob] = []
    jobs = [claimed_job(scripted(raises(KeyboardInterrupt())), operator)]
    jobs.append(claimed_job(scripted(nothing), operator))
    runner = ThreadRunner(1, done.append)
    try:
        for job in jobs:
            runner.submit(job)
        poll(lambda: len(done) == 2, message="both jobs done")
    finally:
        runner.close()
        for thread in runner._threads:
            thread.join(20)
    assert [job.outcome for job in done] == ["retried", "finished"]


def test_ctrl_c_inline_is_raised_after_the_record() -> None:
    """`run_due` releases the operation that was running, and lets Ctrl-C through."""
    operation = scripted(raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_due()
    row = stored(operation)
    assert row.state == "scheduled" and row.failures == 0 and row.operator_id is None
    assert row.should_run_at <= clock.now() + 5 * second
    assert not OperatorProcess.objects.exists()


# Coroutines


def test_a_coroutine_runs_to_its_end() -> None:
    """An async `run()` may use the ORM's async API, in the transaction of the test."""
    note = AsyncNote.dispatch(text="async")
    run_due()
    assert Ledger.objects.get().line == "async" and stored(note).state == "finished"


def test_a_coroutine_may_stop_and_knows_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """`self.job`, `stop()` and their kin work in an async `run()`."""
    seen: list[int] = []

    async def stop(self: AsyncNote) -> None:
        seen.append(self.job.number)
        await asyncio.sleep(0)
        self.stop("later", delay=3)

    monkeypatch.setattr(AsyncNote, "run", stop)
    AsyncNote.dispatch()
    (job,) = run_due()
    assert seen == [1] and job.ending == Stopped("later", delay=3)


@pytest.mark.parametrize("how", ["run_due", "dispatch_now"])
@pytest.mark.usefixtures("eager_progress")
def test_a_coroutine_tells_its_progress(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """It does not wait for the database; others can read it at its next await, in the transaction
    of the test, and the last values are kept."""
    seen: list[float | None] = []

    async def count(self: AsyncNote) -> None:
        for step in (1, 2, 3):
            self.progress(step, 3, f"step {step}")
            if step < 3:
                await AsyncNote.all_objects.acount()
                seen.append((await OperationJob.objects.aget()).progress_done)

    monkeypatch.setattr(AsyncNote, "run", count)
    if how == "run_due":
        AsyncNote.dispatch()
        run_due()
    else:
        AsyncNote.dispatch_now()
    row = OperationJob.objects.get()
    assert seen == [1, 2] and row.outcome == "finished"
    assert (row.progress_done, row.progress_total, row.progress_message) == (3, 3, "step 3")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups")
def test_a_group_of_tasks_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an operator's loop, too; a group with a real error is a failure."""

    async def stop(self: AsyncNote) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60))
            tasks.create_task(child(self))

    async def child(operation: AsyncNote) -> None:
        if operation.text == "fail":
            raise LookupError("no such customer")
        operation.stop("later", delay=3)

    monkeypatch.setattr(AsyncNote, "run", stop)
    AsyncNote.dispatch()
    AsyncNote.dispatch(text="fail")
    stopped, failed = run_due()
    assert stopped.ending == Stopped("later", delay=3)
    assert isinstance(failed.ending, Retried) and "no such customer" in failed.traceback


def test_a_coroutine_behind_a_decorator_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain function that returns a coroutine is awaited: nothing is Finished that never ran."""
    coroutine = AsyncNote.run
    made: list[Any] = []

    def decorated(self: AsyncNote) -> Any:
        made.append(coroutine(self))
        return made[0]

    monkeypatch.setattr(AsyncNote, "run", decorated)
    AsyncNote.dispatch(text="decorated")
    try:
        run_due()
        assert Ledger.objects.filter(line="decorated").exists()
    finally:
        made[0].close()


# Transactions that user code breaks


def test_a_database_error_in_run_leaves_the_test_usable() -> None:
    """Inside a `TestCase` a run that meets an IntegrityError is recorded, its writes are undone."""

    def clash(operation: Scripted) -> None:
        Note.dispatch(text="effect")
        ContentType.objects.create(app_label="kinds", model="note")

    operation = scripted(clash)
    (job,) = run_due(limit=1)
    assert isinstance(job.error, IntegrityError) and stored(operation).failures == 1
    assert not Note.objects.exists()


def test_an_ordinary_error_in_run_keeps_what_it_wrote() -> None:
    """As it would outside of a transaction: only `atomic` undoes, and nobody asked for that."""

    def write_and_fail(operation: Scripted) -> None:
        Note.dispatch(text="effect")
        raise LookupError

    scripted(write_and_fail)
    run_due(limit=1)
    assert Note.objects.get().text == "effect"


def test_a_database_error_that_run_swallows_is_not_a_silent_loss() -> None:
    """Where a swallowed error broke the caller's transaction, what `run()` wrote cannot be kept, so
    the operation must not be Finished without its effects.
    """

    def swallow(operation: Scripted) -> None:
        Note.dispatch(text="effect")
        with suppress(DatabaseError):
            ContentType.objects.create(app_label="kinds", model="note")

    operation = scripted(swallow)
    run_due(limit=1)
    finished = stored(operation).state == "finished"
    assert finished == Note.objects.filter(text="effect").exists()


def test_save_in_run_is_kept() -> None:
    """Results are columns: what `run()` saves of its own operation is there afterwards."""

    def save(operation: Scripted) -> None:
        operation.script = "result"
        operation.save()

    operation = scripted(save)
    run_due()
    assert Scripted.objects.get().script == "result" and stored(operation).state == "finished"


# By hand


def test_perform_claims_runs_and_records() -> None:
    """`perform()` of a pending operation does what an operator would, for no operator."""
    note = Note.dispatch(text="by hand")
    job = OperationJob(operation=Operation.objects.get())
    assert job.perform() == Finished()
    row = stored(note)
    assert (row.state, row.attempts, row.operator_id) == ("finished", 1, None)
    assert Ledger.objects.get().line == "by hand"


def test_perform_retries_as_the_policy_says() -> None:
    """By hand or not, an error comes back after the backoff unless it is to be final."""
    operation = scripted(raises(LookupError("x")))
    assert isinstance(OperationJob(operation=operation).perform(), Retried)
    assert (stored(operation).failures, stored(operation).state) == (1, "scheduled")


@pytest.mark.parametrize("how", ["claimed", "ended", "deleted"])
def test_perform_of_what_another_has_is_refused(how: str, operator: OperatorProcess) -> None:
    """If somebody was quicker, nothing is run and nothing written."""
    note = Note.dispatch()
    stale = Operation.objects.get()
    if how == "claimed":
        write(note, started_run_at=clock.now(), operator=operator, attempts=1)
    elif how == "ended":
        write(note, cancelled_at=clock.now())
    else:
        note.delete()
    before = list(Operation.all_objects.values())
    with pytest.raises(OperationStarted):
        OperationJob(operation=stale).perform()
    assert list(Operation.all_objects.values()) == before and not Ledger.objects.exists()


def test_perform_of_a_claimed_job_does_not_claim_again(operator: OperatorProcess) -> None:
    """A runner elsewhere is given a claimed operation, and its number is the fence."""
    job = claimed_job(Note.dispatch(), operator)
    assert job.perform() == Finished()
    assert stored(job.operation).attempts == 1


def test_perform_of_a_lost_claim_is_void(operator: OperatorProcess) -> None:
    """What was rescued meanwhile is not ended by the one that lost it."""
    job = claimed_job(scripted(lambda operation: write(operation, attempts=5), Hooked), operator)
    job.perform()
    assert stored(job.operation).state == "running"
    assert ("succeeded", job.operation_id) not in Hooked.hooks


def test_the_log_says_what_a_hook_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the hook, the attempt and the error, with its traceback."""
    monkeypatch.setattr(Hooked, "succeeded", lambda self: 1 / 0)
    scripted(nothing, Hooked)
    with caplog.at_level(logging.ERROR, "operator_app"):
        run_due()
    (record,) = caplog.records
    assert "succeeded() raised ZeroDivisionError" in record.getMessage()
    assert record.exc_info is not None
