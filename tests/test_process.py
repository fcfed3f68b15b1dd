"""The operator in this process: `Operator(...).run()`."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, ProgrammingError, connection

from operator_app.duties import Dispatch, Prune, Record, Recount
from operator_app.models import Operation, OperationJob, OperatorProcess, specific
from operator_app.models.querysets import OperationQuerySet
from operator_app.outcomes import Finished
from operator_app.process import Operator
from operator_app.runners import threads as threads_module
from operator_app.wakeups import Calls
from tests.kinds.models import Hooked, Inline, Scripted
from tests.process.support import other_sessions
from tests.processes import poll
from tests.work import models as work
from tests.work.models import Bad, Tick

pytestmark = pytest.mark.django_db(transaction=True)

WATCHDOG = 6.0
"""Seconds after which an operator that does not leave is told to."""


@pytest.fixture(autouse=True)
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OPERATOR = {"THREADS": 2, "GRACE": 5, "POLL_INTERVAL": 0.2}
    monkeypatch.setattr("operator_app.outage.DELAYS", (0.01, 0.05))


@pytest.fixture
def leaves() -> list[int]:
    """The exit codes with which operators asked to leave at once."""
    return []


@pytest.fixture
def operator(
    leaves: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Operator]]:
    """Make an operator; one that never leaves is told to, twice, and then forced out of its loop,
    which fails the test."""
    timers: list[threading.Timer] = []
    forced: list[Operator] = []

    def force(operator: Operator) -> None:
        forced.append(operator)
        monkeypatch.setattr(Record, "is_empty", True)
        operator.stop()

    def make(**options: Any) -> Operator:
        operator = Operator(leave=leaves.append, **options)
        timers.append(threading.Timer(WATCHDOG, operator.stop))
        timers.append(threading.Timer(WATCHDOG + 0.1, operator.stop))
        timers.append(threading.Timer(WATCHDOG + 2, force, [operator]))
        for timer in timers[-3:]:
            timer.daemon = True
            timer.start()
        return operator

    yield make
    for timer in timers:
        timer.cancel()
    assert forced == [], "it would never have left"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Held operations go on when it is set; at the latest after the test."""
    gate = threading.Event()
    yield gate
    gate.set()
    poll(lambda: not engine_threads(), 10, "the threads of the operator to end")


def engine_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == "heartbeat" or name.startswith("operation-")]


def held_by(gate: threading.Event, begun: threading.Event) -> Callable[[Scripted], None]:
    def wait(operation: Scripted) -> None:
        begun.set()
        gate.wait(20)

    return wait


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Do something, from a thread, as soon as `condition` holds."""

    def watch() -> None:
        try:
            poll(condition, WATCHDOG, "the moment to act")
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=watch, name="watcher")
    thread.start()
    return thread


def open_files() -> list[str]:
    """The files of this process that belong to the test's database; none unless it is SQLite."""
    name = str(connection.settings_dict["NAME"])
    folder = Path("/proc/self/fd")
    if connection.vendor != "sqlite" or not folder.exists():
        return []
    links = []
    for each in folder.iterdir():
        try:
            links.append(str(each.readlink()))
        except OSError:
            continue
    return [link for link in links if link.startswith(name)]


def assert_nothing_left() -> None:
    __tracebackhide__ = True
    assert engine_threads() == []
    connection.close()
    assert open_files() == []
    poll(lambda: other_sessions() == 0, 5, "the operator's connections to be closed")
    assert OperatorProcess.objects.count() == 0
    assert Operation.all_objects.started().count() == 0


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.action for record in caplog.records if hasattr(record, "action")]


