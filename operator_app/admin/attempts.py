"""The attempts of an operation, as its page shows them."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from operator_app import clock
from operator_app.admin import display, traceback
from operator_app.models import Operation, OperationJob

SHOWN: Final = 10
"""How many attempts the page of an operation shows, the latest first; each may hold a traceback."""


class Attempt(NamedTuple):
    """A job, and what is said about it."""

    job: OperationJob
    badge: SafeString
    page: str | None
    when: SafeString | None
    took: str
    meta: str
    progress: str
    traceback: SafeString | str
    stack: SafeString | str


def context(site: AdminSite, operation: Operation) -> dict[str, Any]:
    """Return what the template of the attempts needs. One query."""
    jobs = OperationJob.objects.using(operation._alias).filter(operation_id=operation.pk)
    latest = list(jobs.order_by("-number")[: SHOWN + 1])
    context: dict[str, Any] = {
        "operator_attempts": [_attempt(site, operation, job) for job in latest[:SHOWN]],
        "operator_shows_attempts": True,
    }
    if len(latest) > SHOWN and site.is_registered(OperationJob):
        query = urlencode({"q": operation.pk})
        context["operator_more_attempts"] = f"{display.page(site, OperationJob)}?{query}"
    return context


def progress(job: OperationJob) -> str:
    """Return how far an attempt has come, in words; empty if it never said."""
    if job.progress_done is None:
        return job.progress_message
    numbers = f"{job.progress_done:g}"
    if job.progress_total:
        share = min(job.progress_done / job.progress_total, 1)
        numbers = f"{numbers} / {job.progress_total:g} ({share:.0%})"
    return f"{numbers} {job.progress_message}".strip()


def meta(job: OperationJob) -> str:
    """Return the `meta` of an attempt, spread over lines; empty if there is none."""
    return json.dumps(job.meta, indent=2, ensure_ascii=False) if job.meta else ""


def took(job: OperationJob) -> str:
    """Return how long an attempt took; empty while it runs."""
    return "" if job.ended_at is None else display.duration(job.started_at, job.ended_at)


def _attempt(site: AdminSite, operation: Operation, job: OperationJob) -> Attempt:
    return Attempt(
        job=job,
        badge=badge(job),
        page=display.page(site, OperationJob, job.pk) if site.is_registered(OperationJob) else None,
        when=display.moment(job.started_at, clock.now(operation._alias)),
        took=took(job),
        meta=meta(job),
        progress=progress(job),
        traceback=traceback.shown(job.traceback, gettext("Traceback")),
        stack=traceback.shown(job.stack, gettext("Stack")),
    )


def badge(job: OperationJob) -> SafeString:
    """Return how an attempt ended, or that it has not."""
    if job.outcome is None:
        return display.badge("running", display.STATES)
    return display.badge(job.outcome, display.OUTCOMES)
