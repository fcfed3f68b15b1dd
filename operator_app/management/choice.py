"""Which operations a command is about, from its arguments."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError

from operator_app.models import Operation, OperationQuerySet
from operator_app.models.choice import STATES, Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the filters. What is repeated is an "or", different ones are an "and"."""

    def several(name: str, **options: Any) -> None:
        parser.add_argument(f"--{name}", action="append", default=[], **options)

    several("state", choices=STATES, help="in this state; may be repeated, as may the next three")
    several("kind", metavar="APP.MODEL", help="of exactly this class")
    several("queue", metavar="NAME", help="in this queue")
    several("operator", metavar="HOST:PID", help="claimed by this operator")
    parser.add_argument("--tag", default="", help="with this tag, default tag or unique key")
    parser.add_argument(
        "--exception",
        default="",
        metavar="CLASS",
        help="of which an attempt has ended with this exception, as app.errors.NotThere",
    )


def of_options(options: dict[str, Any]) -> Choice:
    """Return what the arguments of a command say."""
    return Choice(
        ids=options.get("id") or (),
        states=options["state"],
        kinds=options["kind"],
        queues=options["queue"],
        operators=options["operator"],
        tag=options["tag"],
        exception=options["exception"],
    )


def rows_of(chosen: Choice, database: str) -> OperationQuerySet[Operation]:
    """Return the operations of a choice. Queries as `Choice.rows()`.

    Raises:
        CommandError: for a choice of what there is not.
    """
    try:
        return chosen.rows(database)
    except ValueError as error:
        raise CommandError(str(error)) from error
