"""Out by record: each outcome's transition, the fence, neighbours, history."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError

from operator_app import Policy, clock
from operator_app.duties import Heartbeat
from operator_app.models import Operation, OperationJob, OperatorProcess
from operator_app.models import records as records_module
from operator_app.outcomes import (
    Aborted,
    Cancelled,
    Failed,
    Finished,
    Outcome,
    Released,
    Retried,
    Stopped,
)
from operator_app.reports import ErrorReport
from operator_app.testing import run_due
from tests.kinds.models import Hooked, LongNote, Note, Scripted, Sweep
from tests.models.tools import (
    HOUR,
    claim_all,
    claimed_job,
    nothing,
    queries,
    raises,
    scripted,
    stored,
    write,
)

pytestmark = pytest.mark.django_db

second = timedelta(seconds=1)
REPORT = ErrorReport("LookupError", "gone", "Traceback ...")
KEPT = object()


def values(operation: Operation) -> dict[str, Any]:
    return Operation.all_objects.filter(pk=operation.pk).values().get()


def jobs_of(number: int, operator: OperatorProcess, kind: type[Operation] = Sweep) -> Any:
    """So many claimed jobs, in the order of their operations' ids."""
    kind.schedule_many([kind(should_run_at=clock.now()) for _ in range(number)])
    return [
        OperationJob.of(operation) for operation in sorted(claim_all(operator), key=lambda o: o.pk)
    ]


def end(job: OperationJob, outcome: Outcome, at: datetime) -> list[OperationJob]:
    with clock.at(at):
        job.end_as(outcome)
    return Operation.all_objects.record([job])


# Each transition of the design, column by column

BACK = {
    "started_run_at": None,
    "begun_run_at": None,
    "operator_id": None,
    "abort_requested_at": None,
    "times_out_at": None,
}
TRANSITIONS: list[tuple[Outcome, Callable[[datetime], dict[str, Any]]]] = [
    (Finished(), lambda at: {"finished_run_at": at, "active_key": None}),
    (
        Cancelled("why"),
        lambda at: {"cancelled_at": at, "reason": "why", "active_key": None},
    ),
    (Aborted("why"), lambda at: {"cancelled_at": at, "reason": "why", "active_key": None}),
    (
        Failed("LookupError: gone", error=REPORT),
        lambda at: {
            "failed_run_at": at,
            "reason": "LookupError: gone",
            "active_key": None,
            "failures": 12,
        },
    ),
    (
        Stopped("later", delay=40),
        lambda at: {**BACK, "should_run_at": at + 40 * second, "stops": 14},
    ),
    (
        Stopped("later", delay=0),
        lambda at: {**BACK, "should_run_at": at + second, "stops": 14},
    ),
    (
        Retried("again", error=REPORT, delay=9),
        lambda at: {**BACK, "should_run_at": at + 9 * second, "failures": 12},
    ),
    (Retried(delay=0), lambda at: {**BACK, "should_run_at": at, "failures": 12}),
    (Released("leaving", delay=5), lambda at: {**BACK, "should_run_at": at + 5 * second}),
    (Released("leaving"), lambda at: BACK),
]


@pytest.mark.parametrize(
    ("outcome", "expected"), TRANSITIONS, ids=[repr(row[0])[:40] for row in TRANSITIONS]
)
@pytest.mark.parametrize("kind", [Note, Sweep])
def test_what_an_outcome_writes(
    kind: type[Operation],
    outcome: Outcome,
    expected: Callable[[datetime], dict[str, Any]],
    operator: OperatorProcess,
) -> None:
    """The row of the design's table for this outcome, and not a column more."""
    operation = kind.dispatch(unique_key="k")
    job = claimed_job(operation, operator)
    write(
        operation,
        begun_run_at=clock.now(),
        times_out_at=clock.now() + HOUR,
        failures=11,
        crashes=12,
        stops=13,
        **({"abort_requested_at": clock.now()} if outcome.ended else {}),
    )
    before = values(operation)
    at = clock.now() + 100 * second
    assert end(job, outcome, at) == [job]
    after = values(operation)
    changed = {name: value for name, value in after.items() if before[name] != value}
    wanted = {name: value for name, value in expected(at).items() if before[name] != value}
    assert changed == wanted
    assert (after["operator_id"] is not None) == outcome.ended
    assert after["unique_key"] == "k"


