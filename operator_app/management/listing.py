"""Operations as a table for a terminal, or as lines of JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from django.core.management.base import OutputWrapper
from rich import box
from rich.table import Table

from operator_app import clock
from operator_app.management import arguments, choice
from operator_app.management.console import console_of
from operator_app.models import Operation
from operator_app.models.facts import Encoder, of_operation

LIMIT: Final = 50
"""How many are shown unless another number is asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    choice.add_arguments(parser)
    parser.add_argument(
        "--limit",
        type=arguments.count,
        default=LIMIT,
        metavar="N",
        help=f"how many, the newest first (default: {LIMIT})",
    )
    parser.add_argument(
        "--before",
        type=arguments.count,
        metavar="ID",
        help="older ones than this: the last one of the list before",
    )
    parser.add_argument("--json", action="store_true", help="for programs: an object on each line")


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Write the chosen operations, the newest first. One query, besides those of the choice.

    Raises:
        CommandError: for a choice of what there is not.
    """
    chosen = choice.of_options(options, database)
    rows = choice.rows_of(chosen, database).order_by("-pk").select_related("operator")
    if options["before"] is not None:
        rows = rows.filter(pk__lt=options["before"])
    limit = options["limit"]
    found = list(rows[: limit + 1])
    is_more, found = len(found) > limit, found[:limit]
    if options["json"]:
        for each in found:
            out.write(json.dumps(of_operation(each), cls=Encoder))
    else:
        _as_text(found, out, is_more=is_more)


def _as_text(found: list[Operation], out: OutputWrapper, *, is_more: bool) -> None:
    console = console_of(out)
    if not found:
        console.print("There are none.")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("id", "kind", "state", "queue", "should run", "claims", "operator", "reason"):
        right = title in ("id", "claims")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for each in found:
        table.add_row(
            str(each.pk),
            each.kind_label,
            each.state,
            each.queue,
            f"{clock.local(each.should_run_at):%Y-%m-%d %H:%M:%S}",
            str(each.attempts),
            "" if each.operator_id is None else str(each.operator or "gone"),
            each.reason,
        )
    console.print(table)
    if is_more:
        console.print(f"There are more: --before {found[-1].pk}")
