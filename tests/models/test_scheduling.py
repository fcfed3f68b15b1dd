"""schedule, dispatch and dispatch_now: what they write, cost and refuse."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.db.models import signals
from django.test import override_settings
from django.test.utils import isolate_apps
from django.utils.timezone import is_naive, make_aware

from operator_app import Policy, clock
from operator_app.exceptions import OperationExists, OperatorError
from operator_app.models import Operation, OperationJob, inserts
from operator_app.testing import run_due
from tests.kinds.models import (
    AsyncNote,
    Hooked,
    LongNote,
    Note,
    QuickNote,
    RankUp,
    Report,
    Reported,
    Scripted,
    Sweep,
)
from tests.models.tools import HOUR, in_thread, nothing, queries, raises, stored, write

pytestmark = pytest.mark.django_db

second = timedelta(seconds=1)
POSTGRESQL = connection.vendor == "postgresql"


def nothing_written() -> bool:
    return not Operation.all_objects.exists() and not Note._base_manager.exists()


# What is written


def test_schedule_writes_the_row_and_its_columns() -> None:
    """The operation waits for its time, in its policy's queue and priority, with its columns."""
    before = clock.now()
    note = Note.schedule(timedelta(weeks=1), text="hello")
    after = clock.now()
    row = Note.objects.get()
    assert before + timedelta(weeks=1) <= row.should_run_at <= after + timedelta(weeks=1)
    assert before <= row.created_at <= after
    assert (row.text, row.queue, row.priority, row.state) == ("hello", "notes", 0, "scheduled")
    assert (row.attempts, row.failures, row.crashes, row.stops) == (0, 0, 0, 0)
    assert row == note and not note._state.adding


def test_schedule_takes_a_moment() -> None:
    """`when` may be a datetime, to the microsecond."""
    when = (clock.now() + HOUR).replace(microsecond=123_456)
    assert stored(Note.schedule(when)).should_run_at == when


@pytest.mark.skipif(not settings.USE_TZ, reason="needs USE_TZ")
def test_schedule_takes_a_moment_of_any_zone() -> None:
    """An aware datetime means its moment, whatever its zone."""
    zone = timezone(timedelta(hours=-7))
    when = datetime(2031, 5, 1, 12, tzinfo=zone)
    assert stored(Note.schedule(when)).should_run_at == datetime(
        2031, 5, 1, 19, tzinfo=timezone.utc
    )


def test_a_timedelta_counts_from_the_engines_now() -> None:
    """The time of the database counts, not the host's: `clock.now()` plus the timedelta."""
    moment = clock.now() + timedelta(days=400)
    with clock.at(moment):
        assert Note.schedule(HOUR).should_run_at == moment + HOUR
        assert Note.schedule(-HOUR).state == "due"


def test_dispatch_is_due_now() -> None:
    """`dispatch()` schedules for the present moment."""
    with clock.at(clock.now()) as _:
        note = Note.dispatch(text="x")
        assert note.should_run_at == clock.now() == note.created_at
    assert note.state == "due" and Note.objects.due().get().text == "x"


def test_options_take_the_place_of_the_policys() -> None:
    """`queue` and `priority` may be given, the lowest and the highest included."""
    for priority in (-32768, 0, 32767):
        row = stored(QuickNote.schedule(HOUR, queue="q" * 64, priority=priority))
        assert (row.queue, row.priority) == ("q" * 64, priority)
    assert QuickNote.dispatch(priority=0).priority == 0, "0 is a priority, not a missing one"


def test_a_foreign_key_may_be_given_as_object_or_id(django_user_model: Any) -> None:
    """Own columns are named as in the constructor of any model."""
    user = django_user_model.objects.create(username="ann")
    assert RankUp.dispatch(user=user).user_id == RankUp.dispatch(user_id=user.pk).user_id


# What it costs


