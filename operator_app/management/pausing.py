"""Pauses from the command line."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from operator_app import clock
from operator_app.management import arguments
from operator_app.management.console import printable
from operator_app.management.operators import user
from operator_app.models import Pause


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what both verbs take."""
    parser.add_argument("--queue", default="", metavar="NAME", help="this queue only")
    parser.add_argument("--kind", default="", metavar="APP.MODEL", help="this kind only")
    parser.add_argument("--everything", action="store_true", help="all queues and kinds")


def add_pause_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `pause` takes."""
    add_arguments(parser)
    parser.add_argument(
        "--for",
        dest="duration",
        type=arguments.duration,
        metavar="TIME",
        help="how long: seconds, or as 10m, 2h, 1d; without it until it is resumed",
    )
    parser.add_argument("--until", metavar="MOMENT", help="until when, as 2026-12-24T18:00")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people")


def pause(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Pause what the options say.

    Raises:
        CommandError: if they say nothing, or something else than there is.
    """
    scope = _scope(options)
    if options["duration"] is not None and options["until"]:
        raise CommandError("--for and --until are two ways to say the same. Give one of them.")
    until: datetime | timedelta | None = options["duration"]
    if options["until"]:
        until = arguments.moment("--until", options["until"])
    pauses = Pause.objects.using(database)
    try:
        made = pauses.pause(**scope, until=until, reason=options["reason"], by=user())
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    out.write(printable(f"{made.sentence}."))


def resume(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Resume what the options say; say what else is paused.

    Raises:
        CommandError: if they say nothing, or that is not paused.
    """
    pauses = Pause.objects.using(database)
    ended = pauses.resume(**_scope(options))
    left = [each.sentence for each in pauses.active(clock.now(database)).order_by("pk")]
    rest = printable(f" Still: {'; '.join(left)}.") if left else ""
    if not ended:
        raise CommandError(f"That is not paused.{rest}")
    out.write(f"Resumed.{rest}")


def _scope(options: dict[str, Any]) -> dict[str, Any]:
    named = bool(options["queue"] or options["kind"])
    if named == options["everything"]:
        raise CommandError("Say what: --queue NAME, --kind APP.MODEL, or --everything.")
    kind = arguments.kind(options["kind"]) if options["kind"] else None
    return {"queue": options["queue"], "kind": kind}
