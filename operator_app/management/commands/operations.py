"""`manage.py operations`: look at operations."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app.management.show import STACK_WITHIN, asked_for_stack, show
from operator_app.models import Operation


class Command(BaseCommand):
    """A doorway: arguments in, text out."""

    help = "Looks at operations."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            metavar="ALIAS",
            help="the database that the operations are in",
        )
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        one = verbs.add_parser("show", help="show one operation and its attempts")
        one.add_argument("id", type=int, metavar="ID", help="its primary key")
        one.add_argument(
            "--stack",
            action="store_true",
            help="ask its operator where it is, and wait for the answer",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Show what is asked for."""
        if options["database"] not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {options['database']!r} (known: {known}).")
        try:
            self._show(options["id"], options["database"], stack=options["stack"])
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error

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
