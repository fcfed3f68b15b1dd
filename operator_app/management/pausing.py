"""Pauses from the command line."""

from __future__ import annotations

import argparse
import getpass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, OutputWrapper
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from operator_app import clock
from operator_app.management import arguments
from operator_app.models import Operation, Pause


def add_arguments(pause: argparse.ArgumentParser, resume: argparse.ArgumentParser) -> None:
    """Declare what both verbs take."""
    for verb in (pause, resume):
        verb.add_argument("--queue", default="", metavar="NAME", help="this queue only")
        verb.add_argument("--kind", default="", metavar="APP.MODEL", help="this kind only")
        verb.add_argument("--everything", action="store_true", help="all queues and kinds")
    pause.add_argument(
        "--for",
        dest="duration",
        type=arguments.duration,
        metavar="TIME",
        help="how long: seconds, or as 10m, 2h, 1d; without it until it is resumed",
    )
    pause.add_argument("--until", metavar="MOMENT", help="until when, as 2026-12-24T18:00")
    pause.add_argument("--reason", default="", metavar="TEXT", help="why, for people")


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
        until = _moment(options["until"])
    pauses = Pause.objects.using(database)
    try:
        made = pauses.pause(**scope, until=until, reason=options["reason"], by=_user())
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    out.write(f"{made.sentence}.")


def resume(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Resume what the options say; say what else is paused.

    Raises:
        CommandError: if they say nothing, or that is not paused.
    """
    pauses = Pause.objects.using(database)
    ended = pauses.resume(**_scope(options))
    left = [each.sentence for each in pauses.active(clock.now(database)).order_by("pk")]
    rest = f" Still: {'; '.join(left)}." if left else ""
    if not ended:
        raise CommandError(f"That is not paused.{rest}")
    out.write(f"Resumed.{rest}")


def _scope(options: dict[str, Any]) -> dict[str, Any]:
    named = bool(options["queue"] or options["kind"])
    if named == options["everything"]:
        raise CommandError("Say what: --queue NAME, --kind APP.MODEL, or --everything.")
    kind = _kind(options["kind"]) if options["kind"] else None
    return {"queue": options["queue"], "kind": kind}


def _kind(label: str) -> type[Operation]:
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"There is no model {label!r}: {error}") from error
    if not issubclass(model, Operation) or model is Operation:
        raise CommandError(f"{label} is no kind of operations.")
    return model


def _moment(text: str) -> datetime:
    try:
        found = parse_datetime(text)
    except ValueError as error:
        raise CommandError(f"--until {text}: {error}.") from error
    if found is None:
        raise CommandError(f"--until is a moment as 2026-12-24T18:00, not {text!r}.")
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # No name for the user of a container.
        return ""
