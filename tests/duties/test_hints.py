"""Hints where something is due: when they spare the look, and when they do not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection

from operator_app.duties import Dispatch, Heartbeat
from operator_app.duties.hints import Hints
from operator_app.models import Operation
from operator_app.models.lanes import Lane, as_word, of_word
from tests.duties.test_dispatch import Slots
from tests.models.tools import queries
from tests.once import once
from tests.work.models import OtherTick, Tick

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
MAIL = Lane("mail", -3, 7, NOW)


@once
@pytest.mark.parametrize("queue", ["mail", "a.b-c_d:e/f", "x" * 64])
def test_a_lane_has_a_name(queue: str) -> None:
    """From which it is made again."""
    assert of_word(as_word(queue, -3, 7), NOW) == Lane(queue, -3, 7, NOW)


@once
@pytest.mark.parametrize("queue", ["it's", "50%", "two words", "máil", "back\\slash", 'a"b'])
def test_what_would_have_to_be_quoted_has_none(queue: str) -> None:
    """It goes into a statement as it is."""
    assert as_word(queue, 0, 7) == ""


@once
@pytest.mark.parametrize(
    "word", ["", "7", "7 0 ", "7 0 two words", "x 0 mail", "7 0 mail\n", "7 123456 mail", "9" * 99]
)
def test_what_is_no_name(word: str) -> None:
    """Anybody may notify anything."""
    assert of_word(word, NOW) is None


@once
class TestHints:
    """What is known of the lanes without a look."""

    def test_a_lane_that_was_told_after_a_look(self) -> None:
        hints = Hints()
        hints.wait(60)
        hints.hear("7 -3 mail")
        hints.hear("7 -3 mail")
        assert hints.take(NOW) == [MAIL]

    def test_a_hint_is_used_once(self) -> None:
        hints = Hints()
        hints.wait(60)
        hints.hear("7 -3 mail")
        hints.take(NOW)
        hints.hear("7 -3 mail")
        assert hints.take(NOW) == []

    def test_before_any_look(self) -> None:
        hints = Hints()
        hints.hear("7 -3 mail")
        assert hints.take(NOW) == []

    def test_without_a_hint(self) -> None:
        hints = Hints()
        hints.wait(60)
        assert hints.take(NOW) == []

    def test_when_the_time_of_another_has_come(self) -> None:
        hints = Hints()
        hints.wait(0)
        hints.hear("7 -3 mail")
        assert hints.take(NOW) == []

    @pytest.mark.parametrize("other", ["", "nonsense"])
    def test_with_something_else(self, other: str) -> None:
        hints = Hints()
        hints.wait(60)
        hints.hear("7 -3 mail")
        hints.hear(other)
        assert hints.take(NOW) == []


def hint(dispatch: Dispatch, operation: Operation) -> None:
    dispatch.hear(as_word(operation.queue, operation.priority, operation.kind_id))


def looks(seen: list[str]) -> int:
    """How many of these statements look for the lanes."""
    is_mysql = connection.vendor == "mysql"
    return sum(("GROUP BY" if is_mysql else "RECURSIVE") in sql for sql in seen)


def test_a_hint_spares_the_look(heartbeat: Heartbeat) -> None:
    """What is due in the lane is claimed at once, and all lanes are looked at right after."""
    runner = Slots(5)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners={"threads": runner})
    OtherTick.schedule(timedelta(hours=1))
    assert dispatch.run() > 0
    tick = Tick.dispatch()
    hint(dispatch, tick)
    with queries() as seen:
        assert dispatch.run() == 0
    assert runner.ids == [tick.pk] and looks(seen) == 0
    other = OtherTick.dispatch()
    with queries() as seen:
        dispatch.run()
    assert runner.ids == [tick.pk, other.pk] and looks(seen) == 1


def test_a_wrong_hint_does_no_harm(heartbeat: Heartbeat) -> None:
    """Nothing is due there, but somewhere else: that is found by the look right after."""
    runner = Slots(5)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners={"threads": runner})
    assert dispatch.run() > 0
    tick = Tick.dispatch()
    dispatch.hear(as_word("nowhere", 0, tick.kind_id))
    assert dispatch.run() == 0
    assert runner.ids == []
    dispatch.run()
    assert runner.ids == [tick.pk]


def test_a_hint_opens_no_other_queue(heartbeat: Heartbeat) -> None:
    """An operator serves its own queues, whatever it hears."""
    runner = Slots(5)
    dispatch = Dispatch(
        "default", heartbeat=heartbeat, runners={"threads": runner}, queues=["mine"]
    )
    assert dispatch.run() > 0
    hint(dispatch, Tick.dispatch(queue="yours"))
    dispatch.run()
    assert runner.ids == []


def test_after_a_look_that_found_something_a_hint_spares_nothing(heartbeat: Heartbeat) -> None:
    """More may be due than was claimed, with a higher priority than what the hint is about."""
    runner = Slots(1)
    dispatch = Dispatch("default", heartbeat=heartbeat, runners={"threads": runner})
    for _ in range(2):
        Tick.dispatch(priority=5)
    dispatch.run()
    runner.jobs.clear()
    low = Tick.dispatch()
    hint(dispatch, low)
    dispatch.run()
    assert len(runner.ids) == 1 and low.pk not in runner.ids


@once
def test_what_nobody_takes_is_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it a look has to tell; once."""
    monkeypatch.setattr("operator_app.duties.hints.MANY", 3)
    hints = Hints()
    for number in range(50):
        hints.hear(as_word("mail", -3, number))
    assert hints._heard.qsize() == 3
    hints.wait(60)
    assert hints.take(NOW) == []
    hints.wait(60)
    hints.hear(as_word("mail", -3, 7))
    assert hints.take(NOW) == [MAIL]
