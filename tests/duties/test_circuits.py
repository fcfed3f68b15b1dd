"""Circuits on the path of the data: claimed, run, recorded, judged; with a clock that is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from operator_app import CircuitBreaker, Policy, clock, signals
from operator_app.duties import Dispatch, Heartbeat, Record
from operator_app.models import Circuit, Operation, OperationJob, Pause, kinds
from operator_app.outcomes import Cancelled, Released
from tests.duties.test_dispatch import Slots
from tests.kinds.models import Calling, Note

pytestmark = pytest.mark.django_db(transaction=True)


class Places(Slots):
    """A runner on which nothing waits for its turn."""

    def take_back(self) -> list[OperationJob]:
        return []


class Desk:
    """An operator without a process: it claims, runs and records when it is told to."""

    def __init__(self, heartbeat: Heartbeat, capacity: int = 10) -> None:
        self.slots = Places(capacity)
        self.record = Record("default", lambda job: None)
        self.dispatch = Dispatch(
            "default",
            heartbeat=heartbeat,
            runners={"threads": self.slots},
            is_told=lambda: True,
        )

    def claim(self) -> list[OperationJob]:
        """Return what it has claimed now."""
        self.dispatch.hear("")
        self.dispatch.run()
        jobs, self.slots.jobs = self.slots.jobs, []
        return jobs

    def end(self, *jobs: OperationJob) -> None:
        """Record jobs that have ended."""
        for job in jobs:
            self.record.add(job)
        self.record.run()

    def work(self) -> int:
        """Claim, run and record; return how many."""
        jobs = self.claim()
        for job in jobs:
            job.run()
        self.end(*jobs)
        return len(jobs)


@pytest.fixture
def desk(heartbeat: Heartbeat) -> Desk:
    return Desk(heartbeat)


@pytest.fixture
def partner() -> Iterator[list[Exception]]:
    """What calls meet from the first on: errors, until there are no more."""
    errors: list[Exception] = []

    def call(operation: Calling) -> None:
        if errors:
            raise errors[0]

    Calling.does("call", call)
    yield errors
    Calling.forget()


@pytest.fixture
def told() -> Iterator[list[tuple[str, type[Operation], Pause]]]:
    """What the signals have told."""
    heard: list[tuple[str, type[Operation], Pause]] = []

    def opened(sender: type[Operation], pause: Pause, **_: Any) -> None:
        heard.append(("opened", sender, pause))

    def closed(sender: type[Operation], pause: Pause, **_: Any) -> None:
        heard.append(("closed", sender, pause))

    signals.circuit_opened.connect(opened)
    signals.circuit_closed.connect(closed)
    yield heard
    signals.circuit_opened.disconnect(opened)
    signals.circuit_closed.disconnect(closed)


def calls(count: int) -> list[Calling]:
    now = clock.now()
    new = [Calling(script="call", should_run_at=now) for _ in range(count)]
    return Calling.schedule_many(new)


@contextmanager
def after(seconds: float) -> Iterator[datetime]:
    """So much later than it really is."""
    moment = clock.now() + timedelta(seconds=seconds)
    with clock.at(moment):
        yield moment


@pytest.fixture
def opened(desk: Desk, partner: list[Exception]) -> datetime:
    """When the circuit was opened: ten operations wait, of which three were tried."""
    partner.append(ConnectionRefusedError("nobody is there"))
    desk.slots.capacity = 3
    calls(10)
    assert desk.work() == 3
    assert desk.claim() == []
    return clock.now()


def test_failures_open_it(
    opened: datetime, desk: Desk, told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What waits stays due, is charged nothing and says why; other kinds go on."""
    pause, circuit = Pause.objects.get(), Circuit.objects.get()
    assert pause.from_breaker and pause.kind_id == circuit.kind_id and circuit.pause == pause
    assert (circuit.cooldown, circuit.failed_at, circuit.trial) == (30.0, [], None)
    assert pause.reason == (
        "3 failures within 60 s, the last: ConnectionRefusedError: nobody is there"
    )
    assert sorted(Calling.objects.values_list("failures", flat=True)) == [0] * 7 + [1] * 3
    waiting = Calling.objects.filter(failures=0)[0]
    (reason,) = waiting.explain()
    assert reason.code == "circuit_open"
    assert "kinds.Calling is paused by its circuit breaker (3 failures" in reason.sentence
    assert "; one is tried in" in reason.sentence
    note = Note.dispatch(text="x")
    assert [job.operation_id for job in desk.claim()] == [note.pk]
    said = [record.getMessage() for record in caplog.get_records("setup")]
    assert any(line.startswith("kinds.Calling is paused: 3 failures within 60") for line in said)


