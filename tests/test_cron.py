"""Cron expressions: cronsim, which follows Debian's cron, is the oracle."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice, pairwise, takewhile
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operator_app import cron as cron_module
from operator_app.cron import ALIASES, Cron, parse
from tests.once import once

pytestmark = once

UTC: Final = timezone.utc
BERLIN: Final = ZoneInfo("Europe/Berlin")
ZONES: Final = [
    "Europe/Berlin",
    "Europe/Dublin",  # whose winter time is the one that is saved
    "America/New_York",
    "America/Sao_Paulo",  # clocks were changed at midnight
    "America/Havana",
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # a day was left out
    "Africa/Casablanca",  # changed for each Ramadan
    "Asia/Tehran",
    "Asia/Kathmandu",
]
FROM, UNTIL = 1990, 2030
EXPRESSIONS: Final = [
    "30 2 * * *",
    "0 0 * * *",
    "0,30 0-3 * * *",
    "59 1,2 * * *",
    "*/20 * * * *",
    "0 * * * *",
    "*/30 2 * * *",
    "15 */2 * * *",
]


@lru_cache
def changes(name: str) -> list[datetime]:
    """The moments in forty years at which the clocks of a zone were changed, to the minute."""
    zone = ZoneInfo(name)

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(zone).utcoffset()

    found = []
    day = datetime(FROM, 1, 1, tzinfo=UTC)
    while day.year < UNTIL:
        low, high = day, day + timedelta(days=1)
        if offset(low) != offset(high):
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(high.replace(second=0, microsecond=0))
        day += timedelta(days=1)
    return found


def ours(expression: str, after: datetime, name: str, count: int) -> list[datetime]:
    return list(islice(parse(expression).all_after(after, ZoneInfo(name)), count))


def theirs(expression: str, after: datetime, name: str, count: int) -> list[datetime]:
    """cronsim's answer: what it gives twice in a gap counts once, as nothing comes twice at the
    same moment; and nothing that has been.

    Not where it is wrong: it goes from hour to hour, and so from 01:30 past 02:00 where a clock was
    changed by half an hour; and from a midnight that was left out to 01:00, which nobody wanted.
    """
    if name == "Australia/Lord_Howe" and not parse(expression).is_time_of_day:
        return shown(expression, after, name, count)
    found: list[datetime] = []
    for each in CronSim(expression, after.astimezone(ZoneInfo(name))):
        moment = each.astimezone(UTC)
        if moment > after and (not found or moment > found[-1]) and is_shown(expression, each):
            found.append(moment)
        if len(found) == count:
            break
    return found


def is_shown(expression: str, moment: datetime) -> bool:
    """Whether an interval names what the clock shows then. What names a time of day may come at
    another one.
    """
    if parse(expression).is_time_of_day:
        return True
    # By way of UTC: at times it gives a time that the clock never shows.
    wall = moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=UTC)
    return next(CronSim(expression, wall - timedelta(minutes=1))) == wall


def shown(expression: str, after: datetime, name: str, count: int) -> list[datetime]:
    """The minutes at which the clock on the wall shows what cronsim would run at in UTC, or as many
    as there are in two days.
    """
    zone, day = ZoneInfo(name), timedelta(days=1)
    wall = after.astimezone(zone).replace(tzinfo=UTC)
    walls = set(takewhile(lambda each: each < wall + 3 * day, CronSim(expression, wall - day)))
    first = after.replace(second=0, microsecond=0)
    minutes = [first + timedelta(minutes=number) for number in range(1, 2 * 24 * 60)]
    return [each for each in minutes if each.astimezone(zone).replace(tzinfo=UTC) in walls][:count]


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_forty_years(name: str) -> None:
    """From twelve hours before to twelve after, whatever the expression."""
    found = changes(name) or [datetime(1990, 1, 1, tzinfo=UTC)]
    for position, change in enumerate(found):
        expression = EXPRESSIONS[position % len(EXPRESSIONS)]
        for each in {expression, "30 2 * * *", "0,30 0-3 * * *"}:
            after = change - timedelta(hours=12)
            expected = theirs(each, after, name, 12)
            assert expected, (each, change)
            assert ours(each, after, name, len(expected)) == expected, (each, change)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of numbers from `low` to `high`: the items that both understand alike."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    span = pair.map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = pair.filter(lambda ends: ends[0] < ends[1]).flatmap(
        lambda ends: st.integers(1, ends[1] - ends[0]).map(lambda by: f"{ends[0]}-{ends[1]}/{by}")
    )
    every = st.integers(1, high - low).map(lambda by: f"*/{by}")
    tail = st.integers(low, high - 1).flatmap(
        lambda first: st.integers(1, high - first).map(lambda by: f"{first}/{by}")
    )
    options = [number.map(str), span, stepped, every]
    item = st.one_of(*options, *([tail] if high != 6 else []))
    return st.just("*") | st.lists(item, min_size=1, max_size=3).map(",".join)


WEEKDAYS = numbers(0, 6) | st.sampled_from(
    ["mon-fri", "sun", "5-7", "7", "fri#2", "1#5", "2#1,4#3"]
)
MOMENTS = st.datetimes(
    datetime(FROM, 1, 2),  # noqa: DTZ001  (hypothesis adds the zone)
    datetime(UNTIL, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
DAYS = numbers(1, 31) | st.sampled_from(["L", "1,15,L"])


@settings(deadline=None, max_examples=300)
@given(
    fields=st.tuples(numbers(0, 59), numbers(0, 23), DAYS, numbers(1, 12), WEEKDAYS),
    name=st.sampled_from([*ZONES, "UTC"]),
    after=MOMENTS,
)
def test_as_debian_has_it(fields: tuple[str, ...], name: str, after: datetime) -> None:
    """Whatever both understand means the same, at any time, in any zone."""
    expression = " ".join(fields)
    try:
        parse(expression)
    except ValueError as error:
        assume("never comes" not in str(error) and "cannot both be asked" not in str(error))
        raise
    expected = theirs(expression, after, name, 3)
    assert ours(expression, after, name, len(expected)) == expected


@settings(deadline=None, max_examples=100)
@given(
    expression=st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "*/10 5 2-4 * * *"]),
    name=st.sampled_from(ZONES),
    after=MOMENTS,
)
def test_they_come_in_order_and_depend_on_nothing_else(
    expression: str, name: str, after: datetime
) -> None:
    """Each is later than the one before, and is the first after any moment in between."""
    cron, zone = parse(expression), ZoneInfo(name)
    found = [after, *islice(cron.all_after(after, zone), 4)]
    for one, other in pairwise(found):
        assert one < other and other.microsecond == 0
        assert cron.after(one + (other - one) / 2, zone) == other
        assert cron.after(other - timedelta(microseconds=1), zone) == other


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+02", "03-30 02:30+02"]),
        ("0,30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+02", "03-30 02:00+02"]),
        ("0 2,3 * * *", "2026-03-28 12:00", ["03-29 03:00+02", "03-30 02:00+02"]),
        ("30 2 * * *", "2026-10-24 12:00", ["10-25 02:30+02", "10-26 02:30+01"]),
        ("*/30 2 * * *", "2026-03-28 12:00", ["03-30 02:00+02", "03-30 02:30+02"]),
        (
            "*/30 2 * * *",
            "2026-10-24 12:00",
            ["10-25 02:00+02", "10-25 02:30+02", "10-25 02:00+01", "10-25 02:30+01"],
        ),
        ("0 * * * *", "2026-10-25 01:30", ["10-25 02:00+02", "10-25 02:00+01", "10-25 03:00+01"]),
        ("0 * * * *", "2026-03-29 00:30", ["03-29 01:00+01", "03-29 03:00+02"]),
        # Six fields are of a time of day, too; here cronsim has the interval.
        ("15 30 2 * * *", "2026-10-24 12:00", ["10-25 02:30+02", "10-26 02:30+01"]),
        ("*/30 30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+02", "03-30 02:30+02"]),
    ],
)
def test_when_clocks_are_changed_in_berlin(
    expression: str, after: str, expected: list[str]
) -> None:
    """The rule, by example."""
    start = datetime.fromisoformat(after).replace(tzinfo=BERLIN)
    found = Cron(expression).next_times(len(expected), start, BERLIN)
    assert [f"{each:%m-%d %H:%M%z}"[:-2] for each in found] == expected


def test_a_clock_that_was_changed_while_it_showed_the_second_pass() -> None:
    """At the second 02:10 of the day, the first 02:30 is over: the next one is tomorrow's."""
    start = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=BERLIN)
    (found,) = Cron("30 2 * * *").next_times(1, start, BERLIN)
    assert f"{found:%m-%d %H:%M}" == "10-26 02:30"


