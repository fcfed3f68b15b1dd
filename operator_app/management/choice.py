"""Which operations a command is about, from its arguments."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError

from operator_app import clock
from operator_app.management import arguments
from operator_app.models import Operation, OperationQuerySet
from operator_app.models.choice import STATES, TIMES, Choice

_SPANS: Final = [f"{name}_{side}" for name in TIMES for side in ("after", "before")]


def add_arguments(parser: argparse.ArgumentParser, *, states: bool = True) -> None:
    """Declare the filters. What is repeated is an "or", different ones are an "and".

    Args:
        parser: what they are declared of.
        states: whether the state is one of them.
    """
    group = parser.add_argument_group(
        "filters",
        "What is repeated is an or, different ones are an and. WHEN is a moment as\n"
        "2026-12-24T18:00, or so long ago as 10m, 2h, 3d, or +2h for what is to come.",
    )

    def several(name: str, **options: Any) -> None:
        group.add_argument(f"--{name}", action="append", default=[], **options)

    if states:
        several("state", choices=STATES, metavar="STATE", help=f"one of: {', '.join(STATES)}")
    several("kind", metavar="APP.MODEL", help="of exactly this class")
    several("queue", metavar="NAME", help="in this queue")
    several("operator", metavar="HOST:PID", help="claimed by this operator")
    group.add_argument("--tag", default="", help="with this tag, default tag or unique key")
    group.add_argument(
        "--exception",
        default="",
        metavar="CLASS",
        help="of which an attempt has ended with this exception, as app.errors.NotThere",
    )
    group.add_argument(
        "--fingerprint",
        default="",
        metavar="HASH",
        help="whose last attempt has ended with an error of this sort, as the admin tells it",
    )
    words = {"created": "scheduled", "due": "to be run", "ended": "finished, failed or cancelled"}
    for name, side in (each.split("_") for each in _SPANS):
        group.add_argument(
            f"--{name}-{side}",
            type=arguments.when,
            metavar="WHEN",
            help=f"{words[name]} {'then or later' if side == 'after' else 'before then'}",
        )


def of_options(options: dict[str, Any], database: str) -> Choice:
    """Return what the arguments of a command say. No queries, but for the database's time."""
    return Choice(
        ids=options.get("id") or (),
        states=options["state"],
        kinds=options["kind"],
        queues=options["queue"],
        operators=options["operator"],
        tag=options["tag"],
        exception=options["exception"],
        fingerprint=options["fingerprint"],
        **{name: _moment(options[name], database) for name in _SPANS},
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


def _moment(when: datetime | timedelta | None, database: str) -> datetime | None:
    return clock.now(database) + when if isinstance(when, timedelta) else when
