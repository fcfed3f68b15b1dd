"""Operators from the command line: drain them, let them go on, stop them."""

from __future__ import annotations

import argparse
import getpass
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper

from operator_app import clock
from operator_app.management.console import printable
from operator_app.models import OperatorProcess
from operator_app.models.process import DRAIN, STOP

SAID: Final = {
    DRAIN: "{} claims nothing more, and leaves when what it runs has ended.",
    STOP: "{} is to leave within its grace.",
    "": "{} goes on.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what both verbs take."""
    parser.add_argument("operator", nargs="+", metavar="HOST:PID", help="as in operations stats")


def add_drain_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `drain` takes."""
    add_arguments(parser)
    parser.add_argument("--undo", action="store_true", help="let those go on that have not left")


def drain(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Ask operators to drain, or not to.

    Raises:
        CommandError: if one of them is not there, or not in a state to be asked; the others are.
    """
    _ask("" if options["undo"] else DRAIN, database, options["operator"], out)


def stop(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Ask operators to leave.

    Raises:
        CommandError: if one of them is not there, or was asked before; the others are asked.
    """
    _ask(STOP, database, options["operator"], out)


def _ask(what: str, database: str, names: list[str], out: OutputWrapper) -> None:
    problems = []
    for name in dict.fromkeys(names):
        problem = _problem(what, database, name)
        if problem:
            problems.append(problem)
        else:
            out.write(SAID[what].format(name))
    if problems:
        raise CommandError(printable(" ".join(problems)))


def _problem(what: str, database: str, name: str) -> str:
    """Ask one operator; return why that is in vain, empty if it is not."""
    hostname, _colon, pid = name.rpartition(":")
    if not hostname or not pid.isdecimal():
        return f"An operator is named as HOST:PID, not {name!r}."
    rows = OperatorProcess.objects.using(database).filter(hostname=hostname, pid=int(pid))
    by = user()
    asked = {
        DRAIN: lambda: rows.drain(by=by),
        STOP: lambda: rows.stop(by=by),
        "": rows.resume,
    }[what]()
    return "" if asked else _why_not(what, name, list(rows), database)


def _why_not(what: str, name: str, rows: list[OperatorProcess], database: str) -> str:
    if not rows:
        return f"There is no operator {name}."
    now = clock.now(database)
    living = [row for row in rows if row.is_alive(now)]
    if not living:
        return f"Operator {name} is lost: it gives no sign of life, so it hears nothing."
    row = living[-1]
    if not row.asked:
        return f"Operator {name} does not drain."
    by = f" by {row.asked_by}" if row.asked_by else ""
    return f"Operator {name} was asked to {row.asked}{by} before."


def user() -> str:
    """Return the name of who runs the command; empty if it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
