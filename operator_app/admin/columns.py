"""How the columns of an operation look, in lists and on its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import details, display, progress
from operator_app.admin.display import AnyModelAdmin
from operator_app.models import Operation

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words


def _moment(column: str, description: Words) -> Callable[[Any, Operation], str | SafeString]:
    """Return a read-only field that shows a moment to the second and in relative words."""

    @admin.display(description=description)
    def shown(self: Any, operation: Operation) -> str | SafeString:
        value: datetime | None = getattr(operation, column)
        return display.moment_in_full(value, clock.now(operation._alias))

    return shown


class OperationColumns(AnyModelAdmin):
    """What can be named in `list_display` and `fieldsets` besides the columns themselves. No
    queries, but where one is named.
    """

    # Columns of the list

    @admin.display(description=_("state"))
    def state_badge(self, operation: Operation) -> SafeString:
        """The state, as of now; in the list with how far it has come, while it runs."""
        badge = display.badge(operation.state, display.STATES)
        bar = progress.shown(operation)
        return format_html("{}<br>{}", badge, bar) if bar else badge

    @admin.display(description=_("kind"))
    def kind_name(self, operation: Operation) -> str | SafeString:
        """The label of the kind."""
        return details.kind_name(operation)

    @admin.display(description=_("should run"), ordering="should_run_at")
    def should_run(self, operation: Operation) -> SafeString | None:
        """When it was or is planned for."""
        return display.moment(operation.should_run_at, clock.now(operation._alias))

    @admin.display(description=_("started"))
    def started(self, operation: Operation) -> SafeString | None:
        """When it was claimed."""
        return display.moment(operation.started_run_at, clock.now(operation._alias))

    @admin.display(description=_("ended"))
    def ended(self, operation: Operation) -> SafeString | None:
        """When it was finished, failed or cancelled."""
        return display.moment(details.ended_at(operation), clock.now(operation._alias))

    @admin.display(description=_("attempt"))
    def attempt(self, operation: Operation) -> str:
        """Which attempt it is at, of how many."""
        return details.attempt(operation)

    @admin.display(description=_("reason"))
    def reason_in_short(self, operation: Operation) -> SafeString | None:
        """Why it ended as it did."""
        return display.shortened(operation.reason)

    # What a page adds

    planned_when = _moment("should_run_at", _("should run"))
    claimed_when = _moment("started_run_at", _("claimed"))
    begun_when = _moment("begun_run_at", _("begun"))
    times_out_when = _moment("times_out_at", _("times out"))
    abort_requested_when = _moment("abort_requested_at", _("abort requested"))
    created_when = _moment("created_at", _("created"))

    @admin.display(description=_("ended"))
    def ended_when(self, operation: Operation) -> str | SafeString:
        """When it was finished, failed or cancelled."""
        now = clock.now(operation._alias)
        return display.moment_in_full(details.ended_at(operation), now)

    @admin.display(description=_("so far"))
    def counters(self, operation: Operation) -> str:
        """What it has been through."""
        return details.counters(operation)

    @admin.display(description=_("tags"))
    def tags(self, operation: Operation) -> SafeString:
        """The tags, each a link to what else has it. One query."""
        return details.tags(self.admin_site, operation)

    @admin.display(description=_("recurrence"))
    def recurrence(self, operation: Operation) -> str | SafeString:
        """The recurrence that made it, and the slot. Two queries."""
        return details.recurrence(self.admin_site, operation)

    @admin.display(description=_("operator"))
    def operator_name(self, operation: Operation) -> str | SafeString:
        """The operator that holds it or ran it. One query."""
        return display.operator_link(self.admin_site, operation)
