"""What the page of one operation tells: its facts in words, its kind's fields, its attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import display_for_field
from django.contrib.auth import get_permission_codename
from django.db import IntegrityError, models
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext

from operator_app import clock
from operator_app.admin import display
from operator_app.models import Operation, OperationJob, OperationTag, kinds
from operator_app.models.guards import engine_names

ATTEMPTS_SHOWN: Final = 10
"""How many attempts the page of an operation shows, the latest first; each may hold a traceback."""

RELATED_SHOWN: Final = 20
"""How many rows of a many-to-many field are named."""


class OwnField(NamedTuple):
    """A field of the kind, as it is shown."""

    label: str
    value: Any


class Attempt(NamedTuple):
    """A job, and what is said about it."""

    job: OperationJob
    badge: SafeString
    page: str | None
    when: SafeString | None
    took: str
    meta: str
    progress: str


def kind_name(operation: Operation) -> str | SafeString:
    """Return "app.Model", and whether its class is gone. No queries but for content types."""
    if kinds.model_of(operation.kind_id, operation._alias) is not None:
        return operation.kind_label
    return format_html(
        '{} <span class="operator-quiet">({})</span>',
        operation.kind_label,
        gettext("its class is gone"),
    )


def ended_at(operation: Operation) -> datetime | None:
    """Return when it finished, failed or was cancelled."""
    return operation.finished_run_at or operation.failed_run_at or operation.cancelled_at


def attempt(operation: Operation) -> str:
    """Return "2 of 5": the attempt it is at or ended with, of those that the policy allows.

    Stops and releases are not charged, so this is not how often it was claimed.
    """
    # The failure that ended it belongs to the attempt it ended with.
    over = operation.failed_run_at is not None and operation.failures > 0
    number = operation.failures if over else operation.failures + 1
    model = kinds.model_of(operation.kind_id, operation._alias)
    if model is None:
        return str(number)
    allowed = model.resolved_policy().max_attempts
    return gettext("%(number)d of %(allowed)d") % {"number": number, "allowed": allowed}


def counters(operation: Operation) -> str:
    """Return how often it was claimed, failed, crashed and stopped."""
    parts = [
        ngettext("claimed once", "claimed %(n)d times", operation.attempts),
        ngettext("failed once", "failed %(n)d times", operation.failures),
        ngettext("crashed once", "crashed %(n)d times", operation.crashes),
        ngettext("stopped once", "stopped %(n)d times", operation.stops),
    ]
    numbers = [operation.attempts, operation.failures, operation.crashes, operation.stops]
    said = [part % {"n": n} for part, n in zip(parts, numbers, strict=True) if n]
    return ", ".join(said) or gettext("not claimed yet")


def tags(site: AdminSite, operation: Operation) -> SafeString:
    """Return the stored tags, or the default ones, as links to a search. One query."""
    stored = OperationTag.objects.using(operation._alias).filter(operation_id=operation.pk)
    names = list(stored.order_by("pk").values_list("name", flat=True)) or Operation.tags(operation)
    if not site.is_registered(Operation):
        return format_html_join(" ", '<span class="operator-tag">{}</span>', ([n] for n in names))
    page = display.page(site, Operation)
    links = ((f"{page}?{urlencode({'q': name})}", name) for name in names)
    return format_html_join(" ", '<a class="operator-tag" href="{}">{}</a>', links)


def refusal(error: Exception) -> str:
    """Return what a person is told about an error that kept a page from doing its work."""
    if isinstance(error, IntegrityError):
        return gettext(
            "The database refused: rows of a table that this project does not know any more refer "
            "to this. Nothing was changed. (%s)"
        ) % str(error)
    return str(error)


def context(site: AdminSite, request: HttpRequest, operation: Operation) -> dict[str, Any]:
    """Return what the template of the page needs besides Django's own context.

    One query for the attempts; one for the kind's own row if the page is that of all kinds, and one
    more for each of its foreign keys.
    """
    context: dict[str, Any] = {}
    if type(operation) is Operation:
        instance = operation.specific
        if _may_view(request, type(instance)):
            context["operator_own_fields"] = list(_own_fields(instance))
            context["operator_kind"] = type(instance)._meta.verbose_name
            if type(instance) is not Operation and site.is_registered(type(instance)):
                context["operator_kind_page"] = display.page(site, type(instance), operation.pk)
    if _may_view(request, OperationJob):
        jobs = OperationJob.objects.using(operation._alias).filter(operation_id=operation.pk)
        latest = list(jobs.order_by("-number")[: ATTEMPTS_SHOWN + 1])
        context["operator_attempts"] = [
            _attempt(site, operation, job) for job in latest[:ATTEMPTS_SHOWN]
        ]
        context["operator_shows_attempts"] = True
        if len(latest) > ATTEMPTS_SHOWN and site.is_registered(OperationJob):
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
        badge=job_badge(job),
        page=display.page(site, OperationJob, job.pk) if site.is_registered(OperationJob) else None,
        when=display.moment(job.started_at, clock.now(operation._alias)),
        took=took(job),
        meta=meta(job),
        progress=progress(job),
    )


def job_badge(job: OperationJob) -> SafeString:
    """Return how an attempt ended, or that it has not."""
    if job.outcome is None:
        return display.badge("running", display.STATES)
    return display.badge(job.outcome, display.OUTCOMES)


def _own_fields(instance: Operation) -> Iterator[OwnField]:
    meta = type(instance)._meta
    for field in meta.concrete_fields:
        remote = getattr(field, "remote_field", None)
        if field.name in engine_names() or (remote and getattr(remote, "parent_link", False)):
            continue
        yield OwnField(capfirst(str(field.verbose_name)), _value(instance, field))
    for many in meta.many_to_many:
        names = [str(row) for row in getattr(instance, many.name).all()[: RELATED_SHOWN + 1]]
        if len(names) > RELATED_SHOWN:
            names[RELATED_SHOWN:] = ["…"]
        yield OwnField(capfirst(str(many.verbose_name)), ", ".join(names))


def _value(instance: Operation, field: models.Field[Any, Any]) -> Any:
    try:
        value = getattr(instance, field.name)
    except models.ObjectDoesNotExist:
        # A foreign key without a constraint, whose row is gone.
        value = getattr(instance, field.attname)
        return "-" if value is None else f"{value} ({gettext('gone')})"
    return display_for_field(value, field, "-")


def _may_view(request: HttpRequest, model: type[models.Model]) -> bool:
    """Whether the user may see rows of `model`, as in Django's inlines: to view or to change."""
    app_label = model._meta.app_label
    return any(
        request.user.has_perm(f"{app_label}.{get_permission_codename(verb, model._meta)}")
        for verb in ("view", "change")
    )
