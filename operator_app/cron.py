"""Cron expressions: what they mean, and which moments they name. Knows no database.

croniter finds the dates; the rest is here: what may be written, and what becomes of a time that the
clock on the wall shows twice, or not at all, when it is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

UTC: Final = timezone.utc
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

EVER: Final = 50
"""Years after which a date is taken never to come: a 29 February that is a certain day of the week
comes within 40.
"""
_TICK: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
_STRIDE: Final = timedelta(hours=6)
"""The steps in which changes of a clock are looked for: no zone has changed twice within it."""

_ITEM: Final = re.compile(r"(\*|\d{1,4}|[a-z]+)(?:-(\d{1,4}|[a-z]+))?(?:/(\d{1,4}))?", re.ASCII)
_NTH: Final = re.compile(r"(\d|[a-z]{3})#(\d)|(\d|[a-z]{3})l", re.ASCII)


class Field(NamedTuple):
    """A part of an expression."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Which words may stand for the values, from the lowest on."""

    def number(self, text: str) -> int:
        """Return the value that is written as a number or a name.

        Raises:
            ValueError: if it is no value of this field.
        """
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isdecimal():
            known = f" or one of {', '.join(self.names)}" if self.names else ""
            raise ValueError(f"{text!r} in the field of the {self.name} is no number{known}.")
        value = int(text)
        if self.name == "day of the week" and value == 7:
            return value  # Sunday, as the end of a range; elsewhere it is 0.
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} in the field of the {self.name} is not {self.span}.")
        return value

    @property
    def span(self) -> str:
        """The values that may stand in it."""
        return f"from {self.low} to {self.high}"


FIELDS: Final = (
    Field("second", 0, 59),
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of the week", 0, 6, DAYS),
)
_DAY, _MONTH, _WEEKDAY = FIELDS[3:]


