"""What people do to operations from outside: the actions of a list, and the buttons of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display, guard, runs, selection, verbs
from operator_app.admin.access import OperationAccess
from operator_app.admin.deletion import LightDeletion
from operator_app.admin.verbs import Verb
from operator_app.models import Operation, states

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

ACROSS: Final = "select_across"
"""Posted with 1 by the list's form if all that match are meant, and not only what is chosen."""


class Button(NamedTuple):
    """An action for one operation."""

    action: str
    label: Words


class OperationActions(OperationAccess, LightDeletion):
    """The verbs of querysets for what is chosen in a list, or for all that match."""

    actions = [
        "run_selected_now",
        "reschedule_selected",
        "retry_selected",
        "cancel_selected",
        "abort_selected",
        "release_selected",
        "delete_selected",
    ]

    @admin.action(permissions=["run"], description=_("Run selected %(verbose_name_plural)s now"))
    def run_selected_now(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Let scheduled ones be due now."""
        return self._act(request, queryset, verbs.RUN_NOW)

    @admin.action(
        permissions=["change"], description=_("Reschedule selected %(verbose_name_plural)s")
    )
    def reschedule_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Let pending ones be due at another time, which is asked for."""
        return self._act(request, queryset, verbs.RESCHEDULE)

    @admin.action(permissions=["retry"], description=_("Retry selected %(verbose_name_plural)s"))
    def retry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Let failed and cancelled ones begin anew."""
        return self._act(request, queryset, verbs.RETRY)

    @admin.action(permissions=["cancel"], description=_("Cancel selected %(verbose_name_plural)s"))
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel pending ones."""
        return self._act(request, queryset, verbs.CANCEL)

    @admin.action(
        permissions=["abort"], description=_("Ask selected %(verbose_name_plural)s to abort")
    )
    def abort_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask running and stuck ones to end."""
        return self._act(request, queryset, verbs.ABORT)

    @admin.action(
        permissions=["retry"],
        description=_("Release selected %(verbose_name_plural)s from lost operators"),
    )
    def release_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Give back, unrun, what lost operators hold."""
        return self._act(request, queryset, verbs.RELEASE)

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Delete those that are not running or stuck, after a look at what goes with them."""
        if request.POST.get(ACROSS) == "1":
            return runs.act(self, request, queryset, verbs.DELETE)
        chosen = list(queryset.order_by().values_list("pk", "kind_id"))
        mine, forbidden = selection.divide(self, request, "delete", chosen)
        if forbidden:
            text = verbs.FORBIDDEN % {"count": forbidden}
            self.message_user(request, text, messages.WARNING)
        queryset = queryset.filter(pk__in=mine)
        kept = queryset.filter(states.STARTED).count()
        if kept:
            left = verbs.DELETE.left % {"count": kept}
            self.message_user(request, left, messages.WARNING)
        rest = queryset.exclude(states.STARTED)
        if (kept or forbidden) and not rest.exists():
            return None
        with transaction.atomic(using=router.db_for_write(self.model)):
            # A refusal takes the entries back that were made in the admin's log.
            return delete_selected(self, request, rest)

    def buttons(self, request: HttpRequest, operation: Operation) -> list[Button]:
        """Return what this user may do to an operation that is as it was loaded. No queries, but
        one for whether what is stuck is held by a lost operator.
        """
        offered = self.get_actions(request)
        return [
            button
            for button in _buttons(operation)
            if button.action in offered and self._may(request, button, operation)
        ]

    def _may(self, request: HttpRequest, button: Button, operation: Operation) -> bool:
        permission = verbs.VERBS[button.action].permission
        allows: bool = getattr(self, f"has_{permission}_permission")(request, operation)
        return allows

    def _act(self, request: HttpRequest, queryset: Any, verb: Verb) -> HttpResponse | None:
        if request.POST.get(ACROSS) == "1":
            return runs.act(self, request, queryset, verb)
        return selection.act(self, request, queryset, verb)


def _buttons(operation: Operation) -> list[Button]:
    if guard.is_started(operation):
        asked = operation.abort_requested_at is not None
        abort = [] if asked else [Button("abort_selected", _("Ask to abort"))]
        return [
            *abort,
            *([Button("release_selected", _("Release"))] if _is_left(operation) else []),
        ]
    if guard.is_pending(operation):
        waits = operation.should_run_at > clock.now(operation._alias)
        now = [Button("run_selected_now", _("Run now"))] if waits else []
        return [*now, Button("cancel_selected", _("Cancel"))]
    if operation.finished_run_at is None:
        return [Button("retry_selected", _("Retry"))]
    return []


def _is_left(operation: Operation) -> bool:
    """Whether a lost operator holds it."""
    if operation.operator_id is None:
        return False
    operator = display.operator_of(operation)
    return operator is None or operator.lost_at is not None
