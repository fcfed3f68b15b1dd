"""Finding what is due, claiming it, handing it over."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from operator_app import clock
from operator_app.duties import Dispatch, Heartbeat
from operator_app.duties.base import CONTENDED
from operator_app.duties.dispatch import ENGAGED
from operator_app.models import Operation, OperationJob
from operator_app.models.querysets import OperationQuerySet
from operator_app.runners import Runner
from tests.work.models import HoldInline, Mixed, OtherTick, Tick


class Slots(Runner):
    """A runner that takes jobs and runs none of them."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, lambda job: None)
        self.jobs: list[OperationJob] = []

    @property
    def free(self) -> int:
        return self.capacity - len(self.jobs)

    @property
    def held(self) -> list[OperationJob]:
        return self.jobs

    @property
    def running(self) -> list[OperationJob]:
        return []

    def submit(self, job: OperationJob) -> None:
        self.jobs.append(job)

    def call(self, work: Callable[[], None]) -> None:
        raise AssertionError

    def take_back(self) -> list[OperationJob]:
        raise AssertionError

    def abandon(self) -> list[OperationJob]:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError

    @property
    def is_idle(self) -> bool:
        return not self.jobs

    @property
    def ids(self) -> list[int]:
        return [job.operation_id for job in self.jobs]


@pytest.fixture
def slots() -> dict[str, Slots]:
    return {"threads": Slots(100), "inline": Slots(1)}


@pytest.fixture
def dispatch(heartbeat: Heartbeat, slots: dict[str, Slots]) -> Dispatch:
    return Dispatch("default", heartbeat=heartbeat, runners=slots)


def test_what_is_due_is_handed_over_claimed(
    dispatch: Dispatch, slots: dict[str, Slots], heartbeat: Heartbeat
) -> None:
    """Due operations of all kinds are claimed for this operator in one run; later ones are not."""
    due = [Tick.dispatch(), Mixed.dispatch(ending="stop"), OtherTick.dispatch()]
    later = Tick.schedule(timedelta(hours=1))
    assert dispatch.run() == 0
    assert sorted(slots["threads"].ids) == sorted(operation.pk for operation in due)
    assert heartbeat.process is not None
    for operation in due:
        operation.refresh_from_db()
        assert operation.started_run_at is not None
        assert (operation.operator_id, operation.attempts) == (heartbeat.process.pk, 1)
    later.refresh_from_db()
    assert (later.started_run_at, later.attempts) == (None, 0)
    assert not dispatch.found_nothing


def test_after_a_claim_it_looks_again_at_once(dispatch: Dispatch) -> None:
    """The delay is 0 after a claim and until the next one is due or looked for after none."""
    Tick.dispatch()
    assert dispatch.run() == 0
    assert dispatch.run() > 0
    assert dispatch.found_nothing


def test_a_full_runner_gets_nothing(dispatch: Dispatch, slots: dict[str, Slots]) -> None:
    """No more is claimed than a runner has slots; what is left stays due and is claimed later."""
    slots["threads"].capacity = 2
    for _ in range(3):
        Tick.dispatch()
    assert dispatch.run() == 0
    assert len(slots["threads"].jobs) == 2
    assert dispatch.run() > 0
    assert not dispatch.found_nothing
    assert Operation.objects.due().filter(attempts=0).count() == 1
    slots["threads"].jobs.clear()
    assert dispatch.run() == 0
    assert len(slots["threads"].jobs) == 1


def test_a_full_runner_does_not_hold_up_another(
    dispatch: Dispatch, slots: dict[str, Slots]
) -> None:
    """Each kind goes to the runner of its policy; a full runner stops only its own kinds."""
    slots["threads"].capacity = 0
    held = Tick.dispatch(priority=9)
    inline = HoldInline.dispatch(path="")
    assert dispatch.run() == 0
    assert slots["inline"].ids == [inline.pk]
    assert slots["threads"].ids == []
    assert Operation.objects.due().get().pk == held.pk


def test_queues(heartbeat: Heartbeat, slots: dict[str, Slots]) -> None:
    """Only the queues that it serves are looked at; the delay does not follow the others."""
    dispatch = Dispatch("default", heartbeat=heartbeat, runners=slots, queues=["other", "third"])
    wanted = [OtherTick.dispatch().pk, Tick.dispatch(queue="third").pk]
    Tick.dispatch()
    Tick.schedule(timedelta(seconds=0.05))
    dispatch.run()
    assert sorted(slots["threads"].ids) == wanted
    assert dispatch.run() > 0.5
    assert dispatch.found_nothing