@pytest.mark.parametrize(
    ("kind", "count"), [(Note, 2), (Report, 2), (QuickNote, 2), (LongNote, 3), (Sweep, 1)]
)
def test_scheduling_costs_one_insert_per_table(kind: type[Operation], count: int) -> None:
    """A kind with columns costs two INSERTs, in one statement on PostgreSQL; a proxy one; nothing
    else but a savepoint.
    """
    kind.dispatch()
    for schedule in (lambda: kind.schedule(HOUR), kind.dispatch):
        with queries() as seen:
            schedule()
        writes = [sql for sql in seen if "INSERT INTO" in sql]
        rest = [sql for sql in seen if sql not in writes]
        assert "".join(writes).count("INSERT INTO") == count
        assert len(writes) == (1 if POSTGRESQL else count)
        # Django saves several tables in a transaction: inside a caller's one that is a savepoint.
        assert all("SAVEPOINT" in sql for sql in rest) and len(rest) in {0, 2}
        assert (len(rest) == 0) or count > 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Note, ["WITH"] if POSTGRESQL else ["BEGIN", "INSERT", "INSERT", "COMMIT"]),
        (Sweep, ["INSERT"]),
    ],
)
def test_scheduling_in_autocommit_is_one_transaction(
    kind: type[Operation], expected: list[str]
) -> None:
    """Outside of a transaction the rows of both tables are committed together."""
    kind.dispatch()
    with queries() as seen:
        kind.dispatch()
    assert [sql.split()[0] for sql in seen] == expected


def test_a_unique_key_costs_a_savepoint() -> None:
    """With a `unique_key`, no query more than without, besides a savepoint."""
    Note.dispatch()
    with queries() as seen:
        Note.schedule(HOUR, unique_key="k")
    assert len([sql for sql in seen if "SAVEPOINT" not in sql]) == (1 if POSTGRESQL else 2)


# One statement for all tables


def without_id(operation: Operation, values: dict[str, Any]) -> dict[str, Any]:
    """The values, with the id of the operation, by whatever name, replaced."""
    names = {field.attname for field in operation._meta.concrete_fields if field.primary_key}
    assert all(values[name] == operation.pk for name in names & set(values))
    rest = {name: value for name, value in values.items() if name != "_state"}
    return {name: "its id" if name in names else value for name, value in rest.items()}


