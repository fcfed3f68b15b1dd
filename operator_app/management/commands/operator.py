"""`manage.py operator`: run operations when they are due."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app import log
from operator_app.process import SIGNALS, Operator
from operator_app.validation import check_queue


class Command(BaseCommand):
    """Starts an operator, and ends with it."""

    requires_system_checks = []  # handle() runs them, and knows what an outage is
    help = "Run operations when they are due, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--once", action="store_true", help="run what is due, then leave, instead of waiting"
        )
        parser.add_argument(
            "--queue",
            action="append",
            type=_queue,
            default=[],
            metavar="NAME",
            dest="queues",
            help="serve this queue only; may be given more than once (default: all queues)",
        )
        parser.add_argument(
            "--threads",
            type=_count,
            metavar="N",
            help="how many operations to run at once (default: OPERATOR['THREADS'])",
        )
        parser.add_argument(
            "--grace",
            type=_seconds,
            metavar="S",
            help="seconds that running operations get after SIGTERM (default: OPERATOR['GRACE'])",
        )
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="the database that the operations are in",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the operator."""
        if options["database"] not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {options['database']!r} (known: {known}).")
        log.to_terminal(_LEVELS[options["verbosity"]])
        try:
            self._check(wait=not options["once"])
            operator = Operator(
                database=options["database"],
                queues=options["queues"],
                threads=options["threads"],
                grace=options["grace"],
                once=options["once"],
            )
            ran = operator.run()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error
        finally:
            self._be_deaf()
        if operator.gave_up:
            sys.exit(1)
        if options["once"]:
            self.stdout.write(f"{ran} run." if ran else "Nothing is due.")

    def _check(self, *, wait: bool) -> None:
        """Run the system checks; some of them want the database, for which an operator waits."""
        try:
            self.check()
        except Error:
            if not wait:
                raise

    def _be_deaf(self) -> None:
        """Hear no more signals: one more SIGTERM while the interpreter ends would kill it."""
        if getattr(self, "_called_from_command_line", False):
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)


_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


def _queue(text: str) -> str:
    try:
        return check_queue(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    problem = argparse.ArgumentTypeError(f"a number of seconds, at least 0, not {text!r}")
    try:
        seconds = float(text)
    except ValueError:
        raise problem from None
    if not 0 <= seconds < float("inf"):
        raise problem
    return seconds
