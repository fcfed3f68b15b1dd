"""How states, moments and links look on the pages. Every value is escaped; no queries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.db import models
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timesince import TIME_STRINGS, timesince
from django.utils.translation import gettext, ngettext_lazy, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from operator_app.models import OperatorProcess
from operator_app.models.loads import Load

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

    from operator_app.models import Operation

    # It takes a type argument in its stubs only.
    AnyModelAdmin = ModelAdmin[Any]
else:
    AnyModelAdmin = ModelAdmin

STATES: Final[Mapping[str, Words]] = {
    "scheduled": pgettext_lazy("operation", "scheduled"),
    "due": pgettext_lazy("operation", "due"),
    "running": pgettext_lazy("operation", "running"),
    "stuck": pgettext_lazy("operation", "stuck"),
    "finished": pgettext_lazy("operation", "finished"),
    "failed": pgettext_lazy("operation", "failed"),
    "cancelled": pgettext_lazy("operation", "cancelled"),
}
"""The states of an operation, which are also the adjectives of its queryset."""

OUTCOMES: Final[Mapping[str, Words]] = {
    "finished": pgettext_lazy("attempt", "finished"),
    "stopped": pgettext_lazy("attempt", "stopped"),
    "cancelled": pgettext_lazy("attempt", "cancelled"),
    "retried": pgettext_lazy("attempt", "retried"),
    "failed": pgettext_lazy("attempt", "failed"),
    "aborted": pgettext_lazy("attempt", "aborted"),
    "released": pgettext_lazy("attempt", "released"),
}
"""How an attempt may have ended."""

HEALTH: Final[Mapping[str, Words]] = {
    "alive": pgettext_lazy("operator", "alive"),
    "draining": pgettext_lazy("operator", "draining"),
    "lost": pgettext_lazy("operator", "lost"),
}
"""How an operator is."""

MEDIA: Final = "operator_app/admin.css"
"""The style sheet of the pages."""
FLEET_MEDIA: Final = "operator_app/fleet.css"
"""What the pages of operators, and of what is stuck or has failed, need besides."""

IN_SHORT: Final[dict[str, Any]] = {
    "year": ngettext_lazy("%(num)d y", "%(num)d y", "num"),
    "month": ngettext_lazy("%(num)d mo", "%(num)d mo", "num"),
    "week": ngettext_lazy("%(num)d wk", "%(num)d wk", "num"),
    "day": ngettext_lazy("%(num)d d", "%(num)d d", "num"),
    "hour": ngettext_lazy("%(num)d h", "%(num)d h", "num"),
    "minute": ngettext_lazy("%(num)d min", "%(num)d min", "num"),
    "second": ngettext_lazy("%(num)d s", "%(num)d s", "num"),
}
"""Units for the narrow columns of a list."""

IN_FULL: Final = TIME_STRINGS | {
    "second": ngettext_lazy("%(num)d second", "%(num)d seconds", "num")
}

NOTHING: Final = "-"
"""What a page shows where there is nothing, as Django does."""

REASON_SHOWN: Final = 80
"""How many characters of a reason or message a list shows."""


def badge(name: str | None, labels: Mapping[str, Words]) -> SafeString:
    """Return the name of a state as text in colour. Unknown names are shown as they are."""
    known = name if name in labels else "unknown"
    return format_html(
        '<span class="operator-badge operator-{}">{}</span>', known, labels.get(name or "", name)
    )


def ago(moment: datetime, now: datetime, *, short: bool = False) -> str:
    """Return "in 5 minutes", "3 hours, 2 minutes ago" or "now"; if short "in 5 min", "3 h ago"."""
    seconds = int((moment - now).total_seconds())
    if seconds == 0:
        return gettext("now")
    if abs(seconds) < 60:
        words = (IN_SHORT if short else IN_FULL)["second"] % {"num": abs(seconds)}
    elif short:
        words = timesince(min(moment, now), max(moment, now), time_strings=IN_SHORT, depth=1)
    else:
        words = timesince(min(moment, now), max(moment, now))
    return (gettext("in %s") if seconds > 0 else gettext("%s ago")) % words


def moment(value: datetime | None, now: datetime) -> SafeString | None:
    """Return a moment in relative words, the exact time as a tooltip; None for none."""
    if value is None:
        return None
    return format_html(
        '<time class="operator-time" datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        exact(value),
        ago(value, now, short=True),
    )


def moment_in_full(value: datetime | None, now: datetime) -> str | SafeString:
    """Return a moment to the second and in relative words; a dash for none."""
    if value is None:
        return NOTHING
    return format_html(
        '<time datetime="{}">{}</time> <span class="operator-quiet">({})</span>',
        value.isoformat(),
        exact(value),
        ago(value, now),
    )


def exact(value: datetime) -> str:
    """Return a moment to the second, in the current time zone: operators think in seconds."""
    if settings.USE_TZ:
        value = timezone.localtime(value)
    return f"{formats.date_format(value, 'DATE_FORMAT')}, {value:%H:%M:%S}"


def duration(start: datetime, end: datetime) -> str:
    """Return how long something took."""
    seconds = max((end - start).total_seconds(), 0)
    if seconds < 1:
        return gettext("%(number)d ms") % {"number": round(seconds * 1000)}
    if seconds < 60:
        return gettext("%(number)s s") % {"number": formats.number_format(seconds, 1)}
    return timesince(start, end)


def shortened(text: str) -> SafeString | None:
    """Return `text` at a length that fits a list, all of it as a tooltip if it is longer; None for
    none.
    """
    if not text:
        return None
    whole = text if len(text) > REASON_SHOWN else ""
    beginning = Truncator(text).chars(REASON_SHOWN)
    return format_html('<span class="operator-words" title="{}">{}</span>', whole, beginning)


def block(text: str) -> str | SafeString:
    """Return text with its line breaks kept, as tracebacks need it; a dash for none."""
    if not text:
        return NOTHING
    # What scrolls is reached with the keyboard, too.
    return format_html('<pre class="operator-text" tabindex="0">{}</pre>', text)


def link(site: AdminSite, target: models.Model, text: str) -> str | SafeString:
    """Return `text` as a link to the page of `target`, if its model has pages on this site."""
    if target.pk is None or not site.is_registered(type(target)):
        return text
    return format_html('<a href="{}">{}</a>', page(site, type(target), target.pk), text)


def page(site: AdminSite, model: type[models.Model], pk: object = None) -> str:
    """Return the address of a row's page, or of the list of a model."""
    meta = model._meta
    view = "changelist" if pk is None else "change"
    name = f"admin:{meta.app_label}_{meta.model_name}_{view}"
    return reverse(name, args=() if pk is None else (pk,), current_app=site.name)


def load(held: Load, capacity: int) -> str:
    """Return how much an operator has to do: on its threads, and elsewhere if it has that."""
    words = {"n": held.on_threads, "most": capacity, "more": held.elsewhere}
    if held.elsewhere:
        return gettext("%(n)d of %(most)d, %(more)d off threads") % words
    return gettext("%(n)d of %(most)d") % words


def operator_of(operation: Operation) -> OperatorProcess | None:
    """Return the operator that holds an operation or ran it; None if its row is gone, as rows of
    operators are once they have left. One query unless it is loaded.
    """
    try:
        return operation.operator
    except OperatorProcess.DoesNotExist:
        return None


def operator_link(site: AdminSite, operation: Operation) -> str | SafeString:
    """Return the operator of an operation as "host:pid" with a link, or "gone"; a dash for none."""
    if operation.operator_id is None:
        return NOTHING
    if (found := operator_of(operation)) is None:
        return format_html('<span class="operator-quiet">{}</span>', _("gone"))
    return link(site, found, str(found))
