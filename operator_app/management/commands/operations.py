"""`manage.py operations`: look at operations, change them, and see how they are getting on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, Error, connections

from operator_app.management import (
    changing,
    diagnosis,
    listing,
    operators,
    pausing,
    pruning,
    recurrences,
    show,
    statistics,
    tail,
)
from operator_app.management.console import colours, leave_pipe


class Verb(NamedTuple):
    """Something that the command does."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[str, dict[str, Any], OutputWrapper], None]
    examples: Sequence[str]
    """What one may type after `manage.py operations`."""


def _changing(name: str, *examples: str) -> Verb:
    arguments, run = partial(changing.add_arguments, name), partial(changing.run, name)
    return Verb(changing.VERBS[name], arguments, run, examples)


VERBS: Final = {
    "stats": Verb(
        "show how they are getting on",
        statistics.add_arguments,
        statistics.run,
        ("stats --watch 2", "stats --json"),
    ),
    "list": Verb(
        "list operations, the newest first",
        listing.add_arguments,
        listing.run,
        (
            "list --state failed --ended-after 2h",
            "list --state scheduled --due-before +1d --queue mail",
            "list --kind shop.SendInvoice --before 17000 --json",
        ),
    ),
    "show": Verb(
        "show one operation and its attempts",
        show.add_arguments,
        show.run,
        ("show 17", "show 17 --stack"),
    ),
    "tail": Verb(
        "show what happens, as it happens",
        tail.add_arguments,
        tail.run,
        (
            "tail",
            "tail --since 10m --event failed --event rescued",
            "tail --once -n 100 --kind shop.SendInvoice --json",
        ),
    ),
    "retry": _changing(
        "retry",
        "retry 17 18",
        "retry --state failed --exception app.errors.NotThere --ended-after 1d --dry-run",
    ),
    "cancel": _changing("cancel", "cancel --queue mail --state due --reason 'sent by hand'"),
    "abort": _changing("abort", "abort 17 --reason 'takes too long'"),
    "release": _changing("release", "release --state stuck"),
    "fail": _changing("fail", "fail --operator web-1:4711 --reason 'that host is gone'"),
    "reschedule": _changing(
        "reschedule",
        "reschedule 17 --to 2026-12-24T18:00",
        "reschedule --kind shop.SendInvoice --state due --in 2h",
    ),
    "run-now": _changing("run-now", "run-now 17", "run-now --state scheduled --due-before +1h"),
    "prune": Verb(
        "delete old ended ones",
        pruning.add_arguments,
        pruning.run,
        ("prune --dry-run", "prune --older-than 30d --state failed --kind shop.SendInvoice"),
    ),
    "recurrences": Verb("show when operations are made", bool, recurrences.run, ("recurrences",)),
    "pause": Verb(
        "let work wait: it stays due and is not begun",
        pausing.add_pause_arguments,
        pausing.pause,
        ("pause --queue mail --for 10m --reason 'mail server down'", "pause --everything"),
    ),
    "resume": Verb(
        "end a pause",
        pausing.add_arguments,
        pausing.resume,
        ("resume --queue mail",),
    ),
    "drain": Verb(
        "let an operator finish what it runs, and then leave",
        operators.add_drain_arguments,
        operators.drain,
        ("drain web-1:4711", "drain web-1:4711 --undo"),
    ),
    "stop": Verb(
        "let an operator leave",
        operators.add_arguments,
        operators.stop,
        ("stop web-1:4711",),
    ),
    "doctor": Verb(
        "say what is wrong, where, and what to do",
        diagnosis.add_arguments,
        diagnosis.run,
        ("doctor", "doctor --json --older-than 60"),
    ),
}


class Command(BaseCommand):
    """A doorway: arguments in, text out."""

    help = (
        "Looks at operations, and changes them. `manage.py operations VERB --help` says what each "
        "verb takes, with examples. Exit codes: 0 if all went well; 1 if not, or if nothing was "
        "changed; 2 for arguments that there are not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        _add_database(parser, DEFAULT_DB_ALIAS)
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, verb in VERBS.items():
            lines = [f"  manage.py operations {example}" for example in verb.examples]
            one = verbs.add_parser(
                name,
                help=verb.help,
                description=f"{verb.help[0].upper()}{verb.help[1:]}.",
                epilog="\n".join(["examples:", *lines]),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            verb.add_arguments(one)
            # Without a default, which would take the place of what was said before the verb.
            _add_database(one, argparse.SUPPRESS)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Let the doctor say himself what the system checks find, with the rest."""
        if options.get("verb") == "doctor":
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked for."""
        database = options["database"]
        if database not in connections:
            known = ", ".join(connections)
            raise CommandError(f"There is no database {database!r} (known: {known}).")
        wanted = False if options["no_color"] else options["force_color"] or None
        try:
            with colours(wanted):
                VERBS[options["verb"]].run(database, options, self.stdout)
            self.stdout.flush()
        except BrokenPipeError:
            leave_pipe()  # Whoever has read it, `head` say, has had enough.
        except Error as error:
            raise CommandError(f"The database cannot be used: {str(error).strip()}") from error


def _add_database(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--database",
        default=default,
        metavar="ALIAS",
        help="the database that the operations are in",
    )
