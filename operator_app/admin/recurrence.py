"""The pages of recurrences."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.kind_choice import KindForm
from operator_app.admin.recurrence_verbs import RecurrenceVerbs
from operator_app.admin.strip import strip
from operator_app.models import Operation, Recurrence, RecurrenceSlot
from operator_app.models.recurrence import GONE
from operator_app.models.results import LATEST, latest

FROM_CODE: Final = ("enabled",)
"""What people may change of a recurrence that the code declares."""


@admin.register(Recurrence)
class RecurrenceAdmin(RecurrenceVerbs):
    """When operations are made, again and again: add, edit, disable, run now."""

    form = KindForm
    list_display = [
        "name_and_kind",
        "in_words_and_where",
        "next_slots",
        "strip",
        "buttons",
    ]
    list_filter = ["enabled", "from_code"]
    search_fields = ["name", "expression"]
    ordering = ["name"]
    sortable_by = ["name_and_kind", "next_slots"]
    list_per_page = 50
    change_form_template = "operator_app/admin/recurrence_form.html"
    fieldsets = [
        (None, {"fields": ["name", "kind", "fields", "enabled", "disabled_reason"]}),
        (_("When"), {"fields": ["expression", "in_words", "time_zone", "next_five"]}),
        (_("How"), {"fields": ["queue", "priority", "jitter"]}),
        (_("What if"), {"fields": ["missed", "overlap", "window"]}),
        (_("From and until"), {"fields": ["start_at", "end_at"]}),
        (_("So far"), {"fields": ["slots"]}),
    ]
    readonly_fields = ["disabled_reason", "in_words", "next_five", "slots"]

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the kinds."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("kind")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Add to the rows of the page what its columns show of them: two queries for all."""
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        results = latest(rows, router.db_for_read(self.model))
        for row in rows:
            row.shown_results = results[row.pk]
            row.shown_buttons = self.verb_buttons(request, row)
        return changes

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the buttons."""
        if (obj := context.get("original")) is not None:
            context["operator_buttons"] = self.verb_buttons(request, obj)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without what a new one does not have yet."""
        absent = {"disabled_reason"} if obj is None or not obj.disabled_reason else set()
        absent |= {"in_words", "next_five", "slots"} if obj is None else set()
        found = []
        for title, options in super().get_fieldsets(request, obj):
            names = [name for name in options["fields"] if name not in absent]
            if names:
                found.append((title, {**options, "fields": names}))
        return found

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All but whether it is enabled, of one that the code declares."""
        if obj is None or not obj.from_code:
            return list(self.readonly_fields)
        names = [name for _title, options in self.fieldsets or () for name in options["fields"]]
        return [str(name) for name in names if name not in FROM_CODE]

    # Columns

    @admin.display(description=_("name"), ordering="name")
    def name_and_kind(self, recurrence: Recurrence) -> SafeString:
        """What it is called, and the kind of its operations."""
        kind = format_html('<span class="operator-quiet">{}</span>', self.kind_name(recurrence))
        return format_html("{}<br>{}", recurrence.name, kind)

    @admin.display(description=_("kind"), ordering="kind__model")
    def kind_name(self, recurrence: Recurrence) -> str:
        """The label of the kind."""
        return recurrence.kind_label

    @admin.display(description=_("when"))
    def in_words(self, recurrence: Recurrence) -> SafeString:
        """When it recurs, the expression as a tooltip."""
        return format_html('<span title="{}">{}</span>', recurrence.expression, recurrence.words)

    @admin.display(description=_("when"))
    def in_words_and_where(self, recurrence: Recurrence) -> SafeString:
        """When it recurs, and where the clock hangs."""
        where = format_html('<span class="operator-quiet">{}</span>', recurrence.time_zone)
        return format_html("{}<br>{}", self.in_words(recurrence), where)

    @admin.display(description=_("next"), ordering="next_run_at")
    def next_slots(self, recurrence: Recurrence) -> SafeString | str:
        """When the next operation is made, and to open, the next five times; or why none is."""
        if recurrence.next_run_at is None or not recurrence.enabled:
            return self.stopped(recurrence)
        soon = self.next_slot(recurrence)
        return format_html(
            '<details class="operator-more"><summary>{}</summary>{}</details>',
            soon,
            self.next_five(recurrence),
        )

    @admin.display(description=_("last results"))
    def strip(self, recurrence: Any) -> SafeString | str:
        """How the last operations have ended, a cell for each."""
        return strip(self.admin_site, recurrence.shown_results, _now(recurrence))

    @admin.display(description=_("do"))
    def buttons(self, recurrence: Any) -> SafeString | str:
        """What the user may do to it; the form around the list posts it."""
        html = (
            '<button class="operator-small" formaction="{}">'
            '{}<span class="visually-hidden"> {}</span></button>'
        )
        found = [(button.address, button.label, recurrence) for button in recurrence.shown_buttons]
        return format_html_join(" ", html, found) or display.NOTHING

    @admin.display(description=_("next"), ordering="next_run_at")
    def next_slot(self, recurrence: Recurrence) -> SafeString | None:
        """When the next operation is made."""
        return display.moment(recurrence.next_run_at, _now(recurrence))

    @admin.display(description=_("last"))
    def latest_slot(self, recurrence: Recurrence) -> SafeString | None:
        """The last slot that was seen to."""
        return display.moment(recurrence.last_slot, _now(recurrence))

    @admin.display(description=_("stopped"))
    def stopped(self, recurrence: Recurrence) -> SafeString | str:
        """Why it makes no operations; a dash if it does."""
        if recurrence.enabled:
            return display.NOTHING if recurrence.next_run_at else gettext("over")
        html = '<span class="operator-badge operator-off">{}</span> {}'
        return format_html(html, gettext("disabled"), recurrence.disabled_reason)

    @admin.display(description=_("next five times"))
    def next_five(self, recurrence: Recurrence) -> SafeString | str:
        """The next slots, on the clock of its zone."""
        times = recurrence.next_times(5)
        if not times:
            return gettext("none: it is over")
        return _list(f"{each:%a %Y-%m-%d %H:%M:%S %Z}" for each in times)

    @admin.display(description=_("last slots"))
    def slots(self, recurrence: Recurrence) -> SafeString | str:
        """What became of the last slots, each with its operation. Two queries."""
        rows = list(recurrence.slots.order_by("-slot")[:LATEST])
        ids = [row.operation_id for row in rows if row.operation_id is not None]
        found = Operation.all_objects.select_related("operator").in_bulk(ids)
        if not rows:
            return gettext("none so far")
        items = format_html_join(
            "",
            "<li>{} {}</li>",
            ((display.exact(row.slot), self._fate(row, found)) for row in rows),
        )
        return format_html("<ol>{}</ol>", items)

    def _fate(self, row: RecurrenceSlot, found: dict[Any, Operation]) -> SafeString | str:
        operation = found.get(row.operation_id)
        if operation is not None:
            name = display.link(self.admin_site, operation, f"#{operation.pk}")
            return format_html("{} {}", display.badge(operation.state, display.STATES), name)
        if row.operation_id is not None:
            return gettext("#%d, which is gone") % row.operation_id
        return f"{row.get_state_display()}: {row.reason}"

    # What may be changed

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Not of one that the code declares: the next operator that starts would bring it back."""
        if obj is not None and obj.from_code and obj.disabled_reason != GONE:
            return False
        return super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write it, and who has disabled it."""
        if not obj.enabled and "enabled" in form.changed_data:
            obj.disabled_reason = gettext("disabled by %s in the admin") % request.user
        super().save_model(request, obj, form, change)


def _list(lines: Any) -> SafeString:
    return format_html(
        "<ol>{}</ol>", format_html_join("", "<li>{}</li>", ((line,) for line in lines))
    )


def _now(recurrence: Recurrence) -> datetime:
    return clock.now(recurrence._state.db or "default")
