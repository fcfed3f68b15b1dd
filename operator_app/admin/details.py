"""The facts of an operation in words."""

from __future__ import annotations

from datetime import datetime

from django.contrib.admin import AdminSite
from django.db import IntegrityError
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from operator_app.admin import display
from operator_app.models import Operation, OperationTag, RecurrenceSlot, kinds


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


def recurrence(site: AdminSite, operation: Operation) -> str | SafeString:
    """Return the recurrence that made an operation as a link, and the slot; a dash for none. Two
    queries.
    """
    rows = RecurrenceSlot.objects.using(operation._alias).select_related("recurrence")
    slot = rows.filter(operation_id=operation.pk).first()
    if slot is None:
        return display.NOTHING
    name = display.link(site, slot.recurrence, str(slot.recurrence))
    return format_html("{}, {}", name, display.exact(slot.slot))


def refusal(error: Exception) -> str:
    """Return what a person is told about an error that kept a page from doing its work."""
    if isinstance(error, IntegrityError):
        return gettext(
            "The database refused: rows of a table that this project does not know any more refer "
            "to this. Nothing was changed. (%s)"
        ) % str(error)
    return str(error)
