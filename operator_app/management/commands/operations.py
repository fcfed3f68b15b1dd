"""`manage.py operations`: look at operations, and at how they are getting on."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app.doctor import LONG, examine
from operator_app.management import arguments, diagnosis, pausing, recurrences
from operator_app.management.show import STACK_WITHIN, asked_for_stack, show
from operator_app.models import Operation


class Command(BaseCommand):
    """A doorway: arguments in, text out."""

    help = "Looks at operations."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        _add_database(parser, DEFAULT_DB_ALIAS)
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        one = verbs.add_parser("show", help="show one operation and its attempts")
        one.add_argument("id", type=int, metavar="ID", help="its primary key")
        one.add_argument(
            "--stack",
            action="store_true",
            help="ask its operator where it is, and wait for the answer",
        )
        doctor = verbs.add_parser("doctor", help="say what is wrong, where, and what to do")
        doctor.add_argument("--json", action="store_true", help="for programs")
        doctor.add_argument(
            "--older-than",
            type=arguments.seconds,
            default=LONG,
            metavar="S",
            help=f"seconds after which a transaction is open for long (default: {LONG:g})",
        )
        recurring = verbs.add_parser("recurrences", help="show when operations are made")
        pause = verbs.add_parser("pause", help="let work wait: it stays due and is not begun")
        resume = verbs.add_parser("resume", help="end a pause")
        pausing.add_arguments(pause, resume)
        for verb in (one, doctor, recurring, pause, resume):
            # Without a default, which would take the place of what was said before the verb.
            _add_database(verb, argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Show what is asked for."""
        if options["database"] not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {options['database']!r} (known: {known}).")
        try:
            if options["verb"] == "doctor":
                self._doctor(options["database"], options["older_than"], json=options["json"])
            elif options["verb"] == "pause":
                pausing.pause(options["database"], options, self.stdout)
            elif options["verb"] == "resume":
                pausing.resume(options["database"], options, self.stdout)
            elif options["verb"] == "recurrences":
                recurrences.as_text(options["database"], self.stdout)
            else:
                self._show(options["id"], options["database"], stack=options["stack"])
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error

    def _doctor(self, database: str, older_than: float, *, json: bool) -> None:
        findings = examine(database, older_than=older_than)
        if json:
            diagnosis.as_json(database, findings, self.stdout)
        else:
            diagnosis.as_text(findings, self.stdout)
        if not diagnosis.is_healthy(findings):
            sys.exit(1)

    def _show(self, pk: int, database: str, *, stack: bool) -> None:
        rows = Operation.all_objects.using(database).select_related("operator")
        operation = rows.filter(pk=pk).first()
        if operation is None:
            raise CommandError(f"There is no operation {pk}.")
        if stack and operation.state not in ("running", "stuck"):
            raise CommandError(f"{operation} is {operation.state}: it has no stack.")
        job = asked_for_stack(operation) if stack else None
        show(rows.get(pk=pk), self.stdout)
        if not stack:
            return
        if job is None:
            raise CommandError(
                f"Its operator has not answered within {STACK_WITHIN:g} s. Does it live? "
                "A run by hand has nobody who could."
            )
        self.stdout.write(f"\n{job.stack}")


def _add_database(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--database",
        default=default,
        metavar="ALIAS",
        help="the database that the operations are in",
    )
