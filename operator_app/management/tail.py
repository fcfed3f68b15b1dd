"""What happens to operations, line by line, as it happens."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.text import Text

from operator_app import clock
from operator_app.management import arguments, choice
from operator_app.management.console import console_of, printable
from operator_app.models import kinds
from operator_app.models.choice import Choice
from operator_app.models.following import OVERLAP, Follower, chosen_of
from operator_app.models.transitions import NAMES, Transition
from operator_app.moments import in_words
from operator_app.reports import shortened

LINES: Final = 10
"""How many of the latest transitions are shown at first."""
INTERVAL: Final = 1.0
"""Seconds between two looks."""
SHORTEST: Final = 0.1
"""The fewest."""
NEWEST: Final = 1_000
"""Among how many of the newest operations and attempts the latest transitions are looked for."""
BACK: Final = 50_000
"""The same for --since."""
LATEST: Final = timedelta(days=7)
"""How long ago the latest transitions may be."""
WORDS: Final = 200
"""Characters of a message that are shown to people."""
NOTICES: Final = timedelta(minutes=1)
"""How long no other notice follows one."""

STYLES: Final = {
    "claimed": "cyan",
    "finished": "green",
    "failed": "bold red",
    "aborted": "red",
    "cancelled": "red",
    "deleted": "red",
    "retried": "yellow",
    "stopped": "yellow",
    "rescued": "magenta",
    "released": "magenta",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("id", nargs="*", type=arguments.count, metavar="ID", help="of these only")
    parser.add_argument(
        "--event",
        action="append",
        choices=[_word(name) for name in NAMES],
        default=[],
        metavar="NAME",
        help=f"these only: {', '.join(map(_word, NAMES))}; may be repeated",
    )
    choice.add_arguments(parser, states=False)
    first = parser.add_mutually_exclusive_group()
    first.add_argument(
        "-n",
        "--lines",
        type=arguments.count,
        default=LINES,
        metavar="N",
        help=f"begin with the latest N (default: {LINES})",
    )
    first.add_argument(
        "--since", type=arguments.duration, metavar="TIME", help="begin so long ago, as 90s or 10m"
    )
    parser.add_argument("--once", action="store_true", help="do not wait for more")
    parser.add_argument(
        "--interval",
        type=arguments.seconds,
        default=INTERVAL,
        metavar="S",
        help=f"look every S seconds (default: {INTERVAL:g})",
    )
    parser.add_argument("--json", action="store_true", help="for programs: an object on each line")


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Write what has happened lately, then what happens, until Ctrl-C. Queries as
    `Follower.look()`, for each look.

    Raises:
        CommandError: for a choice of what there is not.
    """
    chosen = choice.of_options({**options, "state": []}, database)
    choice.rows_of(chosen, database)  # Which says what there is not.
    tail = Tail(database, chosen, options["event"], Lines(out, as_json=options["json"]))
    try:
        tail.begin(options["lines"], options["since"], options["interval"])
        while not options["once"]:
            out.flush()
            if not tail.is_behind:
                time.sleep(max(SHORTEST, options["interval"]))
            tail.go_on()
    except KeyboardInterrupt:
        pass  # It is how it ends.


