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
        self.second_log = settings.VAR / "operators.log"
        self.problems: list[str] = []

    def run(self, *, flush: bool) -> None:
        """Prepare, schedule, operate, report."""
        database.empty(flush=flush)
        self.heading(f"Opening the shop: a fresh database on {database.name()}")
        database.fill()
        steps = scenario.schedule()
        self.console.print(f"  {len(steps)} operations scheduled, none has run.")
        self.often = scenario.recur()
        self.console.print(f"  {self.often.words} the shop is to be swept, {scenario.OFTEN} times.")
        scenario.track()
        self.console.print(
            f"  {scenario.PARCELS} parcels are looked for, of a carrier who is away."
        )
        for news in scenario.meanwhile():
            self.console.print(f"  {news}")
        self.heading("Running: manage.py operator")
        self.operate(steps)
        self.heading("A power cut: two operators, and kill -9 for the one that works")
        steps.append(self.survive())
        self.report(steps)

    def operate(self, steps: Sequence[scenario.Step]) -> None:
        """Let an operator run what is due, and end it."""
        with (
            partners(trouble=lambda call: call <= scenario.BAD_CALLS) as server,
            processes.running("operator", partners_url=server.url, log=self.log) as operator,
            display.Board(self.console) as board,
        ):
            deadline = time.monotonic() + DEADLINE
            called_off = held_up = ""
            while not self.is_over(steps):
                board.show(watch.glimpses(steps))
                if not held_up and (held_up := scenario.carrier()):
                    board.console.print(f"  {held_up}", soft_wrap=True)
                if not called_off and (called_off := scenario.call_off()):
                    board.console.print(f"  {called_off}", soft_wrap=True)
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

    def is_over(self, steps: Sequence[scenario.Step]) -> bool:
        """Whether all that is to happen has."""
        if not scenario.is_swept(self.often) or not scenario.are_tracked():
            return False
        return watch.all_ended(steps)

    def survive(self) -> scenario.Step:
        """Kill an operator in the middle of its work, and see that the work is done all the same.

        The parent of the two notices at once. Without a parent, any other operator does when the
        heartbeat of the dead one is too old: after 30 seconds, unless the settings say otherwise.
        """
        step = scenario.slow()
        with (
            processes.running(
                "operator", "--processes", "2", partners_url="", log=self.second_log
            ) as parent,
            display.Board(self.console) as board,
        ):
            deadline = time.monotonic() + DEADLINE
            killed = ""
            rescued = False
            while not watch.all_ended([step]):
                glimpses = watch.glimpses([step])
                board.show(glimpses)
                if not killed and glimpses[0].done and (operator := watch.operator_of(step)):
                    killed, died_at = str(operator), time.monotonic()
                    processes.kill(operator.pid)
                    board.console.print(f"  kill -9: operator {killed} is dead.")
                elif killed and not rescued and (job := watch.rescue_of(step)):
                    rescued = True
                    after = time.monotonic() - died_at
                    board.console.print(f"  Rescued after {after:.1f} s: {job.message}.")
                if parent.poll() is not None or time.monotonic() > deadline:
                    self.problems.append("The work of the killed operator was not done.")
                    return step
                time.sleep(0.05)
            board.show(watch.glimpses([step]))
            code = processes.end(parent)
        if not rescued or code != 0:
            self.problems.append(f"No rescue was seen, or the parent ended with {code}.")
        return step

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
            logs = [log for log in (self.log, self.second_log) if log.exists()]
            for log in logs:
                last_lines = log.read_text(encoding="utf-8").splitlines()[-12:]
                self.problems += [f"\nThe end of {log}:", *last_lines]
            raise CommandError("\n".join(self.problems))
        self.heading("What next")
        self.console.print(
            "  make serve    the admin at http://127.0.0.1:8000/admin/ with a live operator;\n"
            f"                log in as {database.LOGIN} / {database.PASSWORD}",
            soft_wrap=True,
        )

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)