def test_order(dispatch: Dispatch, slots: dict[str, Slots]) -> None:
    """Jobs are handed over by priority, then time, then id."""
    now = clock.now()
    low = Tick.schedule(now - timedelta(hours=3), priority=-1)
    second = Tick.schedule(now - timedelta(hours=1))
    first = Tick.schedule(now - timedelta(hours=2))
    high = Tick.schedule(now, priority=1)
    dispatch.run()
    assert slots["threads"].ids == [high.pk, first.pk, second.pk, low.pk]


def test_the_delay_is_until_the_next_one_is_due(dispatch: Dispatch, settings: Any) -> None:
    """With nothing due the delay is the time until the next operation of any lane is."""
    settings.OPERATOR = {"POLL_INTERVAL": 1000}
    Tick.schedule(timedelta(seconds=500))
    Tick.schedule(timedelta(seconds=300), priority=3)
    OtherTick.schedule(timedelta(seconds=400))
    assert 290 < dispatch.run() <= 300


def test_an_idle_poll_is_jittered(dispatch: Dispatch, settings: Any) -> None:
    """With nothing scheduled soon the delay is the poll interval, shortened at random."""
    settings.OPERATOR = {"POLL_INTERVAL": 10}
    Tick.schedule(timedelta(hours=1))
    delays = {dispatch.run() for _ in range(20)}
    assert all(8 <= delay <= 10 for delay in delays)
    assert len(delays) > 10