class TestOnce:
    """Run what is due, then return."""

    def test_it_runs_what_is_due_and_returns(
        self, operator: Callable[..., Operator], leaves: list[int]
    ) -> None:
        """Everything due is run, the number is returned, and no thread, connection, claim or row of
        the operator is left."""
        ids = [Tick.dispatch().pk for _ in range(20)]
        assert operator(once=True).run() == 20
        assert set(Operation.objects.finished().values_list("pk", flat=True)) == set(ids)
        assert leaves == []
        assert_nothing_left()

    def test_nothing_due(self, operator: Callable[..., Operator]) -> None:
        """With nothing due it returns 0 and leaves nothing behind."""
        assert operator(once=True).run() == 0
        assert_nothing_left()

    def test_what_becomes_due_by_running_is_run_too(
        self, operator: Callable[..., Operator]
    ) -> None:
        """An operation dispatched by one that is run is run as well before it returns."""
        Scripted.dispatch(script=Scripted.does("chain", lambda operation: Tick.dispatch()))
        assert operator(once=True).run() == 2
        assert Operation.objects.finished().count() == 2

    def test_hooks_have_run_when_it_returns(self, operator: Callable[..., Operator]) -> None:
        """Hooks run after the outcome is recorded, and all of them before it returns."""
        Hooked.hooks.clear()
        good = Hooked.dispatch(script=Hooked.does("good", lambda operation: None))
        bad = Hooked.dispatch(script=Hooked.does("bad", lambda operation: 1 / 0))
        operator(once=True).run()
        called = sorted(hook[:2] for hook in Hooked.hooks)
        assert called == sorted(
            [("queued", good.pk), ("queued", bad.pk), ("succeeded", good.pk), ("errored", bad.pk)]
        )

    def test_without_a_database(
        self, operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A database error ends it with that error, once its threads are gone and its row too."""

        def fail(self: Dispatch) -> float:
            raise OperationalError("away")

        monkeypatch.setattr(Dispatch, "run", fail)
        with pytest.raises(OperationalError, match="away"):
            operator(once=True).run()
        assert_nothing_left()


class TestLeaving:
    """Being told to leave."""

    def test_stop_from_another_thread(
        self, operator: Callable[..., Operator], leaves: list[int]
    ) -> None:
        """stop() from any thread lets run() return, once what runs has ended."""
        Tick.dispatch()
        running = operator()
        watcher = when(lambda: Operation.objects.finished().exists(), running.stop)
        assert running.run() == 1
        watcher.join()
        assert leaves == []
        assert_nothing_left()

    def test_stop_before_run(self, operator: Callable[..., Operator]) -> None:
        """An operator that was told to leave before it began runs nothing."""
        Tick.dispatch()
        early = operator()
        early.stop()
        assert early.run() == 0
        assert Operation.objects.due().count() == 1
        assert_nothing_left()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals(self, operator: Callable[..., Operator], number: signal.Signals) -> None:
        """run() in the main thread heeds SIGTERM and SIGINT, and gives the handlers back."""
        before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
        Tick.dispatch()
        watcher = when(
            lambda: Operation.objects.finished().exists(), lambda: os.kill(os.getpid(), number)
        )
        assert operator().run() == 1
        watcher.join()
        assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
        assert_nothing_left()

    def test_in_a_thread(self, operator: Callable[..., Operator]) -> None:
        """run() works in any other thread, where it cannot take signals."""
        Tick.dispatch()
        ran: list[int] = []
        thread = threading.Thread(target=lambda: ran.append(operator(once=True).run()))
        thread.start()
        thread.join(WATCHDOG + 2)
        assert ran == [1]
        assert_nothing_left()

    def test_what_runs_may_end(
        self, operator: Callable[..., Operator], gate: threading.Event, leaves: list[int]
    ) -> None:
        """After stop() a running operation ends as it would have; one that is due is left."""
        begun = threading.Event()
        held = Scripted.dispatch(script=Scripted.does("held", held_by(gate, begun)))
        running = operator(threads=1, grace=20)

        def leave() -> None:
            Tick.dispatch()
            running.stop()
            # Not sooner: a look at what is due may be under way, and find a slot free.
            poll(lambda: running._heartbeat.draining, WATCHDOG, "the operator to leave")
            gate.set()

        watcher = when(begun.is_set, leave)
        assert running.run() == 1
        watcher.join()
        assert Operation.objects.finished().get().pk == held.pk
        assert Operation.objects.due().get().attempts == 0
        assert leaves == []
        assert_nothing_left()

    def test_what_was_claimed_ahead_is_given_back(
        self, operator: Callable[..., Operator], gate: threading.Event
    ) -> None:
        """What waits for its turn is claimed and has not begun; after stop() it is due at its old
        time, and nothing is charged.
        """
        begun = threading.Event()
        held = Scripted.dispatch(script=Scripted.does("held", held_by(gate, begun)))
        ahead = [Scripted.dispatch(script="any") for _ in range(5)]
        running = operator(threads=1, grace=20)
        threads = running._runners["threads"]
        threads._pace.learn(held.kind_id, 0.0)  # type: ignore[attr-defined]
        seen: list[int] = []

        def leave() -> None:
            seen.append(Operation.all_objects.started().filter(begun_run_at=None).count())
            running.stop()
            poll(lambda: running._heartbeat.draining, WATCHDOG, "the operator to leave")
            gate.set()

        watcher = when(lambda: begun.is_set() and threads.has_waiting, leave)
        assert running.run() == 1
        watcher.join()
        assert seen in ([5], [6])  # The one that runs is marked twice a second.
        assert Operation.objects.finished().get().pk == held.pk
        for operation in ahead:
            row = Operation.objects.get(pk=operation.pk)
            assert (row.state, row.should_run_at) == ("due", operation.should_run_at)
            assert (row.attempts, row.failures, row.operator_id) == (1, 0, None)
            assert row.jobs.get().outcome == "released" and row.jobs.get().begun_at is None
        assert_nothing_left()

    def test_what_waits_behind_a_long_one_is_given_back(
        self,
        operator: Callable[..., Operator],
        gate: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """One takes longer than such operations do: others may run what waits behind it, and this
        operator does not claim it again before it has a thread for it.
        """
        monkeypatch.setattr(threads_module, "LATE", 0.05)
        begun = threading.Event()
        held = Scripted.dispatch(script=Scripted.does("held", held_by(gate, begun)))
        quick = Scripted.does("quick", lambda operation: None)
        ahead = [Scripted.dispatch(script=quick).pk for _ in range(3)]
        running = operator(threads=1, once=True)
        running._runners["threads"]._pace.learn(held.kind_id, 0.0)  # type: ignore[attr-defined]

        def given_back() -> bool:
            rows = Operation.objects.due().filter(pk__in=ahead, attempts=1)
            return begun.is_set() and rows.count() == len(ahead)

        watcher = when(given_back, gate.set)
        assert running.run() == 1 + len(ahead)
        watcher.join()
        reasons = OperationJob.objects.filter(outcome="released").values_list("message", flat=True)
        assert set(reasons) == {"it waited too long for its turn"}
        assert Operation.objects.finished().count() == 1 + len(ahead)
        assert_nothing_left()

    @pytest.mark.parametrize("told", [(0.1, 1), (60, 2), (0, 1)])
    def test_after_the_grace_it_leaves_at_once(
        self,
        operator: Callable[..., Operator],
        gate: threading.Event,
        leaves: list[int],
        caplog: pytest.LogCaptureFixture,
        told: tuple[float, int],
    ) -> None:
        """When the grace is over, or at a second stop(), what runs is released and `leave` is
        called with 0: nobody waits for the threads of user code."""
        (grace, stops), begun = told, threading.Event()
        held = Scripted.dispatch(script=Scripted.does("held", held_by(gate, begun)))
        running = operator(grace=grace)

        def leave() -> None:
            for _ in range(stops):
                running.stop()

        watcher = when(begun.is_set, leave)
        over = threading.Event()
        late = threading.Timer(4, lambda: over.is_set() or gate.set())
        late.start()
        running.run()
        over.set()
        late.cancel()
        watcher.join()
        assert not gate.is_set(), "it waited for the operation"
        assert leaves == [0]
        assert actions(caplog)[-1] == "left" and caplog.records[-1].levelname == "WARNING"
        held.refresh_from_db()
        assert (held.state, held.attempts, held.failures) == ("scheduled", 1, 0)
        assert OperationJob.objects.get().outcome == "released"
        assert OperatorProcess.objects.count() == 0

    def test_what_ends_after_it_was_given_up_changes_nothing(
        self,
        operator: Callable[..., Operator],
        gate: threading.Event,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A run that returns between the end of the grace and the record of its release: released
        it is, since that is what was said of it."""
        begun, jobs = threading.Event(), []
        hold = held_by(gate, begun)

        def run(operation: Scripted) -> None:
            jobs.append(operation.job)
            hold(operation)

        held = Scripted.dispatch(script=Scripted.does("late", run))
        record = OperationQuerySet.record

        def late(self: Any, group: list[OperationJob]) -> Any:
            gate.set()
            poll(lambda: isinstance(jobs[0].ending, Finished), WATCHDOG, "the run to return")
            return record(self, group)

        monkeypatch.setattr(OperationQuerySet, "record", late)
        running = operator(grace=0)
        watcher = when(begun.is_set, running.stop)
        running.run()
        watcher.join()
        held.refresh_from_db()
        assert (held.state, held.finished_run_at) == ("scheduled", None)
        assert OperationJob.objects.get().outcome == "released"

    def test_ctrl_c_of_an_inline_job(self, operator: Callable[..., Operator]) -> None:
        """KeyboardInterrupt in an inline operation releases it, and the operator leaves."""

        def interrupted(operation: Scripted) -> None:
            raise KeyboardInterrupt

        held = Inline.dispatch(script=Scripted.does("interrupted", interrupted))
        assert operator().run() == 1
        held.refresh_from_db()
        assert (held.state, held.attempts, held.failures) == ("scheduled", 1, 0)
        assert_nothing_left()

    def test_a_row_that_cannot_be_deleted(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """If its row cannot be deleted, the operator says so and leaves all the same."""

        def fail(self: OperatorProcess) -> None:
            raise OperationalError("away")

        with monkeypatch.context() as patch:
            patch.setattr(OperatorProcess, "delete", fail)
            assert operator(once=True).run() == 0
        assert caplog.text.count("row could not be deleted: away") == 1
        assert engine_threads() == []

    def test_a_session_that_was_dropped_just_now(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The row is deleted through another one."""
        real, tried = OperatorProcess.delete, []

        def delete(self: OperatorProcess) -> object:
            tried.append(self.pk)
            if len(tried) == 1:
                raise OperationalError("the connection was closed")
            return real(self)

        monkeypatch.setattr(OperatorProcess, "delete", delete)
        assert operator(once=True).run() == 0
        assert len(tried) == 2 and not OperatorProcess.objects.exists()
        assert "could not be deleted" not in caplog.text


def test_news_is_taken_as_seen_only_where_a_look_follows(
    operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """However often the loop goes round for another reason: what was scheduled in between would
    wait for the next poll.
    """
    settings.OPERATOR = settings.OPERATOR | {"POLL_INTERVAL": 30}
    happened: list[str] = []
    look, recount = Dispatch.run, Recount.run

    def clear(self: Calls) -> None:
        happened.append("news seen")

    def noted(self: Dispatch) -> float:
        happened.append("look")
        return look(self)

    def often(self: Recount) -> float:
        recount(self)
        happened.append("recount")
        return 0.01

    monkeypatch.setattr(Calls, "clear", clear)
    monkeypatch.setattr(Dispatch, "run", noted)
    monkeypatch.setattr(Recount, "run", often)
    running = operator()
    watcher = when(lambda: happened.count("recount") > 20, running.stop)
    running.run()
    watcher.join()
    told = [each for each in happened if each != "recount"]
    assert told.count("news seen") == told.count("look") > 0
    assert told == ["news seen", "look"] * (len(told) // 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("should_run_at", datetime(2026, 1, 1)),  # noqa: DTZ001  (without a zone, as users err)
        ("should_run_at", timedelta(days=1)),
        ("should_run_at", None),
        ("queue", object()),
        ("kind_id", "no such kind"),
    ],
)
def test_what_run_makes_of_its_own_columns_harms_no_operator(
    operator: Callable[..., Operator], name: str, value: Any
) -> None:
    """It is the user's instance that `run()` changes, and the engine does not believe it."""

    def spoil(operation: Operation) -> None:
        setattr(operation, name, value)

    script = Scripted.does(f"spoil {name} {type(value)}", spoil)
    spoilt, neighbour = Scripted.dispatch(script=script), Tick.dispatch()
    assert operator(once=True).run() == 2
    ended = Operation.objects.finished().values_list("pk", flat=True)
    assert set(ended) == {spoilt.pk, neighbour.pk}
    assert not OperatorProcess.objects.exists()


class TestRefusals:
    """The database is there, and refuses what one duty wants to do."""

    def test_all_else_goes_on(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What is due is run, and the duty is tried again; both are said once."""
        monkeypatch.setattr("operator_app.refusals.DELAYS", (0.01, 0.05))
        run, failures = Prune.run, [IntegrityError("it is referred to")] * 3

        def fail(self: Prune) -> float:
            if failures:
                raise failures.pop()
            return run(self)

        monkeypatch.setattr(Prune, "run", fail)
        Tick.dispatch()
        running = operator()
        watcher = when(lambda: not failures and Operation.objects.finished().exists(), running.stop)
        assert running.run() == 1
        watcher.join()
        said = actions(caplog)
        assert said.count("duty_refused") == 1 and "database_away" not in said

    def test_what_ended_must_be_recorded(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Without that nothing is to go on: it counts as an outage."""
        run, failures = Record.run, [IntegrityError("no")]

        def fail(self: Record) -> float:
            if failures:
                raise failures.pop()
            return run(self)

        monkeypatch.setattr(Record, "run", fail)
        Tick.dispatch()
        running = operator()
        watcher = when(lambda: Operation.objects.finished().exists(), running.stop)
        assert running.run() == 1
        watcher.join()
        assert actions(caplog).count("database_away") == 1 and "duty_refused" not in actions(caplog)

    def test_once_does_not_try_again(
        self, operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: Prune) -> float:
            raise IntegrityError("no")

        monkeypatch.setattr(Prune, "run", fail)
        with pytest.raises(IntegrityError):
            operator(once=True).run()


class TestOutages:
    """The database is away for a while."""

    def test_a_duty_that_fails_is_tried_again(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Dispatch fails twice: that is logged once, so is its return, and nothing is lost."""
        Tick.dispatch()
        run, failures = Dispatch.run, [OperationalError("away\n"), OperationalError("away\n")]

        def fail(self: Dispatch) -> float:
            if failures:
                raise failures.pop()
            return run(self)

        monkeypatch.setattr(Dispatch, "run", fail)
        running = operator()
        watcher = when(lambda: Operation.objects.finished().exists(), running.stop)
        assert running.run() == 1
        watcher.join()
        assert failures == []
        assert actions(caplog).count("database_away") == 1
        assert actions(caplog).count("database_back") == 1
        assert "cannot be used (away)" in caplog.text
        assert_nothing_left()

    def test_registering_is_tried_again(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """An operator that starts while the database is away registers when it is there."""
        Tick.dispatch()
        save, failures = OperatorProcess.save, [OperationalError("away")] * 2

        def fail(self: OperatorProcess, **options: Any) -> None:
            if failures:
                raise failures.pop()
            save(self, **options)

        monkeypatch.setattr(OperatorProcess, "save", fail)
        running = operator()
        watcher = when(lambda: Operation.objects.finished().exists(), running.stop)
        assert running.run() == 1
        watcher.join()
        assert actions(caplog).count("database_away") == 1
        assert_nothing_left()

    def test_stop_while_it_waits(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """stop() during a long outage ends the wait."""
        monkeypatch.setattr("operator_app.outage.DELAYS", (60, 60))
        asked = threading.Event()

        def fail(self: Dispatch) -> float:
            asked.set()
            raise OperationalError("away")

        monkeypatch.setattr(Dispatch, "run", fail)
        running = operator()
        watcher = when(asked.is_set, running.stop)
        assert running.run() == 0
        watcher.join()
        assert_nothing_left()

    @pytest.mark.parametrize("failures", [1, 3])
    def test_an_outcome_waits_for_the_database(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        failures: int,
    ) -> None:
        """G7: an outcome that could not be written is written when the database is back, also if
        the operator was told to leave meanwhile."""
        Tick.dispatch()
        running = operator()
        record, left = OperationQuerySet.record, [failures]

        def fail(self: Any, jobs: Any) -> Any:
            if left[0] == failures:
                running.stop()
            if left[0]:
                left[0] -= 1
                raise OperationalError("away")
            return record(self, jobs)

        monkeypatch.setattr(OperationQuerySet, "record", fail)
        assert running.run() == 1
        assert left == [0]
        assert Operation.objects.finished().count() == 1
        assert_nothing_left()

    def test_one_that_leaves_asks_at_once(
        self, operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Told to leave in the middle of a long wait, it tries to write what it has without waiting
        for the rest of it: there may be no time for that."""
        monkeypatch.setattr("operator_app.outage.DELAYS", (60, 60))
        operation = Tick.dispatch()
        running = operator()
        record, tries = OperationQuerySet.record, []

        def fail_once(self: Any, jobs: Any) -> Any:
            tries.append(1)
            if len(tries) == 1:
                running.stop()
                raise OperationalError("away")
            return record(self, jobs)

        monkeypatch.setattr(OperationQuerySet, "record", fail_once)
        running.run()
        assert not running.gave_up
        operation.refresh_from_db()
        assert operation.state == "finished"

    def test_a_second_stop_does_not_wait_for_the_database(
        self, operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """G6: a second stop() ends an operator whose outcomes cannot be written; the claim stays,
        to be found as stuck, so nothing is lost."""
        operation = Tick.dispatch()
        running = operator()
        stops: list[int] = []

        def fail(self: Any, jobs: Any) -> Any:
            if len(stops) < 2:
                stops.append(1)
                running.stop()
            if len(tries) > 100:
                # The test's own emergency exit.
                return []
            tries.append(1)
            raise OperationalError("away")

        tries: list[int] = []
        monkeypatch.setattr(OperationQuerySet, "record", fail)
        running.run()
        assert len(tries) <= 100, "it would have waited for ever"
        assert running.gave_up
        operation.refresh_from_db()
        assert operation.state == "stuck"

    def test_an_operation_that_cannot_be_loaded(
        self,
        operator: Callable[..., Operator],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """5.14: the database refuses to load a row: it is released, its kind is left alone."""
        operation = Scripted.dispatch(script="any")
        neighbour = Tick.dispatch()
        load = specific.load

        def fail(row: Any) -> Any:
            if row.pk == operation.pk:
                raise ProgrammingError("no such column")
            return load(row)

        monkeypatch.setattr(specific, "load", fail)
        monkeypatch.setattr(specific, "_loadable", lambda *args: {})
        assert operator(once=True).run() == 2
        operation.refresh_from_db()
        assert (operation.state, operation.failures) == ("scheduled", 0)
        assert actions(caplog).count("set_aside") == 1
        assert Operation.objects.finished().get().pk == neighbour.pk
        assert_nothing_left()


def test_an_idle_operator_sleeps(
    operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """With nothing to do it looks once, and not again before the poll interval is over; where it
    listens, once more when it begins to, since it may have missed something.
    """
    settings.OPERATOR = {"POLL_INTERVAL": 60}
    run, looks = Dispatch.run, []

    def look(self: Dispatch) -> float:
        looks.append(1)
        return run(self)

    monkeypatch.setattr(Dispatch, "run", look)
    running = operator()
    timer = threading.Timer(0.5, running.stop)
    timer.start()
    running.run()
    timer.join()
    assert len(looks) <= 1 + (connection.vendor == "postgresql")


@pytest.mark.parametrize("repetition", range(5))
def test_many_operators_in_turn_leave_nothing(
    operator: Callable[..., Operator], repetition: int
) -> None:
    """One operator after the other in one process: each leaves the process as it found it."""
    before = threading.active_count()
    running = operator(threads=4)
    for _ in range(8):
        Tick.dispatch()
    watcher = when(lambda: Operation.objects.finished().exists(), running.stop)
    running.run()
    watcher.join()
    assert_nothing_left()
    timers = 3  # the watchdogs of this operator
    assert threading.active_count() <= before + timers


def test_one_log_line_per_transition(
    operator: Callable[..., Operator], caplog: pytest.LogCaptureFixture
) -> None:
    """From ready to left, each transition is one record with action, operation, kind, attempt."""
    caplog.set_level(logging.DEBUG, "operator_app")
    operation = Tick.dispatch()
    operator(once=True).run()
    assert actions(caplog) == ["ready", "claimed", "finished", "left"]
    for record in caplog.records[1:3]:
        assert (record.operation_id, record.kind, record.attempt) == (operation.pk, "work.Tick", 1)
        assert record.name == "operator_app"


BAD = {
    work.BadQueued: "finished",
    work.BadSucceeded: "finished",
    work.BadBackoff: "failed",
    work.BadError: "failed",
    work.BadMeta: "finished",
    work.BadExit: "failed",
    work.BadInit: "failed",
    work.BadQueuedInline: "finished",
    work.BadBackoffInline: "failed",
    work.BadErrorInline: "failed",
    work.BadExitInline: "failed",
}


@pytest.mark.parametrize(
    ("kind", "state"), BAD.items(), ids=lambda each: getattr(each, "__name__", "")
)
def test_one_bad_operation_never_strands_its_neighbours(
    operator: Callable[..., Operator], kind: type[Bad], state: str
) -> None:
    """G11: whatever an operation does outside its run(), its neighbours finish, it has an ending
    itself, and the operator lives on."""
    neighbours = [Tick.dispatch() for _ in range(3)]
    bad = [kind.dispatch() for _ in range(3)]
    neighbours += [Tick.dispatch() for _ in range(3)]
    assert operator(once=True, threads=2).run() == len(bad) + len(neighbours)
    states = {each.pk: each.state for each in Operation.all_objects.all()}
    assert [states[each.pk] for each in neighbours] == ["finished"] * len(neighbours)
    assert [states[each.pk] for each in bad] == [state] * len(bad)
    assert_nothing_left()
