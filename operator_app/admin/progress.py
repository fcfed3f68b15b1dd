"""How far the operations on a page have come that are running."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from operator_app.admin import attempts, guard
from operator_app.models import Operation, OperationJob

COLUMN: Final = "state_badge"
"""The name of the column in `list_display` that shows it."""

_JOB: Final = "_operator_job"


def attach(rows: Any, columns: Iterable[Any]) -> Any:
    """Give what has started of these rows its current job, if the list shows the column. One query
    at most; the rows themselves are loaded if they are not.
    """
    started = {row.pk: row for row in rows if guard.is_started(row)} if COLUMN in columns else {}
    if started:
        alias = next(iter(started.values()))._alias
        jobs = OperationJob.objects.using(alias).filter(operation_id__in=list(started))
        running = jobs.filter(outcome__isnull=True)
        # No texts: a log is kilobytes.
        names = ("operation", "number", "progress_done", "progress_total", "progress_message")
        for job in running.order_by("number").only(*names):
            setattr(started[job.operation_id], _JOB, job)
    return rows


def shown(operation: Operation) -> SafeString | None:
    """Return a bar and the numbers; None for what does not run or has not said. No queries."""
    job: OperationJob | None = getattr(operation, _JOB, None)
    if job is None or not (words := attempts.progress(job)):
        return None
    if not job.progress_total or job.progress_done is None:
        return format_html('<span class="operator-progress">{}</span>', words)
    return format_html(
        '<span class="operator-progress"><progress max="{}" value="{}" aria-label="{}"></progress>'
        " {}</span>",
        f"{job.progress_total:.6g}",
        f"{min(job.progress_done, job.progress_total):.6g}",
        words,
        words,
    )