def test_a_long_reason_is_shortened(operator: OperatorProcess) -> None:
    """What a person reads fits its column, whatever the error said."""
    job = claimed_job(Note.dispatch(), operator)
    end(job, Failed("x" * 70_000 + "\x00", error=REPORT), clock.now())
    assert len(stored(job.operation).reason) == 255


# The fence


@pytest.mark.parametrize("outcome", [Finished(), Stopped("s")])
def test_a_run_may_do_what_it_likes_to_its_own_copy(
    outcome: Outcome, operator: OperatorProcess
) -> None:
    """The instance that `run()` has is the one that was claimed. The claim is the job's."""
    job = claimed_job(Note.dispatch(), operator)
    job.operation.operator = None
    job.operation.attempts = 7
    assert end(job, outcome, clock.now()) == [job]
    assert stored(job.operation).attempts == 1


def hooked_job(operator: OperatorProcess) -> OperationJob:
    Hooked.does("fine", nothing)
    return claimed_job(Hooked.dispatch(script="fine"), operator)


@pytest.mark.parametrize(
    "lost",
    [
        {"attempts": 2},
        {"operator_id": 9_999},
        {"operator_id": None},
        {"started_run_at": None, "operator_id": None},
        {"finished_run_at": "now"},
        {"failed_run_at": "now"},
        {"cancelled_at": "now"},
    ],
)
@pytest.mark.parametrize("outcome", [Finished(), Failed("x", error=REPORT), Stopped("s")])
def test_a_lost_claim_changes_nothing(
    outcome: Outcome,
    lost: dict[str, Any],
    operator: OperatorProcess,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An attempt that no longer holds its claim writes no column, no job row, and runs no hook."""
    job = hooked_job(operator)
    job.meta = {"kept": True}
    job.run()
    write(job.operation, **{k: clock.now() if v == "now" else v for k, v in lost.items()})
    before = values(job.operation)
    with caplog.at_level(logging.WARNING, "operator_app"):
        assert end(job, outcome, clock.now()) == []
    assert values(job.operation) == before
    assert not OperationJob.objects.exists()
    assert [record.action for record in caplog.records] == ["lost"]


def test_a_deleted_operation_is_not_recorded(operator: OperatorProcess) -> None:
    """Its outcome is void, and no job row is left without an operation."""
    job = hooked_job(operator)
    job.run()
    Hooked.objects.all().delete()
    assert end(job, Failed("x", error=REPORT), clock.now()) == []
    assert not OperationJob.objects.exists() and not Operation.all_objects.exists()


def test_an_operation_run_by_hand_is_recorded_only_by_that_hand(operator: OperatorProcess) -> None:
    """An attempt without operator is another claim than that of an operator with its number."""
    note = Note.dispatch()
    by_operator = claimed_job(note, operator)
    write(note, operator=None)
    by_hand = OperationJob.of(stored(note))
    assert end(by_operator, Finished(), clock.now()) == []
    assert end(by_hand, Finished(), clock.now()) == [by_hand]


def test_no_hook_runs_for_a_lost_claim() -> None:
    """An operation that was rescued during `run()` is not told that it succeeded."""
    Hooked.does("rescued", lambda operation: write(operation, attempts=9))
    Hooked.dispatch(script="rescued")
    run_due(limit=1)
    assert [hook[0] for hook in Hooked.hooks] == ["queued"]


def test_an_outcome_is_recorded_once(operator: OperatorProcess) -> None:
    """Recording the same job twice changes nothing the second time."""
    job = claimed_job(Note.dispatch(), operator)
    assert end(job, Failed("x", error=REPORT), clock.now()) == [job]
    before = values(job.operation)
    assert Operation.all_objects.record([job]) == []
    assert values(job.operation) == before and OperationJob.objects.count() == 1


# Groups


def test_a_group_is_one_transaction_in_the_order_of_ids(operator: OperatorProcess) -> None:
    """One guarded UPDATE per job, in id order whatever the order given, and one INSERT of history;
    one transaction around all of them.
    """
    jobs = jobs_of(5, operator)
    for job in jobs:
        job.end_as(Stopped("s"))
    with queries() as seen:
        held = Operation.all_objects.record(jobs[::-1])
    assert {job.operation_id for job in held} == {job.operation_id for job in jobs}
    assert [sql.split()[0] for sql in seen] == [
        "SAVEPOINT",
        *["UPDATE"] * 5,
        "INSERT",
        "RELEASE",
    ]
    assert [job.operation_id for job in held] == sorted(job.operation_id for job in jobs)


@pytest.mark.django_db(transaction=True)
def test_a_group_in_autocommit_is_one_transaction(operator: OperatorProcess) -> None:
    """BEGIN, one update for all that finished and one for each other, COMMIT: nothing of a group
    is seen before the whole of it.
    """
    jobs = jobs_of(4, operator)
    for job in jobs:
        job.end_as(Finished())
    jobs[1].end_as(Released("told to leave"))
    with queries() as seen:
        Operation.all_objects.record(jobs)
    verbs = ("BEGIN", "UPDATE", "INSERT", "COMMIT")
    written = [sql for sql in seen if not sql.startswith("SELECT")]
    assert [next(verb for verb in verbs if verb in sql) for sql in written] == [
        "BEGIN",
        "UPDATE",
        "UPDATE",
        "INSERT",
        "COMMIT",
    ]


def test_an_empty_group_costs_nothing() -> None:
    """No jobs, no query."""
    with queries() as seen:
        assert Operation.all_objects.record([]) == []
    assert seen == []


def test_a_lost_claim_in_a_group_does_not_touch_its_neighbours(operator: OperatorProcess) -> None:
    """The others of the group are recorded, with their history."""
    jobs = jobs_of(3, operator)
    for job in jobs:
        job.end_as(Stopped("s"))
    write(jobs[1].operation, attempts=7)
    assert Operation.all_objects.record(jobs) == [jobs[0], jobs[2]]
    assert OperationJob.objects.count() == 2


def refuse_history(monkeypatch: pytest.MonkeyPatch, bad: int, error: Exception) -> None:
    """Let the database refuse the history of the operation `bad`, alone or in a group."""
    bulk_create = type(OperationJob.objects.all()).bulk_create

    def refusing(self: Any, jobs: Any, *args: Any, **kwargs: Any) -> Any:
        if any(job.operation_id == bad for job in jobs):
            raise error
        return bulk_create(self, jobs, *args, **kwargs)

    monkeypatch.setattr(type(OperationJob.objects.all()), "bulk_create", refusing)


@pytest.mark.parametrize(
    "error",
    [DataError("too long"), ValueError("NUL"), TypeError("not JSON"), UnicodeError("surrogate")],
    ids=lambda error: type(error).__name__,
)
def test_a_history_that_cannot_be_stored_strands_nobody(
    error: Exception,
    operator: OperatorProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its outcome is recorded without it, its neighbours' with theirs, and a log line says so."""
    jobs = jobs_of(3, operator)
    for job in jobs:
        job.end_as(Stopped("s"))
    refuse_history(monkeypatch, jobs[1].operation_id, error)
    assert Operation.all_objects.record(jobs) == jobs
    assert {job.operation_id for job in OperationJob.objects.all()} == {
        jobs[0].operation_id,
        jobs[2].operation_id,
    }
    assert set(Operation.objects.values_list("stops", flat=True)) == {1}
    assert "history_lost" in [getattr(record, "action", "") for record in caplog.records]


def test_a_database_that_is_away_is_not_a_history_that_is_bad(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is raised to the operator, which tries the group again; no half is written."""
    jobs = jobs_of(2, operator)
    for job in jobs:
        job.end_as(Stopped("s"))
    with monkeypatch.context() as patch:
        refuse_history(patch, jobs[1].operation_id, OperationalError("server closed"))
        with pytest.raises(OperationalError):
            Operation.all_objects.record(jobs)
    assert set(Operation.objects.values_list("stops", flat=True)) == {0}
    assert Operation.all_objects.record(jobs) == jobs
    assert OperationJob.objects.count() == 2


SPOILERS: dict[str, Callable[[Scripted], Any]] = {
    "stop, NUL": lambda operation: operation.stop("a\x00b"),
    "stop, surrogate": lambda operation: operation.stop("caf\udce9.txt"),
    "stop, error": lambda operation: operation.stop(LookupError("as a reason")),
    "stop, None": lambda operation: operation.stop(None),
    "cancel, NUL": lambda operation: operation.cancel("a\x00b"),
    "cancel, surrogate": lambda operation: operation.cancel("caf\udce9.txt"),
    "cancel, error": lambda operation: operation.cancel(LookupError("as a reason")),
    "cancel, None": lambda operation: operation.cancel(None),
    "retry, error": lambda operation: operation.retry(LookupError("as a reason")),
    "meta, object": lambda operation: operation.job.meta.update(value=object()),
    "meta, NaN": lambda operation: operation.job.meta.update(value=float("nan")),
    "meta, NUL": lambda operation: operation.job.meta.update(value="a\x00b\udce9"),
    "meta, None": lambda operation: setattr(operation.job, "meta", None),
    "error": raises(LookupError("a\x00b \udce9")),
    "progress": lambda operation: operation.progress(1, 2, "a\x00b \udce9"),
    "total": lambda operation: operation.progress(10**400, 10**400),
}


@pytest.mark.parametrize("spoil", list(SPOILERS))
def test_whatever_run_leaves_behind_is_recorded(
    spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Reasons that are no strings or that a database refuses, and a `meta` that is no JSON, neither
    strand the neighbours nor end the operator: every operation of the group has its outcome.
    """
    # Text that no stream can hold is not to reach pytest's own output.
    caplog.set_level(logging.CRITICAL + 1, "operator_app")
    operator = Heartbeat("default", queues=[], capacity=1).register()
    neighbours = [Note.dispatch(), scripted(SPOILERS[spoil]), Note.dispatch()]
    jobs = [OperationJob.of(operation) for operation in claim_all(operator)]
    problem = ""
    try:
        for job in jobs:
            job.run()
        held = Operation.all_objects.record(jobs)
    except Exception as error:
        problem = ascii(error)
    if problem:
        pytest.fail(f"the group could not be recorded: {problem}", pytrace=False)
    assert len(held) == 3
    for operation in (neighbours[0], neighbours[2]):
        assert stored(operation).state == "finished"
    assert stored(neighbours[1]).state in {"finished", "scheduled", "cancelled"}


# History


def test_a_plain_finish_leaves_no_job_row() -> None:
    """By default only problems are kept: a thousand plain finishes cost a thousand rows less."""
    Note.dispatch()
    with queries("INSERT INTO") as seen:
        run_due()
    assert not OperationJob.objects.exists()
    assert not [sql for sql in seen if "operationjob" in sql]


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (lambda operation: operation.stop("why"), "stopped"),
        (lambda operation: operation.cancel("why"), "cancelled"),
        (raises(LookupError("why")), "retried"),
    ],
)
def test_every_other_ending_is_kept(
    script: Callable[[Any], None], outcome: str, operator: OperatorProcess
) -> None:
    """A job row says which attempt, where, when and how it ended."""
    operation = scripted(script)
    run_due(limit=1)
    job = OperationJob.objects.get()
    assert (job.operation_id, job.number, job.outcome, job.message) == (
        operation.pk,
        1,
        outcome,
        "why",
    )
    assert ":" in job.operator and job.started_at <= job.ended_at


