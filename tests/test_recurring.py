"""Which slots are made, and what may be declared: without a database."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from operator_app import Recurring
from operator_app.cron import parse
from operator_app.recurring import MOST, Rhythm, decide_due, spread, zone_of
from tests.once import once

pytestmark = once

UTC: Final = timezone.utc
HOUR = timedelta(hours=1)
NOON: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOURLY: Final = Rhythm(parse("@hourly"), UTC)
EACH_SECOND: Final = Rhythm(parse("* * * * * *"), UTC)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return NOON.replace(hour=hour, minute=minute, second=second)


class TestDecideDue:
    """Which slots are made."""

    @pytest.mark.parametrize("missed", ["skip", "once", "all"])
    def test_one_that_has_just_come(self, missed: str) -> None:
        due = decide_due(HOURLY, at(12), at(12, 0, 1), missed=missed, window=60)
        assert due == ((at(12),), at(13))

    @pytest.mark.parametrize("missed", ["skip", "once", "all"])
    def test_one_that_comes_this_very_moment(self, missed: str) -> None:
        assert decide_due(HOURLY, at(12), at(12), missed=missed, window=60) == ((at(12),), at(13))

    @pytest.mark.parametrize(
        ("missed", "slots"),
        [("skip", []), ("once", [12]), ("all", [9, 10, 11, 12])],
    )
    def test_four_that_were_missed(self, missed: str, slots: list[int]) -> None:
        due = decide_due(HOURLY, at(9), at(12, 30), missed=missed, window=86_400)
        assert due == (tuple(map(at, slots)), at(13))

    @pytest.mark.parametrize(
        ("missed", "slots"),
        [("skip", [12]), ("once", [12]), ("all", [9, 10, 11, 12])],
    )
    def test_three_that_were_missed_and_one_on_time(self, missed: str, slots: list[int]) -> None:
        due = decide_due(HOURLY, at(9), at(12, 0, 59), missed=missed, window=86_400)
        assert due == (tuple(map(at, slots)), at(13))

    @pytest.mark.parametrize("missed", ["once", "all"])
    @pytest.mark.parametrize(("window", "slots"), [(3_600, [12]), (1_000, []), (0, [])])
    def test_what_is_older_than_the_window_is_dropped(
        self, missed: str, window: float, slots: list[int]
    ) -> None:
        due = decide_due(HOURLY, at(9), at(12, 30), missed=missed, window=window)
        assert due == (tuple(map(at, slots)), at(13))

    def test_many_are_made_in_portions(self) -> None:
        """None is lost between one portion and the next."""
        next_at, made = at(9), []
        while next_at <= at(9, 5):
            due = decide_due(EACH_SECOND, next_at, at(9, 5), missed="all", window=86_400)
            assert 0 < len(due.slots) <= MOST and due.next_at is not None
            made += due.slots
            next_at = due.next_at
        assert made == [at(9) + timedelta(seconds=n) for n in range(301)]

    def test_a_year_of_seconds_costs_no_more_than_an_hour(self) -> None:
        """The last one is found from behind."""
        due = decide_due(EACH_SECOND, NOON - timedelta(days=365), NOON, missed="once", window=1e9)
        assert due == ((NOON,), NOON + timedelta(seconds=1))

    def test_one_that_is_over(self) -> None:
        rhythm = HOURLY._replace(end_at=at(10, 30))
        assert decide_due(rhythm, at(9), at(9), missed="all", window=60) == ((at(9),), at(10))
        assert decide_due(rhythm, at(10), at(12), missed="all", window=86_400) == ((at(10),), None)
        assert decide_due(rhythm, at(10), at(12), missed="once", window=86_400) == ((at(10),), None)

    def test_one_that_has_not_begun(self) -> None:
        rhythm = HOURLY._replace(start_at=at(15))
        assert rhythm.after(at(9)) == at(15) and rhythm.after(at(15)) == at(16)

    def test_slots_of_a_day_with_two_of_them(self) -> None:
        """A daily slot is made once on the day on which clocks are set back."""
        berlin = ZoneInfo("Europe/Berlin")
        rhythm = Rhythm(parse("30 2 * * *"), berlin)
        first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin).astimezone(UTC)
        due = decide_due(rhythm, first, first + 3 * HOUR, missed="all", window=86_400)
        assert due.slots == (first,)
        assert due.next_at == datetime(2026, 10, 26, 2, 30, tzinfo=berlin)


class TestRecurring:
    """What may be declared."""

    @pytest.mark.parametrize(
        ("wrong", "problem"),
        [
            ({"expression": "61 * * * *"}, "61 in the field of the minute"),
            ({"time_zone": "Europe/Atlantis"}, "There is no time zone 'Europe/Atlantis'"),
            ({"time_zone": "../etc/passwd"}, "There is no time zone"),
            ({"missed": "sometimes"}, "missed must be one of skip, once, all"),
            ({"overlap": "never"}, "overlap must be one of allow, skip, queue"),
            ({"jitter": -1}, "jitter must be a number of seconds >= 0"),
            ({"window": "a day"}, "window must be a number of seconds >= 0"),
            ({"start_at": datetime(2026, 1, 1)}, "start_at must be an aware datetime"),  # noqa: DTZ001
            ({"queue": " mail"}, "A queue is a non-empty string"),
            ({"priority": 1e9}, "A priority is a whole number"),
        ],
    )
    def test_what_is_refused(self, wrong: dict[str, Any], problem: str) -> None:
        """When the class is defined, with what is wrong."""
        with pytest.raises(ValueError, match=re.escape(problem)):
            Recurring(**{"expression": "@daily", **wrong})

    def test_zones(self) -> None:
        assert zone_of("Europe/Berlin").key == "Europe/Berlin"


class TestSpread:
    """Jitter."""

    def test_everyone_gets_the_same(self) -> None:
        berlin = NOON.astimezone(ZoneInfo("Europe/Berlin"))
        assert spread("name", NOON, 60) == spread("name", berlin, 60)
        assert spread("name", NOON, 0) == NOON

    def test_slots_and_recurrences_differ(self) -> None:
        delays = {spread("name", NOON + n * HOUR, 60) - NOON - n * HOUR for n in range(50)}
        assert len(delays) > 40
        assert all(timedelta(0) <= delay < timedelta(seconds=60) for delay in delays)
        assert spread("name", NOON, 60) != spread("other", NOON, 60)
