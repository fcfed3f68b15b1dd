"""The list of operations: which rows, in which order, found by what."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.options import ShowFacets
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from operator_app.admin import details, runs
from operator_app.admin.access import OperationAccess
from operator_app.admin.changelist import OperationChangeList
from operator_app.admin.filters import (
    ExceptionFilter,
    FingerprintFilter,
    KindFilter,
    OperatorFilter,
    QueueFilter,
    StateFilter,
    TagFilter,
)
from operator_app.admin.pagination import CappedPaginator
from operator_app.admin.spans import TimeFilter
from operator_app.admin.verbs import VERBS
from operator_app.exceptions import OperationExists, OperationStarted
from operator_app.models import search
from operator_app.models.guards import engine_names

SEARCH_FIELDS = ["=pk"]  # more than that: see `search.condition`


class OperationList(OperationAccess):
    """A list costs the same number of queries however many rows it shows, and wherever among them
    a page is: no DISTINCT, no COUNT of all rows, no offset.
    """

    list_display = [
        "id",
        "state_badge",
        "should_run",
        "started",
        "ended",
        "attempt",
        "reason_in_short",
        "queue",
        "priority",
    ]
    list_filter = [
        StateFilter,
        KindFilter,
        QueueFilter,
        OperatorFilter,
        TimeFilter,
        TagFilter,
        ExceptionFilter,
        FingerprintFilter,
    ]
    search_fields = SEARCH_FIELDS
    search_help_text = _("An id, a tag such as app.Model:17, or a unique key.")
    # By the primary key, which is what an index can deliver in order; see sortable_by.
    ordering = ["-pk"]
    sortable_by = ["id", "should_run"]
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    change_list_template = "operator_app/admin/operation_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[OperationChangeList]:
        """Return the class that finds a page of the list."""
        return OperationChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The operations of the kind that the user may view, cancelled ones too."""
        rows = self.viewable(request, self.model.all_objects.get_queryset())
        return rows.order_by(*(self.get_ordering(request) or ()))

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        """Add the operator, which tells the state, to what a subclass or its columns ask for."""
        wanted = super().get_list_select_related(request)
        if isinstance(wanted, bool):
            shown = self.get_list_display(request)
            wanted = [
                field.name
                for field in self.model._meta.concrete_fields
                if field.is_relation and field.name not in engine_names()
                if not field.remote_field.parent_link and (wanted or field.name in shown)
            ]
        return [*wanted, "operator"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by id, tag and unique key; and in a subclass's own `search_fields`."""
        if not (term := search_term.strip()):
            return queryset, False
        found = search.condition(term, queryset.db)
        if self.get_search_fields(request) != SEARCH_FIELDS:
            theirs, _repeated = super().get_search_results(request, queryset, search_term)
            found |= Q(pk__in=theirs.order_by().values("pk"))
        return queryset.filter(found), False

    @method_decorator(csrf_protect)
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list, or do what was chosen for some rows, or nothing if that is refused.

        Raises:
            PermissionDenied: for an action that is not this user's: Django would show the list, as
                if nothing had been asked.
        """
        wanted = VERBS.keys() & set(request.POST.getlist("action"))
        if wanted - self.get_actions(request).keys():
            raise PermissionDenied
        try:
            if (going := runs.going(self, request)) is not None:
                return going
            return super().changelist_view(request, extra_context)
        except (OperationStarted, OperationExists, IntegrityError) as refusal:
            if request.method != "POST":
                raise
            self.message_user(request, details.refusal(refusal), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())