@pytest.mark.parametrize("kind", [Note, LongNote])
def test_one_statement_does_what_django_does(
    kind: type[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows, the same instance, the same signals, in the same order."""
    told: list[tuple[str, type, bool, bool, Any]] = []

    def before(sender: type, instance: Operation, raw: bool, **rest: Any) -> None:
        told.append(("before", sender, raw, instance._state.adding, instance.pk is None))

    def after(sender: type, instance: Operation, created: bool, **rest: Any) -> None:
        told.append(("after", sender, created, instance._state.adding, instance.pk is None))

    moment = clock.now() + HOUR
    signals.pre_save.connect(before, sender=kind)
    signals.post_save.connect(after, sender=kind)
    try:
        with clock.at(clock.now()):
            one = kind.schedule(moment, text="x")
            monkeypatch.setattr(inserts, "is_possible", lambda *_: False)
            other = kind.schedule(moment, text="x")
    finally:
        signals.pre_save.disconnect(before, sender=kind)
        signals.post_save.disconnect(after, sender=kind)
    assert (
        told[:2]
        == told[2:]
        == [
            ("before", kind, False, True, True),
            ("after", kind, True, False, False),
        ]
    )
    rows = [(each, kind.objects.values().get(pk=each.pk)) for each in (one, other)]
    assert without_id(*rows[0]) == without_id(*rows[1])
    assert without_id(one, vars(one)) == without_id(other, vars(other))
    assert kind.objects.get(pk=one.pk) == one and one._state.db == "default"
    one.text = "y"  # type: ignore[attr-defined]
    one.save()
    assert kind.objects.get(pk=one.pk).text == "y"  # type: ignore[attr-defined]


def test_after_an_error_an_operation_has_no_id() -> None:
    """What was not inserted can be mended, and inserted again."""
    note = Note(should_run_at=clock.now(), text=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        note.save()
    if POSTGRESQL:  # Django itself leaves the id of the row that was rolled back.
        assert (note.pk, note.id, note._state.adding) == (None, None, True)
        note.text = "there"
        note.save()
        assert Note.objects.get(pk=note.pk).text == "there"


def test_a_row_with_an_id_of_its_own() -> None:
    """It is kept, and one that is taken is refused."""
    note = Note(pk=2**40, should_run_at=clock.now())
    note.save()
    assert Note.objects.get().pk == 2**40
    with pytest.raises(IntegrityError), transaction.atomic():
        Note(pk=2**40, should_run_at=clock.now()).save()


# Transactions


@pytest.mark.django_db(transaction=True)
def test_scheduling_in_a_transaction_is_invisible_before_commit() -> None:
    """Another connection sees the operation after the commit, never before."""

    def seen_by_others() -> list[int]:
        # Read only: on SQLite the writer holds the lock.
        return in_thread(lambda: [lane.priority for lane in Operation.all_objects.all().lanes()])

    with transaction.atomic():
        Note.dispatch()
        QuickNote.schedule_many([QuickNote(should_run_at=clock.now())])
        assert seen_by_others() == []
    assert sorted(seen_by_others()) == [0, 5]


def test_scheduling_is_undone_by_a_rollback() -> None:
    """After a rollback no table has a row of it, whichever way it was scheduled."""
    with pytest.raises(LookupError), transaction.atomic():
        Note.dispatch()
        Sweep.schedule(HOUR)
        Note.schedule_many([Note(should_run_at=clock.now()) for _ in range(3)])
        raise LookupError
    assert nothing_written()


# USE_TZ=False


@override_settings(USE_TZ=False)
def test_without_time_zones_everything_is_naive() -> None:
    """With USE_TZ=False moments are naive local time, and the path from end to end works."""
    assert is_naive(clock.now())
    note = Note.schedule(HOUR, text="a")
    assert is_naive(stored(note).should_run_at)
    due = Note.schedule(datetime.now() - second)  # noqa: DTZ005
    assert [job.operation_id for job in run_due()] == [due.pk]
    assert is_naive(stored(due).finished_run_at)
    assert Operation.objects.scheduled().get().pk == note.pk and note.state == "scheduled"
    assert Note.dispatch_now().state == "finished"


@override_settings(USE_TZ=False)
def test_without_time_zones_an_aware_moment_is_converted() -> None:
    """An aware `when` is unambiguous, so it is taken, as local time."""
    when = make_aware(datetime(2031, 5, 1, 12))  # noqa: DTZ001
    note = Note.schedule(when.astimezone(timezone.utc))
    assert stored(note).should_run_at == datetime(2031, 5, 1, 12)  # noqa: DTZ001


# Refused


@override_settings(USE_TZ=True)
def test_a_naive_moment_is_refused() -> None:
    """A naive `when` says how to make it aware; in the constructor too."""
    naive = datetime(2031, 5, 1)  # noqa: DTZ001
    for attempt in (
        lambda: Note.schedule(naive),
        lambda: Note(should_run_at=naive).save(),
        lambda: Note.schedule_many([Note(should_run_at=naive)]),
    ):
        with pytest.raises(ValueError, match=r"naive.*make_aware"):
            attempt()
    assert nothing_written()


@pytest.mark.parametrize("when", [5, 0, 1.5, None, "tomorrow", datetime(2031, 1, 1).date()])  # noqa: DTZ001
def test_when_is_a_datetime_or_a_timedelta(when: Any) -> None:
    """A number of seconds, a date or a string is refused by its value."""
    with pytest.raises(TypeError, match=r"aware datetime or a timedelta, not"):
        Note.schedule(when)
    assert nothing_written()


@pytest.mark.parametrize("when", [timedelta.max, timedelta.min])
def test_a_moment_that_no_datetime_can_name_is_refused(when: timedelta) -> None:
    """A timedelta past the end of the calendar is a clear ValueError, not an overflow."""
    with pytest.raises(ValueError, match="further than a datetime can name"):
        Note.schedule(when)
    assert nothing_written()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("txet", "did you mean 'text'"), ("TEXT", "did you mean 'text'"), ("zzz", r"known: text\)")],
)
def test_an_unknown_field_is_refused_with_a_hint(name: str, hint: str) -> None:
    """A misspelt column is named, with what was meant or what there is."""
    for method in (Note.dispatch, Note.dispatch_now):
        with pytest.raises(TypeError, match=f"Note has no field '{name}'.*{hint}"):
            method(**{name: "x"})
    assert nothing_written()


@pytest.mark.parametrize(
    "name",
    [
        "id",
        "pk",
        "kind",
        "kind_id",
        "should_run_at",
        "started_run_at",
        "finished_run_at",
        "attempts",
        "operator",
        "operator_id",
        "active_key",
        "created_at",
    ],
)
def test_an_engine_column_is_refused(name: str) -> None:
    """`schedule()` takes no column of the engine, and says what it takes instead."""
    with pytest.raises(TypeError, match=f"'{name}' is a column of the engine"):
        Note.schedule(HOUR, **{name: 1})
    assert nothing_written()


def test_the_link_to_the_common_table_is_no_field() -> None:
    """`operation_ptr` is neither an argument nor offered as one."""
    for name in ("operation_ptr", "operation_ptr_id"):
        with pytest.raises(TypeError, match="known: text"):
            Note.dispatch(**{name: 1})
    assert nothing_written()


def test_an_abstract_class_is_refused() -> None:
    """An abstract class cannot be scheduled, and the error names it."""
    for attempt in (Reported.dispatch, lambda: Reported.schedule(HOUR), Reported.dispatch_now):
        with pytest.raises(TypeError, match=r"Reported.*abstract"):
            attempt()
    assert nothing_written()


def test_the_base_class_is_refused() -> None:
    """`Operation` itself cannot be scheduled."""
    for attempt in (Operation.dispatch, lambda: Operation(should_run_at=clock.now()).save()):
        with pytest.raises(TypeError, match="Operation is the base class"):
            attempt()
    assert nothing_written()


@isolate_apps("tests.kinds")
def test_a_kind_without_run_is_refused() -> None:
    """A class that forgot its `run()` is refused before anything is written."""

    class Idle(Operation):
        class Meta:
            app_label = "kinds"
            proxy = True

    with pytest.raises(TypeError, match=r"Idle has no run\(\) method"):
        Idle.dispatch()
    assert nothing_written()


@pytest.mark.parametrize("queue", ["", "  ", "q" * 65, 5, b"q"])
def test_a_bad_queue_is_refused(queue: Any) -> None:
    """A queue is a non-empty string of at most 64 characters."""
    with pytest.raises(ValueError, match="queue is a non-empty string"):
        Note.schedule(HOUR, queue=queue)
    assert nothing_written()


@pytest.mark.parametrize("priority", [32_768, -32_769, 1.5, "1", True])
def test_a_bad_priority_is_refused(priority: Any) -> None:
    """A priority is a whole number that a small integer holds."""
    with pytest.raises(ValueError, match="priority is a whole number"):
        Note.schedule(HOUR, priority=priority)
    assert nothing_written()


@pytest.mark.parametrize("option", ["quue", "priorty", "unique"])
def test_an_unknown_option_is_refused(option: str) -> None:
    """A misspelt option is refused as a field that the kind does not have."""
    with pytest.raises(TypeError, match=f"no field '{option}'"):
        Note.schedule(HOUR, **{option: "x"})


def test_a_kind_whose_init_raises_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the kind's own constructor reaches the caller."""

    def init(self: Note, *args: Any, **kwargs: Any) -> None:
        raise LookupError("no")

    monkeypatch.setattr(Note, "__init__", init)
    with pytest.raises(LookupError):
        Note.dispatch()
    assert nothing_written()


# Unique keys


def test_a_key_is_taken_while_its_operation_is_active(operator: Any) -> None:
    """A second operation of the kind with the key is refused while the first waits or runs."""
    note = Note.schedule(HOUR, unique_key="k")
    for change in ({}, {"started_run_at": clock.now(), "operator": operator}):
        if change:
            write(note, **change)
        with pytest.raises(OperationExists, match=rf"Note #{note.pk} with unique key 'k'"):
            Note.dispatch(unique_key="k", text="second")
    assert Note._base_manager.get().text == "" and Operation.all_objects.count() == 1


@pytest.mark.parametrize("kind", [Note, Sweep, LongNote])
def test_the_callers_transaction_is_usable_after_a_taken_key(kind: type[Operation]) -> None:
    """A refused key does not break the transaction that it was refused in."""
    with transaction.atomic():
        kind.dispatch(unique_key="k")
        with pytest.raises(OperationExists):
            kind.dispatch(unique_key="k")
        with pytest.raises(OperationExists):
            kind.schedule_many([kind(should_run_at=clock.now(), unique_key="k")])
        Report.dispatch()
    assert Operation.objects.count() == 2


def test_a_key_belongs_to_a_kind() -> None:
    """Other kinds may use the same key, a proxy of the same table included."""
    for kind in (Note, QuickNote, LongNote, Sweep):
        kind.dispatch(unique_key="k")
    assert Operation.objects.filter(unique_key="k").count() == 4


@pytest.mark.parametrize("ending", ["finish", "cancel", "fail"])
def test_a_key_is_free_again_after_the_end(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ended operation gives its key back, and keeps it for history."""
    monkeypatch.setattr(Scripted, "policy", Policy(max_attempts=1))
    endings = {
        "finish": nothing,
        "cancel": lambda operation: operation.cancel(),
        "fail": raises(ValueError("x")),
    }
    Scripted.does("end", endings[ending])
    first = Scripted.dispatch(script="end", unique_key="k")
    with pytest.raises(OperationExists):
        Scripted.dispatch(unique_key="k")
    run_due()
    assert (stored(first).unique_key, stored(first).active_key) == ("k", None)
    assert Scripted.dispatch(script="end", unique_key="k").unique_key == "k"


@pytest.mark.parametrize("ending", ["stop", "retry"])
def test_a_key_stays_taken_while_the_operation_comes_back(ending: str) -> None:
    """A stopped or retried operation is still active, so its key is taken."""
    Scripted.does("again", lambda operation: getattr(operation, ending)())
    Scripted.dispatch(script="again", unique_key="k")
    run_due(limit=1)
    with pytest.raises(OperationExists):
        Scripted.dispatch(unique_key="k")


@pytest.mark.parametrize("other", ["K", "k ", " k", "ķ", "k\u0301", "ｋ", "k" * 255])
def test_keys_are_compared_exactly(other: str) -> None:
    """Case, trailing spaces, accents and width tell keys apart on every database."""
    Note.dispatch(unique_key="k")
    assert Note.dispatch(unique_key=other).unique_key == other
    with pytest.raises(OperationExists):
        Note.dispatch(unique_key=other)


@pytest.mark.parametrize("key", ["", "k" * 256, 7, b"k"])
def test_a_bad_key_is_refused(key: Any) -> None:
    """A key is a non-empty string of at most 255 characters."""
    with pytest.raises(ValueError, match="unique key is a non-empty string"):
        Note.dispatch(unique_key=key)
    assert nothing_written()


@pytest.mark.parametrize("key", ["k\x00", "k\udc80"])
def test_a_key_that_not_every_database_can_hold_is_refused(key: str) -> None:
    """NUL and lone surrogates are refused as a bad key everywhere, not by some database late."""
    with pytest.raises(ValueError, match="unique key"):
        Note.dispatch(unique_key=key)
    assert nothing_written()


def test_many_operations_without_a_key() -> None:
    """No key is not a key: operations without one never clash."""
    assert Note.dispatch().active_key is None
    Note.dispatch()
    assert Note.objects.count() == 2


# Async twins


def test_the_async_twins_do_the_same() -> None:
    """`aschedule`, `adispatch`, `adispatch_now`, `aschedule_many` return what their twins do."""

    async def main() -> list[Any]:
        scheduled = await Note.aschedule(HOUR, text="a", queue="q", priority=2, unique_key="k")
        dispatched = await Note.adispatch(text="b")
        ran = await Note.adispatch_now(text="c")
        many = await Note.aschedule_many(Note(should_run_at=clock.now()) for _ in range(3))
        with pytest.raises(OperationExists):
            await Note.adispatch(unique_key="k")
        return [scheduled, dispatched, ran, *many]

    made = async_to_sync(main)()
    assert [row.state for row in made] == ["scheduled", "due", "finished", "due", "due", "due"]
    assert (made[0].queue, made[0].priority) == ("q", 2)
    assert Note.objects.count() == 6


# dispatch_now


def test_dispatch_now_runs_at_once_and_sets_three_times() -> None:
    """The operation comes back finished: started and finished after it was due, by nobody."""
    before = clock.now()
    note = Note.dispatch_now(text="now")
    row = stored(note)
    assert before <= row.should_run_at <= row.started_run_at <= row.finished_run_at <= clock.now()
    assert (row.attempts, row.operator_id, row.state) == (1, None, "finished")
    assert note.finished_run_at == row.finished_run_at, "it is returned as it was recorded"
    assert note.text == "now"


def test_no_operator_takes_what_dispatch_now_runs() -> None:
    """While it runs it is started by hand: not due, and nobody's."""

    def look(operation: Scripted) -> None:
        assert not Operation.objects.due().exists()
        assert Operation.objects.running().get().operator_id is None
        assert operation.job.number == 1

    Scripted.does("look", look)
    assert Scripted.dispatch_now(script="look").state == "finished"


def test_dispatch_now_calls_the_hooks() -> None:
    """`queued` before, `succeeded` after; `errored` tells that nothing will be retried."""
    Hooked.does("fine", nothing)
    fine = Hooked.dispatch_now(script="fine")
    assert Hooked.hooks == [("queued", fine.pk), ("succeeded", fine.pk)]
    Hooked.hooks.clear()
    error = LookupError("x")
    Hooked.does("bad", raises(error))
    with pytest.raises(LookupError):
        Hooked.dispatch_now(script="bad")
    (queued, errored) = Hooked.hooks
    assert queued[0] == "queued" and errored[0] == "errored" and errored[2:] == (error, False)


def test_an_error_of_dispatch_now_is_recorded_and_raised() -> None:
    """Whatever the policy says it is final: failed, with its reason and its job, and re-raised."""
    error = LookupError("gone")
    Scripted.does("bad", raises(error))
    with pytest.raises(LookupError) as caught:
        Scripted.dispatch_now(script="bad")
    assert caught.value is error
    row = Scripted.objects.get()
    assert (row.state, row.failures, row.reason) == ("failed", 1, "LookupError: gone")
    job = OperationJob.objects.get()
    assert (job.outcome, job.exception_class, job.message) == ("failed", "LookupError", "gone")


def test_a_database_error_of_dispatch_now_leaves_the_callers_transaction_usable() -> None:
    """The error is recorded and raised; what the caller wrote before, and writes after, stays."""

    def clash(operation: Scripted) -> None:
        Note.dispatch(text="effect")
        Note.objects.create(should_run_at=None)

    def refuse(operation: Scripted) -> None:
        Note.dispatch(text="effect")
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    for function, expected in ((clash, ValueError), (refuse, Exception)):
        with transaction.atomic():
            Note.dispatch(text="before")
            Scripted.does("bad", function)
            with pytest.raises(expected):
                Scripted.dispatch_now(script="bad")
            Note.dispatch(text="after")
    assert Scripted.objects.failed().count() == 2
    texts = sorted(Note.objects.values_list("text", flat=True))
    # An ordinary error leaves what run() wrote, as it would outside; one of the database undoes it.
    assert texts == ["after", "after", "before", "before", "effect"]


@pytest.mark.parametrize(("verb", "state"), [("stop", "scheduled"), ("cancel", "cancelled")])
def test_dispatch_now_returns_after_stop_and_cancel(verb: str, state: str) -> None:
    """Neither is an error: the operation comes back as it stands."""
    Scripted.does("end", lambda operation: getattr(operation, verb)("why"))
    operation = Scripted.dispatch_now(script="end")
    assert operation.state == state
    assert OperationJob.objects.get().message == "why"


def test_what_dispatch_now_stopped_is_run_by_an_operator_later() -> None:
    """A stopped operation is pending like any other: the next attempt is its second."""
    Scripted.does("end", lambda operation: operation.attempts == 1 and operation.stop(delay=60))
    operation = Scripted.dispatch_now(script="end")
    assert operation.stops == 1 and operation.should_run_at > clock.now() + 50 * second
    (job,) = run_due(now=clock.now() + HOUR)
    assert (job.number, stored(operation).state) == (2, "finished")


def test_retry_in_dispatch_now_is_an_operator_error() -> None:
    """There is no second attempt by hand: recorded as failed, with the reason in the error."""
    Scripted.does("end", lambda operation: operation.retry("busy"))
    with pytest.raises(OperatorError, match=r"does not try again: '?busy"):
        Scripted.dispatch_now(script="end")
    assert Scripted.objects.get().state == "failed"


def test_ctrl_c_in_dispatch_now_releases_and_is_raised() -> None:
    """The operation goes back, unchanged but for its claim, and waits a little."""
    Scripted.does("end", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        Scripted.dispatch_now(script="end")
    row = stored(Scripted.objects.get())
    assert (row.started_run_at, row.begun_run_at, row.attempts, row.failures) == (None, None, 1, 0)
    assert clock.now() < row.should_run_at <= clock.now() + 5 * second


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()])
def test_dispatch_now_raises_what_run_raised_even_to_exit(error: BaseException) -> None:
    """SystemExit is an ordinary error: recorded, then raised to the caller who asked for it."""
    Scripted.does("end", raises(error))
    with pytest.raises(type(error)):
        Scripted.dispatch_now(script="end")
    assert Scripted.objects.get().state == "failed"


def test_dispatch_now_of_a_coroutine() -> None:
    """An async `run()` runs to its end, in the caller's transaction."""
    note = AsyncNote.dispatch_now(text="async")
    assert note.state == "finished"


@pytest.mark.parametrize("error", [None, LookupError("mine")])
def test_dispatch_now_of_an_operation_that_deletes_itself(
    error: LookupError | None, django_user_model: Any
) -> None:
    """With its row gone there is nothing to record: no other error takes the place of its own."""

    def vanish(operation: Scripted) -> None:
        Scripted.objects.get(pk=operation.pk).delete()
        if error is not None:
            raise error

    Scripted.does("vanish", vanish)
    if error is None:
        assert Scripted.dispatch_now(script="vanish").pk
    else:
        with pytest.raises(LookupError, match="mine"):
            Scripted.dispatch_now(script="vanish")
    assert nothing_written()


def test_dispatch_now_takes_no_options() -> None:
    """It runs here: a queue, priority or key makes no sense and is refused."""
    for option in ({"queue": "q"}, {"priority": 1}, {"unique_key": "k"}):
        with pytest.raises(TypeError):
            Note.dispatch_now(**option)
    assert nothing_written()


def test_the_kind_keeps_its_own_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that overrides `save()` as Django documents it is called for each insert."""
    seen: list[str] = []

    def save(self: Note, **kwargs: Any) -> None:
        self.text = self.text.upper()
        seen.append(self.text)
        super(Note, self).save(**kwargs)

    monkeypatch.setattr(Note, "save", save)
    Note.dispatch(text="loud")
    assert seen == ["LOUD"] and Note.objects.get().text == "LOUD"
    assert isinstance(Note._meta.get_field("text"), models.CharField)