def test_a_day_that_was_left_out() -> None:
    """Apia had no 30 December 2011: what was due on it came as the next day began."""
    apia = ZoneInfo("Pacific/Apia")
    start = datetime(2011, 12, 29, 12, tzinfo=apia)
    found = Cron("30 2 * * *").next_times(2, start, apia)
    assert [f"{each:%m-%d %H:%M}" for each in found] == ["12-31 00:00", "12-31 02:30"]


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases(alias: str) -> None:
    """They mean what they stand for, in any case."""
    start = datetime(2026, 11, 25, tzinfo=UTC)
    assert Cron(alias.upper()).after(start, BERLIN) == Cron(ALIASES[alias]).after(start, BERLIN)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("5-5 * * * *", "5 * * * *"),  # "every minute" to croniter
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 1-31 * *", "0 0 * * *"),
        ("0 0 * JAN,feb Mon-FRI", "0 0 * 1,2 1-5"),
        ("  0   0 * * * ", "0 0 0 * * *"),
        ("0-59 * * * *", "*/1 * * * *"),
        ("59/1 * * * *", None),
    ],
)
def test_ways_to_write_the_same(expression: str, same: str | None) -> None:
    """Traps of croniter are none here; a step that leads nowhere is refused."""
    if same is None:
        with pytest.raises(ValueError, match="reaches no second value"):
            Cron(expression)
        return
    start = datetime(2026, 11, 25, 12, 7, tzinfo=UTC)
    assert ours(expression, start, "UTC", 9) == ours(same, start, "UTC", 9)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 L * fri#2", ["01-09", "01-31", "02-13", "02-28"]),
        ("0 0 1 * mon,friL", ["01-01", "01-05", "01-12", "01-19", "01-26", "01-30", "02-01"]),
        ("0 0 */10 * mon", ["05-11", "06-01", "08-31", "09-21"]),
        ("0 0 13 * 5", ["01-02", "01-09", "01-13"]),
    ],
)
def test_days(expression: str, expected: list[str]) -> None:
    """One of both days is enough, but where a field begins with `*`."""
    found = ours(expression, datetime(2025, 12, 31, 12, tzinfo=UTC), "UTC", len(expected))
    assert [f"{each:%m-%d}" for each in found] == expected


