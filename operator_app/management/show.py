"""One operation, what has become of it and its attempts, as text for a terminal."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandError, OutputWrapper
from rich import box
from rich.table import Table

from operator_app import clock
from operator_app.management.console import console_of, printable
from operator_app.models import Operation, OperationJob, timeline
from operator_app.models.facts import own_columns

STACK_WITHIN: Final = 5.0
"""Seconds to wait for an operator to tell where an operation is."""
LOOK: Final = 0.1
"""Seconds between two looks for its answer."""
JOBS_SHOWN: Final = 20
"""How many attempts are shown, the latest ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("id", type=int, metavar="ID", help="its primary key")
    parser.add_argument(
        "--stack",
        action="store_true",
        help="ask its operator where it is, and wait for the answer",
    )


def run(database: str, options: dict[str, Any], out: OutputWrapper) -> None:
    """Show one operation, and where it is in its code if that is asked for.

    Raises:
        CommandError: if there is none, it does not run, or its operator does not answer.
    """
    pk, stack = options["id"], options["stack"]
    rows = Operation.all_objects.using(database).select_related("operator")
    operation = rows.filter(pk=pk).first()
    if operation is None:
        raise CommandError(f"There is no operation {pk}.")
    if stack and operation.state not in ("running", "stuck"):
        raise CommandError(printable(f"{operation} is {operation.state}: it has no stack."))
    job = asked_for_stack(operation) if stack else None
    show(rows.get(pk=pk), out)
    if not stack:
        return
    if job is None:
        raise CommandError(
            f"Its operator has not answered within {STACK_WITHIN:g} s. Does it live? "
            "A run by hand has nobody who could."
        )
    out.write(f"\n{printable(job.stack)}")


def show(operation: Operation, out: OutputWrapper) -> None:
    """Write an operation, why it is where it is, its timeline and its attempts. Eleven queries at
    most.
    """
    console = console_of(out)
    console.print(f"{operation}: {operation.state}", style="bold")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _facts(operation):
        facts.add_row(name, str(value))
    console.print(facts)
    for reason in operation.explain():
        console.print(f"- {reason}")
    jobs = timeline.jobs_of(operation)
    console.print(_timeline(operation, jobs))
    if latest := jobs[:JOBS_SHOWN]:
        console.print(_attempts(latest))


def asked_for_stack(operation: Operation) -> OperationJob | None:
    """Ask the operator of an operation for its stack; return the job that holds it, None if there
    was no answer in time.
    """
    alias = operation._alias
    rows = Operation.all_objects.using(alias).filter(pk=operation.pk)
    if not rows.request_stack():
        return None
    deadline = time.monotonic() + STACK_WITHIN
    while time.monotonic() < deadline:
        time.sleep(LOOK)
        row = rows.filter(stack_requested_at__isnull=True).first()
        if row is not None:
            jobs = OperationJob.objects.using(alias).filter(operation=row.pk)
            return jobs.exclude(stack="").order_by("-number").first()
    return None


def _facts(operation: Operation) -> Iterator[tuple[str, Any]]:
    specific = operation.specific
    yield from own_columns(specific).items()
    yield "queue", f"{operation.queue}, priority {operation.priority}"
    if operation.operator_id is not None:
        yield "operator", operation.operator or "gone"
    counts = ("attempts", "failures", "crashes", "stops")
    yield "counted", ", ".join(f"{name} {getattr(operation, name)}" for name in counts)
    for name, text in (("reason", operation.reason), ("stuck", operation.stuck_reason)):
        if text:
            yield name, text


def _timeline(operation: Operation, jobs: list[OperationJob]) -> Table:
    now = clock.now(operation._alias)
    pauses = timeline.pauses_of(operation, now)
    table = Table(box=box.SIMPLE, title="Timeline", title_justify="left")
    for name in ("when", "what", "before"):
        table.add_column(name)
    for event in timeline.tell(operation, jobs, now, state=operation.state, pauses=pauses):
        table.add_row(_moment(event.at), event.sentence, event.gap)
    return table


def _attempts(jobs: list[OperationJob]) -> Table:
    table = Table(box=box.SIMPLE, title="Attempts", title_justify="left")
    for name in ("claim", "started", "ended", "outcome", "on", "message"):
        table.add_column(name)
    for job in jobs:
        table.add_row(
            str(job.number),
            _moment(job.started_at),
            "" if job.ended_at is None else _moment(job.ended_at),
            job.outcome or "running",
            job.operator,
            job.message or job.progress_message,
        )
    return table


def _moment(moment: datetime) -> str:
    return f"{clock.local(moment):%Y-%m-%d %H:%M:%S}"
