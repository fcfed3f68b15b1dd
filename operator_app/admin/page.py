"""What the page of one operation shows around its form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.safestring import SafeString

from operator_app import clock
from operator_app.admin import attempts, display, history, own_fields
from operator_app.admin.guard import is_pending, is_started, may_view
from operator_app.admin.permissions import may
from operator_app.models import Operation, OperationJob, timeline
from operator_app.models.events import Event
from operator_app.models.explanation import Reason

if TYPE_CHECKING:
    from operator_app.admin.operation import OperationAdmin


CALM: Final = {"scheduled", "due", "claimed", "running", *display.OUTCOMES}
"""The reasons that say that all goes its way."""


class Moment(NamedTuple):
    """An event of the timeline, as it is shown."""

    event: Event
    when: SafeString | str
    exact: str


def context(pages: OperationAdmin, request: HttpRequest, operation: Operation) -> dict[str, Any]:
    """Return what the template of the page needs besides Django's own context.

    A constant number of queries: up to five for the explanation, two for the timeline, one for the
    attempts, one for the stack, two for earlier runs; one for the kind's own row if the page is
    that of all kinds, and one more for each of its foreign keys and many-to-many fields.
    """
    site = pages.admin_site
    found = _own(site, request, operation)
    sees_attempts = may_view(request, OperationJob)
    reasons = _reasons(operation, sees_attempts=sees_attempts)
    found["operator_reasons"] = reasons
    found["operator_is_alarming"] = any(reason.code not in CALM for reason in reasons)
    found["operator_timeline"] = _timeline(operation, sees_attempts=sees_attempts)
    if sees_attempts:
        found |= attempts.context(site, operation)
    found |= pages.stack_context(request, operation)
    return found | history.context(site, pages.model, operation)


def _own(site: AdminSite, request: HttpRequest, operation: Operation) -> dict[str, Any]:
    """Return the kind's own fields, on the page of all kinds."""
    if type(operation) is not Operation:
        return {}
    instance = operation.specific
    kind = type(instance)
    if not may(request, "view", kind):
        return {}
    found: dict[str, Any] = {
        "operator_own_fields": list(own_fields.of(site, request, instance)),
        "operator_kind": kind._meta.verbose_name,
    }
    if kind is not Operation and site.is_registered(kind):
        found["operator_kind_page"] = display.page(site, kind, operation.pk)
    return found


def _reasons(operation: Operation, *, sees_attempts: bool) -> list[Reason]:
    """Return why it has not ended yet. What it said of itself is for those who see attempts."""
    if not is_pending(operation) and not is_started(operation):
        return []
    reasons = operation.explain()
    if sees_attempts:
        return reasons
    return [reason for reason in reasons if reason.code not in display.OUTCOMES]


def _timeline(operation: Operation, *, sees_attempts: bool) -> list[Moment]:
    now = clock.now(operation._alias)
    jobs = timeline.jobs_of(operation) if sees_attempts else []
    pauses = timeline.pauses_of(operation, now) if is_pending(operation) else []
    events = timeline.tell(operation, jobs, now, state=operation.state, pauses=pauses)
    return [
        Moment(event, display.ago(event.at, now, short=True), display.exact(event.at))
        for event in events
    ]
