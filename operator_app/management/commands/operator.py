"""`manage.py operator`: run operations when they are due."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

from django.core.checks import Tags
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app import clock, conf, log
from operator_app.management import arguments
from operator_app.models.health import look
from operator_app.process import SIGNALS, Operator
from operator_app.recycling import Limits
from operator_app.supervisor import Supervisor, command_line
from operator_app.validation import check_queue

SERVED: Final = {Tags.admin, Tags.staticfiles, Tags.templates, Tags.urls}
"""The checks of what is served: they load all views of the project, which an operator never needs,
and a mistake in one is no reason to run nothing.
"""
PARENTS: Final = {"processes", "supervised"}
"""The options of a parent that are not for its children."""


class Command(BaseCommand):
    """Starts an operator, or a parent of several, and ends with it."""

    requires_system_checks = []  # handle() runs them, and knows what an outage is
    help = "Run operations when they are due, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("--once", action="store_true", help="run what is due, then leave, instead of waiting")
        add(
            "--check",
            action="store_true",
            help="run nothing: say whether operators live and keep up, and exit with 1 if not",
        )
        add(
            "--queue",
            action="append",
            type=_queue,
            default=[],
            metavar="NAME",
            dest="queues",
            help="serve this queue only; may be given more than once (default: all queues)",
        )
        add(
            "--threads",
            type=arguments.count,
            metavar="N",
            help="how many operations to run at once (default: OPERATOR['THREADS'])",
        )
        add(
            "--processes",
            type=arguments.count,
            metavar="N",
            help="run N operator processes under one parent (default: one, without a parent)",
        )
        add(
            "--grace",
            type=arguments.seconds,
            metavar="S",
            help="seconds that running operations get after SIGTERM (default: OPERATOR['GRACE'])",
        )
        add("--max-operations", type=arguments.count, metavar="N", help="leave after N operations")
        add("--max-seconds", type=arguments.seconds, metavar="S", help="leave after S seconds")
        add("--max-rss", type=arguments.size, metavar="MIB", help="leave when taking MIB of memory")
        add(
            "--database",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="the database that the operations are in",
        )
        add("--supervised", type=UUID, metavar="UUID", help=argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the operator."""
        if multiprocessing.parent_process() is not None:
            raise CommandError(
                "This is a child process of an operator, which has imported the script that it was "
                "started with. Put what that does, call_command() or execute_from_command_line(), "
                'below `if __name__ == "__main__":`, as Django\'s own manage.py has it.'
            )
        if options["database"] not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {options['database']!r} (known: {known}).")
        if options["processes"] and options["once"]:
            raise CommandError("--processes keeps operators running; it does not go with --once.")
        if options["check"]:
            self._probe(options["database"])
            return
        log.to_terminal(_LEVELS[options["verbosity"]])
        try:
            self._check(wait=not options["once"])
            self._run(options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error
        finally:
            self._be_deaf()

    def _probe(self, database: str) -> None:
        """Say what `/health` says.

        Raises:
            CommandError: if something is wrong, or the database cannot be used.
        """
        try:
            found = look(database, clock.now(database), conf.get().LATE)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error
        if not found.is_good:
            raise CommandError(found.sentence)
        self.stdout.write(found.sentence)

    def _run(self, options: dict[str, Any]) -> None:
        if options["processes"] and not options["supervised"]:
            command = command_line([*self._passed_on(options)])
            supervisor = Supervisor(
                options["processes"],
                command=command,
                database=options["database"],
                ends_process=self._ends_process,
            )
            sys.exit(supervisor.run())
        operator = Operator(
            database=options["database"],
            queues=options["queues"],
            threads=options["threads"],
            grace=options["grace"],
            once=options["once"],
            limits=Limits(options["max_operations"], options["max_seconds"], options["max_rss"]),
            identity=options["supervised"],
            ends_process=self._ends_process,
        )
        if options["supervised"]:
            _listen_to_parent(operator.stop)
        ran = operator.run()
        if operator.exit_code:
            sys.exit(operator.exit_code)
        if options["once"]:
            self.stdout.write(f"{ran} run." if ran else "Nothing is due.")

    def _passed_on(self, options: dict[str, Any]) -> Iterator[str]:
        """Yield the arguments with which a child does what its parent is asked for."""
        for action in self.create_parser("manage.py", "operator")._actions:
            value = options.get(action.dest, action.default)
            if action.dest in PARENTS or value == action.default or not action.option_strings:
                continue
            option = action.option_strings[-1]
            if action.nargs == 0:
                yield option
                continue
            for each in value if isinstance(value, (list, tuple)) else [value]:
                yield f"{option}={each}"

    def _check(self, *, wait: bool) -> None:
        """Run the system checks, but those of what only a web server serves; some of them want the
        database, for which an operator waits.
        """
        try:
            self.check(tags=[*(registry.tags_available() - SERVED)])
        except Error:
            if not wait:
                raise

    @property
    def _ends_process(self) -> bool:
        """Whether this is the process's only task, and not a call of `call_command()`."""
        return bool(getattr(self, "_called_from_command_line", False))

    def _be_deaf(self) -> None:
        """Hear no more signals: one more SIGTERM while the interpreter ends would kill it."""
        if self._ends_process:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)


_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}


def _listen_to_parent(stop: Callable[[int], None]) -> None:
    """Call `stop` when the parent says so on standard input, once for each byte, or is gone."""

    def listen() -> None:
        told = 0
        # Not sys.stdin: the interpreter cannot end while a thread holds its lock.
        while said := os.read(0, 1024):
            told += len(said)
            stop(told)
        stop(1)

    threading.Thread(target=listen, name="parent-watch", daemon=True).start()


def _queue(text: str) -> str:
    try:
        return check_queue(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
