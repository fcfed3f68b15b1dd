"""What people do to operations from outside: the actions of a list, and the buttons of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from operator_app import clock
from operator_app.admin import display, guard
from operator_app.admin.display import AnyModelAdmin
from operator_app.models import Changed, Operation, states

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise as Words

FROM_PAGE: Final = "_from_page"
"""Posted by the buttons of a page, which is where they lead back to."""

DONE: Final = {
    "cancelled": ngettext_lazy(
        "%(count)d operation was cancelled.", "%(count)d operations were cancelled.", "count"
    ),
    "abort_requested": ngettext_lazy(
        "%(count)d operation was asked to abort.",
        "%(count)d operations were asked to abort.",
        "count",
    ),
    "rescheduled": ngettext_lazy(
        "%(count)d operation is due now.", "%(count)d operations are due now.", "count"
    ),
    "retried": ngettext_lazy(
        "%(count)d operation begins anew.", "%(count)d operations begin anew.", "count"
    ),
}
"""What is said of what was changed, by the part of `Changed`."""

NOT_DONE: Final = {
    "cancelled": ngettext_lazy(
        "%(count)d operation was left alone: it was not pending any more.",
        "%(count)d operations were left alone: they were not pending any more.",
        "count",
    ),
    "abort_requested": ngettext_lazy(
        "%(count)d operation was not running, or had been asked before.",
        "%(count)d operations were not running, or had been asked before.",
        "count",
    ),
    "rescheduled": ngettext_lazy(
        "%(count)d operation was left alone: it was not waiting for a later time.",
        "%(count)d operations were left alone: they were not waiting for a later time.",
        "count",
    ),
    "retried": ngettext_lazy(
        "%(count)d operation was left alone: it had neither failed nor been cancelled.",
        "%(count)d operations were left alone: they had neither failed nor been cancelled.",
        "count",
    ),
}
"""What is said of what was left, by what would have been changed."""

KEY_TAKEN: Final = ngettext_lazy(
    "%(count)d operation was left alone: another one with its unique key has not ended.",
    "%(count)d operations were left alone: others with their unique keys have not ended.",
    "count",
)


class Button(NamedTuple):
    """An action for one operation."""

    action: str
    label: Words


class OperationActions(AnyModelAdmin):
    """The verbs of querysets for what is chosen in a list. Each message says what has happened:
    operators are at work between the look at a page and the click.
    """

    actions = [
        "run_selected_now",
        "cancel_selected",
        "abort_selected",
        "retry_selected",
        "delete_selected",
    ]

    @admin.action(permissions=["change"], description=_("Run selected %(verbose_name_plural)s now"))
    def run_selected_now(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Let scheduled ones be due now."""
        return self._told(request, "rescheduled", queryset.run_now())

    @admin.action(permissions=["change"], description=_("Cancel selected %(verbose_name_plural)s"))
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel pending ones."""
        why = gettext("cancelled by %s in the admin") % request.user
        return self._told(request, "cancelled", queryset.cancel(why))

    @admin.action(
        permissions=["change"], description=_("Ask selected %(verbose_name_plural)s to abort")
    )
    def abort_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Ask running and stuck ones to end."""
        why = gettext("abort requested by %s in the admin") % request.user
        return self._told(request, "abort_requested", queryset.abort(why))

    @admin.action(permissions=["change"], description=_("Retry selected %(verbose_name_plural)s"))
    def retry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Let failed and cancelled ones begin anew."""
        return self._told(request, "retried", queryset.retry())

    @admin.action(permissions=["delete"], description=_("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Delete those that are not running or stuck, after a look at what goes with them."""
        kept = queryset.filter(states.STARTED).count()
        if kept:
            text = ngettext(
                "%(count)d operation is claimed by an operator and is left alone.",
                "%(count)d operations are claimed by an operator and are left alone.",
                kept,
            )
            self.message_user(request, text % {"count": kept}, messages.WARNING)
        rest = queryset.exclude(states.STARTED)
        if kept and not rest.exists():
            return None
        with transaction.atomic(using=router.db_for_write(self.model)):
            # A refusal takes the entries back that were made in the admin's log.
            return delete_selected(self, request, rest)

    def buttons(self, request: HttpRequest, operation: Operation) -> list[Button]:
        """Return what this user may do to an operation that is as it was loaded. No queries."""
        allowed = self.get_actions(request)
        return [button for button in _buttons(operation) if button.action in allowed]

    def _told(self, request: HttpRequest, part: str, changed: Changed) -> HttpResponse | None:
        """Say what has happened; return to the page if a button of it was hit."""
        said = [
            (DONE[part], getattr(changed, part), messages.SUCCESS),
            (KEY_TAKEN, changed.key_taken, messages.WARNING),
            (NOT_DONE[part], changed.left, messages.WARNING),
        ]
        for words, count, level in said:
            if count:
                self.message_user(request, words % {"count": count}, level)
        if not any(count for _words, count, _level in said):
            # The list's filter has lost them meanwhile.
            self.message_user(request, gettext("Nothing was changed."), messages.WARNING)
        if FROM_PAGE not in request.POST:
            return None
        pk = request.POST[ACTION_CHECKBOX_NAME]
        return HttpResponseRedirect(display.page(self.admin_site, self.model, pk))


def _buttons(operation: Operation) -> list[Button]:
    if guard.is_started(operation):
        asked = operation.abort_requested_at is not None
        return [] if asked else [Button("abort_selected", _("Ask to abort"))]
    if guard.is_pending(operation):
        waits = operation.should_run_at > clock.now(operation._alias)
        now = [Button("run_selected_now", _("Run now"))] if waits else []
        return [*now, Button("cancel_selected", _("Cancel"))]
    if operation.finished_run_at is None:
        return [Button("retry_selected", _("Retry"))]
    return []
