"""`manage.py demo`: the whole life of a dozen operations, in a few seconds."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from rich.console import Console

from example_project.demo import database, display, processes, scenario, watch
from example_project.demo.partners import partners

DEADLINE = 25
"""Seconds that the operations may take together. They need about five."""


class Command(BaseCommand):
    """Shows what operations do, and checks that they do it."""

    help = "Schedule an operation for every way one can go, run an operator, show what became."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--flush`, the leave to empty a database server."""
        parser.add_argument(
            "--flush", action="store_true", help="empty the database, if it is not SQLite's file"
        )

    def handle(self, *args: Any, flush: bool, no_color: bool, **options: Any) -> None:
        """Run the demo. CommandError (exit code 1) if an operation ends otherwise than expected."""
        processes.exit_on_signals()
        console = display.console(no_color=no_color)
        try:
            with database.reserved():
                Demo(console).run(flush=flush)
        except KeyboardInterrupt:
            console.print("Interrupted. The operator has ended.")
            sys.exit(130)


class Demo:
    """One run of the demo, step by step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.log = settings.VAR / "operator.log"
        self.problems: list[str] = []

    def run(self, *, flush: bool) -> None:
        """Prepare, schedule, operate, report."""
        database.empty(flush=flush)
        self.heading(f"Opening the shop: a fresh database on {database.name()}")
        database.fill()
        steps = scenario.schedule()
        self.console.print(f"  {len(steps)} operations scheduled, none has run.")
        for news in scenario.meanwhile():
            self.console.print(f"  {news}")
        self.heading("Running: manage.py operator")
        self.operate(steps)
        self.report(steps)

    def operate(self, steps: Sequence[scenario.Step]) -> None:
        """Let an operator run what is due, and end it."""
        with (
            partners(trouble=lambda call: call <= scenario.BAD_CALLS) as server,
            processes.running("operator", partners_url=server.url, log=self.log) as operator,
            display.Board(self.console) as board,
        ):
            deadline = time.monotonic() + DEADLINE
            while not watch.all_ended(steps):
                board.show(watch.glimpses(steps))
                if operator.poll() is not None:
                    self.problems.append(f"The operator ended with code {operator.returncode}.")
                    return
                if time.monotonic() > deadline:
                    self.problems.append(f"Not all operations ended within {DEADLINE} s.")
                    return
                time.sleep(0.1)
            board.show(watch.glimpses(steps))
            code = processes.end(operator)
        self.console.print(f"  SIGTERM: the operator ended with exit code {code}.")
        if code != 0:
            self.problems.append(f"The operator ended with code {code}, not 0.")

    def report(self, steps: Sequence[scenario.Step]) -> None:
        """Show what became of everything, and what to type next.

        Raises:
            CommandError: with all that is not as the scenario has it.
        """
        found = watch.look(steps)
        self.heading("What became of them")
        self.console.print(display.summary_table(steps, found))
        self.heading("What changed in the shop")
        effects = scenario.effects()
        for line in display.effect_lines(effects):
            self.console.print(line, soft_wrap=True)
        self.problems += filter(None, (step.objection(found[step.operation.pk]) for step in steps))
        self.problems += [f"Not as expected: {e.text}" for e in effects if not e.as_expected]
        if self.problems:
            last_lines = self.log.read_text(encoding="utf-8").splitlines()[-12:]
            raise CommandError(
                "\n".join([*self.problems, f"\nThe end of {self.log}:", *last_lines])
            )
        self.heading("What next")
        self.console.print(
            "  make serve    the admin at http://127.0.0.1:8000/admin/ with a live operator;\n"
            f"                log in as {database.LOGIN} / {database.PASSWORD}",
            soft_wrap=True,
        )

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)
