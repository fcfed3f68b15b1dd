"""One operation and its attempts, as text for a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.core.management.base import OutputWrapper
from rich import box
from rich.table import Table

from operator_app import clock
from operator_app.management.console import console_of
from operator_app.models import Operation, OperationJob
from operator_app.models.guards import engine_names

STACK_WITHIN: Final = 5.0
"""Seconds to wait for an operator to tell where an operation is."""
LOOK: Final = 0.1
"""Seconds between two looks for its answer."""
JOBS_SHOWN: Final = 20
"""How many attempts are shown, the latest ones."""


def show(operation: Operation, out: OutputWrapper) -> None:
    """Write an operation, why it is where it is, and its attempts. Ten queries at most."""
    console = console_of(out)
    console.print(f"{operation}: {operation.state}", style="bold")
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _facts(operation):
        facts.add_row(name, str(value))
    console.print(facts)
    for reason in operation.explain():
        console.print(f"- {reason}")
    jobs = OperationJob.objects.using(operation._alias).filter(operation=operation.pk)
    if latest := list(jobs.order_by("-number")[:JOBS_SHOWN]):
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
    for field in specific._meta.concrete_fields:
        if field.name not in engine_names() and not field.primary_key:
            yield field.name, getattr(specific, field.attname)
    yield "queue", f"{operation.queue}, priority {operation.priority}"
    for name in (
        "should_run_at",
        "started_run_at",
        "begun_run_at",
        "times_out_at",
        "abort_requested_at",
        "finished_run_at",
        "failed_run_at",
        "cancelled_at",
    ):
        if (moment := getattr(operation, name)) is not None:
            yield name, _moment(moment)
    if operation.operator_id is not None:
        yield "operator", operation.operator or "gone"
    counts = ("attempts", "failures", "crashes", "stops")
    yield "counted", ", ".join(f"{name} {getattr(operation, name)}" for name in counts)
    for name, text in (("reason", operation.reason), ("stuck", operation.stuck_reason)):
        if text:
            yield name, text


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
