"""How operations are getting on, for a terminal or as JSON; once, or again and again."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final

from django.core.management.base import OutputWrapper
from django.core.serializers.json import DjangoJSONEncoder
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from operator_app import clock
from operator_app.management import arguments
from operator_app.management.console import console_of, printable
from operator_app.models.overview import OperatorView, Overview, look
from operator_app.moments import in_words

STYLES: Final = {"stuck": "bold red", "failed": "red", "running": "green", "due": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--watch",
        type=arguments.seconds,
        metavar="S",
        help="again every S seconds, until Ctrl-C",
    )


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Write it, once or until Ctrl-C: a line of JSON each time, a table that is drawn anew on a
    terminal, and one table below the other in a file or pipe.
    """
    console = console_of(out)
    try:
        if options["watch"] is None:
            _write(look(database, clock.now(database)), out, console, as_json=options["json"])
        elif options["json"] or not out.isatty():
            while True:
                _write(look(database, clock.now(database)), out, console, as_json=options["json"])
                out.flush()
                time.sleep(options["watch"])
        else:
            _live(database, options["watch"], console)
    except KeyboardInterrupt:
        pass  # It is how --watch ends.


def _write(found: Overview, out: OutputWrapper, console: Console, *, as_json: bool) -> None:
    if as_json:
        out.write(json.dumps(found.facts(), cls=DjangoJSONEncoder))
    else:
        console.print(_picture(found))


def _live(database: str, seconds: float, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_picture(look(database, clock.now(database))), refresh=True)
            time.sleep(seconds)


def _picture(found: Overview) -> RenderableType:
    return Group(
        Text(f"{clock.local(found.at):%Y-%m-%d %H:%M:%S}", style="dim"),
        _states(found),
        _rates(found),
        _queues(found),
        _operators(found),
        *(Text(printable(f"{sentence}."), style="yellow") for sentence in found.pauses),
    )


def _states(found: Overview) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0))
    for state in found.states:
        table.add_column(state, justify="right", style=STYLES.get(state))
    table.add_row(*map(str, found.states.values()))
    return table


def _rates(found: Overview) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("last", "ended", "failed attempts", "failure rate", "run time", "lateness"):
        table.add_column(title, justify="left" if title == "last" else "right", overflow="fold")
    for name, rate in found.rates.items():
        table.add_row(
            name,
            f"{rate.ended:,}",
            f"{rate.failed + rate.retried:,}",
            "" if rate.failure_rate is None else f"{100 * rate.failure_rate:.3g} %",
            rate.run_time,
            rate.lateness,
        )
    table.caption = "run time and lateness: median / 95 % within"
    table.caption_justify = "left"
    return table if found.rates["day"].ended or found.rates["day"].retried else Text("")


def _queues(found: Overview) -> RenderableType:
    if not found.queues:
        return Text("Nothing waits.")
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("queue", "due", "scheduled", "oldest due"):
        table.add_column(title, justify="left" if title == "queue" else "right", overflow="fold")
    for queue in found.queues:
        late = "" if queue.late is None else f"{in_words(queue.late)} ago"
        if queue.paused:
            late += " (paused)"
        table.add_row(queue.name, str(queue.due), str(queue.scheduled), late)
    return table


def _load(operator: OperatorView) -> str:
    load = operator.load
    more = f", {load.elsewhere} off threads" if load.elsewhere else ""
    return f"{load.on_threads} of {operator.capacity}{more}"


def _operators(found: Overview) -> RenderableType:
    if not found.operators:
        return Text("No operator lives.", style="bold red")
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("operator", "busy", "queues", "last beat"):
        table.add_column(title, overflow="fold")
    for each in found.operators:
        table.add_row(
            each.name,
            f"{_load(each)}{' (leaving)' if each.draining else ''}",
            ", ".join(each.queues) or "all",
            f"{in_words(each.beat)} ago",
        )
    return table
