"""The verbs of querysets from the command line."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper

from operator_app.management import arguments, choice
from operator_app.models import Changed, Operation, OperationQuerySet
from operator_app.models.changed import LEFT, PARTS
from operator_app.models.choice import by_state

VERBS: Final = {
    "retry": "let failed and cancelled ones begin anew",
    "cancel": "let pending ones never run",
    "abort": "ask running ones to end",
    "release": "give back what lost operators hold",
    "fail": "let what lost operators hold end as failed",
    "reschedule": "let pending ones be due at another time",
    "run-now": "let scheduled ones be due now",
}


def add_arguments(verb: str, parser: argparse.ArgumentParser) -> None:
    """Declare what a verb takes."""
    parser.add_argument("id", nargs="*", type=arguments.count, metavar="ID", help="these")
    choice.add_arguments(parser)
    parser.add_argument("--all", action="store_true", help="all there are, if nothing narrows it")
    parser.add_argument("--dry-run", action="store_true", help="count them, and change nothing")
    if verb in ("cancel", "abort", "fail"):
        parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people")
    if verb == "cancel":
        parser.add_argument("--abort", action="store_true", help="ask running ones to end, too")
        parser.add_argument("--delete", action="store_true", help="delete the rows for good")
    if verb == "reschedule":
        when = parser.add_mutually_exclusive_group(required=True)
        when.add_argument("--to", metavar="MOMENT", help="when, as 2026-12-24T18:00")
        when.add_argument(
            "--in", dest="wait", type=arguments.duration, metavar="TIME", help="from now, as 2h"
        )


def run(verb: str, database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Do it to the chosen operations, and say to how many.

    Raises:
        CommandError: if nothing says which, or none was changed.
    """
    chosen = choice.of_options(options, database)
    if chosen.is_narrow == options["all"]:
        raise CommandError(f"Say which: ids, filters, or --all. See operations {verb} --help.")
    rows = choice.rows_of(chosen, database)
    if options["dry_run"]:
        counts = by_state(rows)
        parts = [f"{count:,} {state}" for state, count in counts.items()]
        out.write(f"Chosen: {', '.join(parts) or 'none'}. Nothing was changed.")
        return
    changed = _change(verb, rows, options)
    said = sentence(changed)
    if not changed:
        raise CommandError(f"None was changed: {said}.")
    out.write(f"{said[0].upper()}{said[1:]}.")


def sentence(changed: Changed) -> str:
    """Return what a verb has done, for people; without a full stop."""
    names = [name for name in (*PARTS, *LEFT) if getattr(changed, name)]
    parts = [f"{getattr(changed, name):,} {name.replace('_', ' ')}" for name in names]
    return ", ".join(parts) or "there were none"


def _change(verb: str, rows: OperationQuerySet[Operation], options: dict[str, Any]) -> Changed:
    if verb == "cancel":
        flags = {name: options[name] for name in ("abort", "delete")}
        return rows.cancel(options["reason"], **flags)
    if verb in ("abort", "fail"):
        return getattr(rows, verb)(options["reason"])  # type: ignore[no-any-return]
    if verb == "reschedule":
        when: datetime | timedelta = options["wait"] or arguments.moment("--to", options["to"])
        try:
            return rows.reschedule(when)
        except ValueError as error:
            raise CommandError(str(error)) from error
    changed: Changed = getattr(rows, verb.replace("-", "_"))()
    return changed