def test_a_rare_day() -> None:
    """A leap day that is a Sunday."""
    found = ours("0 0 */29 2 sun", datetime(2026, 3, 1, tzinfo=UTC), "UTC", 2)
    assert found[0] > datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "it has 0 fields in place of 5"),
        ("* * * *", "it has 4 fields"),
        ("0 0 0 * * * 2026", "it has 7 fields"),
        ("61 * * * *", "61 in the field of the minute is not from 0 to 59"),
        ("0 24 * * *", "24 in the field of the hour"),
        ("0 0 0 * *", "0 in the field of the day of the month"),
        ("0 0 * * 8", "8 in the field of the day of the week"),
        ("22-2 * * * *", "runs backwards. Write two ranges: 22-59,0-2"),
        ("*/90 * * * *", "reaches no second value up to 59"),
        ("10-20/15 * * * *", "reaches no second value up to 20"),
        ("*/0 * * * *", "0 is none"),
        ("@reboot", "@reboot names no time"),
        ("@fortnightly", "there is no @fortnightly, but @yearly"),
        ("0 0 30 2 *", "such a date never comes"),
        ("0 0 31 4,6,9,11 *", "such a date never comes"),
        ("0 0 * * 5#6", "a month has no 5#6"),
        ("0 0 */2 * fri#2", "cannot both be asked of a day"),
        ("0 0 * foo *", "no number or one of jan, feb"),
        ("? * * * *", "'?' in the field of the minute is not understood"),
        ("H * * * *", "'h' in the field of the minute is no number"),
        ("*-5 * * * *", "* is no end of a range"),
        ("0 0 LW * *", "'lw' in the field of the day of the month"),
        ("0 0 \u0663 * *", "is not understood"),
        ("1,,2 * * * *", "'' in the field of the minute"),
        ("-1 * * * *", "'-1' in the field of the minute"),
    ],
)
def test_what_is_refused(expression: str, problem: str) -> None:
    """With the field, and what to write."""
    with pytest.raises(ValueError, match="The cron expression") as caught:
        Cron(expression)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 2 * * mon-fri", "At 02:30, Monday through Friday"),
        ("@hourly", "Every hour"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("0 9 * * fri#2", "At 09:00, on the second Friday of the month"),
    ],
)
def test_in_words(expression: str, words: str) -> None:
    """For people."""
    assert Cron(expression).in_words() == words


def test_equal_ones() -> None:
    """By what is written."""
    assert Cron("0  0 * * *") == Cron("0 0 * * *") != Cron("@daily")
    assert len({Cron("0 0 * * *"), Cron("0 0  * * *")}) == 1 and "0 0" in repr(Cron("0 0 * * *"))


@pytest.mark.parametrize("microsecond", [1, 500_000, 999_999])
def test_a_clock_that_is_changed_within_a_second_of_where_it_is_looked_for(
    microsecond: int,
) -> None:
    """A search that halves whole seconds once went on for ever in the last one and a half."""
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    after = change - cron_module._STRIDE + timedelta(microseconds=microsecond)
    until = change + timedelta(days=30)
    assert cron_module._change_between(after, until, BERLIN) == change
