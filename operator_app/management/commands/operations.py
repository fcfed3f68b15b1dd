"""`manage.py operations`: look at operations, change them, and see how they are getting on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app.management import (
    changing,
    diagnosis,
    listing,
    pausing,
    pruning,
    recurrences,
    show,
    statistics,
)


class Verb(NamedTuple):
    """Something that the command does."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[str, dict[str, Any], OutputWrapper], None]


VERBS: Final = {
    "stats": Verb("show how they are getting on", statistics.add_arguments, statistics.run),
    "list": Verb("list operations, the newest first", listing.add_arguments, listing.run),
    "show": Verb("show one operation and its attempts", show.add_arguments, show.run),
    **{
        name: Verb(help, partial(changing.add_arguments, name), partial(changing.run, name))
        for name, help in changing.VERBS.items()
    },
    "prune": Verb("delete old ended ones", pruning.add_arguments, pruning.run),
    "recurrences": Verb("show when operations are made", bool, recurrences.run),
    "pause": Verb(
        "let work wait: it stays due and is not begun", pausing.add_pause_arguments, pausing.pause
    ),
    "resume": Verb("end a pause", pausing.add_arguments, pausing.resume),
    "doctor": Verb(
        "say what is wrong, where, and what to do", diagnosis.add_arguments, diagnosis.run
    ),
}


class Command(BaseCommand):
    """A doorway: arguments in, text out."""

    help = "Looks at operations, and changes them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        _add_database(parser, DEFAULT_DB_ALIAS)
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, verb in VERBS.items():
            one = verbs.add_parser(name, help=verb.help)
            verb.add_arguments(one)
            # Without a default, which would take the place of what was said before the verb.
            _add_database(one, argparse.SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked for."""
        database = options["database"]
        if database not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {database!r} (known: {known}).")
        try:
            VERBS[options["verb"]].run(database, options, self.stdout)
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error


def _add_database(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--database",
        default=default,
        metavar="ALIAS",
        help="the database that the operations are in",
    )
