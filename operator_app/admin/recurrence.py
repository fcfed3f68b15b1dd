"""The pages of recurrences."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.kind_choice import KindForm
from operator_app.exceptions import OperationExists
from operator_app.models import Operation, Recurrence, RecurrenceSlot
from operator_app.models.recurrence import GONE, as_sentences

LATEST: Final = 30
"""How many of the last slots a page shows."""
FROM_CODE: Final = ("enabled",)
"""What people may change of a recurrence that the code declares."""


@admin.register(Recurrence)
class RecurrenceAdmin(AnyModelAdmin):
    """When operations are made, again and again: add, edit, disable, run now."""

    form = KindForm
    list_display = [
        "name",
        "kind_name",
        "in_words",
        "time_zone",
        "next_slot",
        "latest_slot",
        "health",
    ]
    list_filter = ["enabled", "from_code"]
    search_fields = ["name", "expression"]
    ordering = ["name"]
    sortable_by = ["name", "next_slot"]
    actions = ["enable_selected", "disable_selected", "run_selected_now"]
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

    @admin.display(description=_("kind"), ordering="kind__model")
    def kind_name(self, recurrence: Recurrence) -> str:
        """The label of the kind."""
        return recurrence.kind_label

    @admin.display(description=_("when"))
    def in_words(self, recurrence: Recurrence) -> SafeString:
        """When it recurs, the expression as a tooltip."""
        return format_html('<span title="{}">{}</span>', recurrence.expression, recurrence.words)

    @admin.display(description=_("next"), ordering="next_run_at")
    def next_slot(self, recurrence: Recurrence) -> SafeString | None:
        """When the next operation is made."""
        return display.moment(recurrence.next_run_at, _now(recurrence))

    @admin.display(description=_("last"))
    def latest_slot(self, recurrence: Recurrence) -> SafeString | None:
        """The last slot that was seen to."""
        return display.moment(recurrence.last_slot, _now(recurrence))

    @admin.display(description=_("enabled"))
    def health(self, recurrence: Recurrence) -> SafeString | str:
        """Whether it makes operations, and if not, why."""
        if recurrence.enabled:
            return gettext("yes") if recurrence.next_run_at else gettext("over")
        why = recurrence.disabled_reason
        return format_html("{} {}", gettext("no"), f"({why})") if why else gettext("no")

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

    # Actions

    @admin.action(permissions=["change"], description=_("Enable selected recurrences"))
    def enable_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Let them go on, from now."""
        count = queryset.enable()
        text = ngettext(
            "%(count)d recurrence was enabled.", "%(count)d recurrences were enabled.", count
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(permissions=["change"], description=_("Disable selected recurrences"))
    def disable_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Let them make no more operations."""
        count = queryset.disable(gettext("disabled by %s in the admin") % request.user)
        text = ngettext(
            "%(count)d recurrence was disabled.", "%(count)d recurrences were disabled.", count
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(permissions=["change"], description=_("Run selected recurrences now"))
    def run_selected_now(self, request: HttpRequest, queryset: Any) -> None:
        """Make an operation of each, besides those of its slots."""
        for recurrence in queryset:
            try:
                operation = recurrence.run_now()
            except (TypeError, ValueError, ValidationError, OperationExists) as error:
                why = f"{recurrence}: {' '.join(as_sentences(error))}"
                self.message_user(request, why, messages.ERROR)
            else:
                name = display.link(self.admin_site, operation, str(operation))
                said = format_html("{}: {}", recurrence, name)
                self.message_user(request, said, messages.SUCCESS)

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
