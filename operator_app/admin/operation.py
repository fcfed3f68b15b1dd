"""The pages of operations: the base of every kind's own admin."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, Final

from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, router, transaction
from django.db.models import QuerySet
from django.forms import Field
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import details, display, guard, page
from operator_app.admin.actions import OperationActions
from operator_app.admin.columns import OperationColumns
from operator_app.admin.listing import OperationList
from operator_app.admin.pages import Navigated
from operator_app.admin.parts import SiteOfWholes
from operator_app.admin.sensitive import SensitiveFields
from operator_app.admin.stack import StackOnRequest
from operator_app.exceptions import OperationExists, OperationStarted
from operator_app.models import Operation
from operator_app.models.guards import SCHEDULE, engine_names
from operator_app.validation import PRIORITY_MAX, PRIORITY_MIN

_HOW: Final = [
    *("state_badge", "kind_name", "attempt", "counters", "recurrence", "unique_key", "tags"),
]
ON_ADD: Final = [(_("When and where"), ["should_run_at", "queue", "priority"])]
WHILE_PENDING: Final = [
    (_("When and where"), ["should_run_at", "queue", "priority", "created_when"]),
    (_("State"), _HOW),
]
OTHERWISE: Final = [
    (_("State"), ["reason", *_HOW]),
    (_("Where"), ["queue", "priority", "operator_name"]),
]
"""The engine's facts on a page, by title."""

IF_ANY: Final = {
    "reason": "reason",
    "unique_key": "unique_key",
    "recurrence": "slot",
}
"""Facts that most operations lack, by what tells."""


class OperationAdmin(
    OperationActions, OperationList, OperationColumns, SensitiveFields, StackOnRequest, Navigated
):
    """The admin of a kind of operation: register your own kinds with it or with a subclass of it.

    Adding is scheduling: what is left empty of queue and priority, the policy decides. While an
    operation is pending it can be changed; one that an operator has claimed meanwhile is refused
    with a message in the form, and nothing is written. Afterwards the page is for reading.
    Cancelled operations are shown too.
    """

    change_form_template = "operator_app/admin/operation_form.html"

    class Media:
        css: ClassVar = {"all": [display.MEDIA]}

    # Forms

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The kind's own fields first, as the subclass arranged them, then the engine's facts."""
        own = super().get_fieldsets(request, obj)
        if not self.fieldsets and not self.fields:
            others = {*engine_names(), *self._fact_names(request, obj)}
            names = [name for name in flatten_fieldsets(own) if name not in others]
            own = [(None, {"fields": tuple(names)})] if names else []
        placed = flatten_fieldsets(own)
        facts: list[Any] = [
            (title, {"fields": [name for name in names if name not in placed]})
            for title, names in self._facts(request, obj)
        ]
        return [*own, *(section for section in facts if section[1]["fields"])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What the subclass names, and the facts."""
        mine = [name for name in self._fact_names(request, obj) if name not in SCHEDULE]
        return [*super().get_readonly_fields(request, obj), *mine]

    def _fact_names(self, request: HttpRequest, obj: Any) -> list[str]:
        return [name for _title, names in self._facts(request, obj) for name in names]

    def _facts(self, request: HttpRequest, obj: Any) -> list[tuple[Any, list[str]]]:
        if obj is None:
            return ON_ADD
        facts = WHILE_PENDING if self.has_change_permission(request, obj) else OTHERWISE
        lacking = {name for name, column in IF_ANY.items() if not getattr(obj, column)}
        return [(title, [name for name in names if name not in lacking]) for title, names in facts]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form; one that says no if saving was refused in this request."""
        return guard.refusing(request, super().get_form(request, obj, change, **kwargs))

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the formset of a list that can be edited: of kinds that the user may not change,
        the rows are shown in it, and what is posted for them does not count.
        """
        formset = super().get_changelist_formset(request, **kwargs)
        return guard.keeping(formset, lambda row: self._allows(request, "change", row))

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Field | None:
        """Say what an empty queue or priority means; refuse numbers and times out of range."""
        if db_field.model is Operation and db_field.name in ("queue", "priority"):
            kwargs["help_text"] = _("Left empty, the policy of the kind decides.")
            if db_field.name == "priority":
                kwargs |= {"min_value": PRIORITY_MIN, "max_value": PRIORITY_MAX}
                kwargs["help_text"] = _("Higher runs first. Left empty, the policy decides.")
        field: Field | None = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and "help_text" in kwargs and self.model is not Operation:
            default = getattr(self.model.resolved_policy(), db_field.name)
            field.widget.attrs["placeholder"] = str(default)
        if field is not None and db_field.model is Operation and db_field.name == "should_run_at":
            field.validators = [*field.validators, guard.check_moment]
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new operation is due now unless a time is chosen."""
        now = clock.now(router.db_for_write(self.model)).replace(microsecond=0)
        return {"should_run_at": now, **super().get_changeform_initial_data(request)}

    # Pages

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or save an operation. What cannot be saved is an error of the form: everything is
        rolled back, and what was typed in is shown again.
        """
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (OperationStarted, OperationExists) as refusal:
            guard.refuse(request, str(refusal))
        return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add what the page shows around the form: see `page.context` and `buttons()`."""
        obj = context.get("original")
        if obj is not None:
            context |= page.context(self, request, obj)
            context["show_delete"] = not guard.is_started(obj)
            context["operator_buttons"] = self.buttons(request, obj)
            context["operator_list"] = display.page(self.admin_site, self.model)
        return super().render_change_form(request, context, *args, **kwargs)

    # What people do

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Schedule a new operation, or change a pending one.

        Raises:
            PermissionDenied: if the user may not change it: of a list, Django asks only whether he
                may change some.
            OperationStarted: if it is not pending any more; `changeform_view` shows it in the form.
        """
        if change:
            if not self.has_change_permission(request, obj):
                raise PermissionDenied
            guard.hold_pending(obj)
            guard.complete(obj)
            if "should_run_at" in form.fields and "should_run_at" not in form.changed_data:
                # The form knows no fractions of a second, and would take them away.
                obj.should_run_at = form.initial.get("should_run_at", obj.should_run_at)
        super().save_model(request, obj, form, change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Jobs and tags go with their operation; nobody needs a permission for them as well."""
        pages: Any = copy(self)
        pages.admin_site = SiteOfWholes(self.admin_site)
        return super(OperationAdmin, pages).get_deleted_objects(objs, request)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Delete an operation unless it is running or stuck. One query more than Django's."""
        obj = self.get_object(request, unquote(object_id))
        try:
            if obj is not None and guard.is_started(obj):
                raise OperationStarted(guard.deletion_refused())
            return super().delete_view(request, object_id, extra_context)
        except (OperationStarted, IntegrityError) as refusal:
            self.message_user(request, details.refusal(refusal), messages.ERROR)
        return HttpResponseRedirect(display.page(self.admin_site, self.model, object_id))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the operation with its row in the kind's table, its jobs and its tags.

        Raises:
            OperationStarted: if it is running or stuck.
        """
        guard.hold_deletable([obj.pk], router.db_for_write(self.model))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete all of them, or none if one is running or stuck.

        Raises:
            OperationStarted: if one is running or stuck.
        """
        alias = router.db_for_write(self.model)
        with transaction.atomic(using=alias):
            # Those that were announced, even if the queryset would not find them any more.
            guard.hold_deletable([row.pk for row in queryset], alias)
            super().delete_queryset(request, queryset)