def test_an_error_leaves_its_traceback() -> None:
    """Class, message and traceback of the error are in the job row, the reason in short."""

    def fail(operation: Scripted) -> None:
        raise LookupError("no such thing")

    scripted(fail)
    run_due(limit=1)
    job = OperationJob.objects.get()
    assert (job.exception_class, job.message) == ("LookupError", "no such thing")
    assert "in fail" in job.traceback and job.traceback.rstrip().endswith("no such thing")


def test_a_policy_may_keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `keep_jobs="all"` a plain finish leaves a row too, of kinds with columns and without."""
    for kind in (Note, Sweep, LongNote):
        monkeypatch.setattr(kind, "policy", Policy(keep_jobs="all"))
        kind.dispatch()
    run_due()
    assert list(OperationJob.objects.values_list("outcome", flat=True)) == ["finished"] * 3


def test_a_finish_with_progress_or_meta_is_kept() -> None:
    """What `run()` told about itself is worth a row."""

    def tell(operation: Scripted) -> None:
        operation.job.meta["rows"] = [1, {"a": None}]

    operation = scripted(tell)
    run_due()
    job = OperationJob.objects.get()
    assert (job.meta, job.operation_id) == ({"rows": [1, {"a": None}]}, operation.pk)


def test_each_attempt_has_its_own_row() -> None:
    """Attempts are numbered as they were claimed."""
    operation = scripted(raises(LookupError("x")))
    for hours in (0, 1, 2):
        run_due(now=clock.now() + hours * HOUR)
    rows = OperationJob.objects.filter(operation_id=operation.pk).order_by("number")
    assert [(job.number, job.outcome) for job in rows] == [
        (1, "retried"),
        (2, "retried"),
        (3, "failed"),
    ]


# Progress


def test_progress_is_written_at_once_and_then_throttled() -> None:
    """The first value is written at once, the next once a second, the last with the outcome."""
    seen: list[tuple[Any, ...]] = []

    def work(operation: Scripted) -> None:
        with queries() as statements:
            for step in range(1, 51):
                operation.progress(step, 50, f"step {step}")
        seen.append(tuple(sql for sql in statements if "SAVEPOINT" not in sql))
        seen.append(OperationJob.objects.values_list("progress_done", "progress_total").get())

    scripted(work)
    run_due()
    assert len(seen[0]) == 1 and seen[0][0].startswith("INSERT") and seen[1] == (1.0, 50.0)
    job = OperationJob.objects.get()
    assert (job.progress_done, job.progress_total, job.progress_message) == (50.0, 50.0, "step 50")
    assert job.outcome == "finished"


@pytest.mark.usefixtures("eager_progress")
def test_progress_becomes_one_row(operator: OperatorProcess) -> None:
    """Later values and the ending update the row that the first one made."""

    def work(operation: Scripted) -> None:
        for step in range(4):
            operation.progress(step)
        assert OperationJob.objects.get().outcome is None, "null while it runs"
        operation.stop("enough")

    scripted(work)
    run_due()
    job = OperationJob.objects.get()
    assert (job.progress_done, job.progress_total, job.outcome) == (3.0, None, "stopped")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("eager_progress")
def test_progress_that_cannot_be_written_now_fails_nothing(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock or an outage is no reason to fail a run; its last values go with the outcome."""
    away = OperationalError("database is locked")

    def work(operation: Scripted) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(OperationJob, "store", raises(away))
            operation.progress(1, 3)
            operation.progress(2, 3)

    job = claimed_job(scripted(work), operator)
    job.run()
    assert isinstance(job.ending, Finished)
    Operation.all_objects.record([job])
    assert OperationJob.objects.get().progress_done == 2
    lost = [line for line in caplog.records if getattr(line, "action", "") == "progress_lost"]
    assert len(lost) == 2 and "database is locked" in lost[0].getMessage()


