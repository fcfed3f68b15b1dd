"""`Policy(atomic=True)`: what `run()` does and the record of its success are one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import TestCase

from operator_app import Policy
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.outcomes import Finished, Released, Retried
from operator_app.testing import run_due
from tests.kinds.models import Hooked, Ledger, Scripted, write_line
from tests.models.tools import Thread, claimed_job, in_thread, raises, scripted, stored, write

pytestmark = pytest.mark.django_db(transaction=True)

Run = Callable[..., OperationJob]


@pytest.fixture(autouse=True)
def _atomic(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Hooked` is atomic."""
    monkeypatch.setattr(Hooked, "policy", Policy(atomic=True))


@pytest.fixture
def run(operator: OperatorProcess) -> Run:
    """Claims and runs an atomic operation that calls a function; writes nothing more."""

    def run(function: Callable[[Any], object]) -> OperationJob:
        job = claimed_job(scripted(function, kind=Hooked), operator)
        job.run()
        return job

    return run


def effect(operation: Operation) -> None:
    """A script with an effect."""
    write_line(operation, "done")


def lines() -> list[str]:
    return list(Ledger.objects.order_by("id").values_list("line", flat=True))


def test_effects_and_outcome_are_committed_together(run: Run) -> None:
    """Once `run()` has returned both are there, before anybody records; others see none before."""
    seen: list[object] = []

    def look(operation: Operation) -> None:
        effect(operation)
        if connection.vendor != "sqlite":
            seen.append(in_thread(lambda: (lines(), stored(operation).finished_run_at)))

    job = run(look)
    assert seen in ([], [([], None)])
    assert lines() == ["done"]
    row = stored(job.operation)
    assert row.finished_run_at == job.ended_at
    assert (job.is_recorded, job.outcome) == (True, "finished")


def test_the_record_that_follows_writes_nothing_and_calls_hooks(run: Run) -> None:
    """The operator records it with its group: held, not written again, hooks once."""
    job = run(effect)
    before = Operation.all_objects.values().get()
    assert Operation.all_objects.record([job]) == [job]
    assert Operation.all_objects.values().get() == before
    job.call_hooks()
    assert Scripted.hooks == [("succeeded", job.operation_id)]


@pytest.mark.parametrize("verb", ["stop", "cancel", "retry"])
def test_what_was_asked_for_undoes_the_effects(run: Run, verb: str) -> None:
    """stop(), cancel() and retry() roll back what was written, and are recorded themselves."""

    def ask(operation: Operation) -> None:
        effect(operation)
        getattr(operation, verb)("because")

    job = run(ask)
    assert lines() == []
    assert not job.is_recorded
    assert stored(job.operation).started_run_at is not None
    assert Operation.all_objects.record([job]) == [job]
    row = stored(job.operation)
    assert (row.stops, row.cancelled_at is not None, row.failures) == (
        int(verb == "stop"),
        verb == "cancel",
        int(verb == "retry"),
    )
    assert OperationJob.objects.get().message == "because"