class Tail:
    """Looks again and again, and writes what is wanted of what it finds.

    Args:
        database: the alias of the operations' database.
        chosen: of which operations.
        events: which transitions, as words; all of them if there are none.
        lines: where they are written.
    """

    def __init__(self, database: str, chosen: Choice, events: list[str], lines: Lines) -> None:
        self._database = database
        self._chosen = chosen
        self._events = events
        self._lines = lines
        self._began = self._quiet_until = clock.now(database)

    @property
    def is_behind(self) -> bool:
        """Whether there is more to be read at once."""
        return self._follower.is_behind

    def begin(self, lines: int, since: timedelta | None, interval: float) -> None:
        """Write the latest transitions: so many, or those since so long ago."""
        newest = NEWEST if since is None else BACK
        back = self._began - (since or LATEST)
        self._follower = Follower(
            self._database, self._began, back=back, newest=newest, interval=interval
        )
        found = self._follower.look(self._began)
        while self.is_behind:
            found += self._follower.look(clock.now(self._database))
        found = self._wanted([each for each in found if each.at >= back])
        found.sort(key=lambda each: each.order)
        self._lines.write(found if since is not None else found[-lines:], self._database)

    def go_on(self) -> None:
        """Look once more, and write what has happened meanwhile."""
        now = clock.now(self._database)
        # What is met from now on may have been scheduled long ago.
        since = self._began - OVERLAP
        found = [each for each in self._follower.look(now) if each.at >= since]
        self._lines.write(self._wanted(found), self._database)
        if now >= self._quiet_until and (notice := self._notice(found, now)):
            self._lines.notice(notice, now)
            self._quiet_until = now + NOTICES

    def _wanted(self, found: list[Transition]) -> list[Transition]:
        if self._events:
            found = [each for each in found if _word(each.name) in self._events]
        try:
            return chosen_of(found, self._chosen, self._database)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _notice(self, found: list[Transition], now: datetime) -> str:
        if self.is_behind and found:
            behind = in_words((now - found[-1].at).total_seconds())
            return f"More happens than can be read in time: this is {behind} behind."
        if queues := self._follower.missed:
            named = ", ".join(map(repr, queues))
            return (
                f"More was claimed at once from {named} than is followed: some that have simply "
                "finished are not shown."
            )
        return ""


class Lines:
    """Where transitions are written, each on a line of its own."""

    def __init__(self, out: OutputWrapper, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._console: Console = console_of(out)

    def write(self, found: Iterable[Transition], alias: str) -> None:
        """Write these. One query for each kind, the first time."""
        for each in found:
            if self._as_json:
                self._out.write(json.dumps(_facts(each, alias), cls=DjangoJSONEncoder))
            else:
                self._console.print(_line(each, alias), soft_wrap=True)

    def notice(self, sentence: str, now: datetime) -> None:
        """Say something about what is written."""
        if self._as_json:
            facts = {"at": now, "event": "notice", "message": sentence}
            self._out.write(json.dumps(facts, cls=DjangoJSONEncoder))
        else:
            self._console.print(Text(f"-- {sentence}", style="dim"), soft_wrap=True)


def _facts(each: Transition, alias: str) -> dict[str, Any]:
    return {
        "at": each.at,
        "event": _word(each.name),
        "id": each.operation_id,
        "kind": kinds.label_of(each.kind_id, alias),
        "queue": each.queue,
        "claim": each.number,
        "due": each.due,
        "operator": each.operator,
        "exception": each.exception,
        "message": each.message,
    }


def _line(each: Transition, alias: str) -> Text:
    line = Text(f"{clock.local(each.at):%Y-%m-%d %H:%M:%S.%f}"[:-3], style="dim", end="")
    line = Text.assemble(line, "  ", (f"{each.name:<14}", STYLES.get(each.name, "")))
    line.append(f"  {kinds.label_of(each.kind_id, alias)} #{each.operation_id}")
    line.append(f"  {_on_one_line(each.queue)}", style="dim")
    if each.operator:
        line.append(f"  {_on_one_line(each.operator)}", style="dim")
    if each.number > 1:
        line.append(f"  claim {each.number}", style="dim")
    if each.due is not None and (each.name != "scheduled" or each.due > each.at):
        line.append(f"  due {clock.local(each.due):%Y-%m-%d %H:%M:%S}", style="dim")
    error = each.exception.rpartition(".")[2]
    if words := ": ".join(filter(None, (error, each.message))):
        line.append(f"  {shortened(_on_one_line(words), WORDS)}")
    return line


def _on_one_line(words: str) -> str:
    return " ".join(printable(words).split())


def _word(name: str) -> str:
    return name.replace(" ", "_")