@pytest.mark.usefixtures("eager_progress")
def test_progress_that_is_lost_with_a_transaction_fails_the_run(
    operator: OperatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a transaction the error has undone what the run did, so the run must not go on."""
    monkeypatch.setattr(OperationJob, "store", raises(OperationalError("deadlock")))
    job = claimed_job(scripted(lambda operation: operation.progress(1)), operator)
    job.run()
    assert isinstance(job.ending, Retried)


@pytest.mark.usefixtures("eager_progress")
def test_progress_that_was_rolled_back_is_kept_all_the_same() -> None:
    """The row went with the transaction of `run()`; the final value is written with the outcome."""
    from django.db import transaction

    def work(operation: Scripted) -> None:
        try:
            with transaction.atomic():
                operation.progress(1, 3)
                operation.progress(2, 3)
                raise LookupError
        except LookupError:
            assert not OperationJob.objects.exists()

    scripted(work)
    run_due()
    job = OperationJob.objects.get()
    assert (job.progress_done, job.outcome, job.number) == (2.0, "finished", 1)


@pytest.mark.usefixtures("eager_progress")
def test_progress_goes_on_after_a_rollback() -> None:
    """A later value inserts the row anew."""
    from django.db import transaction

    def work(operation: Scripted) -> None:
        with transaction.atomic():
            operation.progress(1)
            transaction.set_rollback(True)
        operation.progress(2)
        assert OperationJob.objects.get().progress_done == 2

    scripted(work)
    (job,) = run_due()
    assert job.outcome == "finished"
    assert OperationJob.objects.count() == 1


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "1", None])
def test_bad_progress_is_refused(bad: Any) -> None:
    """Progress is a number of at least 0; anything else is an error of `run()` and not written."""
    scripted(lambda operation: operation.progress(bad))
    (job,) = run_due(limit=1)
    assert isinstance(job.error, ValueError) and job.outcome == "retried"
    assert OperationJob.objects.get().progress_done is None


def test_a_long_progress_message_is_cut() -> None:
    """The message fits its column."""
    scripted(lambda operation: operation.progress(1, 2, "m" * 900))
    run_due()
    assert len(OperationJob.objects.get().progress_message) == 255


# Log lines


def test_one_line_per_transition(caplog: pytest.LogCaptureFixture) -> None:
    """Each transition is one line through `operator_app`, with what it is about in `extra`."""
    fine, bad = Note.dispatch(), scripted(raises(LookupError("x")))
    with caplog.at_level(logging.DEBUG, "operator_app"):
        run_due(limit=2)
    lines = {
        (record.action, record.operation_id, record.kind, record.attempt)
        for record in caplog.records
    }
    assert lines == {
        ("claimed", fine.pk, "kinds.Note", 1),
        ("claimed", bad.pk, "kinds.Scripted", 1),
        ("finished", fine.pk, "kinds.Note", 1),
        ("retried", bad.pk, "kinds.Scripted", 1),
    }
    (retried,) = [record for record in caplog.records if record.action == "retried"]
    assert retried.exc_info is not None and retried.exc_info[0] is LookupError
    assert len(caplog.records) == 4


def test_an_unexpected_error_is_told_from_one_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """`retry()` is no exception for error trackers."""
    scripted(lambda operation: operation.retry("busy"))
    run_due(limit=1)
    assert [record.exc_info for record in caplog.records if record.levelno >= logging.WARNING] == [
        None
    ]
    assert records_module.attempts.unexpected(OperationJob()) is None