@pytest.mark.parametrize("error", [LookupError("x"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_undoes_the_effects(run: Run, error: BaseException) -> None:
    """Whatever it is, the effects are gone, and the failure is recorded with its history."""

    def fail(operation: Operation) -> None:
        effect(operation)
        raise error

    job = run(fail)
    assert lines() == []
    assert isinstance(job.ending, Retried)
    assert Operation.all_objects.record([job]) == [job]
    assert stored(job.operation).failures == 1
    assert OperationJob.objects.get().outcome == "retried"


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction of an atomic run can begin."""

    @contextmanager
    def writing(alias: str) -> Iterator[None]:
        raise OperationalError("database is locked")
        yield

    monkeypatch.setattr("operator_app.models.runs.writing", writing)


def test_what_could_not_begin_is_not_charged(run: Run, locked: None) -> None:
    """Somebody held the lock for longer than anybody waits: `run()` was not called, so that is no
    failure of it; it is tried again soon."""
    job = run(effect)
    assert isinstance(job.ending, Released) and "database is locked" in job.ending.reason
    assert lines() == []
    assert Operation.all_objects.record([job]) == [job]
    row = stored(job.operation)
    assert (row.state, row.failures) == ("scheduled", 0)
    assert Scripted.hooks == []


def test_by_hand_it_is_an_error_that_it_cannot_begin(locked: None) -> None:
    """Whoever calls `dispatch_now()` is told."""
    with pytest.raises(OperationalError, match="database is locked"):
        Hooked.dispatch_now(script=Scripted.does("effect", effect))
    assert Operation.objects.get().state == "failed"


def test_a_lost_claim_undoes_the_effects(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """If somebody else has the operation by the end of `run()`, nothing it wrote stays."""

    def lose(operation: Operation) -> None:
        effect(operation)
        write(operation, attempts=9)

    job = run(lose)
    # The thief's own write was part of the transaction here, and was undone with it.
    assert lines() == []
    write(job.operation, attempts=9)
    assert Operation.all_objects.record([job]) == []
    assert [each.action for each in caplog.records if each.name == "operator_app"] == ["lost"]
    assert Scripted.hooks == []
    assert OperationJob.objects.count() == 0


def test_a_claim_lost_to_another_connection(operator: OperatorProcess) -> None:
    """The same, the rescue being committed by another connection before `run()` begins to write."""
    job = claimed_job(scripted(effect, kind=Hooked), operator)
    in_thread(lambda: write(job.operation, attempts=9))
    job.run()
    assert lines() == []
    assert Operation.all_objects.record([job]) == []


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to end it")
def test_one_that_falls_silent_before_its_commit_keeps_no_lock(run: Run, settings: Any) -> None:
    """Between the fence and COMMIT, as a process that is stopped there, its row is locked: the
    server ends the session after a heartbeat's timeout, and nothing of the run is left.
    """
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.3, "timeout": 1}}
    fenced, freed = threading.Event(), threading.Event()
    was_freed: list[bool] = []

    def fall_silent(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "finished_run_at" in sql and sql.lstrip().startswith(("UPDATE", "WITH")):
            fenced.set()
            was_freed.append(freed.wait(10))
        return result

    def look() -> int:
        assert fenced.wait(30), "no fence was seen"
        # Waits for the lock.
        count = Operation.all_objects.filter(finished_run_at=None).update(priority=7)
        freed.set()
        return count

    def effect_and_silence(operation: Operation) -> None:
        effect(operation)
        connection.execute_wrappers.append(fall_silent)

    other = Thread(look)
    try:
        job = run(effect_and_silence)
    finally:
        connection.execute_wrappers.remove(fall_silent)
    assert other.result() == 1 and was_freed == [True]
    assert isinstance(job.ending, Retried) and not job.is_recorded
    connection.close()
    assert lines() == []
    row = stored(job.operation)
    assert (row.priority, row.finished_run_at) == (7, None)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server to end it")
def test_its_own_statements_and_callbacks_may_take_their_time(run: Run, settings: Any) -> None:
    """The limit holds between the fence and COMMIT, and neither before nor after."""
    settings.OPERATOR = {"HEARTBEAT": {"interval": 0.3, "timeout": 7}}
    limits: list[str] = []

    def look(*_: object) -> None:
        shown = "SHOW idle_in_transaction_session_timeout"
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.wait_timeout" if is_mysql else shown)
            limits.append(str(cursor.fetchone()[0]))

    def script(operation: Operation) -> None:
        transaction.on_commit(look)
        look()

    is_mysql = connection.vendor == "mysql"
    look()
    job = run(script)
    look()
    assert job.is_recorded and len(set(limits)) == 1 and len(limits) == 4


def test_a_callback_that_raises_changes_nothing(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """By the time of `on_commit` all is committed: an error there is logged, the outcome stands."""

    def register(operation: Operation) -> None:
        effect(operation)
        transaction.on_commit(lambda: raises(LookupError("mail"))(operation))

    job = run(register)
    assert isinstance(job.ending, Finished)
    assert (job.error, job.is_recorded) == (None, True)
    assert lines() == ["done"]
    assert Operation.all_objects.record([job]) == [job]
    assert stored(job.operation).failures == 0
    (line,) = [each for each in caplog.records if getattr(each, "action", "") == "on_commit_raised"]
    assert "LookupError: mail" in line.getMessage()


def test_callbacks_run_after_the_commit(run: Run) -> None:
    """What `run()` hands to `on_commit()` sees the operation finished."""
    seen: list[bool] = []

    def register(operation: Operation) -> None:
        transaction.on_commit(lambda: seen.append(stored(operation).finished_run_at is not None))

    run(register)
    assert seen == [True]


def test_callbacks_of_what_was_undone_are_not_called(run: Run) -> None:
    """As in any transaction."""
    seen: list[bool] = []

    def register(operation: Operation) -> None:
        transaction.on_commit(lambda: seen.append(True))
        raise LookupError

    run(register)
    assert seen == []


def test_a_swallowed_error_of_the_database_is_an_error(run: Run) -> None:
    """A statement that failed has broken the transaction; that `run()` went on does not help it."""

    def swallow(operation: Operation) -> None:
        effect(operation)
        try:
            with transaction.atomic():
                Ledger.objects.create(operation_id_seen=None)
        except Exception:
            transaction.set_rollback(True)

    job = run(swallow)
    assert isinstance(job.ending, Retried)
    assert lines() == []


def test_keep_jobs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a kept job is in the same transaction, and there is one of it."""
    monkeypatch.setattr(Hooked, "policy", Policy(atomic=True, keep_jobs="all"))
    job = run(effect)
    assert OperationJob.objects.get().outcome == "finished"
    Operation.all_objects.record([job])
    assert OperationJob.objects.count() == 1


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_progress(run: Run, eager_progress: None, ends: str) -> None:
    """Progress is written with the transaction; if undone it is written with the outcome."""

    def report(operation: Scripted) -> None:
        operation.progress(1, 3)
        operation.progress(2, 3, "nearly")
        operation.job.meta["seen"] = 2
        if ends == "badly":
            raise LookupError

    job = run(report)
    Operation.all_objects.record([job])
    row = OperationJob.objects.get()
    assert (row.progress_done, row.progress_message, row.meta) == (2, "nearly", {"seen": 2})
    assert row.outcome == {"well": "finished", "badly": "retried"}[ends]


def test_save_in_run(run: Run) -> None:
    """The operation's own columns, saved in `run()`, are effects as any."""

    def save(operation: Scripted) -> None:
        operation.script = "saved"
        operation.save()

    job = run(save)
    assert Scripted.objects.get(pk=job.operation_id).script == "saved"


def test_deleting_itself(run: Run) -> None:
    """An operation that deletes its own row has no claim left: its transaction is undone."""

    def delete(operation: Operation) -> None:
        effect(operation)
        operation.delete()

    job = run(delete)
    assert lines() == []
    assert Operation.all_objects.get(pk=job.operation_id).finished_run_at is None


def test_perform() -> None:
    """By hand: claimed, run and committed, hooks called once."""
    operation = scripted(effect, kind=Hooked)
    OperationJob(operation=operation).perform()
    assert stored(operation).finished_run_at is not None
    assert [hook[0] for hook in Scripted.hooks] == ["queued", "succeeded"]
    assert lines() == ["done"]


def test_dispatch_now() -> None:
    """Run here: an error undoes the effects, is recorded as failed for good, and raised again."""
    done = Hooked.dispatch_now(script=Scripted.does("effect", effect))
    assert done.state == "finished"

    def fail(operation: Operation) -> None:
        effect(operation)
        raise LookupError("x")

    with pytest.raises(LookupError, match="x"):
        Hooked.dispatch_now(script=Scripted.does("fail", fail))
    assert lines() == ["done"]
    assert Operation.objects.failed().count() == 1


def test_dispatch_now_inside_a_transaction() -> None:
    """In the caller's transaction it is a savepoint: an error undoes the run and nothing else."""

    def fail(operation: Operation) -> None:
        effect(operation)
        raise LookupError("x")

    with transaction.atomic():
        Ledger.objects.create(operation_id_seen=0, line="mine")
        with pytest.raises(LookupError):
            Hooked.dispatch_now(script=Scripted.does("fail", fail))
        Hooked.dispatch_now(script=Scripted.does("effect", effect))
    assert lines() == ["mine", "done"]
    assert Operation.objects.failed().count() == Operation.objects.finished().count() == 1


class InTestCase(TestCase):
    """`run_due` in a `TestCase`, whose transaction is never committed."""

    def setUp(self) -> None:
        """Begin with no scripts."""
        Scripted.forget()

    def test_run_due(self) -> None:
        """Effects of what finished are there, of what failed are not; callbacks wait for a commit
        that never comes, and no other than the test's own are captured."""

        def fail(operation: Operation) -> None:
            effect(operation)
            raise LookupError("x")

        def register(operation: Operation) -> None:
            effect(operation)
            transaction.on_commit(lambda: None)

        for name, function in (("fail", fail), ("register", register)):
            Hooked.dispatch(script=Scripted.does(name, function))
        with self.captureOnCommitCallbacks() as callbacks:
            jobs = run_due(limit=2)
        assert sorted(str(job.outcome) for job in jobs) == ["finished", "retried"]
        assert lines() == ["done"]
        assert len(callbacks) == 1