def test_failures_over_two_operators_are_counted_together(
    heartbeat: Heartbeat, partner: list[Exception]
) -> None:
    partner.append(ConnectionResetError())
    first, second = Desk(heartbeat, 2), Desk(heartbeat, 1)
    calls(5)
    assert first.work() == 2
    assert not Pause.objects.exists()
    assert second.work() == 1
    assert Pause.objects.get().from_breaker
    assert first.claim() == second.claim() == []


def test_failures_that_are_far_apart_do_not(desk: Desk, partner: list[Exception]) -> None:
    partner.append(ConnectionResetError())
    desk.slots.capacity = 1
    calls(1)
    for minutes in (0, 2, 4, 6):
        with after(60 * minutes):
            assert desk.work() == 1
    assert not Pause.objects.exists()
    assert len(Circuit.objects.get().failed_at) == 1


def test_other_errors_do_not(desk: Desk, partner: list[Exception]) -> None:
    partner.append(ValueError("no number"))
    calls(9)
    assert desk.work() == 9
    assert not Pause.objects.exists() and not Circuit.objects.exists()


def test_a_kind_without_a_breaker_is_asked_nothing(
    desk: Desk, partner: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calling, "policy", Policy(max_attempts=20, backoff=[0]))
    partner.append(ConnectionResetError())
    calls(9)
    assert desk.work() == 9
    assert not Circuit.objects.exists()


def test_success_asks_nothing(desk: Desk, partner: list[Exception]) -> None:
    """Not a query, though the kind has a breaker."""
    calls(3)
    jobs = desk.claim()
    with CaptureQueriesContext(connection) as queries:
        for job in jobs:
            job.run()
        desk.end(*jobs)
    assert Calling.objects.finished().count() == 3
    assert not [query for query in queries if "circuit" in query["sql"]]


def test_one_is_tried_after_the_cooldown(opened: datetime, desk: Desk) -> None:
    """Exactly one, by whichever operator; not a second one while it runs, however long."""
    other = Desk(desk.dispatch._heartbeat)
    with after(29):
        assert desk.claim() == []
    with after(31):
        (trial,) = desk.claim()
        assert desk.claim() == other.claim() == []
        circuit = Circuit.objects.get()
        assert (circuit.trial, circuit.trial_number) == (trial.operation_id, trial.number)
        waiting = Calling.objects.exclude(pk=trial.operation_id)[0]
        assert f"operation #{trial.operation_id} is being tried" in str(waiting.explain()[0])
    with after(500):
        assert desk.claim() == other.claim() == []


def test_a_trial_that_succeeds_closes_it(
    opened: datetime, desk: Desk, partner: list[Exception], told: list[Any]
) -> None:
    partner.clear()
    desk.slots.capacity = 10
    with after(31):
        assert desk.work() == 1
        assert not Pause.objects.exists()
        circuit = Circuit.objects.get()
        assert (circuit.pause, circuit.failed_at) == (None, [])
        assert desk.work() == 9
    assert Calling.objects.finished().count() == 10
    ((what, kind, pause),) = told
    assert (what, kind, pause.what) == ("closed", Calling, "kinds.Calling")


def test_a_trial_that_cancels_itself_closes_it(opened: datetime, desk: Desk) -> None:
    """Who knows that there is nothing more to do has had an answer."""
    Calling.does("call", lambda operation: operation.cancel("delivered already"))
    with after(31):
        assert desk.work() == 1
    assert not Pause.objects.exists()


def test_a_trial_that_fails_opens_it_for_longer(opened: datetime, desk: Desk) -> None:
    """Twice as long each time, up to the cap; each trial is charged to the one that was tried."""
    moment, cooldowns = 0.0, []
    for _ in range(4):
        moment += Circuit.objects.get().cooldown + 1
        with after(moment - 2):
            assert desk.claim() == []
        with after(moment):
            assert desk.work() == 1
        cooldowns.append(Circuit.objects.get().cooldown)
    assert cooldowns == [60, 100, 100, 100]
    assert sum(Calling.objects.values_list("failures", flat=True)) == 3 + 4
    assert Pause.objects.count() == 1


def test_a_trial_that_says_nothing_is_followed_by_another(
    opened: datetime, desk: Desk, partner: list[Exception]
) -> None:
    """It was released, had expired, or failed with an error that does not count."""
    with after(31):
        for ending in (Released("the operator was told to leave"), Cancelled("expired")):
            (trial,) = desk.claim()
            trial.end_as(ending)
            desk.end(trial)
        partner[0] = ValueError("no number")
        assert desk.work() == 1
        assert Pause.objects.exists() and Circuit.objects.get().cooldown == 30
        partner.clear()
        assert desk.work() == 1
    assert not Pause.objects.exists()


