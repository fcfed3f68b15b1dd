"""The pages of operators, for reading."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.pagination import CappedPaginator
from operator_app.models import Operation, OperatorProcess


@admin.register(OperatorProcess)
class OperatorProcessAdmin(AnyModelAdmin):
    """Who runs operations, and whether he lives. Operators write their own rows, and take them
    along when they leave in order.
    """

    list_display = [
        "hostname",
        "pid",
        "health",
        "holds",
        "capacity",
        "queue_names",
        "version",
        "started",
        "last_beat",
    ]
    ordering = ["-pk"]
    sortable_by = ["hostname", "pid"]
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    actions = None
    fieldsets = [
        (None, {"fields": ["hostname", "pid", "health", "version", "uuid"]}),
        (_("What it does"), {"fields": ["holds", "capacity", "queue_names"]}),
        (_("When"), {"fields": ["started_when", "beat_when", "alive_until_when", "lost_when"]}),
    ]

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The operators, each with how many operations it holds: one range of an index per row."""
        held = Operation.all_objects.started().filter(operator_id=OuterRef("pk")).order_by()
        count = held.values("operator_id").annotate(number=Count("pk")).values("number")
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.annotate(held=Coalesce(Subquery(count), 0))  # type: ignore[no-any-return]

    @admin.display(description=_("state"))
    def health(self, process: OperatorProcess) -> SafeString:
        """Alive, alive and about to leave, or lost."""
        if not process.is_alive(_now(process)):
            return display.badge("lost", display.HEALTH)
        return display.badge("draining" if process.draining else "alive", display.HEALTH)

    @admin.display(description=_("holds"))
    def holds(self, process: Any) -> str | SafeString:
        """How many operations it has claimed and not ended, as a link to them."""
        number = process.held
        words = ngettext("%(n)d operation", "%(n)d operations", number) % {"n": number}
        if not number or not self.admin_site.is_registered(Operation):
            return words
        page = display.page(self.admin_site, Operation)
        state = "running" if process.is_alive(_now(process)) else "stuck"
        return format_html(
            '<a href="{}?operator={}&amp;state={}">{}</a>', page, process.pk, state, words
        )

    @admin.display(description=_("queues"))
    def queue_names(self, process: OperatorProcess) -> str:
        """The queues it serves."""
        return ", ".join(map(str, process.queues)) if process.queues else gettext("all")

    @admin.display(description=_("started"))
    def started(self, process: OperatorProcess) -> SafeString | None:
        """When it started."""
        return display.moment(process.started_at, _now(process))

    @admin.display(description=_("last heartbeat"))
    def last_beat(self, process: OperatorProcess) -> SafeString | None:
        """When it last showed that it lives."""
        return display.moment(process.heartbeat_at, _now(process))

    @admin.display(description=_("started"))
    def started_when(self, process: OperatorProcess) -> str | SafeString:
        """When it started, to the second."""
        return display.moment_in_full(process.started_at, _now(process))

    @admin.display(description=_("last heartbeat"))
    def beat_when(self, process: OperatorProcess) -> str | SafeString:
        """When it last showed that it lives, to the second."""
        return display.moment_in_full(process.heartbeat_at, _now(process))

    @admin.display(description=_("alive until"))
    def alive_until_when(self, process: OperatorProcess) -> str | SafeString:
        """When it counts as lost unless it shows that it lives."""
        return display.moment_in_full(process.alive_until, _now(process))

    @admin.display(description=_("lost"))
    def lost_when(self, process: OperatorProcess) -> str | SafeString:
        """When it was declared lost."""
        return display.moment_in_full(process.lost_at, _now(process))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """An operator is started by `manage.py operator`."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An operator writes its own row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deleting the row of one that lives would make everybody think that it died."""
        return False


def _now(process: OperatorProcess) -> Any:
    return clock.now(process._state.db or "default")