class Cron:
    """A cron expression: minute, hour, day of the month, month, day of the week; with six fields
    the first is the second. Or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.

    Fields take `*`, numbers, names of three letters, ranges, steps and lists of them; `L` is the
    last day of a month, `fri#2` the second Friday of one, `friL` its last. As in Debian's cron,
    both days have to match if the field of either begins with `*`, otherwise one is enough.

    When clocks are changed Debian's rule holds, for any change: a time of day that is left out
    comes at the end of the gap, once, and one that comes twice counts the first time. What begins
    its minute or its hour with `*` is no time of day but an interval: it comes whenever the clock
    on the wall shows it, twice or not at all.

    Args:
        expression: as people write it; case and the amount of space do not matter.

    Raises:
        ValueError: if it is no such expression, or names no date that ever comes; says where.
    """

    def __init__(self, expression: str) -> None:
        self.expression: Final = " ".join(expression.split())
        """The expression, with single spaces."""
        try:
            self._read()
        except ValueError as error:
            raise ValueError(f"The cron expression {self.expression!r} is wrong: {error}") from None

    def __repr__(self) -> str:
        return f"Cron({self.expression!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and self.expression == other.expression

    def __hash__(self) -> int:
        return hash(self.expression)

    def after(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first moment after `moment` that this names, in UTC.

        Args:
            moment: aware.
            zone: where the clock hangs that the expression speaks of.

        Raises:
            OverflowError: if it would be past the last year that a datetime can name.
        """
        moment = moment.astimezone(UTC)
        return self._fixed(moment, zone) if self.is_time_of_day else self._interval(moment, zone)

    def all_after(self, moment: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Yield the moments after `moment`, in order: see `after()`."""
        while True:
            moment = self.after(moment, zone)
            yield moment

    def next_times(self, count: int, moment: datetime, zone: tzinfo) -> list[datetime]:
        """Return the first `count` moments after `moment`, on the clock of `zone`."""
        return [each.astimezone(zone) for each in islice(self.all_after(moment, zone), count)]

    def in_words(self) -> str:
        """Return what it means, for people, in English."""
        from cron_descriptor import Options, get_description

        options = Options()
        options.use_24hour_time_format = True
        options.locale_code = "en_US"
        words: str = get_description(self._plain.upper(), options)
        return words

    # Reading

    def _read(self) -> None:
        self._plain = _without_alias(self.expression.lower())
        parts = self._plain.split()
        if len(parts) not in (5, 6):
            raise ValueError(
                f"it has {len(parts)} fields in place of 5 (minute, hour, day of the month, month, "
                "day of the week) or 6 (the second before them)."
            )
        parts = parts if len(parts) == 6 else ["0", *parts]
        _, minute, hour, day, month, weekday = parts
        self.is_time_of_day = not (minute.startswith("*") or hour.startswith("*"))
        """Whether it names times of day, and not an interval."""
        clock = [_spelled(field, part) for field, part in zip(FIELDS, parts[:-3], strict=False)]
        self._lines = [
            " ".join([*clock, days, _spelled(_MONTH, month), weekdays])
            for days, weekdays in _days(day, weekday)
        ]
        self._wall_after(datetime(2000, 1, 1))  # noqa: DTZ001  (as a clock on a wall shows it)

    # What the clock on the wall shows: naive datetimes

    def _wall_after(self, wall: datetime) -> datetime:
        """Return the next time on a clock that nobody ever changes."""
        found = [each for line in self._lines if (each := _next_of(line, wall)) is not None]
        if not found:
            raise ValueError("such a date never comes.")
        return min(found)

    def _fixed(self, moment: datetime, zone: tzinfo) -> datetime:
        wall = _wall(moment, zone)
        while True:
            # As many rounds as there are times in an hour that comes twice.
            wall = self._wall_after(wall)
            if (found := _first_shown(wall, zone)) > moment:
                return found

    def _interval(self, moment: datetime, zone: tzinfo) -> datetime:
        while True:
            wall = _wall(moment, zone)
            # As if the clock went on as it does now, up to when it is changed.
            found = moment.replace(microsecond=0) + (
                self._wall_after(wall) - wall.replace(microsecond=0)
            )
            if (change := _change_between(moment, found, zone)) is None:
                return found
            shown = _wall(change, zone)
            if self._wall_after(shown - _SECOND) == shown:
                return change
            moment = change


@lru_cache(maxsize=256)
def parse(expression: str) -> Cron:
    """Return the expression; see `Cron`."""
    return Cron(expression)


def _next_of(line: str, wall: datetime) -> datetime | None:
    """Return the next time of a spelled expression on a clock that nobody changes; None if there is
    none.
    """
    # Here, since most operators have no use for it, and its memory.
    from croniter import CroniterBadDateError, croniter

    # Whole seconds: croniter rounds a microsecond up to the next match.
    start = wall.replace(microsecond=0)
    walls = croniter(
        line, start, day_or=False, max_years_between_matches=EVER, second_at_beginning=True
    )
    try:
        found: datetime = walls.get_next(datetime)
    except CroniterBadDateError:
        return None
    return found


def _without_alias(text: str) -> str:
    if not text.startswith("@"):
        return text
    if text == "@reboot":
        raise ValueError("@reboot names no time. Schedule the operation when the project starts.")
    if text not in ALIASES:
        raise ValueError(f"there is no {text}, but {', '.join(ALIASES)}.")
    return ALIASES[text]


def _days(day: str, weekday: str) -> list[tuple[str, str]]:
    """Return the days of months and of weeks, spelled out, that have to match: both of one pair.
    croniter knows no n-th day of a week beside any other day.
    """
    both = day.startswith("*") or weekday.startswith("*")
    days, weekdays = _spelled(_DAY, day), _spelled(_WEEKDAY, weekday)
    if both or "*" in (days, weekdays):
        pairs = [(days if both else "*", part) for part in _parts(weekdays if both else "*")]
        if days != "*" and any(_is_nth(part) for _, part in pairs):
            raise ValueError(
                f"{day!r} and {weekday!r} cannot both be asked of a day. Begin neither with *, and "
                "one is enough."
            )
        return pairs
    return [(days, "*"), *[("*", part) for part in _parts(weekdays)]]


def _parts(weekdays: str) -> list[str]:
    """Return the days of the week, and the n-th ones, apart."""
    listed = weekdays.split(",")
    nth = [each for each in listed if _is_nth(each)]
    plain = [each for each in listed if not _is_nth(each)]
    return [",".join(part) for part in (plain, nth) if part]


def _is_nth(weekday: str) -> bool:
    return "#" in weekday or "l" in weekday


def _spelled(field: Field, text: str) -> str:
    """Return a field with all of its values spelled out, so that croniter has nothing to interpret;
    "*" for all there are.
    """
    values: set[int] = set()
    others: list[str] = []
    for item in text.split(","):
        if field is _DAY and item == "l":
            others.append("l")
        elif field is _WEEKDAY and (nth := _NTH.fullmatch(item)):
            others.append(_nth(nth))
        else:
            values.update(_values(field, item))
    if len(values) > field.high - field.low:
        return "*"
    return ",".join([*map(str, sorted(values)), *others])


def _nth(found: re.Match[str]) -> str:
    """Return the n-th or the last of a day of the week in a month, as croniter writes it."""
    day, number, day_of_last = found.groups()
    value = _WEEKDAY.number(day or day_of_last) % 7
    if number is None:
        return f"l{value}"
    if not 1 <= int(number) <= 5:
        raise ValueError(f"a month has no {day}#{number}: the number is one from 1 to 5.")
    return f"{value}#{number}"


def _values(field: Field, item: str) -> list[int]:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise ValueError(
            f"{item!r} in the field of the {field.name} is not understood. Write *, a number, a "
            "range as 1-5, a step as */10 or 1-5/2, or a list of them."
        )
    start, end, step = found.groups()
    if start == "*" and end is not None:
        raise ValueError(f"{item!r} in the field of the {field.name}: * is no end of a range.")
    first = field.low if start == "*" else field.number(start)
    last = first if end is None else field.number(end)
    if end is None and (start == "*" or step is not None):
        last = field.high
    if last < first:
        raise ValueError(
            f"{item!r} in the field of the {field.name} runs backwards. Write two ranges: "
            f"{first}-{field.high},{field.low}-{last}."
        )
    if step is not None and not 0 < int(step) <= last - first:
        raise ValueError(
            f"the step of {item!r} in the field of the {field.name} reaches no second value"
            + (f" up to {last}." if int(step) else "; 0 is none.")
        )
    values = range(first, last + 1, int(step or 1))
    return [value % 7 for value in values] if field is _WEEKDAY else list(values)


# Walls and zones. Arithmetic is done in UTC: that of aware datetimes is that of their walls.


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clock shows at a moment."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _first_shown(wall: datetime, zone: tzinfo) -> datetime:
    """Return the first moment at which the clock shows a time, or in place of it a later one."""
    early = wall.replace(tzinfo=zone, fold=0)
    moment = early.astimezone(UTC)
    if _wall(moment, zone) == wall:
        return moment
    # In a gap: it ends between what the offsets before and after make of the time.
    offset = early.replace(fold=1).utcoffset()
    assert offset is not None
    change = _change_between(wall.replace(tzinfo=UTC) - offset - _SECOND, moment, zone)
    return moment if change is None else change


def _change_between(after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment in (after, until] at which the offset of a zone is another one."""
    while after < until:
        stop = min(after + _STRIDE, until)
        if after.astimezone(zone).utcoffset() != stop.astimezone(zone).utcoffset():
            return _change(after, stop, zone)
        after = stop
    return None


def _change(low: datetime, high: datetime, zone: tzinfo) -> datetime:
    """Return the first moment, a whole second, at which the offset is no more that of `low`."""
    offset = low.astimezone(zone).utcoffset()
    # Both of them whole: between a whole second and one and a half there is no middle.
    low = low.replace(microsecond=0)
    high = (high + _SECOND - _TICK).replace(microsecond=0)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high