def test_a_trial_whose_operator_died_is_forgotten(opened: datetime, desk: Desk) -> None:
    """Once it was rescued, and the cool-down is over, the next is tried."""
    with after(31):
        (trial,) = desk.claim()
        assert desk.claim() == []
    with after(65):
        assert desk.claim() == []  # It might run.
        rescued = Calling.objects.filter(pk=trial.operation_id)
        rescued.update(started_run_at=None, operator=None)
        (next_one,) = desk.claim()
    assert next_one.trial_of == trial.trial_of
    trial.run()
    desk.end(trial)  # From the dead: its claim does not hold, and nor does its word.
    assert Circuit.objects.get().trial == next_one.operation_id


def test_what_ran_when_it_opened_does_not_count(desk: Desk, partner: list[Exception]) -> None:
    partner.append(ConnectionResetError())
    calls(6)
    jobs = desk.claim()
    for job in jobs:
        job.run()
    desk.end(*jobs[:3])
    before = Circuit.objects.values().get()
    desk.end(*jobs[3:])
    assert Circuit.objects.values().get() == before


def test_nobody_is_tried_where_nothing_is_due(opened: datetime, desk: Desk) -> None:
    Calling.objects.all().delete()
    with after(31):
        assert desk.claim() == []
        retry_at = Circuit.objects.get().retry_at
        assert retry_at is not None and retry_at < clock.now()
        (new,) = calls(1)
        assert [job.operation_id for job in desk.claim()] == [new.pk]


def test_another_pause_holds_the_trial_back(opened: datetime, desk: Desk) -> None:
    Pause.objects.pause(queue="default", reason="a deploy")
    with after(31):
        assert desk.claim() == []
        Pause.objects.resume(queue="default")
        assert len(desk.claim()) == 1


def test_an_operator_without_room_leaves_it_to_others(opened: datetime, desk: Desk) -> None:
    with after(31):
        busy = Desk(desk.dispatch._heartbeat, 0)
        assert busy.claim() == []
        assert len(desk.claim()) == 1


@pytest.mark.parametrize("end", [lambda pause: pause.delete(), None])
def test_a_person_ends_it(
    opened: datetime, desk: Desk, told: list[Any], end: Callable[[Pause], Any] | None
) -> None:
    """The kind goes on, and failures are counted from the start."""
    if end is None:
        assert Pause.objects.resume(kind=Calling) == 1
    else:
        end(Pause.objects.get())
    assert Circuit.objects.get().pause is None
    assert [what for what, *_ in told] == ["closed"]
    desk.slots.capacity = 2
    assert desk.work() == 2
    assert not Pause.objects.exists()
    assert desk.work() == 2
    assert Pause.objects.get().from_breaker


def test_a_pause_of_a_person_is_another_one(opened: datetime, partner: list[Exception]) -> None:
    Pause.objects.pause(kind=Calling, reason="by hand")
    assert Pause.objects.count() == 2
    assert Pause.objects.resume(kind=Calling) == 2


def test_a_breaker_that_was_taken_out_of_the_policy(
    opened: datetime, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the circuit is open: the next trial closes it, however it ends."""
    monkeypatch.setattr(Calling, "policy", Policy(max_attempts=20, backoff=[0]))
    with after(31):
        assert desk.work() == 1
    assert not Pause.objects.exists()


def test_a_single_failure_may_be_enough(
    desk: Desk, partner: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = CircuitBreaker(failures=1, on=[ConnectionError])
    monkeypatch.setattr(Calling, "policy", Policy(max_attempts=5, circuit_breaker=breaker))
    partner.append(ConnectionResetError("gone"))
    calls(2)
    desk.slots.capacity = 1
    assert desk.work() == 1
    assert Pause.objects.get().reason == "1 failure, the last: ConnectionResetError: gone"


def test_it_sleeps_until_the_trial(opened: datetime, desk: Desk) -> None:
    with after(29.6):
        desk.dispatch.hear("")
        assert 0 < desk.dispatch.run() <= 0.5


def test_a_receiver_that_raises_changes_nothing(
    desk: Desk, partner: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def opened(**_: Any) -> None:
        raise RuntimeError("no pager")

    signals.circuit_opened.connect(opened)
    try:
        partner.append(ConnectionResetError())
        calls(3)
        with caplog.at_level(logging.ERROR, "operator_app"):
            desk.work()
    finally:
        signals.circuit_opened.disconnect(opened)
    assert Pause.objects.exists()
    assert "opened raised RuntimeError: no pager" in caplog.text


def test_the_signal_of_an_opening(desk: Desk, partner: list[Exception], told: list[Any]) -> None:
    partner.append(ConnectionResetError())
    calls(3)
    desk.work()
    ((what, kind, pause),) = told
    assert (what, kind) == ("opened", Calling)
    assert pause.pk == Pause.objects.get().pk
    assert pause.kind_id == kinds.content_type(Calling, "default").pk