def test_what_others_hold_is_looked_for_again_soon(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others are just claiming all that is due, it looks again soon, but does not spin."""
    Tick.dispatch()
    monkeypatch.setattr(OperationQuerySet, "claim", lambda *args, **options: [])
    assert CONTENDED / 2 <= dispatch.run() <= CONTENDED * 1.5
    assert not dispatch.found_nothing


def suspect(**columns: Any) -> Operation:
    """A due operation that an operator died with."""
    operation = Tick.dispatch(**columns)
    Operation.all_objects.filter(pk=operation.pk).update(crashes=1)
    return operation


def test_suspects_go_to_the_quarantine(heartbeat: Heartbeat, slots: dict[str, Slots]) -> None:
    """An operation that an operator died with is claimed as any other, but runs in quarantine."""
    quarantine = Slots(100)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners=slots, quarantine=quarantine)
    guilty, innocent = suspect(), Tick.dispatch()
    dispatch.run()
    assert (quarantine.ids, slots["threads"].ids) == ([guilty.pk], [innocent.pk])


def test_a_full_quarantine_holds_nobody_up(heartbeat: Heartbeat, slots: dict[str, Slots]) -> None:
    """While the quarantine is taken suspects stay due, however high their priority; others run,
    and the operator does not spin."""
    quarantine = Slots(0)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners=slots, quarantine=quarantine)
    waits, innocent = suspect(priority=9), Tick.dispatch()
    assert dispatch.run() == 0
    assert slots["threads"].ids == [innocent.pk]
    assert dispatch.run() > CONTENDED * 2
    assert Operation.objects.due().get().pk == waits.pk
    quarantine.capacity = 1
    dispatch.run()
    assert quarantine.ids == [waits.pk]


def test_a_full_quarantine_makes_nobody_late(
    heartbeat: Heartbeat, slots: dict[str, Slots], settings: Any
) -> None:
    """While suspects wait, an operation of another lane that is due soon is still on time."""
    settings.OPERATOR = {"POLL_INTERVAL": 60}
    dispatch = Dispatch("default", heartbeat=heartbeat, runners=slots, quarantine=Slots(0))
    suspect()
    OtherTick.schedule(timedelta(seconds=5))
    assert 0 < dispatch.run() <= 5


def test_how_long_it_waits_is_told_from_outside(
    heartbeat: Heartbeat, slots: dict[str, Slots], settings: Any
) -> None:
    """By what calls the operator; but not while something is due that has found no free slot."""
    settings.OPERATOR = {"POLL_INTERVAL": 1}
    mixed = {"threads": Slots(0), "inline": Slots(1)}
    dispatch = Dispatch("default", heartbeat=heartbeat, runners=mixed, interval=lambda: 5.0)
    assert 4.5 <= dispatch.run() <= 5
    Tick.dispatch()
    assert 0.9 <= dispatch.run() <= 1


def test_nobody_looks_without_room(heartbeat: Heartbeat, slots: dict[str, Slots]) -> None:
    """Where all runners are full it asks nothing, but soon again whether that is so."""
    full = Dispatch("default", heartbeat=heartbeat, runners=dict.fromkeys(slots, Slots(0)))
    assert full.run() == ENGAGED  # Which learns the kinds.
    with CaptureQueriesContext(connection) as queries:
        assert full.run() == ENGAGED
    assert len(queries) == 0
    assert not full.has_room and not full.found_nothing
    assert Dispatch("default", heartbeat=heartbeat, runners=slots).has_room


def test_without_a_quarantine_suspects_run_where_others_do(
    dispatch: Dispatch, slots: dict[str, Slots]
) -> None:
    """`run_due` has no quarantine: there a suspect is an operation as any other."""
    operation = suspect()
    dispatch.run()
    assert slots["threads"].ids == [operation.pk]


def test_set_aside(
    dispatch: Dispatch,
    slots: dict[str, Slots],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A kind that is set aside is left alone for a while, with a line in the log; others run on."""
    aside, other = Mixed.dispatch(ending="stop"), Tick.dispatch()
    dispatch.set_aside(aside.kind_id)
    (line,) = [record for record in caplog.records if record.action == "set_aside"]
    assert "work.Mixed" in line.getMessage()
    dispatch.run()
    assert slots["threads"].ids == [other.pk]
    dispatch.run()
    assert dispatch.found_nothing
    monkeypatch.setattr("operator_app.duties.aside.SECONDS", 0.0)
    dispatch.set_aside(aside.kind_id)
    dispatch.run()
    assert slots["threads"].ids == [other.pk, aside.pk]


def test_unknown_kinds_are_reported_once(
    dispatch: Dispatch, slots: dict[str, Slots], caplog: pytest.LogCaptureFixture
) -> None:
    """Each class that is not known here is warned about once, in however many lanes it waits."""
    strange = [Tick.dispatch(), Tick.dispatch(priority=4), Tick.dispatch()]
    for label, members in [("forgotten", strange[:2]), ("lost", strange[2:])]:
        kind = ContentType.objects.create(app_label="attic", model=label)
        ids = [operation.pk for operation in members]
        Operation.all_objects.filter(pk__in=ids).update(kind=kind)
    for _ in range(3):
        dispatch.run()
    lines = [record for record in caplog.records if record.action == "unknown_kind"]
    assert sorted(line.getMessage().split("of ")[1].split(",")[0] for line in lines) == [
        "attic.forgotten",
        "attic.lost",
    ]
    assert slots["threads"].jobs == []
    assert dispatch.found_nothing


def test_a_kind_whose_content_type_is_made_later(
    dispatch: Dispatch, slots: dict[str, Slots], caplog: pytest.LogCaptureFixture
) -> None:
    """As `migrate` does, or the first operation: it is known without a restart."""
    ContentType.objects.filter(app_label="work", model="tick").delete()
    ContentType.objects.clear_cache()
    dispatch.run()
    tick = Tick.dispatch()
    dispatch.run()
    assert slots["threads"].ids == [tick.pk]
    assert caplog.records == []


def test_a_kind_of_another_queue_is_not_reported(
    heartbeat: Heartbeat, slots: dict[str, Slots], caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown class in a queue that is not served here is nobody's business here."""
    strange = Tick.dispatch()
    kind = ContentType.objects.create(app_label="attic", model="forgotten")
    Operation.all_objects.filter(pk=strange.pk).update(kind=kind)
    Dispatch("default", heartbeat=heartbeat, runners=slots, queues=["other"]).run()
    assert caplog.records == []


class Roomy(Slots):
    """A runner with one free place, to which some kinds are quick."""

    def __init__(self, *quick: type[Operation]) -> None:
        super().__init__(1)
        self.quick = {ContentType.objects.get_for_model(kind, False).pk for kind in quick}

    def is_quick(self, kind_id: int) -> bool:
        return kind_id in self.quick

    def room(self, kind_ids: Collection[int]) -> int:
        assert self.quick.issuperset(kind_ids), "asked about others than those that are quick"
        return 10 - len(self.jobs) if kind_ids else self.free


@pytest.mark.parametrize(
    ("quick", "priority", "taken"),
    [
        ((), 0, 1),  # what nobody knows is claimed when there is a place for it
        ((Tick, OtherTick), 0, 8),  # all that is due, with room to spare
        ((Tick,), 1, 4),  # no OtherTick, before which nothing may come
        ((Tick,), 0, 1),  # as old as an OtherTick, and not to come before it
        ((Tick,), -1, 1),
    ],
)
def test_what_is_claimed_ahead_of_its_turn(
    heartbeat: Heartbeat, quick: tuple[type[Operation], ...], priority: int, taken: int
) -> None:
    """What takes but a moment, and comes before all that is due and may take long."""
    for _ in range(4):
        OtherTick.dispatch()
        Tick.schedule(timedelta(0), priority=priority)
    runner = Roomy(*quick)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners={"threads": runner})
    dispatch.run()
    assert len(runner.jobs) == taken
    claimed = [Operation.objects.get(pk=pk).priority for pk in runner.ids]
    assert claimed == sorted(claimed, reverse=True)
    assert claimed[0] == max(priority, 0)
