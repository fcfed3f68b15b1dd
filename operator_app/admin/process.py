"""The pages of operators: how they are, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.db import router
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.asking import Asking
from operator_app.admin.pages import Navigated
from operator_app.admin.pagination import CappedPaginator
from operator_app.models import Operation, OperatorProcess
from operator_app.models.loads import IDLE, loads


@admin.register(OperatorProcess)
class OperatorProcessAdmin(Asking, Navigated):
    """Who runs operations, and whether he lives. Operators write their own rows, and take them
    along when they leave in order; people may ask them to leave: see `Asking`.
    """

    list_display = [
        "hostname",
        "pid",
        "health",
        "busy",
        "queue_names",
        "memory",
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
        (_("What it does"), {"fields": ["busy", "capacity", "queue_names", "memory"]}),
        (_("When"), {"fields": ["started_when", "beat_when", "alive_until_when", "lost_when"]}),
    ]

    class Media:
        css: ClassVar = {"all": [display.MEDIA, display.FLEET_MEDIA]}

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Tell each operator of the list how many operations it holds. One query for all of them:
        PostgreSQL takes one for each for so much work that it would compile it first.
        """
        found = super().get_changelist_instance(request)
        _tell_held(found.result_list, router.db_for_read(Operation))
        return found

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Tell the operator of the page as well. One query more than Django's."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            _tell_held([found], found._state.db)
        return found

    @admin.display(description=_("state"))
    def health(self, process: OperatorProcess) -> SafeString:
        """Alive, alive and about to leave, or lost."""
        if not process.is_alive(_now(process)):
            return display.badge("lost", display.HEALTH)
        leaves = process.draining or process.asked
        badge = display.badge("draining" if leaves else "alive", display.HEALTH)
        if not (wished := self.wished(process)):
            return badge
        return format_html('{} <span class="operator-quiet">{}</span>', badge, wished)

    @admin.display(description=_("busy"))
    def busy(self, process: Any) -> SafeString:
        """How many operations it holds on threads, of how many that it runs there at once, as a
        bar, too; and how many elsewhere.
        """
        number, most = process.load.on_threads, process.capacity
        bar = '<progress class="operator-load" max="{}" value="{}" aria-label="{}"></progress> {}'
        words = display.load(process.load, most)
        return format_html(bar, most or 1, min(number, most), words, self._held(process, words))

    @admin.display(description=_("memory"))
    def memory(self, process: OperatorProcess) -> str:
        """What it took at its last heartbeat."""
        return display.NOTHING if process.rss is None else filesizeformat(process.rss)

    def _held(self, process: Any, words: str) -> str | SafeString:
        """Return words as a link to what an operator holds."""
        if not process.load.all or not self.admin_site.is_registered(Operation):
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


def _tell_held(processes: Iterable[Any], alias: str) -> None:
    found = loads(alias)
    for process in processes:
        process.load = found.get(process.pk, IDLE)
