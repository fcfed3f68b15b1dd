"""What an operator makes of pauses."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from operator_app import clock
from operator_app.duties import Dispatch, Heartbeat
from operator_app.duties.pauses import Pauses
from operator_app.models import Operation, OperationJob, Pause
from operator_app.models.lanes import Lane
from operator_app.runners import Runner
from tests.duties.test_dispatch import Slots
from tests.kinds.models import Note, Sweep

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


class Shelf(Slots):
    """A runner on which jobs may wait."""

    def __init__(self) -> None:
        super().__init__(100)
        self.waiting: list[OperationJob] = []

    @property
    def has_waiting(self) -> bool:
        return bool(self.waiting)

    def take_back(self) -> list[OperationJob]:
        return self.waiting


@pytest.fixture
def pauses() -> Pauses:
    """Where changes are told of."""
    return Pauses("default", lambda: True)


def lane(queue: str = "notes") -> Lane:
    return Lane(queue, 0, 1, clock.now())


class TestPauses:
    """What is known of them."""

    def test_without_any_it_asks_once(self, pauses: Pauses, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1):
            for _ in range(5):
                pauses.look(clock.now())
        assert not pauses.covers(lane(), clock.now()) and not pauses.is_more()

    def test_it_asks_again_when_it_is_told(self, pauses: Pauses) -> None:
        pauses.look(clock.now())
        Pause.objects.pause(queue="notes")
        pauses.look(clock.now())
        assert not pauses.covers(lane(), clock.now())
        pauses.hear()
        pauses.look(clock.now())
        assert pauses.covers(lane(), clock.now()) and not pauses.covers(lane("x"), clock.now())
        assert pauses.is_more() and not pauses.is_more()
        pauses.hear()
        pauses.look(clock.now())
        assert not pauses.is_more()
        Pause.objects.resume(queue="notes")
        pauses.hear()
        pauses.look(clock.now())
        assert not pauses.covers(lane(), clock.now()) and not pauses.is_more()

    @pytest.mark.parametrize(("is_told", "known_for"), [(True, 5.0), (False, 1.0)])
    def test_it_asks_again_after_a_while(
        self, is_told: bool, known_for: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Should a word be lost, or where nobody tells."""
        pauses = Pauses("default", lambda: is_told)
        start = time.monotonic()
        pauses.look(clock.now())
        Pause.objects.pause()
        monkeypatch.setattr(time, "monotonic", lambda: start + known_for - 0.5)
        pauses.look(clock.now())
        assert not pauses.is_more()
        monkeypatch.setattr(time, "monotonic", lambda: start + known_for + 0.5)
        pauses.look(clock.now())
        assert pauses.is_more()

    def test_one_ends_by_itself(self, pauses: Pauses) -> None:
        now = clock.now()
        Pause.objects.pause(queue="notes", until=now + 60 * SECOND)
        Pause.objects.pause(queue="other", until=now + 90 * SECOND)
        Pause.objects.pause(queue="third")
        pauses.look(now)
        assert pauses.next_change(now) == 60.0
        later = now + 61 * SECOND
        assert not pauses.covers(lane(), later) and pauses.covers(lane("other"), later)
        assert pauses.next_change(later) == 29.0
        assert pauses.next_change(now + 100 * SECOND) is None


class TestDispatch:
    """What is claimed."""

    @pytest.fixture
    def shelf(self) -> Shelf:
        return Shelf()

    @pytest.fixture
    def given_back(self) -> list[OperationJob]:
        return []

    @pytest.fixture
    def dispatch(
        self, heartbeat: Heartbeat, shelf: Shelf, given_back: list[OperationJob]
    ) -> Dispatch:
        runners: dict[str, Runner] = {"threads": shelf}
        return Dispatch(
            "default",
            heartbeat=heartbeat,
            runners=runners,
            give_back=given_back.extend,
            is_told=lambda: True,
        )

    def test_what_is_paused_stays_due(self, dispatch: Dispatch, shelf: Shelf) -> None:
        Pause.objects.pause(kind=Note)
        note, sweep = Note.dispatch(), Sweep.dispatch()
        dispatch.run()
        dispatch.run()
        assert [job.operation_id for job in shelf.jobs] == [sweep.pk]
        assert Operation.objects.get(pk=note.pk).state == "due"
        assert dispatch.found_nothing
        Pause.objects.resume(kind=Note)
        dispatch.hear("")
        dispatch.run()
        assert [job.operation_id for job in shelf.jobs] == [sweep.pk, note.pk]

    def test_it_sleeps_until_a_pause_ends(self, dispatch: Dispatch, shelf: Shelf) -> None:
        Note.dispatch()
        Pause.objects.pause(until=0.4 * SECOND)
        assert 0 < dispatch.run() <= 0.4
        with clock.at(clock.now() + SECOND):
            dispatch.run()
        assert len(shelf.jobs) == 1

    def test_a_hint_does_not_lead_past_a_pause(self, dispatch: Dispatch, shelf: Shelf) -> None:
        Pause.objects.pause()
        dispatch.run()
        note = Note.dispatch()
        dispatch.hear(f"{note.kind_id} {note.priority} {note.queue}")
        dispatch.run()
        assert shelf.jobs == []

    def test_what_waits_is_given_back(
        self, dispatch: Dispatch, shelf: Shelf, given_back: list[OperationJob]
    ) -> None:
        Note.dispatch()
        dispatch.run()
        (job,) = shelf.jobs
        shelf.waiting = [job]
        dispatch.run()
        assert given_back == []
        Pause.objects.pause(queue="notes")
        Sweep.dispatch()  # So that the pauses are read before a claim, too.
        dispatch.hear("")
        dispatch.run()
        dispatch.run()
        assert given_back[:1] == [job]


def test_what_could_not_be_read_is_not_taken_as_read(
    pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends in that very query: the next look asks again."""
    Pause.objects.pause(queue="notes")

    def fails(*args: Any) -> Any:
        raise OperationalError("terminating connection")

    with monkeypatch.context() as patch:
        patch.setattr(type(Pause.objects.all()), "active", fails)
        with pytest.raises(OperationalError):
            pauses.look(clock.now())
    pauses.look(clock.now())
    assert pauses.covers(lane(), clock.now())
