"""Pruning from the command line."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError, OutputWrapper
from rich.progress import BarColumn, Progress, TextColumn

from operator_app import clock
from operator_app.management import arguments
from operator_app.management.console import console_of
from operator_app.models import Operation, kinds
from operator_app.models.pruning import Pruned, Rules, prune, rules_of_settings
from operator_app.retention import ATTEMPTS, SLOTS, STATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "--older-than",
        type=arguments.duration,
        metavar="TIME",
        help="how long ago they have ended, as 12h or 30d; by default as OPERATOR['RETENTION'] and "
        "the policies have it",
    )
    parser.add_argument(
        "--state",
        action="append",
        choices=STATES,
        help="in which state, with --older-than; may be repeated; by default in all of these",
    )
    parser.add_argument(
        "--attempts",
        action="store_true",
        help="with --older-than: old attempts of operations that have not ended; with --state, too",
    )
    parser.add_argument(
        "--slots",
        action="store_true",
        help="with --older-than: old slots of recurrences of which no operation is left",
    )
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="APP.MODEL",
        help="of this kind only; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="count, and delete nothing")


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Delete, or count, what the options say; say how many, by state.

    Raises:
        CommandError: if nothing says what is to go.
    """
    rules = _rules(database, options)
    last = Operation.all_objects.using(database).order_by("-pk").values_list("pk", flat=True)
    total, dry_run = last.first() or 1, options["dry_run"]
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, console=console_of(out), disable=not out.isatty()) as bar:
        task = bar.add_task("Counting" if dry_run else "Deleting", total=total)

        def show(done: Pruned) -> None:
            bar.update(task, completed=min(total, done.after))

        done = prune(rules, clock.now(database), database, dry_run=dry_run, progress=show)
        bar.update(task, completed=total)
    what = ", ".join(done.parts) or "none"
    out.write(f"{'Would be deleted' if dry_run else 'Deleted'}: {what}.")
    if done.kept:
        out.write(f"{done.kept:,} stay: something protects them, or has locked them just now.")


def _rules(database: str, options: dict[str, Any]) -> Rules:
    named = [arguments.kind(label) for label in options["kind"]]
    ids = [kinds.content_type(model, database).pk for model in named]
    if options["older_than"] is None:
        if options["state"] or options["attempts"] or options["slots"]:
            raise CommandError(
                "--state, --attempts and --slots go with --older-than. How old are they to be?"
            )
        rules = rules_of_settings(database)
        if ids:
            rules = Rules({}, {pk: rules.by_kind.get(pk, rules.general) for pk in ids})
        if rules.are_empty:
            raise CommandError(
                "Nothing says how long operations are kept. Set OPERATOR['RETENTION'], or pass "
                "--older-than."
            )
        return rules
    seconds = options["older_than"].total_seconds()
    others = [name for name in (ATTEMPTS, SLOTS) if options[name]]
    names = [*(options["state"] or ()), *others]
    rule = dict.fromkeys(names or STATES, seconds)
    return Rules({}, dict.fromkeys(ids, rule)) if ids else Rules(rule)
