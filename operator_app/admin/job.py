"""The pages of attempts, for reading."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import attempts, display, permissions, traceback
from operator_app.admin.display import AnyModelAdmin
from operator_app.admin.filters import OutcomeFilter
from operator_app.admin.pagination import CappedPaginator
from operator_app.models import Operation, OperationJob, search

LONG_TEXTS = ("traceback", "log", "stack", "meta")
"""Columns that a list has no use for, of many kilobytes each."""


@admin.register(OperationJob)
class OperationJobAdmin(AnyModelAdmin):
    """Attempts are history: nobody writes it by hand. They go when their operation goes."""

    list_display = [
        "id",
        "operation_link",
        "number",
        "outcome_badge",
        "exception_class",
        "message_in_short",
        "started",
        "took",
        "operator",
    ]
    list_filter = [OutcomeFilter]
    search_fields = ["=operation__id"]  # more than that: see get_search_results
    search_help_text = _("The id of an operation, or the name of an exception.")
    list_select_related = ["operation"]
    ordering = ["-pk"]
    sortable_by = ["id"]
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    actions = None
    fieldsets = [
        (None, {"fields": ["operation_link", "number", "outcome_badge", "operator"]}),
        (_("When"), {"fields": ["started_when", "ended_when", "took"]}),
        (
            _("What went wrong"),
            {"fields": ["exception_class", "fingerprint", "message_text", "traceback_text"]},
        ),
        (_("What it said"), {"fields": ["progress", "log_text", "meta_text", "stack_text"]}),
    ]

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    @admin.display(description=_("operation"))
    def operation_link(self, job: OperationJob) -> str | SafeString:
        """The operation, by kind and id."""
        return display.link(self.admin_site, job.operation, str(job.operation))

    @admin.display(description=_("outcome"))
    def outcome_badge(self, job: OperationJob) -> SafeString:
        """How it ended."""
        return attempts.badge(job)

    @admin.display(description=_("message"))
    def message_in_short(self, job: OperationJob) -> SafeString | None:
        """The beginning of the message."""
        return display.shortened(job.message)

    @admin.display(description=_("started"))
    def started(self, job: OperationJob) -> SafeString | None:
        """When it started."""
        return display.moment(job.started_at, clock.now(job.alias))

    @admin.display(description=_("took"))
    def took(self, job: OperationJob) -> str:
        """How long it took."""
        return attempts.took(job) or display.NOTHING

    @admin.display(description=_("started"))
    def started_when(self, job: OperationJob) -> str | SafeString:
        """When it started, to the second."""
        return display.moment_in_full(job.started_at, clock.now(job.alias))

    @admin.display(description=_("ended"))
    def ended_when(self, job: OperationJob) -> str | SafeString:
        """When it ended, to the second."""
        return display.moment_in_full(job.ended_at, clock.now(job.alias))

    @admin.display(description=_("message"))
    def message_text(self, job: OperationJob) -> str | SafeString:
        """All of the message."""
        return display.block(job.message)

    @admin.display(description=_("traceback"))
    def traceback_text(self, job: OperationJob) -> str | SafeString:
        """The traceback, escaped."""
        return traceback.shown(job.traceback, gettext("Traceback"))

    @admin.display(description=_("progress"))
    def progress(self, job: OperationJob) -> str:
        """How far it came."""
        return attempts.progress(job) or display.NOTHING

    @admin.display(description=_("log"))
    def log_text(self, job: OperationJob) -> str | SafeString:
        """What it logged."""
        return display.block(job.log)

    @admin.display(description=_("meta"))
    def meta_text(self, job: OperationJob) -> str | SafeString:
        """What it noted in `job.meta`."""
        return display.block(attempts.meta(job))

    @admin.display(description=_("stack"))
    def stack_text(self, job: OperationJob) -> str | SafeString:
        """Where it was."""
        return traceback.shown(job.stack, gettext("Stack"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The attempts of operations that the user may view; for the list, without what only a page
        shows. No queries but for content types and the user's permissions, the first time.
        """
        rows = super().get_queryset(request)
        allowed = permissions.kinds_allowed(request, "view", Operation, rows.db)
        if allowed is not None:
            rows = rows.filter(operation__kind_id__in=allowed)
        match = request.resolver_match
        on_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer(*LONG_TEXTS) if on_list else rows

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """What there is: most attempts say little."""
        said = (
            (title, {"fields": [name for name in options["fields"] if self._says(obj, name)]})
            for title, options in super().get_fieldsets(request, obj)
        )
        return [section for section in said if section[1]["fields"]]

    def _says(self, job: OperationJob | None, name: Any) -> bool:
        shown = getattr(self, name, None) or (lambda job: getattr(job, name))
        return job is None or shown(job) not in (display.NOTHING, "", None)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """An id by its index; the name of an exception, or a part of it, row by row."""
        term = search_term.strip()
        if match := re.fullmatch(r"#?(\d{1,19})", term):
            pk = int(match[1])
            mine = Q(operation_id=pk) if pk <= search.LARGEST_ID else Q(pk__in=[])
            return queryset.filter(mine), False
        found = Q(exception_class__icontains=term)
        return (queryset.filter(found) if term else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """An attempt is made by running."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened, happened."""
        return False

    # Django also asks has_delete_permission() where an operation, or a user whose operations go
    # along, is to be deleted. So it is Django's own, and these pages merely do not offer to delete.

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Refused: an attempt goes with its operation."""
        raise PermissionDenied

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Leave out the button that deletes."""
        context["show_delete"] = False
        return super().render_change_form(request, context, *args, **kwargs)
