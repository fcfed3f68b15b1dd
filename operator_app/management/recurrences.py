"""The recurrences, as text for a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.core.management.base import OutputWrapper
from rich import box
from rich.table import Table

from operator_app.management.console import console_of
from operator_app.models import Recurrence

TIMES: Final = 5
"""How many of the next times are shown."""


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Write all recurrences: when they make operations, in words, and the next five times. One
    query.
    """
    console = console_of(out)
    rows = Recurrence.objects.using(database).select_related("kind").order_by("name")
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "kind", "when", "time zone", "next times", "enabled"):
        table.add_column(title, overflow="fold")
    for recurrence in rows:
        table.add_row(*_cells(recurrence))
    if table.row_count:
        console.print(table)
    else:
        console.print("There are no recurrences. Declare some on a kind, or add one in the admin.")


def _cells(recurrence: Recurrence) -> list[str]:
    times = [_short(each) for each in recurrence.next_times(TIMES)] if recurrence.enabled else []
    enabled = "yes" if recurrence.enabled else f"no {recurrence.disabled_reason}".strip()
    return [
        recurrence.name,
        recurrence.kind_label,
        f"{recurrence.words} ({recurrence.expression})",
        recurrence.time_zone,
        ", ".join(times) or "-",
        enabled if times or not recurrence.enabled else "over",
    ]


def _short(moment: datetime) -> str:
    return f"{moment:%a %d %b %Y %H:%M}" + (f":{moment:%S}" if moment.second else "")
